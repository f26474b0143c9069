//! Units as newtypes, so that a time is never added to a size.
//!
//! Arithmetic out of range panics (an overflow of 2^64 ns is a defect, not data). Subtraction
//! saturates at zero only where the name says so.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Mul, Sub, SubAssign};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A text that is not a quantity of the requested unit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {what}; write for example {example}")]
pub struct UnitError {
    pub text: String,
    /// "duration" or "size".
    pub what: &'static str,
    pub example: &'static str,
}

macro_rules! unit {
    ($(#[$doc:meta])* $name:ident, $repr:ty) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash,
            Serialize, Deserialize, schemars::JsonSchema,
        )]
        #[serde(transparent)]
        pub struct $name(pub $repr);

        impl $name {
            pub const ZERO: Self = Self(0);
            pub const MAX: Self = Self(<$repr>::MAX);

            pub const fn get(self) -> $repr {
                self.0
            }

            #[must_use]
            pub const fn saturating_sub(self, other: Self) -> Self {
                Self(self.0.saturating_sub(other.0))
            }
        }

        impl Add for $name {
            type Output = Self;
            fn add(self, other: Self) -> Self {
                Self(self.0 + other.0)
            }
        }
        impl Sub for $name {
            type Output = Self;
            fn sub(self, other: Self) -> Self {
                Self(self.0 - other.0)
            }
        }
        impl Mul<$repr> for $name {
            type Output = Self;
            fn mul(self, by: $repr) -> Self {
                Self(self.0 * by)
            }
        }
        impl AddAssign for $name {
            fn add_assign(&mut self, other: Self) {
                self.0 += other.0;
            }
        }
        impl SubAssign for $name {
            fn sub_assign(&mut self, other: Self) {
                self.0 -= other.0;
            }
        }
        impl Sum for $name {
            fn sum<I: Iterator<Item = Self>>(values: I) -> Self {
                values.fold(Self::ZERO, Add::add)
            }
        }
    };
}

unit!(
    /// A point or span of time in nanoseconds. Points count from the start of the cell.
    Nanos,
    u64
);
unit!(
    /// A size in bytes.
    Bytes,
    u64
);
unit!(Tokens, u32);

impl Nanos {
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds * 1_000_000_000)
    }

    pub const fn from_millis(millis: u64) -> Self {
        Self(millis * 1_000_000)
    }

    pub const fn from_micros(micros: u64) -> Self {
        Self(micros * 1_000)
    }

    /// Seconds, rounded to the nearest nanosecond; negative and NaN become zero.
    pub fn from_secs_f64(seconds: f64) -> Self {
        Self((seconds * 1e9).max(0.0).round() as u64)
    }

    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }

    pub fn as_millis_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }
}

impl Bytes {
    pub const KIB: u64 = 1 << 10;
    pub const MIB: u64 = 1 << 20;
    pub const GIB: u64 = 1 << 30;

    pub const fn from_gib(gib: u64) -> Self {
        Self(gib * Self::GIB)
    }
}

impl fmt::Display for Nanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ns = self.0;
        match ns {
            0 => f.write_str("0s"),
            _ if ns.is_multiple_of(1_000_000_000) => write!(f, "{}s", ns / 1_000_000_000),
            _ if ns >= 10_000_000_000 => write!(f, "{:.1}s", ns as f64 / 1e9),
            _ if ns >= 1_000_000_000 => write!(f, "{:.2}s", ns as f64 / 1e9),
            _ if ns.is_multiple_of(1_000_000) => write!(f, "{}ms", ns / 1_000_000),
            _ if ns >= 1_000_000 => write!(f, "{:.1}ms", ns as f64 / 1e6),
            _ if ns >= 1_000 => write!(f, "{:.1}us", ns as f64 / 1e3),
            _ => write!(f, "{ns}ns"),
        }
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0;
        let (unit, name) = match bytes {
            _ if bytes >= 1 << 40 => (1u64 << 40, "TiB"),
            _ if bytes >= Self::GIB => (Self::GIB, "GiB"),
            _ if bytes >= Self::MIB => (Self::MIB, "MiB"),
            _ if bytes >= Self::KIB => (Self::KIB, "KiB"),
            _ => return write!(f, "{bytes} B"),
        };
        if bytes.is_multiple_of(unit) {
            write!(f, "{} {name}", bytes / unit)
        } else {
            write!(f, "{:.1} {name}", bytes as f64 / unit as f64)
        }
    }
}

impl fmt::Display for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn split_number(text: &str) -> Option<(f64, &str)> {
    let trimmed = text.trim();
    let end = trimmed
        .find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_'))
        .unwrap_or(trimmed.len());
    let number: f64 = trimmed[..end].replace('_', "").parse().ok()?;
    Some((number, trimmed[end..].trim()))
}

impl FromStr for Nanos {
    type Err = UnitError;

    /// Reads "2s", "100ms", "1.5m", "1h", "20us", "5ns". A bare number is refused.
    fn from_str(text: &str) -> Result<Self, UnitError> {
        let error = || UnitError {
            text: text.to_owned(),
            what: "duration",
            example: "`100ms`, `2s`, `5m` or `1h`",
        };
        let (number, unit) = split_number(text).ok_or_else(error)?;
        let factor = match unit {
            "ns" => 1.0,
            "us" | "µs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" | "min" => 60e9,
            "h" => 3600e9,
            _ => return Err(error()),
        };
        let nanos = number * factor;
        if nanos > 1e18 {
            return Err(error());
        }
        Ok(Self(nanos.round() as u64))
    }
}

impl FromStr for Bytes {
    type Err = UnitError;

    /// Reads "64GiB", "20 GB", "512MiB", "4096B". Binary and decimal units are kept apart.
    fn from_str(text: &str) -> Result<Self, UnitError> {
        let error = || UnitError {
            text: text.to_owned(),
            what: "size",
            example: "`64GiB`, `20GB` or `512MiB`",
        };
        let (number, unit) = split_number(text).ok_or_else(error)?;
        let factor = match unit {
            "B" => 1.0,
            "KiB" => 1024.0,
            "MiB" => 1024.0 * 1024.0,
            "GiB" => 1024.0 * 1024.0 * 1024.0,
            "TiB" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
            "KB" | "kB" => 1e3,
            "MB" => 1e6,
            "GB" => 1e9,
            "TB" => 1e12,
            _ => return Err(error()),
        };
        let bytes = number * factor;
        if bytes > 1e18 {
            return Err(error());
        }
        Ok(Self(bytes.round() as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_and_print() {
        assert_eq!("100ms".parse(), Ok(Nanos::from_millis(100)));
        assert_eq!("1.5s".parse(), Ok(Nanos::from_millis(1500)));
        assert_eq!(" 2 m ".parse(), Ok(Nanos::from_secs(120)));
        assert_eq!(Nanos::from_secs(120).to_string(), "120s");
        assert_eq!(Nanos(1_234_000).to_string(), "1.2ms");
        assert!("12".parse::<Nanos>().is_err());
        assert!("-1s".parse::<Nanos>().is_err());
        assert!("1e30s".parse::<Nanos>().is_err());
    }

    #[test]
    fn sizes_keep_decimal_and_binary_apart() {
        assert_eq!("64GiB".parse(), Ok(Bytes::from_gib(64)));
        assert_eq!("20GB".parse(), Ok(Bytes(20_000_000_000)));
        assert_eq!(Bytes::from_gib(64).to_string(), "64 GiB");
        assert!("64".parse::<Bytes>().is_err());
        assert!("64 blocks".parse::<Bytes>().is_err());
    }
}
