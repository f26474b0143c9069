use std::fmt::Write as _;

use prometheus_parse::{Scrape, Value};
use proptest::prelude::*;
use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use weir_observe::exposition::{Exposition, Format, Line, text_of};

use crate::captured;

/// Name, sorted labels, bits of the value.
type Plain = (String, Vec<(String, String)>, u64);

fn plain(name: &str, labels: &[(&str, String)], value: f64) -> Plain {
    let mut labels: Vec<_> =
        labels.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    labels.sort();
    (name.to_owned(), labels, value.to_bits())
}

fn ours(text: &str) -> Vec<Plain> {
    let mut read: Vec<Plain> = Exposition::new(text, Format::Text)
        .filter_map(|line| match line.unwrap() {
            Line::Sample(sample) => {
                let labels: Vec<_> =
                    sample.labels.iter().map(|(n, v)| (*n, v.clone().into_owned())).collect();
                Some(plain(sample.name, &labels, sample.value))
            }
            _ => None,
        })
        .collect();
    read.sort();
    read
}

/// The oracle's samples, with histograms as single series.
fn theirs(text: &str) -> Vec<Plain> {
    let scrape = Scrape::parse(text.lines().map(|line| Ok(line.to_owned()))).unwrap();
    let mut read = Vec::new();
    for sample in &scrape.samples {
        let labels: Vec<(&str, String)> =
            sample.labels.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        match &sample.value {
            Value::Counter(value) | Value::Gauge(value) | Value::Untyped(value) => {
                read.push(plain(&sample.metric, &labels, *value));
            }
            Value::Histogram(buckets) => {
                for bucket in buckets {
                    let mut labels = labels.clone();
                    labels.push(("le", bucket.less_than.to_string()));
                    read.push(plain(&sample.metric, &labels, bucket.count));
                }
            }
            Value::Summary(_) => panic!("no summaries in these texts"),
        }
    }
    read.sort();
    read
}

/// Weir's samples in the oracle's form: buckets under the family's name, bounds as numbers.
fn as_oracle(samples: Vec<Plain>) -> Vec<Plain> {
    let mut read: Vec<Plain> = samples
        .into_iter()
        .map(|(name, mut labels, value)| {
            let Some(family) = name.strip_suffix("_bucket") else { return (name, labels, value) };
            for (label, bound) in &mut labels {
                if label == "le" {
                    *bound = bound.parse::<f64>().unwrap().to_string();
                }
            }
            (family.to_owned(), labels, value)
        })
        .collect();
    read.sort();
    read
}

#[test]
fn a_captured_scrape_reads_as_the_oracle_reads_it() {
    for name in ["metrics.txt", "metrics-offload.txt", "metrics-idle.txt"] {
        // The oracle knows no colon in a name.
        let text = captured(name).replace("vllm:", "vllm_").replace("http:", "http_");
        let samples = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let read = ours(&text);
        assert_eq!(read.len(), samples.count(), "{name}: every line is a sample");
        assert!(read.len() > 300, "{name} is a whole scrape");
        assert_eq!(as_oracle(read), theirs(&text), "{name}");
    }
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<f64>().prop_map(|value| format!("{value:?}")),
        any::<i32>().prop_map(|value| value.to_string()),
        Just("+Inf".to_owned()),
        Just("-Inf".to_owned()),
        Just("NaN".to_owned()),
    ]
    // The two parsers may give different bits for different spellings of what is not a number.
    .prop_filter("one NaN", |text| text == "NaN" || !text.contains("NaN"))
}

