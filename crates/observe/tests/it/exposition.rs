use std::borrow::Cow;

use weir_observe::exposition::{Exposition, Format, Kind, Line, SampleLine, SyntaxFault, text_of};

fn lines(text: &str, format: Format) -> Vec<Line<'_>> {
    Exposition::new(text, format).collect::<Result<_, _>>().unwrap()
}

fn sample(line: &str) -> SampleLine<'_> {
    match lines(line, Format::Text).pop() {
        Some(Line::Sample(sample)) => sample,
        other => panic!("{other:?}"),
    }
}

fn fault(text: &str, format: Format) -> (usize, SyntaxFault) {
    let mut reader = Exposition::new(text, format);
    let error = reader.find_map(Result::err).expect("an error");
    assert!(reader.next().is_none(), "nothing comes after an error");
    (error.line, error.fault)
}

#[test]
fn every_part_of_a_sample_is_read() {
    let line = r#"vllm:x_total{a="1", b = "two \"quoted\" \\ \n \q",} -1.5e3 1700000000123"#;
    let read = sample(line);
    assert_eq!((read.name, read.value), ("vllm:x_total", -1500.0));
    let unescaped = "two \"quoted\" \\ \n \\q";
    assert_eq!(read.labels, [("a", Cow::from("1")), ("b", Cow::from(unescaped))]);
    assert!(matches!(read.labels[0].1, Cow::Borrowed(_)), "nothing is copied without need");
    assert_eq!(sample("x{} 1").labels, []);
    assert_eq!(sample("\t x \t 2 \r").value, 2.0);
    // A comma, a brace and a comment sign inside a value are text.
    assert_eq!(sample(r#"x{a="},# {"} 1"#).labels[0].1, "},# {");
}

#[test]
fn special_values_are_values() {
    assert!(sample("x NaN").value.is_nan());
    assert!(sample("x nan").value.is_nan());
    for (text, value) in [
        ("x +Inf", f64::INFINITY),
        ("x Inf", f64::INFINITY),
        ("x -Inf", f64::NEG_INFINITY),
        ("x 1.7e+09", 1.7e9),
        ("x +3", 3.0),
    ] {
        assert_eq!(sample(text).value, value, "{text}");
    }
}

#[test]
fn comments_declare_families_or_say_nothing() {
    let text = "# HELP x What\\nit \\\\ is  \n# TYPE x counter\n#UNIT x seconds\n\n# free words\n\
                #\n# TYPE y untyped\n# EOF\nz 1";
    let read = lines(text, Format::Text);
    assert_eq!(
        read[..4],
        [
            Line::Help { family: "x", text: Cow::from("What\nit \\ is") },
            Line::Type { family: "x", kind: Kind::Counter },
            Line::Unit { family: "x", unit: "seconds" },
            Line::Type { family: "y", kind: Kind::Unknown },
        ]
    );
    // In Prometheus text, `# EOF` is a comment like any other, and the last line needs no end.
    assert!(matches!(&read[4..], [Line::Sample(sample)] if sample.name == "z"));
}

#[test]
fn times_and_exemplars_are_read_over() {
    let text = "# TYPE x histogram\n\
                x_bucket{le=\"1.0\"} 8 1700000000.5 # {trace_id=\"a b\"} 0.67 1700000000.25\n\
                x_created 1.5 # {} 1\n# EOF\n";
    let read = lines(text, Format::OpenMetrics);
    let Line::Sample(bucket) = &read[1] else { panic!("{read:?}") };
    assert_eq!((bucket.value, &bucket.labels[..]), (8.0, &[("le", Cow::from("1.0"))][..]));
    let Line::Sample(created) = &read[2] else { panic!("{read:?}") };
    assert_eq!(created.value, 1.5);
    assert_eq!(read.last(), Some(&Line::End));
    // An exemplar under Prometheus text is illegal and harmless.
    assert_eq!(sample("x_total 1 # {a=\"1\"} 2").value, 1.0);
}

#[test]
fn errors_name_the_line_and_what_is_wrong_with_it() {
    for (text, line, expected) in [
        ("x 1\n\n1x 2\n", 3, SyntaxFault::NoName),
        ("{a=\"1\"} 2\n", 1, SyntaxFault::NoName),
        ("x\n", 1, SyntaxFault::NoValue),
        ("x-1\n", 1, SyntaxFault::NoValue),
        ("x one\n", 1, SyntaxFault::NoValue),
        ("x{a=\"1\"}\n", 1, SyntaxFault::NoValue),
        ("x 1 soon\n", 1, SyntaxFault::BadTime),
        ("x 1 inf\n", 1, SyntaxFault::BadTime),
        ("x 1 2 3\n", 1, SyntaxFault::Trailing),
        ("x 1 # no braces\n", 1, SyntaxFault::Trailing),
        ("x 1 # {a=\"1\"} 2 3 4\n", 1, SyntaxFault::Trailing),
        ("x 1 # {a=\"1\"}\n", 1, SyntaxFault::NoValue),
        ("x{=\"1\"} 1\n", 1, SyntaxFault::NoLabelName),
        ("x{a:b=\"1\"} 1\n", 1, SyntaxFault::NoEquals),
        ("x{,} 1\n", 1, SyntaxFault::NoLabelName),
        ("x{a} 1\n", 1, SyntaxFault::NoEquals),
        ("x{a=1} 1\n", 1, SyntaxFault::NoQuote),
        ("x{a=\"1} 1\n", 1, SyntaxFault::OpenQuote),
        ("x{a=\"1\\\"} 1\n", 1, SyntaxFault::OpenQuote),
        ("x{a=\"1\" b=\"2\"} 1\n", 1, SyntaxFault::NoComma),
        ("x{a=\"1\"\n", 1, SyntaxFault::NoComma),
        ("x 1\n# TYPE x thing\n", 2, SyntaxFault::BadType),
        ("# TYPE x\n", 1, SyntaxFault::BadType),
        ("# TYPE 1 counter\n", 1, SyntaxFault::NoName),
        ("# HELP\n", 1, SyntaxFault::NoName),
    ] {
        assert_eq!(fault(text, Format::Text), (line, expected), "{text:?}");
    }
    assert_eq!(fault("x 1\n# EOF\ny 2\n", Format::OpenMetrics), (3, SyntaxFault::AfterEnd));
    assert_eq!(fault("x 1\n", Format::OpenMetrics), (1, SyntaxFault::NoEnd));
    assert_eq!(fault("", Format::OpenMetrics), (0, SyntaxFault::NoEnd));
}

#[test]
fn messages_quote_the_line_and_no_more_than_that() {
    let mut reader = Exposition::new("<!doctype html>\n<p>", Format::Text);
    let error = reader.next().unwrap().unwrap_err();
    assert_eq!(
        error.to_string(),
        "line 1: no metric name (letters, digits, `_` and `:`), in `<!doctype html>`"
    );
    let long = format!("x{{a=\"{}", "ü".repeat(1_000_000));
    let error = Exposition::new(&long, Format::Text).next().unwrap().unwrap_err();
    assert!(error.quote.ends_with("..."), "{}", error.quote);
    assert_eq!(error.quote.chars().count(), 123);
    let error = text_of(b"x 1\ny \xff 2\nz 3\n").unwrap_err();
    assert_eq!(error.to_string(), "line 2: bytes that are not UTF-8, in `y \u{fffd} 2`");
}

#[test]
fn the_format_is_told_by_the_content_type() {
    for (header, format) in [
        (None, Some(Format::Text)),
        (Some("text/plain; version=0.0.4; charset=utf-8"), Some(Format::Text)),
        (Some("Application/OpenMetrics-Text; version=1.0.0"), Some(Format::OpenMetrics)),
        (Some("text/html"), None),
        (Some("application/json"), None),
    ] {
        assert_eq!(Format::of_content_type(header), format, "{header:?}");
    }
}
