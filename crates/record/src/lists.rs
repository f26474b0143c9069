//! Columns of lists of times.
//!
//! All elements lie in one vector: a row with a thousand of them costs no allocation, an empty one
//! eight bytes. The file has Parquet's three-level LIST with signed elements, which SQL can
//! subtract.

use std::sync::Arc;

use parquet::basic::{ConvertedType, LogicalType, Repetition, Type as Physical};
use parquet::column::reader::ColumnReader;
use parquet::column::writer::ColumnWriter;
use parquet::data_type::{DataType, Int64Type};
use parquet::errors::{ParquetError, Result};
use parquet::schema::types::{ColumnPath, Type};
use weir_model::Nanos;

use crate::column::{ColumnValues, mismatch, short};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TimeLists {
    /// End of each row's list in `values`; it starts at the end of the one before.
    ends: Vec<usize>,
    values: Vec<Nanos>,
}

impl TimeLists {
    pub fn push(&mut self, list: &[Nanos]) {
        self.values.extend_from_slice(list);
        self.ends.push(self.values.len());
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// None past the last row.
    pub fn get(&self, row: usize) -> Option<&[Nanos]> {
        let start = row.checked_sub(1).map_or(0, |before| self.ends[before.min(self.len() - 1)]);
        self.values.get(start..*self.ends.get(row)?)
    }

    pub fn iter(&self) -> impl Iterator<Item = &[Nanos]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.values[start..end])
    }

    /// Keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.ends.clear();
        self.values.clear();
    }
}

/// Names inside a list, prescribed by the format.
const LIST: &str = "list";
const ELEMENT: &str = "element";

/// Per call of the encoder or decoder.
const BATCH_ROWS: usize = 1024;

impl ColumnValues for TimeLists {
    const KIND: &'static str = "int64[]";
    const NULLABLE: bool = false;

    fn schema(name: &str) -> Result<Type> {
        let element = Type::primitive_type_builder(ELEMENT, Physical::INT64)
            .with_repetition(Repetition::REQUIRED)
            .build()?;
        let list = Type::group_type_builder(LIST)
            .with_repetition(Repetition::REPEATED)
            .with_fields(vec![Arc::new(element)])
            .build()?;
        Type::group_type_builder(name)
            .with_repetition(Repetition::REQUIRED)
            .with_logical_type(Some(LogicalType::List))
            .with_converted_type(ConvertedType::LIST)
            .with_fields(vec![Arc::new(list)])
            .build()
    }

    fn path(name: &str) -> ColumnPath {
        ColumnPath::new(vec![name.to_owned(), LIST.to_owned(), ELEMENT.to_owned()])
    }

    fn fill_absent(&mut self, rows: usize) -> bool {
        self.ends.resize(self.ends.len() + rows, self.values.len());
        true
    }

    fn write(&self, to: &mut ColumnWriter<'_>) -> Result<()> {
        let writer = Int64Type::get_column_writer_mut(to).ok_or_else(mismatch)?;
        if self.values.is_empty() {
            // Simulated rows: no value, and a level of zero per row.
            let levels = vec![0; self.len()];
            writer.write_batch(&[], Some(&levels), Some(&levels))?;
            return Ok(());
        }
        let (mut stored, mut present, mut continued) = (Vec::new(), Vec::new(), Vec::new());
        let mut start = 0;
        for ends in self.ends.chunks(BATCH_ROWS) {
            let first = start;
            for &end in ends {
                // An empty list has one place without a value.
                let places = (end - start).max(1);
                present.resize(present.len() + places, i16::from(end > start));
                continued.push(0);
                continued.resize(present.len(), 1);
                start = end;
            }
            let values = &self.values[first..start];
            stored.extend(values.iter().map(|value| value.0.cast_signed()));
            writer.write_batch(&stored, Some(&present), Some(&continued))?;
            stored.clear();
            present.clear();
            continued.clear();
        }
        Ok(())
    }

    fn read(&mut self, from: ColumnReader, rows: usize) -> Result<()> {
        let mut reader = Int64Type::get_column_reader(from).ok_or_else(mismatch)?;
        self.ends.reserve(rows);
        let (mut stored, mut present, mut continued) = (Vec::new(), Vec::new(), Vec::new());
        let mut left = rows;
        while left > 0 {
            stored.clear();
            present.clear();
            continued.clear();
            let (records, _, _) = reader.read_records(
                left.min(BATCH_ROWS),
                Some(&mut present),
                Some(&mut continued),
                &mut stored,
            )?;
            if records == 0 {
                return Err(short(rows, rows - left));
            }
            take_lists(&stored, &present, &continued, self)?;
            left -= records;
        }
        Ok(())
    }
}

/// Appends lists from levels and values.
fn take_lists(
    stored: &[i64],
    present: &[i16],
    continued: &[i16],
    into: &mut TimeLists,
) -> Result<()> {
    let mut end = into.values.len();
    into.values.extend(stored.iter().map(|value| Nanos(value.cast_unsigned())));
    for (place, (&present, &continued)) in present.iter().zip(continued).enumerate() {
        // A place continues the list before it, or begins the next one.
        if continued == 0 && place > 0 {
            into.ends.push(end);
        }
        end += usize::from(present > 0);
    }
    into.ends.push(end);
    if end == into.values.len() {
        return Ok(());
    }
    Err(ParquetError::General("lists and their levels do not fit".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_found_by_row() {
        let rows = [vec![], vec![Nanos(1), Nanos(2)], vec![], vec![Nanos(3)]];
        let mut lists = TimeLists::default();
        assert_eq!(lists.get(0), None);
        for row in &rows {
            lists.push(row);
        }
        for (at, row) in rows.iter().enumerate() {
            assert_eq!(lists.get(at), Some(row.as_slice()));
        }
        assert_eq!((lists.get(4), lists.get(9), lists.len()), (None, None, 4));
        assert!(lists.iter().eq(rows.iter().map(Vec::as_slice)));
    }
}
