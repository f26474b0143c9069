/// A figure gives no duration.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TimingError {
    #[error("{owner}: {figure} is {value}; a pass time needs a finite number above 0")]
    NotPositive { owner: String, figure: &'static str, value: f64 },
    #[error(
        "{model}: tensor_parallel {ranks} does not divide its {heads} heads; \
         use a divisor of {heads}"
    )]
    UnevenHeads { model: String, ranks: u32, heads: u32 },
    #[error(
        "{accelerator}: no all_reduce figures, so tensor_parallel {ranks} has no time; \
         add (ranks, microseconds, GB/s) rows to its fit or use 1 rank"
    )]
    NoAllReduce { accelerator: String, ranks: u32 },
}
