//! Weir's own rows: `requests.parquet` of the cells that `weir load` wrote.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::record::{Field, Row};
use parquet::schema::types::Type;

use crate::own::{Key, Request};

const COLUMNS: [&str; 6] =
    ["request", "due_ns", "start_ns", "first_token_ns", "outcome", "error_bound_ns"];

/// The record of the one cell below `folder`.
pub(crate) fn cell(folder: &Path) -> Result<PathBuf> {
    let mut paths = Vec::new();
    find(folder, &mut paths)?;
    match paths.as_slice() {
        [rows] => Ok(rows.with_file_name("cell.json")),
        _ => bail!("{} holds {} cells instead of one", folder.display(), paths.len()),
    }
}

pub(crate) fn requests(folder: &Path) -> Result<Vec<Request>> {
    let mut paths = Vec::new();
    find(folder, &mut paths)?;
    if paths.is_empty() {
        bail!("{} holds no requests.parquet", folder.display());
    }
    let mut requests = Vec::new();
    for path in paths {
        read(&path, &mut requests).with_context(|| format!("{} not read", path.display()))?;
    }
    Ok(requests)
}

fn find(folder: &Path, paths: &mut Vec<PathBuf>) -> Result<()> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("{} was not written", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            find(&path, paths)?;
        } else if path.file_name().is_some_and(|name| name == "requests.parquet") {
            paths.push(path);
        }
    }
    Ok(())
}

fn read(path: &Path, requests: &mut Vec<Request>) -> Result<()> {
    let reader = SerializedFileReader::new(File::open(path)?)?;
    let schema = reader.metadata().file_metadata().schema();
    let fields: Vec<Arc<Type>> = schema
        .get_fields()
        .iter()
        .filter(|field| COLUMNS.contains(&field.name()))
        .cloned()
        .collect();
    let projection = Type::group_type_builder(schema.name()).with_fields(fields).build()?;
    for row in reader.get_row_iter(Some(projection))? {
        requests.extend(request(&row?));
    }
    Ok(())
}

fn request(row: &Row) -> Option<Request> {
    let mut figures = [None; COLUMNS.len()];
    for (name, field) in row.get_column_iter() {
        let place = COLUMNS.iter().position(|column| column == name)?;
        figures[place] = match field {
            Field::ULong(value) => Some(*value),
            Field::Long(value) => u64::try_from(*value).ok(),
            Field::Str(text) => Some(u64::from(text == "done")),
            _ => None,
        };
    }
    let [request, due_ns, start_ns, first_token_ns, outcome, bound_ns] = figures;
    if outcome != Some(1) {
        return None;
    }
    let start_ns = start_ns?;
    // Weir's times and bounds count from when the request was due.
    let due_ns = due_ns?;
    Some(Request {
        key: Key::SentNumber(request?),
        start_ns,
        first_token_ns: first_token_ns?.saturating_sub(due_ns) as f64,
        bound_ns: bound_ns.map(|bound| bound as f64),
    })
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::sync::Arc;

    use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;

    use super::requests;
    use crate::own::Key;

    const SCHEMA: &str = "message requests {
        required int64 request (INTEGER(64,false));
        required int32 turn (INTEGER(32,false));
        required int64 due_ns (INTEGER(64,false));
        required int64 start_ns (INTEGER(64,false));
        optional int64 first_token_ns (INTEGER(64,false));
        required binary outcome (STRING);
        required int64 error_bound_ns (INTEGER(64,false));
    }";

    #[test]
    fn whole_requests_are_read_from_any_depth() {
        let folder = tempfile::tempdir().expect("a folder");
        let cell = folder.path().join("cells/a/0");
        fs::create_dir_all(&cell).expect("a cell");
        let file = File::create(cell.join("requests.parquet")).expect("a file");
        let schema = Arc::new(parse_message_type(SCHEMA).expect("a schema"));
        let mut writer = SerializedFileWriter::new(file, schema, Arc::default()).expect("a writer");
        let mut group = writer.next_row_group().expect("a row group");
        let numbers =
            [&[7, 8], &[0, 0], &[90, 190], &[100, 200], &[150], &[0, 0], &[5, 6]] as [&[i64]; 7];
        for (place, values) in numbers.into_iter().enumerate() {
            let mut column = group.next_column().expect("a column").expect("one more");
            match place {
                1 => {
                    let turns = column.typed::<parquet::data_type::Int32Type>();
                    turns.write_batch(&[0, 0], None, None).expect("written");
                }
                5 => {
                    let words = [ByteArray::from("done"), ByteArray::from("failed")];
                    let column = column.typed::<ByteArrayType>();
                    column.write_batch(&words, None, None).expect("written");
                }
                4 => {
                    let column = column.typed::<Int64Type>();
                    column.write_batch(values, Some(&[1, 0]), None).expect("written");
                }
                _ => {
                    column.typed::<Int64Type>().write_batch(values, None, None).expect("written");
                }
            }
            column.close().expect("closed");
        }
        group.close().expect("closed");
        writer.close().expect("closed");

        let read = requests(folder.path()).expect("rows");
        assert_eq!(read.len(), 1);
        assert_eq!((&read[0].key, read[0].start_ns), (&Key::SentNumber(7), 100));
        assert!((read[0].first_token_ns - 60.0).abs() < 1e-9);
        assert_eq!(read[0].bound_ns.map(|bound| bound as u64), Some(5));
        let empty = tempfile::tempdir().expect("a folder");
        assert!(requests(empty.path()).is_err());
    }
}
