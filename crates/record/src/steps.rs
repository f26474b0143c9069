//! `steps.parquet`: one row per pass of a replica, from which token gaps follow.

use weir_model::{Nanos, StepRow};

use crate::table::table;

table! {
    /// The columns of `steps.parquet`. Times count from the start of the cell.
    StepTable of StepRow, columns StepColumn;
    push |table, row| {
        table.replica.push(row.replica);
        table.step.push(row.step);
        table.end.push(row.end);
        table.gap.push(row.gap);
        table.decoding.push(row.decoding);
        table.tokens.push(row.tokens);
        table.running.push(row.running);
        table.waiting.push(row.waiting);
        table.used_blocks.push(row.used_blocks);
    };
    row |table, i| StepRow {
        replica: table.replica[i],
        step: table.step[i],
        end: table.end[i],
        gap: table.gap[i],
        decoding: table.decoding[i],
        tokens: table.tokens[i],
        running: table.running[i],
        waiting: table.waiting[i],
        used_blocks: table.used_blocks[i],
    };
    Replica replica: Vec<u16>, "replica", "index", Delta,
        "The replica";
    Step step: Vec<u64>, "step", "index", Delta,
        "Number of the pass in its replica, from 0";
    End end: Vec<Nanos>, "end_ns", "ns", Delta,
        "When the pass ended";
    Gap gap: Vec<Nanos>, "gap_ns", "ns", Delta,
        "Time since the replica's previous pass ended: the gap of each token counted in `decoding`";
    Decoding decoding: Vec<u32>, "decoding", "sequences", Delta,
        "Sequences that got a token and had one before: the gaps that `gap_ns` stands for";
    Tokens tokens: Vec<u32>, "tokens", "tokens", Delta,
        "Tokens scheduled, prompt and decode";
    Running running: Vec<u32>, "running", "sequences", Delta,
        "Sequences that ran";
    Waiting waiting: Vec<u32>, "waiting", "requests", Delta,
        "Requests that waited";
    UsedBlocks used_blocks: Vec<u32>, "used_blocks", "blocks", Delta,
        "KV blocks in use (referenced)";
}
