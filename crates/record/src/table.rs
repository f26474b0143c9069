//! A table on disk: rows are collected by column and written a row group at a time.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::basic::{Compression, ZstdLevel};
use parquet::column::reader::ColumnReader;
use parquet::column::writer::ColumnWriter;
use parquet::errors::Result as ParquetResult;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{ColumnPath, Type};

use crate::column::{ColumnEncoding, ColumnSpec};
use crate::durable::{Digest, HashedFile};
use crate::error::RecordError;

/// Most rows in memory: about 5 MB of request rows. Large enough that the fixed cost of a group
/// (some 30 column chunks) is under 20 ns per row.
pub(crate) const GROUP_ROWS: usize = 32_768;

/// Most list values per row group: 16 MiB in memory.
pub(crate) const GROUP_VALUES: usize = 512 << 10;

/// The cheapest level that still halves the files.
const ZSTD_LEVEL: i32 = 1;

/// Stored as one Parquet file.
pub(crate) trait ColumnTable: Default {
    type Row;
    type Column: Copy + PartialEq + 'static;

    /// In the order of the file.
    const COLUMNS: &'static [Self::Column];

    fn spec(column: Self::Column) -> ColumnSpec;
    fn layout(column: Self::Column) -> ColumnEncoding;
    fn schema(column: Self::Column) -> ParquetResult<Type>;
    fn path(column: Self::Column) -> ColumnPath;
    fn write(&self, column: Self::Column, to: &mut ColumnWriter<'_>) -> ParquetResult<()>;
    fn read(&mut self, column: Self::Column, from: ColumnReader, rows: usize) -> ParquetResult<()>;

    /// False where every file must have the column.
    fn fill_absent(&mut self, column: Self::Column, rows: usize) -> bool;

    fn push(&mut self, row: &Self::Row);
    /// List values of the row.
    fn list_values(row: &Self::Row) -> usize;
    /// All columns must be filled.
    fn row(&self, index: usize) -> Self::Row;
    fn rows(&self) -> usize;
    /// Rows were appended to columns by [`ColumnTable::read`].
    fn grown(&mut self, rows: usize);
    /// Keeps the memory.
    fn clear(&mut self);
}

/// Defines a table: the struct of vectors, the enum of its columns, and their mapping to a file.
macro_rules! table {
    (
        $(#[$table_doc:meta])* $table:ident of $row:ty, columns $columns:ident;
        $(lists $lists:expr;)?
        push $push:expr;
        row $build:expr;
        $($variant:ident $field:ident: $held:ty,
          $name:literal, $unit:literal, $layout:ident, $meaning:literal;)*
    ) => {
        $(#[$table_doc])*
        ///
        /// Vectors of columns that were not asked for are empty.
        #[derive(Debug, Clone, Default, PartialEq)]
        pub struct $table {
            rows: usize,
            $(#[doc = $meaning] #[doc = concat!("Unit: ", $unit, ".")] pub $field: $held,)*
        }

        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $columns {
            $(#[doc = $meaning] $variant,)*
        }

        impl $columns {
            /// All columns, in the order of the file.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Name, type, unit and meaning.
            pub const fn spec(self) -> $crate::column::ColumnSpec {
                match self {
                    $(Self::$variant => $crate::column::ColumnSpec {
                        name: $name,
                        kind: <$held as $crate::column::ColumnValues>::KIND,
                        nullable: <$held as $crate::column::ColumnValues>::NULLABLE,
                        unit: $unit,
                        meaning: $meaning,
                    },)*
                }
            }
        }

        impl $table {
            /// Rows, whichever columns are filled.
            pub fn len(&self) -> usize {
                self.rows
            }

            pub fn is_empty(&self) -> bool {
                self.rows == 0
            }
        }

        impl $crate::table::ColumnTable for $table {
            type Row = $row;
            type Column = $columns;

            const COLUMNS: &'static [$columns] = $columns::ALL;

            fn spec(column: $columns) -> $crate::column::ColumnSpec {
                column.spec()
            }

            fn layout(column: $columns) -> $crate::column::ColumnEncoding {
                match column {
                    $($columns::$variant => $crate::column::ColumnEncoding::$layout,)*
                }
            }

            fn schema(
                column: $columns,
            ) -> parquet::errors::Result<parquet::schema::types::Type> {
                match column {
                    $($columns::$variant => {
                        <$held as $crate::column::ColumnValues>::schema($name)
                    })*
                }
            }

            fn path(column: $columns) -> parquet::schema::types::ColumnPath {
                match column {
                    $($columns::$variant => <$held as $crate::column::ColumnValues>::path($name),)*
                }
            }

            fn fill_absent(&mut self, column: $columns, rows: usize) -> bool {
                match column {
                    $($columns::$variant => {
                        <$held as $crate::column::ColumnValues>::fill_absent(&mut self.$field, rows)
                    })*
                }
            }

            fn list_values(row: &$row) -> usize {
                let _ = row;
                0 $(+ { let lists: fn(&$row) -> usize = $lists; lists(row) })?
            }

            fn write(
                &self,
                column: $columns,
                to: &mut parquet::column::writer::ColumnWriter<'_>,
            ) -> parquet::errors::Result<()> {
                match column {
                    $($columns::$variant => {
                        <$held as $crate::column::ColumnValues>::write(&self.$field, to)
                    })*
                }
            }

            fn read(
                &mut self,
                column: $columns,
                from: parquet::column::reader::ColumnReader,
                rows: usize,
            ) -> parquet::errors::Result<()> {
                match column {
                    $($columns::$variant => {
                        <$held as $crate::column::ColumnValues>::read(&mut self.$field, from, rows)
                    })*
                }
            }

            fn push(&mut self, row: &$row) {
                let push: fn(&mut Self, &$row) = $push;
                push(self, row);
                self.rows += 1;
            }

            fn row(&self, index: usize) -> $row {
                let build: fn(&Self, usize) -> $row = $build;
                build(self, index)
            }

            fn rows(&self) -> usize {
                self.rows
            }

            fn grown(&mut self, rows: usize) {
                self.rows += rows;
            }

            fn clear(&mut self) {
                self.rows = 0;
                $(self.$field.clear();)*
            }
        }
    };
}
pub(crate) use table;

fn schema<T: ColumnTable>() -> ParquetResult<Arc<Type>> {
    let mut fields = Vec::with_capacity(T::COLUMNS.len());
    for &column in T::COLUMNS {
        fields.push(Arc::new(T::schema(column)?));
    }
    Ok(Arc::new(Type::group_type_builder("row").with_fields(fields).build()?))
}

fn properties<T: ColumnTable>() -> ParquetResult<WriterProperties> {
    let mut builder = WriterProperties::builder()
        // Not the library's default: the bytes must change only with Weir's format.
        .set_created_by("weir".to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?))
        .set_dictionary_enabled(false)
        // One page per column chunk: nothing seeks inside a row group.
        .set_data_page_row_count_limit(GROUP_ROWS)
        .set_write_batch_size(GROUP_ROWS)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_offset_index_disabled(true);
    for &column in T::COLUMNS {
        let path = T::path(column);
        builder = match T::layout(column) {
            ColumnEncoding::Dictionary => builder.set_column_dictionary_enabled(path, true),
            layout => builder.set_column_encoding(path, layout.encoding()),
        };
    }
    Ok(builder.build())
}

pub(crate) struct TableWriter<T: ColumnTable> {
    path: PathBuf,
    held: T,
    held_values: usize,
    // Opened with the first full group: a short cell writes the disk once.
    file: Option<SerializedFileWriter<HashedFile>>,
}

impl<T: ColumnTable> TableWriter<T> {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, held: T::default(), held_values: 0, file: None }
    }

    /// Writes a row group at [`GROUP_ROWS`] rows or [`GROUP_VALUES`] list values.
    #[inline]
    pub(crate) fn push(&mut self, row: &T::Row) -> Result<(), RecordError> {
        self.held.push(row);
        self.held_values += T::list_values(row);
        let is_full = self.held.rows() >= GROUP_ROWS || self.held_values >= GROUP_VALUES;
        if is_full { self.flush() } else { Ok(()) }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.file.is_none() && self.held.rows() == 0
    }

    fn flush(&mut self) -> Result<(), RecordError> {
        let wrong = |e| RecordError::writing(&self.path, e);
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(open::<T>(&self.path)?),
        };
        write_group(file, &self.held).map_err(wrong)?;
        self.held.clear();
        self.held_values = 0;
        Ok(())
    }

    /// Writes the rest and the footer, and makes the file durable.
    pub(crate) fn close(mut self) -> Result<Digest, RecordError> {
        if self.held.rows() > 0 {
            self.flush()?;
        }
        let mut file = match self.file {
            Some(file) => file,
            None => open::<T>(&self.path)?,
        };
        let wrong = |e| RecordError::writing(&self.path, e);
        // `into_inner` would turn a refused write into a text.
        file.finish().map_err(wrong)?;
        file.inner().finish(&self.path)
    }
}

fn open<T: ColumnTable>(path: &Path) -> Result<SerializedFileWriter<HashedFile>, RecordError> {
    let wrong = |e| RecordError::writing(path, e);
    let schema = schema::<T>().map_err(wrong)?;
    let properties = Arc::new(properties::<T>().map_err(wrong)?);
    let file = HashedFile::create(path)?;
    SerializedFileWriter::new(file, schema, properties).map_err(wrong)
}

fn write_group<T: ColumnTable>(
    file: &mut SerializedFileWriter<HashedFile>,
    held: &T,
) -> ParquetResult<()> {
    let mut group = file.next_row_group()?;
    for &column in T::COLUMNS {
        let Some(mut writer) = group.next_column()? else {
            break;
        };
        held.write(column, writer.untyped())?;
        writer.close()?;
    }
    group.close()?;
    Ok(())
}

pub(crate) struct TableReader {
    path: PathBuf,
    file: SerializedFileReader<File>,
}

impl TableReader {
    pub(crate) fn open(path: PathBuf) -> Result<Self, RecordError> {
        let file = File::open(&path).map_err(|e| RecordError::io("read", &path, e))?;
        let file = SerializedFileReader::new(file).map_err(|e| RecordError::reading(&path, e))?;
        Ok(Self { path, file })
    }

