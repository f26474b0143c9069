//! Names of cells and outputs: relative paths that cannot leave their folder.

use std::path::{Path, PathBuf};

use crate::error::RecordError;

/// Of common file systems, bytes.
const LONGEST_PART: usize = 255;

/// `name` below `folder`, or an error.
pub(crate) fn below(folder: &Path, name: &str) -> Result<PathBuf, RecordError> {
    let bad = |why| RecordError::BadName { name: name.to_owned(), why };
    if name.is_empty() {
        return Err(bad("it is empty"));
    }
    for part in name.split('/') {
        match part {
            "" => return Err(bad("it has an empty part")),
            "." | ".." => return Err(bad("`.` and `..` are not names")),
            part if part.contains(['\0', '\\']) => {
                return Err(bad("it contains a NUL or a backslash"));
            }
            part if part.len() > LONGEST_PART => {
                return Err(bad("a part is longer than 255 bytes"));
            }
            _ => {}
        }
    }
    Ok(folder.join(name))
}
