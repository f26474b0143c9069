//! How counts, lengths and draws are written: a bare value, or a map with one key.
//!
//! The visitors are written by hand because derived untagged enums lose the line and column of an
//! error. A map must have exactly one key.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use weir_model::TierKind;

use super::{Count, Draw, Length};

fn end_of_map<'de, A: MapAccess<'de>>(map: &mut A, form: &str) -> Result<(), A::Error> {
    match map.next_key::<String>()? {
        None => Ok(()),
        Some(extra) => Err(de::Error::custom(format_args!(
            "unexpected key `{extra}` beside `{form}`: write one form only"
        ))),
    }
}

fn form_of_map<'de, A: MapAccess<'de>>(map: &mut A, what: &str) -> Result<String, A::Error> {
    map.next_key::<String>()?
        .ok_or_else(|| de::Error::custom(format_args!("an empty map is not {what}")))
}

impl Serialize for Count {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Absolute(count) => serializer.serialize_u64(*count),
            Self::PerUser(count) => one_key(serializer, "per_user", count),
            Self::Times(times, tier) => one_key(serializer, TIMES_FORMS[tier.index()], times),
        }
    }
}

fn one_key<S: Serializer>(
    serializer: S,
    key: &str,
    value: &impl Serialize,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(1))?;
    map.serialize_entry(key, value)?;
    map.end()
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CountVisitor)
    }
}

/// Indexed by [`TierKind::index`].
const TIMES_FORMS: [&str; 4] = ["times_gpu", "times_host", "times_disk", "times_remote"];
const COUNT_FORMS: &[&str] = &["per_user", "times_gpu", "times_host", "times_disk", "times_remote"];

struct CountVisitor;

impl<'de> Visitor<'de> for CountVisitor {
    type Value = Count;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a count such as `12`, `{per_user: 2}` or `{times_gpu: 1.5}`")
    }

    fn visit_u64<E: de::Error>(self, count: u64) -> Result<Count, E> {
        Ok(Count::Absolute(count))
    }

    fn visit_i64<E: de::Error>(self, count: i64) -> Result<Count, E> {
        let unexpected = de::Unexpected::Signed(count);
        let count = u64::try_from(count).map_err(|_| E::invalid_value(unexpected, &self))?;
        Ok(Count::Absolute(count))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Count, A::Error> {
        let form = form_of_map(&mut map, "a count")?;
        let tier = TIMES_FORMS.iter().position(|name| *name == form);
        let count = match tier {
            Some(tier) => Count::Times(map.next_value()?, TierKind::ALL[tier]),
            None if form == "per_user" => Count::PerUser(map.next_value()?),
            None => return Err(de::Error::unknown_field(&form, COUNT_FORMS)),
        };
        end_of_map(&mut map, &form)?;
        Ok(count)
    }
}

impl JsonSchema for Count {
    fn schema_name() -> Cow<'static, str> {
        "Count".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A count: `12`, `{per_user: 2}` for so many per user of the level, or \
                            `{times_gpu: 1.5}` (times_host, times_disk, times_remote) for a \
                            working set of so many times what the tier of one replica holds.",
            "oneOf": [
                { "type": "integer", "minimum": 1 },
                {
                    "type": "object",
                    "properties": { "per_user": { "type": "integer", "minimum": 1 } },
                    "required": ["per_user"],
                    "additionalProperties": false,
                },
                {
                    "type": "object",
                    "properties": {
                        "times_gpu": { "type": "number", "exclusiveMinimum": 0 },
                        "times_host": { "type": "number", "exclusiveMinimum": 0 },
                        "times_disk": { "type": "number", "exclusiveMinimum": 0 },
                        "times_remote": { "type": "number", "exclusiveMinimum": 0 },
                    },
                    "minProperties": 1,
                    "maxProperties": 1,
                    "additionalProperties": false,
                },
            ],
        })
    }
}

const LENGTH_FORMS: &[&str] = &["fixed", "uniform", "normal", "lognormal"];

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct UniformForm {
    min: u32,
    max: u32,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NormalForm {
    mean: f64,
    stddev: f64,
    min: u32,
    max: u32,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LognormalForm {
    median: f64,
    sigma: f64,
    min: u32,
    max: u32,
}

impl Serialize for Length {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            Self::Fixed(tokens) => serializer.serialize_u32(tokens),
            Self::Uniform { min, max } => one_key(serializer, "uniform", &UniformForm { min, max }),
            Self::Normal { mean, stddev, min, max } => {
                one_key(serializer, "normal", &NormalForm { mean, stddev, min, max })
            }
            Self::Lognormal { median, sigma, min, max } => {
                one_key(serializer, "lognormal", &LognormalForm { median, sigma, min, max })
            }
        }
    }
}

