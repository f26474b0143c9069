//! Reads Prometheus text 0.0.4 and `OpenMetrics` 1.0 line by line, borrowing from the text.
//!
//! Only the grammar: the meaning of families is elsewhere. It accepts what real exporters write
//! (spaces around labels, a trailing comma, exemplars in either format, free comments).
//!
//! Grammar: <https://prometheus.io/docs/instrumenting/exposition_formats/> and the `OpenMetrics`
//! 1.0.0 specification, section 4.1.

use std::borrow::Cow;
use std::fmt;

const QUOTED_CHARS: usize = 120;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Version 0.0.4: times in milliseconds, no end mark.
    Text,
    /// Version 1.0: times in seconds, `# EOF` at the end.
    OpenMetrics,
}

impl Format {
    /// From a `Content-Type`. No header and any plain text mean Prometheus text; None for other
    /// types.
    pub fn of_content_type(content_type: Option<&str>) -> Option<Self> {
        let Some(value) = content_type else { return Some(Self::Text) };
        let media = value.split(';').next().unwrap_or_default().trim();
        if media.eq_ignore_ascii_case("application/openmetrics-text") {
            Some(Self::OpenMetrics)
        } else if media.eq_ignore_ascii_case("text/plain") || media.is_empty() {
            Some(Self::Text)
        } else {
            None
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, until the process restarts.
    Counter,
    Gauge,
    /// Cumulative buckets, a sum and a count.
    Histogram,
    GaugeHistogram,
    Summary,
    /// Labels whose value is always 1.
    Info,
    /// One sample per state, 0 or 1.
    StateSet,
    Unknown,
}

impl Kind {
    fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "counter" => Self::Counter,
            "gauge" => Self::Gauge,
            "histogram" => Self::Histogram,
            "gaugehistogram" => Self::GaugeHistogram,
            "summary" => Self::Summary,
            "info" => Self::Info,
            "stateset" => Self::StateSet,
            "untyped" | "unknown" => Self::Unknown,
            _ => return None,
        })
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum Line<'a> {
    Help { family: &'a str, text: Cow<'a, str> },
    Type { family: &'a str, kind: Kind },
    Unit { family: &'a str, unit: &'a str },
    Sample(SampleLine<'a>),
    End,
}

/// In the written order, values unescaped.
pub type LabelPairs<'a> = Vec<(&'a str, Cow<'a, str>)>;

#[derive(Debug, Clone, PartialEq)]
pub struct SampleLine<'a> {
    /// With its suffix (`_total`, `_bucket`).
    pub name: &'a str,
    pub labels: LabelPairs<'a>,
    /// May be NaN or infinite.
    pub value: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SyntaxFault {
    #[error("bytes that are not UTF-8")]
    NotUtf8,
    #[error("no metric name (letters, digits, `_` and `:`)")]
    NoName,
    #[error("no label name (letters, digits and `_`)")]
    NoLabelName,
    #[error("no `=` behind a label's name")]
    NoEquals,
    #[error("a label's value without opening quote")]
    NoQuote,
    #[error("a label's value without closing quote")]
    OpenQuote,
    #[error("neither `,` nor `}}` behind a label")]
    NoComma,
    #[error("no number where the value should stand")]
    NoValue,
    #[error("no number where the time should stand")]
    BadTime,
    #[error("text behind the end of the sample")]
    Trailing,
    #[error("an unknown type (counter, gauge, histogram, summary, ...)")]
    BadType,
    #[error("text behind `# EOF`")]
    AfterEnd,
    #[error("the text ends without `# EOF`: it was cut short")]
    NoEnd,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpositionError {
    pub line: usize,
    pub fault: SyntaxFault,
    pub quote: String,
}

impl fmt::Display for ExpositionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.fault)?;
        if self.quote.is_empty() { Ok(()) } else { write!(f, ", in `{}`", self.quote) }
    }
}

impl std::error::Error for ExpositionError {}

