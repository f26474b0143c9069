//! Types read from a tree.

use std::borrow::Cow;
use std::slice;

use serde::de::{self, DeserializeSeed, Deserializer, Error, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;
use serde_saphyr::Spanned;

use super::{Mismatch, Node};

/// A node to be read; `text` is what the tree was parsed from.
#[derive(Clone, Copy)]
pub(super) struct Reading<'a> {
    pub(super) node: &'a Spanned<Node>,
    pub(super) text: &'a str,
}

impl<'a> Reading<'a> {
    const fn of(self, node: &'a Spanned<Node>) -> Self {
        Self { node, text: self.text }
    }

    fn fault<T>(self, message: &str) -> Result<T, Mismatch> {
        Err(Mismatch::custom(message).at(self.node.defined))
    }

    /// A number or a bare word is a text too, as it was written.
    fn scalar(self) -> Result<Cow<'a, str>, Mismatch> {
        let printed = match &self.node.value {
            Node::Text(text) => return Ok(Cow::Borrowed(text)),
            Node::Null => return self.fault("null is not allowed here"),
            Node::List(_) | Node::Map(_) => return self.fault("expected a text"),
            Node::Bool(is) => is.to_string(),
            Node::Whole(whole) => whole.to_string(),
            Node::Negative(whole) => whole.to_string(),
            Node::Float(float) => float.to_string(),
        };
        let span = self.node.defined.span();
        let written = span
            .byte_offset()
            .zip(span.byte_len())
            .and_then(|(start, length)| self.text.get(start as usize..(start + length) as usize));
        Ok(written.map_or(Cow::Owned(printed), |text| Cow::Borrowed(text.trim())))
    }

    fn boolean(self) -> Result<bool, Mismatch> {
        match &self.node.value {
            Node::Bool(is) => Ok(*is),
            _ => self.fault("invalid boolean (true or false expected)"),
        }
    }

    fn whole<T: TryFrom<u64>>(self) -> Result<T, Mismatch> {
        let whole = match &self.node.value {
            Node::Whole(whole) => Some(*whole),
            // In quotes, and keys.
            Node::Text(text) => text.parse().ok(),
            _ => None,
        };
        let known = whole.and_then(|whole| T::try_from(whole).ok());
        known.map_or_else(|| self.fault("not a whole number of 0 or more"), Ok)
    }

    fn signed<T: TryFrom<i64>>(self) -> Result<T, Mismatch> {
        let whole = match &self.node.value {
            Node::Whole(whole) => i64::try_from(*whole).ok(),
            Node::Negative(whole) => Some(*whole),
            Node::Text(text) => text.parse().ok(),
            _ => None,
        };
        let known = whole.and_then(|whole| T::try_from(whole).ok());
        known.map_or_else(|| self.fault("not a whole number"), Ok)
    }

    fn float(self) -> Result<f64, Mismatch> {
        let known = match &self.node.value {
            Node::Float(float) => Some(*float),
            Node::Whole(whole) => Some(*whole as f64),
            Node::Negative(whole) => Some(*whole as f64),
            Node::Text(text) => text.parse().ok(),
            _ => None,
        };
        known.map_or_else(|| self.fault("not a number"), Ok)
    }

    fn list(self) -> Result<Elements<'a>, Mismatch> {
        let elements = match &self.node.value {
            Node::List(elements) => elements.as_slice(),
            Node::Null => &[],
            _ => return self.fault("expected a list, such as `[a, b]`"),
        };
        Ok(Elements { rest: elements.iter().enumerate(), of: self })
    }

    fn map(self) -> Result<Entries<'a>, Mismatch> {
        let entries = match &self.node.value {
            Node::Map(entries) => entries.as_slice(),
            Node::Null => &[],
            _ => return self.fault("expected a map, such as `{key: value}`"),
        };
        Ok(Entries { rest: entries.iter(), next: None, of: self })
    }

    /// Reads what stands below a key.
    fn below<S>(self, key: &'a Spanned<Node>, seed: S) -> Result<S::Value, Mismatch>
    where
        S: DeserializeSeed<'a>,
    {
        seed.deserialize(self).map_err(|fault| self.told(fault, key))
    }

    fn told(self, fault: Mismatch, key: &'a Spanned<Node>) -> Mismatch {
        let key = self.of(key).scalar().unwrap_or_default().into_owned();
        fault.at(self.node.defined).below(key)
    }
}

macro_rules! scalars {
    ($($deserialize:ident $read:ident $visit:ident)*) => {$(
        fn $deserialize<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
            visitor.$visit(self.$read()?)
        }
    )*};
}