prop_compose! {
    /// A line that both parsers define alike: the oracle knows no colon in a name, no escape, and
    /// no comma, equals sign or brace in a label's value.
    fn line()(
        name in "[a-z_][a-z0-9_]{0,12}",
        labels in prop::collection::btree_map(
            "[a-z_][a-z0-9_]{0,6}",
            "[ !#-+./-9:;<>-Z\\[\\]^_`a-z{|~-]{0,12}",
            0..4,
        ),
        value in number(),
        time in prop::option::of(0_i64..2_000_000_000_000),
    ) -> String {
        let mut line = name;
        if !labels.is_empty() {
            let pairs: Vec<_> =
                labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
            write!(line, "{{{}}}", pairs.join(",")).unwrap();
        }
        write!(line, " {value}").unwrap();
        if let Some(time) = time {
            write!(line, " {time}").unwrap();
        }
        line
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn generated_texts_read_as_the_oracle_reads_them(
        lines in prop::collection::vec(line(), 0..20),
    ) {
        let text = lines.join("\n");
        prop_assert_eq!(ours(&text), theirs(&text));
    }

    #[test]
    fn any_label_survives_writing_and_reading(
        value in any::<String>(),
        spaces in prop::collection::vec(prop::sample::select(vec!["", " ", "\t", "  "]), 6),
    ) {
        let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let [a, b, c, d, e, f] = spaces.try_into().unwrap();
        let text = format!("x{a}{{{b}l{c}={d}\"{escaped}\"{e}}}{f}1\n");
        let read: Vec<_> = Exposition::new(&text, Format::Text).collect();
        let [Ok(Line::Sample(sample))] = read.as_slice() else {
            return Err(TestCaseError::fail(format!("{read:?}")));
        };
        prop_assert_eq!(&sample.labels[0].1, &value);
        // And through Weir's writer of labels.
        let labels = weir_observe::Labels::of(&sample.labels);
        prop_assert_eq!(labels.to_string(), format!("l=\"{escaped}\""));
    }

    #[test]
    fn arbitrary_text_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        read_all(&bytes);
    }
}

/// In both formats; errors lie inside the text.
fn read_all(bytes: &[u8]) -> (usize, usize) {
    let (mut good, mut bad) = (0, 0);
    match text_of(bytes) {
        Ok(text) => {
            for format in [Format::Text, Format::OpenMetrics] {
                for line in Exposition::new(text, format) {
                    match line {
                        Ok(_) => good += 1,
                        Err(error) => {
                            assert!(error.line <= text.lines().count(), "{error}");
                            bad += 1;
                        }
                    }
                }
            }
        }
        Err(error) => {
            assert!(error.line >= 1 && error.quote.chars().count() <= 123, "{error}");
            bad += 1;
        }
    }
    (good, bad)
}

/// `WEIR_FUZZ_CASES` sets the number of cases.
#[test]
fn damaged_scrapes_give_errors_and_never_panic() {
    let cases: u32 = std::env::var("WEIR_FUZZ_CASES").map_or(30_000, |n| n.parse().unwrap());
    let text = captured("metrics-offload.txt");
    let lines: Vec<&str> = text.lines().collect();
    let mut random = Xoshiro256PlusPlus::seed_from_u64(889);
    let mut below = |most: usize| (random.next_u64() % most as u64) as usize;
    let telling = b"{}\"\\=,# \n\r\t:_0+-.eEN\x00\xff\xc3\xe2";
    let (mut good, mut bad) = (0, 0);
    for _ in 0..cases {
        let from = below(lines.len() - 4);
        let mut piece = lines[from..from + 4].join("\n").into_bytes();
        for _ in 0..=below(4) {
            let at = below(piece.len().max(1));
            match below(5) {
                _ if piece.is_empty() => piece.push(b'x'),
                0 => piece[at] = below(256) as u8,
                1 => piece[at] = telling[below(telling.len())],
                2 => piece.insert(at, telling[below(telling.len())]),
                3 => drop(piece.remove(at)),
                _ => piece.truncate(at.max(1)),
            }
        }
        let (read, errors) = read_all(&piece);
        good += read;
        bad += errors;
    }
    // Damage of all or of none would test nothing.
    assert!(good > cases as usize && bad > cases as usize / 10, "{good} read, {bad} errors");
}
