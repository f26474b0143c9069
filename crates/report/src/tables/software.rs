//! The software of the arms, as it reported itself.

use weir_model::FactKind;

use super::{Table, TableCell, Tone};
use crate::comparison::DeploymentComparison;
use crate::words::difference::name;

const UNVERIFIED: &str = "unverified";

/// Facts in which arms differ, a column per arm, and the file's additions to each; empty where all
/// are equal.
pub fn software_table(of: &DeploymentComparison) -> Table {
    let note = &of.software;
    let mut heads = vec!["fact"];
    heads.extend(note.arms.iter().map(|arm| arm.arm.as_str()));
    let mut table = Table::new("Running software, where arms differ", &heads);
    for kind in note.differing() {
        let mut row: Vec<TableCell> = vec![name(kind).into()];
        row.extend(note.arms.iter().map(|arm| match arm.shown(kind) {
            Some(value) => value.into(),
            None if arm.facts.is_empty() => "-".into(),
            // An arm without the mechanism has no such fact.
            None if kind.is_mechanism() && kind != FactKind::Connector => "-".into(),
            None => TableCell { text: UNVERIFIED.to_owned(), tone: Tone::Weak },
        }));
        table.rows.push(row);
    }
    let added = [
        ("vllm_args", note.arms.iter().map(|arm| arm.vllm_args.join(" ")).collect::<Vec<_>>()),
        ("env (names)", note.arms.iter().map(|arm| arm.env.join(", ")).collect()),
    ];
    for (head, texts) in added {
        if texts.iter().any(|text| !text.is_empty()) {
            let mut row: Vec<TableCell> = vec![head.into()];
            let shown = |text: String| if text.is_empty() { "-".to_owned() } else { text };
            row.extend(texts.into_iter().map(|text| TableCell::from(shown(text))));
            table.rows.push(row);
        }
    }
    table
}

/// Common facts, facts not observed, and the file's additions to all arms; one sentence each.
pub fn software_sentences(of: &DeploymentComparison) -> Vec<String> {
    let note = &of.software;
    let mut sentences = Vec::new();
    if note.has_facts() {
        let common = note.common();
        let common: Vec<String> =
            common.iter().map(|(kind, value)| format!("{} ({value})", name(*kind))).collect();
        let ran: Vec<&str> = note.that_ran().map(|arm| arm.arm.as_str()).collect();
        let who = match ran.as_slice() {
            [_] if note.arms.len() == 1 => "The arm shows".to_owned(),
            [arm] => format!("Of the arms, only {arm} ran, and shows"),
            all if all.len() < note.arms.len() => "All arms that ran are alike in".to_owned(),
            _ => "All arms are alike in".to_owned(),
        };
        if !common.is_empty() {
            sentences.push(format!("{who}: {}.", common.join(", ")));
        }
        let unseen: Vec<&str> = note.unseen().into_iter().map(name).collect();
        if !unseen.is_empty() {
            sentences.push(format!("Unverified, because no arm shows it: {}.", unseen.join(", ")));
        }
    }
    if !note.sizes_unseen.is_empty() {
        let arms = note.sizes_unseen.join(", ");
        sentences.push(format!("Unverified, because nothing shows it: the bytes of {arms}."));
    }
    let mut given = Vec::new();
    if !note.vllm_args.is_empty() {
        given.push(format!("vllm_args {}", note.vllm_args.join(" ")));
    }
    if !note.env.is_empty() {
        given.push(format!("env {} (values withheld)", note.env.join(", ")));
    }
    if !given.is_empty() {
        sentences.push(format!("All arms get {}.", given.join("; ")));
    }
    sentences
}