impl<'de> Deserializer<'de> for Reading<'de> {
    type Error = Mismatch;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match &self.node.value {
            Node::Null => visitor.visit_unit(),
            Node::Bool(is) => visitor.visit_bool(*is),
            Node::Whole(whole) => visitor.visit_u64(*whole),
            Node::Negative(whole) => visitor.visit_i64(*whole),
            Node::Float(float) => visitor.visit_f64(*float),
            Node::Text(text) => visitor.visit_str(text),
            Node::List(_) => self.deserialize_seq(visitor),
            Node::Map(_) => self.deserialize_map(visitor),
        }
    }

    scalars! {
        deserialize_bool boolean visit_bool
        deserialize_i8 signed visit_i8
        deserialize_i16 signed visit_i16
        deserialize_i32 signed visit_i32
        deserialize_i64 signed visit_i64
        deserialize_u8 whole visit_u8
        deserialize_u16 whole visit_u16
        deserialize_u32 whole visit_u32
        deserialize_u64 whole visit_u64
        deserialize_f32 float visit_f64
        deserialize_f64 float visit_f64
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_str(&self.scalar()?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match &self.node.value {
            Node::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        let mut elements = self.list()?;
        let read = visitor.visit_seq(&mut elements)?;
        elements.end()?;
        Ok(read)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        let mut entries = self.map()?;
        let read = visitor.visit_map(&mut entries)?;
        entries.end()?;
        Ok(read)
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _length: usize,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _keys: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _words: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        match &self.node.value {
            Node::Map(entries) => match entries.as_slice() {
                [(key, value)] => visitor.visit_enum(Variant { key, value: self.of(value) }),
                _ => self.fault("expected a map with one key"),
            },
            _ => visitor.visit_enum(self.scalar()?.into_deserializer()),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! { i128 u128 char bytes byte_buf unit unit_struct tuple_struct }
}

struct Elements<'a> {
    rest: std::iter::Enumerate<slice::Iter<'a, Spanned<Node>>>,
    of: Reading<'a>,
}

impl Elements<'_> {
    fn end(mut self) -> Result<(), Mismatch> {
        match self.rest.next() {
            None => Ok(()),
            Some((length, next)) => {
                self.of.of(next).fault(&format!("expected a list of {length} values"))
            }
        }
    }
}

impl<'de> de::SeqAccess<'de> for &mut Elements<'de> {
    type Error = Mismatch;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Mismatch> {
        let Some((index, node)) = self.rest.next() else { return Ok(None) };
        let read = seed.deserialize(self.of.of(node));
        read.map(Some).map_err(|fault| fault.at(node.defined).below(index.to_string()))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

struct Entries<'a> {
    rest: slice::Iter<'a, (Spanned<Node>, Spanned<Node>)>,
    next: Option<&'a (Spanned<Node>, Spanned<Node>)>,
    of: Reading<'a>,
}

impl Entries<'_> {
    fn end(mut self) -> Result<(), Mismatch> {
        match self.rest.next() {
            None => Ok(()),
            Some((key, _)) => {
                let key = self.of.of(key);
                key.fault(&format!("`{}` cannot stand beside the other key", key.scalar()?))
            }
        }
    }
}

impl<'de> de::MapAccess<'de> for &mut Entries<'de> {
    type Error = Mismatch;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Mismatch> {
        self.next = self.rest.next();
        let Some((key, _)) = self.next else { return Ok(None) };
        seed.deserialize(self.of.of(key)).map(Some).map_err(|fault| fault.at(key.defined))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Mismatch> {
        let (key, value) = self.next.take().expect("a key was asked for");
        self.of.of(value).below(key, seed)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

struct Variant<'a> {
    key: &'a Spanned<Node>,
    value: Reading<'a>,
}

impl<'de> de::EnumAccess<'de> for Variant<'de> {
    type Error = Mismatch;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Mismatch> {
        let variant = seed.deserialize(self.value.of(self.key));
        Ok((variant.map_err(|fault| fault.at(self.key.defined))?, self))
    }
}

impl<'de> de::VariantAccess<'de> for Variant<'de> {
    type Error = Mismatch;

    fn unit_variant(self) -> Result<(), Mismatch> {
        match &self.value.node.value {
            Node::Null => Ok(()),
            Node::Map(entries) if entries.is_empty() => Ok(()),
            _ => self.value.fault("nothing may stand here"),
        }
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Mismatch> {
        self.value.below(self.key, seed)
    }

    fn tuple_variant<V: Visitor<'de>>(
        self,
        _length: usize,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        let read = self.value.deserialize_seq(visitor);
        read.map_err(|fault| self.value.told(fault, self.key))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _keys: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        let read = self.value.deserialize_map(visitor);
        read.map_err(|fault| self.value.told(fault, self.key))
    }
}
