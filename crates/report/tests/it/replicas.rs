//! The balance of replicas behind a gateway, in tables, files and words.

use std::collections::BTreeMap;

use weir_record::ReplicaFigures;
use weir_report::artifacts;
use weir_report::comparison::Comparison;
use weir_report::explanation::{Scope, explain};
use weir_report::results::Results;
use weir_report::tables::{replicas_table, text};
use weir_spec::plan::Plan;

use crate::fixture;

fn replica(address: &str, completed: u64, hit_tokens: u64, waiting: Option<f64>) -> ReplicaFigures {
    ReplicaFigures {
        address: address.to_owned(),
        completed,
        prompt_tokens: 100 * completed,
        hit_tokens,
        mean_waiting: waiting,
    }
}

/// Both repeats of one arm at one level; the second saw the replicas in another order.
fn results(plan: &Plan) -> Results<'_> {
    let mut results = fixture::results(plan);
    for result in &mut results.cells {
        let cell = &plan.cells[result.cell];
        if plan.deployments[0].arms[cell.arm].name != "llm-d-approx" || cell.level != 1 {
            continue;
        }
        let first = replica("10.0.0.2:8000", 60, 3000, Some(1.0));
        let second = replica("10.0.0.3:8000", 40, 1000, None);
        let unused = replica("10.0.0.4:8000", 0, 0, None);
        result.record.figures.replicas = match cell.repeat {
            0 => vec![first, second, unused],
            _ => vec![ReplicaFigures { mean_waiting: Some(2.0), ..second }, first, unused],
        };
    }
    results
}

#[test]
fn what_each_replica_answered_is_in_all_outputs() {
    let plan = fixture::plan_of(fixture::deployment(), 2);
    let results = results(&plan);
    let comparison = Comparison::of(&results).unwrap();
    let table = text(&replicas_table(&comparison.deployments[0]));
    let rows: Vec<Vec<&str>> =
        table.lines().map(|line| line.split_whitespace().collect()).collect();
    let row = |address: &str| rows.iter().find(|row| row.contains(&address)).unwrap().join(" ");
    assert_eq!(row("10.0.0.2:8000"), "llm-d-approx c50 10.0.0.2:8000 120 60.0 % 12,000 50.0 % 1.0");
    assert_eq!(row("10.0.0.3:8000"), "10.0.0.3:8000 80 40.0 % 8,000 25.0 % 2.0");
    assert_eq!(row("10.0.0.4:8000"), "10.0.0.4:8000 0 0.0 % 0 - -");

    let files = artifacts::analysis(&results, &comparison).unwrap();
    let file = files.iter().find(|file| file.path == "analysis/replicas.csv").unwrap();
    let lines: Vec<&str> = std::str::from_utf8(&file.bytes).unwrap().lines().collect();
    assert_eq!(lines.len(), 4);
    let wanted = "Qwen/Qwen3-8B,2x-l40s,llm-d-approx,c50,10.0.0.3:8000,80,40,8000,2000,25,2";
    assert_eq!(lines[2], wanted);
    let page = weir_report::page::markdown(&comparison);
    assert!(page.contains("### Replicas") && page.contains("10.0.0.4:8000"), "{page}");
    assert!(weir_report::page::html(&comparison).unwrap().contains("<h3>Replicas</h3>"));

    let scope = Scope { arm: Some("llm-d-approx"), level: Some("c50") };
    let told = explain(&results, &comparison, &BTreeMap::new(), scope).unwrap();
    let told: Vec<&str> = told.split_whitespace().collect();
    let told = told.join(" ");
    let wanted = "Replicas: 10.0.0.2:8000 60.0 % of the answers, 50.0 % of its prompt tokens \
                  cached, 1.0 waiting; 10.0.0.3:8000 40.0 %";
    assert!(told.contains(wanted), "{told}");
}

#[test]
fn one_replica_has_no_balance() {
    let plan = fixture::plan();
    let results = fixture::results(&plan);
    let comparison = Comparison::of(&results).unwrap();
    assert!(replicas_table(&comparison.deployments[0]).is_empty());
    let files = artifacts::analysis(&results, &comparison).unwrap();
    assert!(files.iter().all(|file| file.path != "analysis/replicas.csv"));
    assert!(!weir_report::page::html(&comparison).unwrap().contains("<h3>Replicas</h3>"));
}
