//! Sizes, durations, prices and versions as text.
//!
//! They are serialised exactly (not rounded for display), because `--set` is applied to the
//! serialised experiment.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::units::{Bytes, Nanos, UnitError};

/// A capacity: bytes, or a number of blocks or tokens of the model that uses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// `64GiB`, `512MB`.
    Bytes(Bytes),
    /// `20000 blocks` of the engine's block size.
    Blocks(u64),
    /// `10000 tokens`.
    Tokens(u64),
}

impl Size {
    /// `bytes` gives the size of so many KV tokens over all ranks.
    pub fn resolve(self, block_size: u32, bytes: impl Fn(u64) -> Bytes) -> Bytes {
        let tokens = match self {
            Self::Bytes(bytes) => return bytes,
            Self::Blocks(blocks) => blocks.saturating_mul(u64::from(block_size)),
            Self::Tokens(tokens) => tokens,
        };
        // The limit of a size in bytes: sums of a few stay in range.
        bytes(tokens).min(Bytes(1_000_000_000_000_000_000))
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let count = |unit: &str| {
            let number = text.trim().strip_suffix(unit)?.trim().replace('_', "");
            number.parse::<u64>().ok()
        };
        if let Some(blocks) = count("blocks") {
            return Ok(Self::Blocks(blocks));
        }
        if let Some(tokens) = count("tokens") {
            return Ok(Self::Tokens(tokens));
        }
        text.parse().map(Self::Bytes).map_err(|_| {
            format!(
                "`{text}` is not a size; write for example `64GiB`, `20GB`, `20000 blocks` or \
                 `10000 tokens`"
            )
        })
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(Bytes(bytes)) if *bytes > 0 && bytes % Bytes::GIB == 0 => {
                write!(f, "{}GiB", bytes / Bytes::GIB)
            }
            Self::Bytes(Bytes(bytes)) => write!(f, "{bytes}B"),
            Self::Blocks(blocks) => write!(f, "{blocks} blocks"),
            Self::Tokens(tokens) => write!(f, "{tokens} tokens"),
        }
    }
}

/// A span of time: `120s`, `100ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub struct Span(pub Nanos);

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        text.parse().map(Self)
    }
}

impl From<Nanos> for Span {
    fn from(time: Nanos) -> Self {
        Self(time)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.0;
        for (unit, name) in [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us")] {
            if nanos.is_multiple_of(unit) {
                return write!(f, "{}{name}", nanos / unit);
            }
        }
        write!(f, "{nanos}ns")
    }
}

/// An amount of money: `1.9 USD`.
#[derive(Debug, Clone, PartialEq)]
pub struct Money {
    pub amount: f64,
    /// Three capital letters.
    pub currency: String,
}

impl FromStr for Money {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let error = || format!("`{text}` is not a price; write for example `1.9 USD`");
        let (amount, currency) = text.trim().split_once(' ').ok_or_else(error)?;
        let amount: f64 = amount.parse().map_err(|_| error())?;
        let currency = currency.trim();
        let letters = currency.len() == 3 && currency.bytes().all(|b| b.is_ascii_uppercase());
        if !letters || !amount.is_finite() || amount < 0.0 {
            return Err(error());
        }
        Ok(Self { amount, currency: currency.to_owned() })
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.amount, self.currency)
    }
}

/// The largest error of a time that is accepted: `5ms`, or `5%` of what it is compared with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Tolerance {
    Time(Nanos),
    Percent(f64),
}

impl FromStr for Tolerance {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let error = || {
            format!(
                "`{text}` is not a largest error; write a time or a share, such as `5ms` or `5%`"
            )
        };
        let Some(number) = text.trim().strip_suffix('%') else {
            return text.parse().map(Self::Time).map_err(|_| error());
        };
        let percent: f64 = number.trim().parse().map_err(|_| error())?;
        if percent > 0.0 && percent <= 100.0 { Ok(Self::Percent(percent)) } else { Err(error()) }
    }
}

impl fmt::Display for Tolerance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time(time) => Span(*time).fmt(f),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

/// vLLM's version, which decides defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    pub major: u32,
    pub minor: u32,
    pub patch: u32,
}

