//! Why no timing model can be built.

/// A figure that no duration can be computed from.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TimingError {
    /// A figure that must be positive is zero, negative or not a number.
    #[error("{owner}: {figure} is {value}; a pass time needs a finite number above 0")]
    NotPositive {
        /// Model or accelerator.
        owner: String,
        /// Name of the figure, as in the catalogue.
        figure: &'static str,
        /// The value found.
        value: f64,
    },
    /// Tensor parallelism cannot split the model's heads.
    #[error(
        "{model}: tensor_parallel {ranks} does not divide its {heads} heads; \
         use a divisor of {heads}"
    )]
    UnevenHeads {
        /// Name of the model.
        model: String,
        /// Ranks asked for.
        ranks: u32,
        /// Query heads of the model.
        heads: u32,
    },
    /// Several ranks, but no measured all-reduce.
    #[error(
        "{accelerator}: no all_reduce figures, so tensor_parallel {ranks} has no time; \
         add (ranks, microseconds, GB/s) rows to its fit or use 1 rank"
    )]
    NoAllReduce {
        /// Name of the accelerator.
        accelerator: String,
        /// Ranks asked for.
        ranks: u32,
    },
}
