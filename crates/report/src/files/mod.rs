//! The files of `analysis/`: CSV with documented columns, `summary.json`, and the reference of
//! both. Header lines and reference are made from the same list of columns.

mod columns;
mod csv_tables;
mod summary;

pub use columns::{
    Column, cell_columns, change_columns, columns_reference, output_columns, peak_columns,
    prediction_columns, replica_columns, run_columns,
};
pub use csv_tables::{
    cells_csv, changes_csv, outputs_csv, peaks_csv, prediction_csv, replicas_csv, runs_csv,
};
pub use summary::summary_json;
