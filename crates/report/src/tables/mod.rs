//! Tables for people: rows of text, drawn as plain text, Markdown or HTML.

mod answers;
mod deployment;
mod draw;
mod generator;
mod outputs;
mod prediction;
mod replicas;
mod run;
mod software;
mod tokens;

use serde::Serialize;

pub(crate) use answers::group_sentences;
pub use answers::{answer_sentences, marked_tokens};
pub use deployment::{
    arms_table, compact_table, equal_level_table, explanations_table, figure_text, level_table,
    peak_table, value_table, verdict_matrix,
};
pub(crate) use draw::escaped;
pub use draw::{markdown, set_width, text, wrapped};
pub use generator::{generator_notes, generator_sentence, generator_short_table, generator_table};
pub use outputs::{outputs_rule, outputs_sentence, outputs_table};
pub use prediction::{prediction_sentence, prediction_short_table, prediction_table};
pub use replicas::replicas_table;
pub use run::{
    columns_of, definitions_table, origins_table, overview_table, run_notes, run_table,
    scope_sentence,
};
pub use software::{software_sentences, software_table};
pub use tokens::token_sources_table;

/// How to read a cell: a colour in HTML, absent in other forms.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tone {
    #[default]
    Plain,
    /// An improvement, or an effective arm.
    Good,
    Bad,
    /// Not a result: void, failed, not run.
    Out,
    /// A result of little weight: below the noise floor, overhead only.
    Weak,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct TableCell {
    pub text: String,
    pub tone: Tone,
}

impl From<String> for TableCell {
    fn from(text: String) -> Self {
        Self { text, tone: Tone::Plain }
    }
}

impl From<&str> for TableCell {
    fn from(text: &str) -> Self {
        Self { text: text.to_owned(), tone: Tone::Plain }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Head {
    pub text: String,
    pub right: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Table {
    /// With the unit where all cells share one.
    pub title: String,
    pub heads: Vec<Head>,
    /// Each row is as long as `heads`.
    pub rows: Vec<Vec<TableCell>>,
}

impl Table {
    /// A head that starts with `>` is right-aligned.
    pub fn new(title: &str, heads: &[&str]) -> Self {
        let head = |text: &&str| Head {
            text: text.trim_start_matches('>').to_owned(),
            right: text.starts_with('>'),
        };
        Self { title: title.to_owned(), heads: heads.iter().map(head).collect(), rows: Vec::new() }
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}