    pub(crate) fn columns<T: ColumnTable>(&self, chosen: &[T::Column]) -> Result<T, RecordError> {
        let mut table = T::default();
        for group in 0..self.file.num_row_groups() {
            self.read_group(group, chosen, &mut table)?;
        }
        Ok(table)
    }

    fn read_group<T: ColumnTable>(
        &self,
        group: usize,
        chosen: &[T::Column],
        table: &mut T,
    ) -> Result<(), RecordError> {
        let wrong = |e| RecordError::reading(&self.path, e);
        let reader = self.file.get_row_group(group).map_err(wrong)?;
        let rows = usize::try_from(reader.metadata().num_rows())
            .map_err(|_| RecordError::damaged(&self.path, "a negative number of rows"))?;
        // In the table's order, so that a repeated column is read once.
        for &column in T::COLUMNS.iter().filter(|column| chosen.contains(column)) {
            let name = T::spec(column).name;
            let path = T::path(column);
            let place =
                reader.metadata().columns().iter().position(|found| *found.column_path() == path);
            let Some(place) = place else {
                if table.fill_absent(column, rows) {
                    continue;
                }
                return Err(RecordError::damaged(&self.path, format!("no column `{name}`")));
            };
            let values = reader.get_column_reader(place).map_err(wrong)?;
            table
                .read(column, values, rows)
                .map_err(|e| RecordError::reading(&self.path, e).in_column(name))?;
        }
        table.grown(rows);
        Ok(())
    }

