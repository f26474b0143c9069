//! Text exposition format 0.0.4, byte for byte as Python's `prometheus_client` and so vLLM writes
//! it. Labels are in alphabetical order, floats in `repr` form with Go's exponents; a `_created`
//! gauge is beside each counter and histogram.

use std::fmt::Write as _;

use super::histogram::Histogram;

pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Name without the suffixes of its kind.
#[derive(Debug, Clone, Copy)]
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
}

/// In any order.
pub(super) type Labels = Vec<(&'static str, String)>;

pub(super) struct Page {
    text: String,
    /// Of all `_created` series, in seconds since 1970.
    created: f64,
}

impl Page {
    pub(super) fn new(created: f64) -> Self {
        Self { text: String::with_capacity(64 << 10), created }
    }

    pub(super) fn finish(self) -> String {
        self.text
    }

    pub(super) fn gauge(&mut self, family: Family, series: Vec<(Labels, f64)>) {
        self.heading(family, "", "gauge");
        for (labels, value) in series {
            self.sample(family.name, "", labels, value);
        }
    }

    pub(super) fn counter(&mut self, family: Family, series: Vec<(Labels, f64)>) {
        self.heading(family, "_total", "counter");
        let labels: Vec<Labels> = series.iter().map(|(labels, _)| labels.clone()).collect();
        for (labels, value) in series {
            self.sample(family.name, "_total", labels, value);
        }
        self.created(family, labels);
    }

    pub(super) fn histogram(&mut self, family: Family, series: Vec<(Labels, &Histogram)>) {
        self.heading(family, "", "histogram");
        let mut created = Vec::new();
        for (labels, histogram) in series {
            for (bound, count) in histogram.cumulative() {
                let mut with_bound = labels.clone();
                with_bound.push(("le", bound));
                self.sample(family.name, "_bucket", with_bound, count as f64);
            }
            self.sample(family.name, "_count", labels.clone(), histogram.count() as f64);
            self.sample(family.name, "_sum", labels.clone(), histogram.sum());
            created.push(labels);
        }
        self.created(family, created);
    }

    fn created(&mut self, family: Family, series: Vec<Labels>) {
        if series.is_empty() {
            return;
        }
        self.heading(family, "_created", "gauge");
        let created = self.created;
        for labels in series {
            self.sample(family.name, "_created", labels, created);
        }
    }

    fn heading(&mut self, family: Family, suffix: &str, kind: &str) {
        let Family { name, help } = family;
        self.put(format_args!("# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}\n"));
    }

    fn sample(&mut self, name: &str, suffix: &str, mut labels: Labels, value: f64) {
        labels.sort_by_key(|(name, _)| *name);
        self.put(format_args!("{name}{suffix}{{"));
        for (index, (label, text)) in labels.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            self.put(format_args!("{comma}{label}=\"{}\"", escaped(text)));
        }
        self.put(format_args!("}} {}\n", number(value)));
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        self.text.write_fmt(text).expect("writing to a string cannot fail");
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\"")
}

/// As `prometheus_client` prints it.
pub(super) fn number(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let text = python_repr(value);
    // Go changes to exponents sooner than Python does.
    match text.find('.') {
        Some(dot) if value > 0.0 && dot > 6 => {
            let digits = format!("{}.{}{}", &text[..1], &text[1..dot], &text[dot + 1..]);
            let mantissa = digits.trim_end_matches(['0', '.']);
            format!("{mantissa}e+{:02}", dot - 1)
        }
        _ => text,
    }
}

/// As `repr` of a float: the shortest digits that read back, exponents below 1e-4 and from 1e16 on.
pub(super) fn python_repr(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(1e-4..1e16).contains(&size) {
        let text = format!("{value:e}");
        let (mantissa, exponent) = text.split_once('e').expect("`{:e}` writes an exponent");
        let sign = if exponent.starts_with('-') { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:0>2}", exponent.trim_start_matches('-'));
    }
    let text = format!("{value}");
    if text.contains('.') { text } else { text + ".0" }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pairs made with `prometheus_client.utils.floatToGoString`.
    #[test]
    fn numbers_are_written_as_python_does() {
        let cases = [
            (0.0, "0.0"),
            (1.0, "1.0"),
            (0.25, "0.25"),
            (1e-5, "1e-05"),
            (1.5e-7, "1.5e-07"),
            (0.0001, "0.0001"),
            (16_384.0, "16384.0"),
            (262_144.0, "262144.0"),
            (655_360.0, "655360.0"),
            (999_999.0, "999999.0"),
            (1e6, "1e+06"),
            (1.5e8, "1.5e+08"),
            (1_234_567.0, "1.234567e+06"),
            (1_795_200_424.125, "1.795200424125e+09"),
            (12_345_678_901_234.0, "1.2345678901234e+13"),
            (1e16, "1e+16"),
            (-3.5, "-3.5"),
            (f64::INFINITY, "+Inf"),
        ];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
        assert_eq!(number(f64::NAN), "NaN");
    }

    #[test]
    fn label_values_are_escaped_and_names_sorted() {
        let mut page = Page::new(0.0);
        let labels = vec![("model_name", "a\"b\\c\nd".to_owned()), ("engine", "0".to_owned())];
        page.gauge(Family { name: "x", help: "y" }, vec![(labels, 1.0)]);
        let text = page.finish();
        assert!(text.ends_with("x{engine=\"0\",model_name=\"a\\\"b\\\\c\\nd\"} 1.0\n"), "{text}");
    }
}
