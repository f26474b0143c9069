//! The life of a cell: from the plan, through its run, to figures, evidence and verdict.

pub mod live;
