//! The balance of the replicas of a live target.

use super::{Table, TableCell};
use crate::comparison::{DeploymentComparison, ReplicaNote};
use crate::numerals;

/// Per arm, level and replica: answers, hits, queue. Empty with one replica.
pub fn replicas_table(of: &DeploymentComparison) -> Table {
    let title = "Replicas: what each answered";
    let heads =
        ["arm", "level", "replica", ">answers", ">share", ">prompt tokens", ">cached", ">waiting"];
    let mut table = Table::new(title, &heads);
    let mut last: Option<&ReplicaNote> = None;
    for note in &of.balance {
        let same_arm = last.is_some_and(|last| last.arm == note.arm);
        let same_level = same_arm && last.is_some_and(|last| last.level == note.level);
        last = Some(note);
        let shown = |is_same: bool, text: &str| -> TableCell {
            if is_same { "".into() } else { text.into() }
        };
        let percent = |value: Option<f64>| -> TableCell {
            value.map_or_else(|| "-".to_owned(), |value| format!("{value:.1} %")).into()
        };
        let waiting = note.mean_waiting;
        table.rows.push(vec![
            shown(same_arm, &note.arm),
            shown(same_level, &note.level),
            note.address.as_str().into(),
            numerals::whole(note.completed as f64).into(),
            percent(note.share_percent),
            numerals::whole(note.prompt_tokens as f64).into(),
            percent(note.hit_percent),
            waiting.map_or_else(|| "-".to_owned(), |mean| format!("{mean:.1}")).into(),
        ]);
    }
    table
}
