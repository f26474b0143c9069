//! A text of YAML as a tree whose nodes know where they stand.
//!
//! Every type of the file is read from this one form. The code that reads a type is generated for
//! each form anew, and on top of a YAML parser it is large.

mod mismatch;
mod reading;

use std::fmt;

use serde::de::{self, Deserialize, DeserializeOwned, Deserializer};
use serde_json::Value;
use serde_saphyr::{Location, Spanned};

pub(crate) use self::mismatch::Mismatch;
use self::reading::Reading;

#[derive(Debug, PartialEq)]
enum Node {
    Null,
    Bool(bool),
    Whole(u64),
    Negative(i64),
    Float(f64),
    Text(String),
    List(Vec<Spanned<Node>>),
    /// In their order. A key is any scalar.
    Map(Vec<(Spanned<Node>, Spanned<Node>)>),
}

/// Reads YAML (or JSON, which is YAML) into any type.
pub(crate) fn typed<T: DeserializeOwned>(text: &str) -> Result<T, Mismatch> {
    T::deserialize(Reading { node: &parsed(text)?, text })
}

/// Reads a value into any type, as if it stood in a file.
pub(crate) fn typed_value<T: DeserializeOwned>(value: Value) -> Result<T, Mismatch> {
    T::deserialize(Reading { node: &nowhere(value), text: "" })
}

fn parsed(text: &str) -> Result<Spanned<Node>, Mismatch> {
    let options = serde_saphyr::options! { with_snippet: false, strict_booleans: true };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| Mismatch::syntax(&error))
}

fn nowhere(value: Value) -> Spanned<Node> {
    let node = match value {
        Value::Null => Node::Null,
        Value::Bool(is) => Node::Bool(is),
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(whole), _) => Node::Whole(whole),
            (None, Some(negative)) => Node::Negative(negative),
            (None, None) => number.as_f64().map_or(Node::Null, Node::Float),
        },
        Value::String(text) => Node::Text(text),
        Value::Array(list) => Node::List(list.into_iter().map(nowhere).collect()),
        Value::Object(map) => {
            let entry = |(key, value)| (nowhere(Value::String(key)), nowhere(value));
            Node::Map(map.into_iter().map(entry).collect())
        }
    };
    Spanned::new(node, Location::UNKNOWN, Location::UNKNOWN)
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyNode;
        impl<'de> de::Visitor<'de> for AnyNode {
            type Value = Node;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }
            fn visit_unit<E>(self) -> Result<Node, E> {
                Ok(Node::Null)
            }
            fn visit_bool<E>(self, is: bool) -> Result<Node, E> {
                Ok(Node::Bool(is))
            }
            fn visit_u64<E>(self, whole: u64) -> Result<Node, E> {
                Ok(Node::Whole(whole))
            }
            fn visit_i64<E>(self, whole: i64) -> Result<Node, E> {
                Ok(u64::try_from(whole).map_or(Node::Negative(whole), Node::Whole))
            }
            fn visit_f64<E>(self, float: f64) -> Result<Node, E> {
                Ok(Node::Float(float))
            }
            fn visit_str<E>(self, text: &str) -> Result<Node, E> {
                Ok(Node::Text(text.to_owned()))
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
                let mut elements = Vec::new();
                while let Some(element) = list.next_element()? {
                    elements.push(element);
                }
                Ok(Node::List(elements))
            }
            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Node::Map(entries))
            }
        }
        deserializer.deserialize_any(AnyNode)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    fn read<T: DeserializeOwned>(text: &str) -> T {
        typed(text).unwrap_or_else(|mismatch| panic!("{text}: {mismatch}"))
    }

    fn refusal<T: DeserializeOwned + fmt::Debug>(text: &str) -> String {
        let mismatch = typed::<T>(text).unwrap_err();
        format!("{}:{}: {mismatch}", mismatch.line(), mismatch.column())
    }

    #[test]
    fn a_text_is_as_it_was_written() {
        let texts: BTreeMap<String, String> =
            read("a: 1.10 # same\nb: true\n3: 0x1F\nd: 'x: y'\ne: |\n  two\n  lines\nü: 1_000\n");
        let expected = [
            ("a", "1.10"),
            ("b", "true"),
            ("3", "0x1F"),
            ("d", "x: y"),
            ("e", "two\nlines\n"),
            ("ü", "1_000"),
        ];
        assert_eq!(texts, expected.map(|(key, text)| (key.to_owned(), text.to_owned())).into());
    }

    #[test]
    fn numbers_are_read_in_quotes_and_as_keys() {
        assert_eq!(read::<BTreeMap<u32, f64>>("1: '2.5'\n2: 3\n"), [(1, 2.5), (2, 3.0)].into());
        assert_eq!(read::<Vec<i8>>("[-1, '-2']"), [-1, -2]);
        assert_eq!(refusal::<Vec<u8>>("[1, 256]"), "1:5: not a whole number of 0 or more");
        assert_eq!(refusal::<Vec<i8>>("[1, 1.5]"), "1:5: not a whole number");
        assert_eq!(refusal::<(u8, u8)>("[1,\n 2, 3]"), "2:5: expected a list of 2 values");
    }

    #[test]
    fn nothing_is_an_empty_list_and_map_and_no_text() {
        type Lists = BTreeMap<String, Option<Vec<u8>>>;
        assert_eq!(
            read::<Lists>("a:\nb: []\n"),
            [("a".into(), None), ("b".into(), Some(vec![]))].into()
        );
        assert_eq!(read::<Vec<u8>>("~"), Vec::<u8>::new());
        assert_eq!(read::<Lists>(""), Lists::new());
        assert_eq!(refusal::<Vec<String>>("[a, ~]"), "1:5: null is not allowed here");
    }

    #[test]
    fn an_anchor_is_read_where_it_is_used() {
        let read: Value = read("a: &it {x: 1}\nb: *it\nc: {<<: *it, y: 2}\n");
        assert_eq!(read, json!({"a": {"x": 1}, "b": {"x": 1}, "c": {"x": 1, "y": 2}}));
    }

    #[test]
    fn a_value_is_read_as_a_text_is() {
        let value = json!({"a": [1, -1, 1.5, null, true, "x"], "b": {}});
        assert_eq!(typed_value::<Value>(value.clone()).unwrap(), value);
        assert_eq!(typed_value::<Vec<String>>(json!([1.5, false])).unwrap(), ["1.5", "false"]);
    }
}
