//! Lines of a log that must not stay: a picker repeats its configuration, which may be somebody's
//! own and hold a password.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Text of the lines in which a picker repeats its configuration.
const REPEATED: [&str; 2] = ["Loaded raw configuration", "Effective configuration loaded"];
const INSTEAD: &str = "(this line had the configuration, which is not kept)";

/// Overwrites them in place: the process may still append.
pub(crate) fn withhold_configuration(log: &Path) -> io::Result<()> {
    let mut file = match OpenOptions::new().read(true).write(true).open(log) {
        // The process was not started.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let mut begin = 0;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let text = String::from_utf8_lossy(line);
        if REPEATED.iter().any(|words| text.contains(words)) {
            let length = line.strip_suffix(b"\n").unwrap_or(line).len();
            let instead = format!("{INSTEAD:<length$}");
            file.write_all_at(&instead.as_bytes()[..length], begin)?;
        }
        begin += line.len() as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_lines_with_a_configuration_go() {
        let log = std::env::temp_dir().join(format!("weir-withheld-{}", std::process::id()));
        let long = "x".repeat(80);
        let repeated =
            format!("{{\"msg\":\"Loaded raw configuration\",\"config\":\"S3CRET{long}\"}}");
        std::fs::write(&log, format!("first\n{repeated}\nlast\n")).unwrap();
        withhold_configuration(&log).unwrap();
        let text = std::fs::read_to_string(&log).unwrap();
        assert_eq!(text.len(), "first\n\nlast\n".len() + repeated.len());
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        assert_eq!(lines, ["first", INSTEAD, "last"]);
        std::fs::remove_file(&log).unwrap();
    }
}
