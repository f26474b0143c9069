//! The published schema accepts what the reader accepts, and refuses what it refuses.

use serde_json::Value;

use crate::json_schema::violations;

fn document(text: &str) -> Value {
    serde_saphyr::from_str(text).expect("the text is YAML")
}

#[test]
fn examples_and_built_in_texts_are_valid() {
    let schema = weir_spec::schema();
    let examples = ["published-evaluation", "capacity-bound", "mooncake"].map(|name| {
        let path = format!("{}/../../examples/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(path).expect("the example is there")
    });
    let built_in = [weir_spec::starter(), weir_spec::builtin(), crate::SMALL].map(str::to_owned);
    for text in examples.iter().chain(&built_in) {
        let errors = violations(&schema, &document(text));
        assert!(errors.is_empty(), "{}: {errors}", text.lines().next().unwrap_or(""));
    }
}

#[test]
fn what_the_reader_refuses_the_schema_refuses() {
    let schema = weir_spec::schema();
    for (from, to) in [
        ("name: small", "names: small"),
        ("duration: 10s", "duration: 10"),
        ("users: [2]", "users: []"),
        ("users: [2]", "users: {two: 2}"),
        ("no-offload, native", "{preset: no-offload, byte: 1GiB}, native"),
        ("{max_num_seqs: 256}", "{vllm: 0.11}"),
        ("hardware: 2x-l40s", "hardware: {accelerator: l40s, counts: 2}"),
    ] {
        let text = crate::SMALL.replacen(from, to, 1);
        assert_ne!(violations(&schema, &document(&text)), "", "the schema accepts {to}");
        crate::error(&text, &[]);
    }
}
