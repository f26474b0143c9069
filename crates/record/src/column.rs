//! Columns of values as columns of a Parquet file.
//!
//! A table is a struct of vectors, written and read as a whole: the cost per value is a copy and
//! the encoder's work.
//! nullable form follows.

use parquet::basic::{ConvertedType, Encoding, Repetition, Type as Physical};
use parquet::column::reader::ColumnReader;
use parquet::column::writer::ColumnWriter;
use parquet::data_type::{
    ByteArray, ByteArrayType, DataType, DoubleType, FloatType, Int32Type, Int64Type,
};
use parquet::errors::{ParquetError, Result};
use parquet::schema::types::{ColumnPath, Type};
use weir_model::{Nanos, Outcome, Tokens};

/// For the documentation and the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ColumnSpec {
    /// Ends with the unit where there is one.
    pub name: &'static str,
    /// SQL type: `uint64`, `uint32`, `uint16`, `float`, `double`, `text`, `int64[]`.
    pub kind: &'static str,
    pub nullable: bool,
    /// `ns`, `tokens`, `count`, `id` (a number that only names something), ...
    pub unit: &'static str,
    /// One sentence.
    pub meaning: &'static str,
}

/// Layout of values before compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ColumnEncoding {
    /// Bit-packed differences: times, counters and small numbers.
    Delta,
    /// Digests and floats, whose differences do not compress.
    Plain,
    /// For text that repeats.
    Dictionary,
}

impl ColumnEncoding {
    /// A dictionary is no encoding of the writer.
    pub(crate) const fn encoding(self) -> Encoding {
        match self {
            Self::Delta => Encoding::DELTA_BINARY_PACKED,
            Self::Plain | Self::Dictionary => Encoding::PLAIN,
        }
    }
}

pub(crate) trait Scalar: Clone {
    type Stored: DataType;
    const MEANS: ConvertedType;
    /// In the documentation.
    const KIND: &'static str;

    fn store<'a>(
        values: impl Iterator<Item = &'a Self>,
        into: &mut Vec<<Self::Stored as DataType>::T>,
    ) where
        Self: 'a;

    fn load(stored: &<Self::Stored as DataType>::T) -> Result<Self>;
}

/// Numbers: stored with the bits of the signed type of the same size or a larger one.
macro_rules! number {
    ($($value:ty, $stored:ty, $means:ident, $kind:literal,
       $to:expr, $from:expr;)*) => { $(
        impl Scalar for $value {
            type Stored = $stored;
            const MEANS: ConvertedType = ConvertedType::$means;
            const KIND: &'static str = $kind;

            fn store<'a>(
                values: impl Iterator<Item = &'a Self>,
                into: &mut Vec<<$stored as DataType>::T>,
            ) {
                into.extend(values.copied().map($to));
            }

            fn load(stored: &<$stored as DataType>::T) -> Result<Self> {
                Ok($from(*stored))
            }
        }
    )* };
}

number! {
    u64, Int64Type, UINT_64, "uint64", u64::cast_signed, i64::cast_unsigned;
    u32, Int32Type, UINT_32, "uint32", u32::cast_signed, i32::cast_unsigned;
    // Parquet has no 16-bit type: the upper half is always zero.
    u16, Int32Type, UINT_16, "uint16", i32::from, |stored: i32| stored as u16;
    f32, FloatType, NONE, "float", |value| value, |stored| stored;
    f64, DoubleType, NONE, "double", |value| value, |stored| stored;
    Nanos, Int64Type, UINT_64, "uint64",
        |value: Nanos| value.0.cast_signed(), |stored: i64| Nanos(stored.cast_unsigned());
    Tokens, Int32Type, UINT_32, "uint32",
        |value: Tokens| value.0.cast_signed(), |stored: i32| Tokens(stored.cast_unsigned());
}

impl Scalar for String {
    type Stored = ByteArrayType;
    const MEANS: ConvertedType = ConvertedType::UTF8;
    const KIND: &'static str = "text";

    fn store<'a>(values: impl Iterator<Item = &'a Self>, into: &mut Vec<ByteArray>) {
        into.extend(values.map(|value| ByteArray::from(value.as_str())));
    }

    fn load(stored: &ByteArray) -> Result<Self> {
        stored.as_utf8().map(str::to_owned)
    }
}

impl Scalar for Outcome {
    type Stored = ByteArrayType;
    const MEANS: ConvertedType = ConvertedType::UTF8;
    const KIND: &'static str = "text";