impl Version {
    pub const fn at_least(self, minor: u32) -> bool {
        self.major > 0 || self.minor >= minor
    }
}

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let error =
            || format!("`{text}` is not a version of vLLM; write for example \"0.11.2\" in quotes");
        let mut parts = text.trim().trim_start_matches('v').split('.');
        let mut next = |required: bool| match parts.next() {
            Some(part) => part.parse::<u32>().map_err(|_| error()),
            None if required => Err(error()),
            None => Ok(0),
        };
        let version = Self { major: next(true)?, minor: next(true)?, patch: next(false)? };
        if parts.next().is_some() {
            return Err(error());
        }
        Ok(version)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// A type that is one scalar of text in the file.
macro_rules! text_type {
    ($name:ident, $what:literal, $pattern:literal, [$($example:literal),+]) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl de::Visitor<'_> for Text {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($what)
                    }
                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                // `any`, to refuse a bare number: `0.10` and `0.1` are the same number, and a
                // duration without a unit is ambiguous.
                deserializer.deserialize_any(Text)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "type": "string",
                    "description": $what,
                    "pattern": $pattern,
                    "examples": [$($example),+],
                })
            }
        }
    };
}

text_type!(
    Size,
    "a size with its unit, such as `64GiB`, `20GB`, `20000 blocks` or `10000 tokens`",
    r"^\s*[0-9][0-9_.]*\s*(B|KiB|MiB|GiB|TiB|[kK]B|MB|GB|TB|blocks|tokens)\s*$",
    ["64GiB", "20000 blocks"]
);
text_type!(
    Span,
    "a duration with its unit, such as `100ms` or `120s`",
    r"^\s*[0-9][0-9_.]*\s*(ns|us|µs|ms|s|m|min|h)\s*$",
    ["100ms", "120s"]
);
text_type!(
    Tolerance,
    "a time or a share, such as `5ms` or `5%`",
    r"^\s*[0-9][0-9_.]*\s*(ns|us|µs|ms|s|%)\s*$",
    ["5ms", "5%"]
);
text_type!(
    Money,
    "an amount with its currency, such as `1.9 USD`",
    r"^\s*[0-9][0-9.]*\s+[A-Z]{3}\s*$",
    ["1.9 USD"]
);
text_type!(
    Version,
    "a version of vLLM in quotes, such as \"0.11.2\"",
    r"^\s*v?[0-9]+\.[0-9]+(\.[0-9]+)?\s*$",
    ["0.11.2"]
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_know_blocks_and_tokens() {
        let kv = |tokens| Bytes(1000 * tokens);
        assert_eq!("20000 blocks".parse::<Size>().unwrap().resolve(16, kv), Bytes(320_000_000));
        assert_eq!("10_000 tokens".parse::<Size>().unwrap().resolve(16, kv), Bytes(10_000_000));
        assert_eq!("2GB".parse::<Size>().unwrap().resolve(16, kv), Bytes(2_000_000_000));
        assert!("20000".parse::<Size>().is_err());
        assert!("-1 blocks".parse::<Size>().is_err());
    }

    #[test]
    fn texts_survive_a_round_trip_exactly() {
        for text in ["72842645340B", "3GiB", "7 blocks", "9 tokens", "0B"] {
            assert_eq!(text.parse::<Size>().unwrap().to_string(), text);
        }
        for text in ["1234567ns", "1500ms", "120s", "3us"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
        assert_eq!("1.9 USD".parse::<Money>().unwrap().to_string(), "1.9 USD");
        assert!("1.9".parse::<Money>().is_err());
        for text in ["5ms", "2.5%", "100%"] {
            assert_eq!(text.parse::<Tolerance>().unwrap().to_string(), text);
        }
        for text in ["5", "0%", "101%", "-1%", "NaN%", "%", "ms"] {
            assert!(text.parse::<Tolerance>().is_err(), "{text}");
        }
    }

    #[test]
    fn versions_compare_by_number() {
        let version: Version = "0.9.1".parse().unwrap();
        assert!(version < "0.11".parse().unwrap());
        assert!("0.12.0".parse::<Version>().unwrap().at_least(12));
        assert!(!version.at_least(12));
        assert!("latest".parse::<Version>().is_err());
    }
}