    pub(crate) fn into_groups<T: ColumnTable>(self, chosen: Vec<T::Column>) -> Groups<T> {
        Groups { reader: self, chosen, group: 0 }
    }

    pub(crate) fn into_rows<T: ColumnTable>(self) -> RowReader<T> {
        RowReader { reader: self, held: T::default(), next: 0, group: 0, failed: false }
    }
}

/// Ends after an error.
pub(crate) struct Groups<T: ColumnTable> {
    reader: TableReader,
    chosen: Vec<T::Column>,
    group: usize,
}

impl<T: ColumnTable> Iterator for Groups<T> {
    type Item = Result<T, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        let groups = self.reader.file.num_row_groups();
        if self.group >= groups {
            return None;
        }
        let mut table = T::default();
        let read = self.reader.read_group(self.group, &self.chosen, &mut table);
        self.group = if read.is_ok() { self.group + 1 } else { groups };
        Some(read.map(|()| table))
    }
}

/// Decodes a row group at a time. Ends after an error.
pub(crate) struct RowReader<T> {
    reader: TableReader,
    held: T,
    next: usize,
    group: usize,
    failed: bool,
}

impl<T: ColumnTable> Iterator for RowReader<T> {
    type Item = Result<T::Row, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.next == self.held.rows() {
            if self.failed || self.group == self.reader.file.num_row_groups() {
                return None;
            }
            self.held.clear();
            self.next = 0;
            if let Err(error) = self.reader.read_group(self.group, T::COLUMNS, &mut self.held) {
                self.failed = true;
                self.held.clear();
                return Some(Err(error));
            }
            self.group += 1;
        }
        self.next += 1;
        Some(Ok(self.held.row(self.next - 1)))
    }
}

