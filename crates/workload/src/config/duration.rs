//! Durations as text: `2s` in the file, and back in a form that reads as the same number.
//!
//! The unit's own `Display` rounds. A plan must not change when it is written and read, so this
//! module uses the coarsest unit that divides the value exactly.

use serde::{Deserialize, Deserializer, Serializer, de};
use weir_model::Nanos;

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's `with` hands out a reference")]
pub(crate) fn serialize<S: Serializer>(value: &Nanos, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&exact_text(*value))
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Nanos, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(de::Error::custom)
}

fn exact_text(value: Nanos) -> String {
    let ns = value.get();
    for (factor, unit) in [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us")] {
        if ns.is_multiple_of(factor) {
            return format!("{}{unit}", ns / factor);
        }
    }
    format!("{ns}ns")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_durations_read_as_the_same_number() {
        for ns in [0, 1, 999, 1_000, 1_500_000, 1_500_000_000, 1_234_567_891, 86_400_000_000_000] {
            assert_eq!(exact_text(Nanos(ns)).parse(), Ok(Nanos(ns)), "{ns}");
        }
        assert_eq!(exact_text(Nanos::from_millis(1500)), "1500ms");
        assert_eq!(exact_text(Nanos(1_234_567_891)), "1234567891ns");
    }
}