impl<'de> Deserialize<'de> for Length {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LengthVisitor)
    }
}

struct LengthVisitor;

impl<'de> Visitor<'de> for LengthVisitor {
    type Value = Length;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a number such as `128`, or a distribution such as `{uniform: {min: 1, max: 9}}`",
        )
    }

    fn visit_u64<E: de::Error>(self, tokens: u64) -> Result<Length, E> {
        let unexpected = de::Unexpected::Unsigned(tokens);
        let tokens = u32::try_from(tokens).map_err(|_| E::invalid_value(unexpected, &self))?;
        Ok(Length::Fixed(tokens))
    }

    fn visit_i64<E: de::Error>(self, tokens: i64) -> Result<Length, E> {
        let unexpected = de::Unexpected::Signed(tokens);
        let tokens = u32::try_from(tokens).map_err(|_| E::invalid_value(unexpected, &self))?;
        Ok(Length::Fixed(tokens))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Length, A::Error> {
        let form = form_of_map(&mut map, "a length")?;
        let length = match form.as_str() {
            "fixed" => Length::Fixed(map.next_value()?),
            "uniform" => {
                let UniformForm { min, max } = map.next_value()?;
                Length::Uniform { min, max }
            }
            "normal" => {
                let NormalForm { mean, stddev, min, max } = map.next_value()?;
                Length::Normal { mean, stddev, min, max }
            }
            "lognormal" => {
                let LognormalForm { median, sigma, min, max } = map.next_value()?;
                Length::Lognormal { median, sigma, min, max }
            }
            _ => return Err(de::Error::unknown_variant(&form, LENGTH_FORMS)),
        };
        end_of_map(&mut map, &form)?;
        Ok(length)
    }
}

impl JsonSchema for Length {
    fn schema_name() -> Cow<'static, str> {
        "Length".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let uniform = generator.subschema_for::<UniformForm>();
        let normal = generator.subschema_for::<NormalForm>();
        let lognormal = generator.subschema_for::<LognormalForm>();
        let form = |name: &str, schema: serde_json::Value| {
            json_schema!({
                "type": "object",
                "properties": { (name): schema },
                "required": [name],
                "additionalProperties": false,
            })
        };
        json_schema!({
            "description": "A number, or a distribution of numbers that is rounded and clamped.",
            "oneOf": [
                { "type": "integer", "minimum": 0 },
                form("fixed", serde_json::json!({ "type": "integer", "minimum": 0 })),
                form("uniform", uniform.to_value()),
                form("normal", normal.to_value()),
                form("lognormal", lognormal.to_value()),
            ],
        })
    }
}

const DRAW_FORMS: &[&str] = &["uniform", "round-robin", "zipf"];

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ZipfForm {
    exponent: f64,
}

impl Serialize for Draw {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            Self::Uniform => serializer.serialize_str("uniform"),
            Self::RoundRobin => serializer.serialize_str("round-robin"),
            Self::Zipf { exponent } => one_key(serializer, "zipf", &ZipfForm { exponent }),
        }
    }
}

impl<'de> Deserialize<'de> for Draw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DrawVisitor)
    }
}

struct DrawVisitor;

impl<'de> Visitor<'de> for DrawVisitor {
    type Value = Draw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`uniform`, `round-robin` or `{zipf: {exponent: 1.0}}`")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Draw, E> {
        match name {
            "uniform" => Ok(Draw::Uniform),
            "round-robin" => Ok(Draw::RoundRobin),
            "zipf" => Err(E::custom("`zipf` needs its exponent: write `{zipf: {exponent: 1.0}}`")),
            _ => Err(E::unknown_variant(name, DRAW_FORMS)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Draw, A::Error> {
        let form = form_of_map(&mut map, "a draw")?;
        if form != "zipf" {
            return Err(de::Error::unknown_field(&form, &["zipf"]));
        }
        let ZipfForm { exponent } = map.next_value()?;
        end_of_map(&mut map, &form)?;
        Ok(Draw::Zipf { exponent })
    }
}

impl JsonSchema for Draw {
    fn schema_name() -> Cow<'static, str> {
        "Draw".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let zipf = generator.subschema_for::<ZipfForm>();
        json_schema!({
            "description": "How one of several is chosen.",
            "oneOf": [
                { "type": "string", "enum": ["uniform", "round-robin"] },
                {
                    "type": "object",
                    "properties": { "zipf": zipf },
                    "required": ["zipf"],
                    "additionalProperties": false,
                },
            ],
        })
    }
}