#[cfg(test)]
mod tests {
    // The macro makes tables for callers outside.
    #![allow(dead_code, unreachable_pub)]

    use weir_model::Nanos;

    use super::*;
    use crate::lists::TimeLists;

    table! {
        /// Rows as an earlier version wrote them.
        Earlier of u64, columns EarlierColumn;
        push |table, row| table.id.push(*row);
        row |table, i| table.id[i];
        Id id: Vec<u64>, "id", "id", Delta, "A number";
    }

    table! {
        /// Rows with a list.
        Now of (u64, Vec<Nanos>), columns NowColumn;
        lists |row| row.1.len();
        push |table, row| {
            table.id.push(row.0);
            table.gaps.push(&row.1);
        };
        row |table, i| (table.id[i], table.gaps.get(i).unwrap_or_default().to_vec());
        Id id: Vec<u64>, "id", "id", Delta, "A number";
        Gaps gaps: TimeLists, "gaps_ns", "ns", Delta, "Times";
    }

    fn written<T: ColumnTable>(
        rows: impl IntoIterator<Item = T::Row>,
    ) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("table.parquet");
        let mut writer = TableWriter::<T>::new(path.clone());
        for row in rows {
            writer.push(&row).expect("a row");
        }
        writer.close().expect("a file");
        (folder, path)
    }

    #[test]
    fn a_file_from_before_the_lists_has_empty_ones() {
        let (_kept, path) = written::<Earlier>(0..3);
        let rows: Vec<_> =
            TableReader::open(path).expect("open").into_rows::<Now>().map(Result::unwrap).collect();
        assert_eq!(rows, [(0, vec![]), (1, vec![]), (2, vec![])]);
        // The reverse is an error.
        let (_kept, path) = written::<Now>([(7, vec![Nanos(1)])]);
        let reader = TableReader::open(path).expect("open");
        assert_eq!(reader.columns::<Earlier>(EarlierColumn::ALL).expect("columns").id, [7]);
    }

    #[test]
    fn long_lists_close_a_row_group() {
        let per_row = GROUP_VALUES / 4 + 1;
        let list = |id: u64| -> Vec<Nanos> {
            (0..per_row as u64).map(|at| Nanos(id * 1000 + at % 997)).collect()
        };
        let (_kept, path) = written::<Now>((0..10).map(|id| (id, list(id))));
        let reader = TableReader::open(path.clone()).expect("open");
        // Four rows fill a group; the last one holds the rest.
        assert_eq!(reader.file.num_row_groups(), 3);
        let groups: Vec<Now> = reader
            .into_groups(vec![NowColumn::Gaps])
            .map(|group| group.expect("a group"))
            .collect();
        assert_eq!(groups.iter().map(Now::len).collect::<Vec<_>>(), [4, 4, 2]);
        assert!(groups.iter().all(|group| group.id.is_empty()));
        assert_eq!(groups[2].gaps.get(1), Some(list(9).as_slice()));
        let back = TableReader::open(path).expect("open").into_rows::<Now>();
        for (id, row) in back.enumerate() {
            assert_eq!(row.expect("a row"), (id as u64, list(id as u64)));
        }
    }
}