/// An error names the line with the first bad byte.
pub fn text_of(body: &[u8]) -> Result<&str, ExpositionError> {
    std::str::from_utf8(body).map_err(|error| {
        let good = &body[..error.valid_up_to()];
        let line = good.split(|byte| *byte == b'\n').count();
        let start = good.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let end = body[start..].iter().position(|b| *b == b'\n').map_or(body.len(), |n| start + n);
        let quote = quote(&String::from_utf8_lossy(&body[start..end]));
        ExpositionError { line, fault: SyntaxFault::NotUtf8, quote }
    })
}

/// Ends after an error.
#[derive(Debug, Clone)]
pub struct Exposition<'a> {
    rest: &'a str,
    format: Format,
    line: usize,
    ended: bool,
    over: bool,
}

impl<'a> Exposition<'a> {
    pub const fn new(text: &'a str, format: Format) -> Self {
        Self { rest: text, format, line: 0, ended: false, over: false }
    }

    fn fail(&mut self, fault: SyntaxFault, line: &str) -> ExpositionError {
        self.over = true;
        ExpositionError { line: self.line, fault, quote: quote(line) }
    }
}

impl<'a> Iterator for Exposition<'a> {
    type Item = Result<Line<'a>, ExpositionError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.over && !self.rest.is_empty() {
            let (line, rest) = self.rest.split_once('\n').unwrap_or((self.rest, ""));
            self.rest = rest;
            self.line += 1;
            let line = line.trim_matches([' ', '\t', '\r']);
            if line.is_empty() {
                continue;
            }
            if self.ended {
                return Some(Err(self.fail(SyntaxFault::AfterEnd, line)));
            }
            let read = match line.strip_prefix('#') {
                Some(comment) => read_comment(comment, self.format),
                None => read_sample(line).map(|sample| Some(Line::Sample(sample))),
            };
            match read {
                Ok(Some(Line::End)) => {
                    self.ended = true;
                    return Some(Ok(Line::End));
                }
                Ok(Some(line)) => return Some(Ok(line)),
                Ok(None) => {}
                Err(fault) => return Some(Err(self.fail(fault, line))),
            }
        }
        if self.format == Format::OpenMetrics && !self.ended && !self.over {
            return Some(Err(self.fail(SyntaxFault::NoEnd, "")));
        }
        None
    }
}

fn quote(line: &str) -> String {
    let mut quoted: String = line.chars().take(QUOTED_CHARS).collect();
    if quoted.len() < line.len() {
        quoted.push_str("...");
    }
    quoted
}

fn read_comment(comment: &str, format: Format) -> Result<Option<Line<'_>>, SyntaxFault> {
    let comment = comment.trim_start_matches([' ', '\t']);
    if comment == "EOF" {
        return Ok((format == Format::OpenMetrics).then_some(Line::End));
    }
    let (word, rest) = split_word(comment);
    if !matches!(word, "HELP" | "TYPE" | "UNIT") {
        return Ok(None);
    }
    let (family, rest) = split_word(rest);
    if name_length(family, true) != family.len() || family.is_empty() {
        return Err(SyntaxFault::NoName);
    }
    Ok(Some(match word {
        "HELP" => Line::Help { family, text: unescape(rest) },
        "TYPE" => Line::Type { family, kind: Kind::parse(rest).ok_or(SyntaxFault::BadType)? },
        _ => Line::Unit { family, unit: rest },
    }))
}

fn split_word(text: &str) -> (&str, &str) {
    let end = text.find([' ', '\t']).unwrap_or(text.len());
    (&text[..end], text[end..].trim_start_matches([' ', '\t']))
}

