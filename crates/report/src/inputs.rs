//! The inputs of a run, in a sentence.

use weir_workload::trace::reading::{Basis, TraceReading};

pub fn trace_sentence(of: &TraceReading) -> String {
    let over = of.span.map_or_else(String::new, |span| format!(" over {span}"));
    format!(
        "Trace {}: {} requests{over}, blocks of {} tokens ({}), times in {} ({}).",
        of.path,
        of.requests,
        of.block_tokens,
        why(of.block_basis),
        of.time_unit.words(),
        why(of.unit_basis)
    )
}

fn why(basis: Basis) -> String {
    match basis {
        Basis::Given => "as given".to_owned(),
        Basis::OnlyFit => "no other size fits all requests".to_owned(),
        Basis::Published(layout) => format!("as {layout} publishes them"),
        Basis::AllAtOnce => "all requests come at once".to_owned(),
        Basis::Unused => "not played by this load".to_owned(),
    }
}