    fn store<'a>(values: impl Iterator<Item = &'a Self>, into: &mut Vec<ByteArray>) {
        // One allocation per word and not per row: clones share it.
        let words = OUTCOMES.map(|outcome| ByteArray::from(outcome.name()));
        into.extend(values.map(|value| words[*value as usize].clone()));
    }

    fn load(stored: &ByteArray) -> Result<Self> {
        let word = stored.as_utf8()?;
        OUTCOMES
            .into_iter()
            .find(|outcome| outcome.name() == word)
            .ok_or_else(|| ParquetError::General(format!("`{word}` is not an outcome")))
    }
}

/// In the order of their discriminants.
const OUTCOMES: [Outcome; 3] = [Outcome::Done, Outcome::Unfinished, Outcome::Failed];

pub(crate) trait ColumnValues {
    /// In the documentation.
    const KIND: &'static str;
    const NULLABLE: bool;

    fn schema(name: &str) -> Result<Type>;

    /// In the schema.
    fn path(name: &str) -> ColumnPath {
        ColumnPath::from(name)
    }

    /// Fills the rows of an older file without this column; false where every file must have it.
    fn fill_absent(&mut self, rows: usize) -> bool {
        let _ = rows;
        false
    }

    /// As one column chunk.
    fn write(&self, to: &mut ColumnWriter<'_>) -> Result<()>;

    /// Appends `rows` values of one column chunk.
    fn read(&mut self, from: ColumnReader, rows: usize) -> Result<()>;
}

fn schema_of<S: Scalar>(name: &str, repetition: Repetition) -> Result<Type> {
    let physical: Physical = S::Stored::get_physical_type();
    Type::primitive_type_builder(name, physical)
        .with_repetition(repetition)
        .with_converted_type(S::MEANS)
        .build()
}

pub(crate) fn mismatch() -> ParquetError {
    ParquetError::General("a column has another type than this version writes".to_owned())
}

pub(crate) fn short(expected: usize, found: usize) -> ParquetError {
    ParquetError::General(format!("a column holds {found} of {expected} values"))
}

impl<S: Scalar> ColumnValues for Vec<S> {
    const KIND: &'static str = S::KIND;
    const NULLABLE: bool = false;

    fn schema(name: &str) -> Result<Type> {
        schema_of::<S>(name, Repetition::REQUIRED)
    }

    fn write(&self, to: &mut ColumnWriter<'_>) -> Result<()> {
        let writer = S::Stored::get_column_writer_mut(to).ok_or_else(mismatch)?;
        let mut stored = Vec::with_capacity(self.len());
        S::store(self.iter(), &mut stored);
        writer.write_batch(&stored, None, None)?;
        Ok(())
    }

    fn read(&mut self, from: ColumnReader, rows: usize) -> Result<()> {
        let mut reader = S::Stored::get_column_reader(from).ok_or_else(mismatch)?;
        let mut stored = Vec::with_capacity(rows);
        let (records, _, _) = reader.read_records(rows, None, None, &mut stored)?;
        if records != rows || stored.len() != rows {
            return Err(short(rows, stored.len()));
        }
        self.reserve(rows);
        for value in &stored {
            self.push(S::load(value)?);
        }
        Ok(())
    }
}

impl<S: Scalar> ColumnValues for Vec<Option<S>> {
    const KIND: &'static str = S::KIND;
    const NULLABLE: bool = true;

    fn schema(name: &str) -> Result<Type> {
        schema_of::<S>(name, Repetition::OPTIONAL)
    }

    /// What an older file does not have is unknown.
    fn fill_absent(&mut self, rows: usize) -> bool {
        self.resize(self.len() + rows, None);
        true
    }

    fn write(&self, to: &mut ColumnWriter<'_>) -> Result<()> {
        let writer = S::Stored::get_column_writer_mut(to).ok_or_else(mismatch)?;
        let levels: Vec<i16> = self.iter().map(|value| i16::from(value.is_some())).collect();
        let mut stored = Vec::with_capacity(self.len());
        S::store(self.iter().flatten(), &mut stored);
        writer.write_batch(&stored, Some(&levels), None)?;
        Ok(())
    }

    fn read(&mut self, from: ColumnReader, rows: usize) -> Result<()> {
        let mut reader = S::Stored::get_column_reader(from).ok_or_else(mismatch)?;
        let mut stored = Vec::with_capacity(rows);
        let mut levels = Vec::with_capacity(rows);
        let (records, _, _) = reader.read_records(rows, Some(&mut levels), None, &mut stored)?;
        if records != rows || levels.len() != rows {
            return Err(short(rows, levels.len()));
        }
        self.reserve(rows);
        let mut present = stored.iter();
        for level in levels {
            self.push(match level {
                0 => None,
                _ => Some(S::load(present.next().ok_or_else(|| short(rows, stored.len()))?)?),
            });
        }
        Ok(())
    }
}