fn read_sample(line: &str) -> Result<SampleLine<'_>, SyntaxFault> {
    let end = name_length(line, true);
    if end == 0 {
        return Err(SyntaxFault::NoName);
    }
    let (name, rest) = line.split_at(end);
    let rest = skip_blanks(rest);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(inside) => read_labels(inside)?,
        None if rest.len() == line.len() - end => return Err(SyntaxFault::NoValue),
        None => (Vec::new(), rest),
    };
    let (value, rest) = read_value(rest)?;
    let rest = skip_time(rest)?;
    match rest.strip_prefix('#') {
        Some(behind) => check_exemplar(behind)?,
        None if rest.is_empty() => {}
        None => return Err(SyntaxFault::Trailing),
    }
    Ok(SampleLine { name, labels, value })
}

/// `{labels} value time` after a sample, ignored.
fn check_exemplar(text: &str) -> Result<(), SyntaxFault> {
    let inside = skip_blanks(text).strip_prefix('{').ok_or(SyntaxFault::Trailing)?;
    let (_, rest) = read_labels(inside)?;
    let (_, rest) = read_value(rest)?;
    if skip_time(rest)?.is_empty() { Ok(()) } else { Err(SyntaxFault::Trailing) }
}

fn read_value(text: &str) -> Result<(f64, &str), SyntaxFault> {
    let (word, rest) = split_word(skip_blanks(text));
    Ok((number(word).ok_or(SyntaxFault::NoValue)?, rest))
}

/// The exporter's own time is not used.
fn skip_time(text: &str) -> Result<&str, SyntaxFault> {
    if text.is_empty() || text.starts_with('#') {
        return Ok(text);
    }
    let (word, rest) = split_word(text);
    number(word).filter(|time| time.is_finite()).ok_or(SyntaxFault::BadTime)?;
    Ok(rest)
}

/// Decimal, exponent, `NaN`, `Inf` with or without sign, as Go and Python write them.
fn number(word: &str) -> Option<f64> {
    // `parse` takes these spellings in any case, and no other words.
    word.parse().ok()
}

/// The labels up to `}`, and the text after it.
fn read_labels(text: &str) -> Result<(LabelPairs<'_>, &str), SyntaxFault> {
    let mut labels = Vec::new();
    let mut rest = skip_blanks(text);
    loop {
        if let Some(behind) = rest.strip_prefix('}') {
            return Ok((labels, behind));
        }
        let end = name_length(rest, false);
        if end == 0 {
            return Err(SyntaxFault::NoLabelName);
        }
        let (name, behind) = rest.split_at(end);
        let behind = skip_blanks(behind).strip_prefix('=').ok_or(SyntaxFault::NoEquals)?;
        let behind = skip_blanks(behind).strip_prefix('"').ok_or(SyntaxFault::NoQuote)?;
        let close = closing_quote(behind).ok_or(SyntaxFault::OpenQuote)?;
        labels.push((name, unescape(&behind[..close])));
        rest = skip_blanks(&behind[close + 1..]);
        match rest.strip_prefix(',') {
            Some(behind) => rest = skip_blanks(behind),
            None if rest.starts_with('}') => {}
            None => return Err(SyntaxFault::NoComma),
        }
    }
}

fn skip_blanks(text: &str) -> &str {
    text.trim_start_matches([' ', '\t'])
}

/// Only metric names have colons.
fn name_length(text: &str, colons: bool) -> usize {
    let is_part = |(at, byte): (usize, u8)| {
        byte.is_ascii_alphabetic()
            || byte == b'_'
            || (colons && byte == b':')
            || (at > 0 && byte.is_ascii_digit())
    };
    text.bytes().enumerate().take_while(|part| is_part(*part)).count()
}

/// The first quote without a backslash before it.
fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    })
}

/// Any other backslash stands for itself, by `OpenMetrics`.
fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        if char != '\\' {
            plain.push(char);
            continue;
        }
        match chars.next() {
            Some('n') => plain.push('\n'),
            Some(escaped @ ('\\' | '"')) => plain.push(escaped),
            Some(other) => plain.extend(['\\', other]),
            None => plain.push('\\'),
        }
    }
    Cow::Owned(plain)
}
