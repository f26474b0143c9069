//! The answers of the arms against the control's.

use super::{Table, TableCell, Tone};
use crate::comparison::DeploymentComparison;
use crate::numerals;
use crate::oracle::{ALLOWANCE, LEAST_MISMATCHES, OutputNote, OutputOutcome, SIGNIFICANCE};

/// None without answers.
pub fn outputs_sentence(of: &DeploymentComparison) -> Option<String> {
    let count = |outcome| of.outputs.iter().filter(|note| note.outcome == outcome).count();
    let judged = [OutputOutcome::Agrees, OutputOutcome::AboveFloor, OutputOutcome::Corrupt];
    let judged: usize = judged.map(count).iter().sum();
    if of.outputs.is_empty() {
        return None;
    }
    let summary = match (judged, count(OutputOutcome::Corrupt), count(OutputOutcome::AboveFloor)) {
        (0, _, _) => "No arm could be judged by its answers.".to_owned(),
        (_, 0, 0) => "No arm differs more than noise explains.".to_owned(),
        (_, 0, above) => format!("{above} of {judged} differ more than the A/A arm."),
        (_, corrupt, _) => format!("{corrupt} of {judged} are corrupt and do not count."),
    };
    Some(format!("Greedy answers to equal prompts, compared with the control's. {summary}"))
}

pub fn outputs_rule() -> String {
    format!(
        "An arm is corrupt with at least {LEAST_MISMATCHES} mismatches that are too many against \
         the A/A arm (Fisher's exact test, at the level and at the A/A arm's worst one) and \
         against the {:.0} % that other shapes of passes may change (exact binomial test): p below \
         {SIGNIFICANCE} after correction for all arms and levels. Blocks that are wrong without \
         changing an answer are not seen.",
        100.0 * ALLOWANCE
    )
}

/// Per arm and level: answers compared, mismatches, the A/A arm's, p value, outcome.
pub fn outputs_table(of: &DeploymentComparison) -> Table {
    let title = "Outputs against the control (p: chance of as many mismatches without a fault)";
    let heads = ["arm", "level", ">compared", ">mismatches", ">A/A arm", ">p", "outcome"];
    let mut table = Table::new(title, &heads);
    let mut last = "";
    for note in &of.outputs {
        let arm = if note.arm == last { "" } else { note.arm.as_str() };
        last = &note.arm;
        let share = note.percent.map_or(String::new(), |percent| format!(" ({percent:.1} %)"));
        table.rows.push(vec![
            arm.into(),
            note.level.as_str().into(),
            note.compared.to_string().into(),
            format!("{}{share}", note.mismatches).into(),
            note.floor_words().unwrap_or_default().into(),
            note.p_value.map_or(String::new(), numerals::p_value).into(),
            outcome_cell(note),
        ]);
    }
    table
}

fn outcome_cell(note: &OutputNote) -> TableCell {
    let tone = match note.outcome {
        OutputOutcome::NoiseFloor | OutputOutcome::Agrees => Tone::Plain,
        OutputOutcome::AboveFloor => Tone::Weak,
        OutputOutcome::Corrupt => Tone::Bad,
        OutputOutcome::Undecided | OutputOutcome::NotJudged => Tone::Out,
    };
    let why = note.note.map_or_else(String::new, |why| format!(": {}", why.words()));
    TableCell { text: format!("{}{why}", note.outcome.name()), tone }
}
