//! A stage of an installation: what it runs, what it costs, and how it is known to be done.

use std::path::PathBuf;

use super::tool::Tool;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StageCommand {
    pub(super) environment: Vec<(&'static str, &'static str)>,
    /// A word that ends with [`WHEEL_PLACE`] stands for the only wheel of that folder.
    pub(super) words: Vec<String>,
    /// Standard output goes to this file, and not to the log.
    pub(super) into: Option<String>,
}

impl StageCommand {
    pub(super) fn new(program: &str, words: &[&str]) -> Self {
        let words = std::iter::once(program).chain(words.iter().copied()).map(Into::into);
        Self { words: words.collect(), ..Self::default() }
    }

    /// As typed; for a script, its first line.
    pub fn shown(&self) -> String {
        let short = |word: &String| match word.split_once('\n') {
            Some((first, _)) => format!("'{} ...'", first.trim_matches('"')),
            None if word.contains(|c: char| c.is_whitespace() || "<>'\"$".contains(c)) => {
                format!("'{}'", word.replace('\'', "'\\''"))
            }
            None => word.clone(),
        };
        let set = self.environment.iter().map(|(name, value)| format!("{name}={value}"));
        let words: Vec<String> = set.chain(self.words.iter().map(short)).collect();
        match &self.into {
            Some(file) => format!("{} > {file}", words.join(" ")),
            None => words.join(" "),
        }
    }
}

#[derive(Debug, Clone)]
pub struct Stage {
    pub name: &'static str,
    pub what: &'static str,
    /// Share of the time: seconds on two cores with a fast connection.
    pub weight: u64,
    /// Approximate lines of output, for the progress.
    pub(super) lines: u64,
    /// Disk space during the stage.
    pub(super) bytes: u64,
    /// A file in the installation's folder, written at the end.
    pub(super) mark: String,
    /// A later mark that covers this stage.
    pub(super) covered_by: Option<String>,
    /// Made anew: what an interruption left is removed first.
    pub(super) makes: Option<&'static str>,
    pub(super) needs: Option<Tool>,
    /// Written before the commands run.
    pub files: Vec<(PathBuf, &'static str)>,
    pub commands: Vec<StageCommand>,
}

/// Stands for the wheel's name, known only after the download.
pub(super) const WHEEL_PLACE: &str = "*.whl";
pub(super) const MB: u64 = 1_000_000;
