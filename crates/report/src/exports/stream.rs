//! JSON lists, written while their elements are made.

use serde::ser::{Error, Serialize, SerializeSeq, Serializer};
use weir_record::RecordError;

/// Opens the iterator of its elements when it is serialised.
pub(super) struct Streamed<F>(pub(super) F);

impl<F, I, T> Serialize for Streamed<F>
where
    F: Fn() -> Result<I, RecordError>,
    I: Iterator<Item = Result<T, RecordError>>,
    T: Serialize,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        for element in (self.0)().map_err(S::Error::custom)? {
            list.serialize_element(&element.map_err(S::Error::custom)?)?;
        }
        list.end()
    }
}
