//! The analytic timing model: the sum of a pass's kernels, and the CPU's work.
//!
//! ```text
//! pass = gpu + cpu            (the scheduler waits for the GPU)
//!      | max(gpu, cpu)        (asynchronous scheduling)
//! cpu  = per pass + per sequence * sequences
//! gpu  = layers * (products + elementwise + attention) + head + all-reduces
//! ```
//!
//! All but attention depends on the numbers of tokens and sequences alone, so these parts are
//! memoised per count. Left out: the up-projection of cached latents, sliding windows, pipeline and
//! expert parallelism. Layers with states (linear attention) have attention's products but no
//! attention.

use weir_model::shape::ModelShape;
use weir_model::{Accelerator, KvKind, Nanos};

use super::error::TimingError;
use super::kernels::{
    ACTIVATION_BYTES, AllReduce, Attention, ExpertLayer, MatrixProduct, Roofline,
};
use super::{PassShape, TimingModel};
use crate::config::AnalyticConfig;

/// Bandwidth share of norms, rotations, activations and copies.
const ELEMENTWISE_BANDWIDTH_SHARE: f64 = 0.75;
/// Elementwise kernels per layer, and the gap between kernels of a captured graph.
const ELEMENTWISE_FIXED_S: f64 = 7.0 * 1.6e-6;
/// Bytes moved per logit (bf16 to f32, softmax, reads), and the bandwidth share.
const SAMPLER_BYTES_PER_LOGIT: f64 = 12.0;
const SAMPLER_BANDWIDTH_SHARE: f64 = 0.8;
/// After attention and after the MLP.
const ALL_REDUCES_PER_LAYER: f64 = 2.0;
/// Larger counts are not memoised; 2 tables of 512 KiB at most.
const KEPT_COUNTS: u64 = 1 << 16;

/// In seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct PassParts {
    /// Of all layers, experts included.
    pub products: f64,
    /// Norms, rotations, activations, residuals.
    pub elementwise: f64,
    pub all_reduce: f64,
    pub head: f64,
    pub attention: f64,
    /// Scheduler, input preparation, output handling.
    pub cpu: f64,
}

#[derive(Debug, Clone, Copy)]
enum Mlp {
    Dense { gate_up: MatrixProduct, down: MatrixProduct },
    Sparse { experts: ExpertLayer, roofline: Roofline },
}

#[derive(Debug, Clone)]
pub struct AnalyticTiming {
    layers: f64,
    /// The other layers keep a state.
    attending: f64,
    hidden: f64,
    /// Of one layer, before the MLP.
    projections: Vec<MatrixProduct>,
    mlp: Mlp,
    head: MatrixProduct,
    weights: Roofline,
    /// Logits are in bf16 also with quantised layers.
    head_weights: Roofline,
    attention: Attention,
    all_reduce: Option<AllReduce>,
    /// Per token and layer.
    elementwise_s: f64,
    /// Per sequence.
    sampling_s: f64,
    cpu_pass_s: f64,
    cpu_sequence_s: f64,
    async_scheduling: bool,
    front_end: Nanos,
    /// Seconds by number of tokens and of sequences; NaN if not computed.
    by_tokens: Vec<f64>,
    by_sequences: Vec<f64>,
}

impl AnalyticTiming {
    /// An error names the invalid figure.
    pub fn new(config: &AnalyticConfig) -> Result<Self, TimingError> {
        check(config)?;
        let (model, accelerator) = (&config.model, &config.accelerator);
        let ranks = f64::from(config.tensor_parallel);
        let memory = accelerator.memory_gb_per_s * 1e9;
        let all_reduce =
            match config.tensor_parallel {
                1 => None,
                ranks => Some(AllReduce::between(&accelerator.fit.all_reduce, ranks).ok_or_else(
                    || TimingError::NoAllReduce { accelerator: accelerator.name.clone(), ranks },
                )?),
            };
        let projections = projections(model, config.tensor_parallel);
        let mlp = mlp(model, accelerator, ranks);
        // Width of elementwise work: residual stream and norms, queries, keys and values, and the
        // MLP's inner width (that of experts is in their layer's time).
        let inner = match mlp {
            Mlp::Dense { down, .. } => down.inputs,
            Mlp::Sparse { .. } => 0.0,
        };
        let qkv = attention_width(model, config.tensor_parallel);
        let width = 8.0 * f64::from(model.hidden) + 2.0 * qkv + 3.0 * inner;
        let vocabulary = f64::from(model.vocabulary) / ranks;
        Ok(Self {
            layers: f64::from(model.layers),
            attending: f64::from(attending(model)),
            hidden: f64::from(model.hidden),
            projections,
            mlp,
            head: MatrixProduct {
                outputs: vocabulary,
                inputs: f64::from(model.hidden),
                bytes_per_weight: ACTIVATION_BYTES,
            },
            weights: Roofline::of_products(accelerator, model.bytes_per_weight),
            head_weights: Roofline::of_products(accelerator, ACTIVATION_BYTES),
            attention: attention(config),
            all_reduce,
            elementwise_s: ACTIVATION_BYTES * width / (ELEMENTWISE_BANDWIDTH_SHARE * memory),
            sampling_s: vocabulary * SAMPLER_BYTES_PER_LOGIT / (SAMPLER_BANDWIDTH_SHARE * memory),
            cpu_pass_s: config.cpu_per_pass.as_secs_f64(),
            cpu_sequence_s: config.cpu_per_sequence.as_secs_f64(),
            async_scheduling: config.async_scheduling,
            front_end: config.front_end,
            by_tokens: Vec::new(),
            by_sequences: Vec::new(),
        })
    }

    /// For explanations and calibration. Not memoised; [`TimingModel::pass`] gives the total
    /// faster.
    pub fn parts(&self, shape: &PassShape) -> PassParts {
        let (tokens, sequences) = (shape.tokens() as f64, shape.sequences() as f64);
        let cpu = self.cpu_pass_s + self.cpu_sequence_s * sequences;
        if tokens <= 0.0 {
            return PassParts { cpu, ..PassParts::default() };
        }
        PassParts {
            products: self.products(tokens),
            elementwise: self.elementwise(tokens),
            all_reduce: self.all_reduces(tokens),
            head: self.head(sequences),
            attention: self.attending * self.attention.time(shape),
            cpu,
        }
    }

    fn products(&self, tokens: f64) -> f64 {
        let before: f64 =
            self.projections.iter().map(|product| product.time(&self.weights, tokens)).sum();
        let mlp = match &self.mlp {
            Mlp::Dense { gate_up, down } => {
                gate_up.time(&self.weights, tokens) + down.time(&self.weights, tokens)
            }
            Mlp::Sparse { experts, roofline } => experts.time(roofline, tokens),
        };
        self.layers * (before + mlp)
    }

    fn elementwise(&self, tokens: f64) -> f64 {
        self.layers * (tokens * self.elementwise_s + ELEMENTWISE_FIXED_S)
    }

    fn all_reduces(&self, tokens: f64) -> f64 {
        let bytes = ACTIVATION_BYTES * tokens * self.hidden;
        self.all_reduce
            .map_or(0.0, |all_reduce| ALL_REDUCES_PER_LAYER * self.layers * all_reduce.time(bytes))
    }

    fn head(&self, sequences: f64) -> f64 {
        self.head.time(&self.head_weights, sequences) + sequences * self.sampling_s
    }

    /// What depends on the number of tokens alone.
    fn token_time(&mut self, tokens: u64) -> f64 {
        if let Some(kept) = kept(&self.by_tokens, tokens) {
            return kept;
        }
        let count = tokens as f64;
        let time = self.products(count) + self.elementwise(count) + self.all_reduces(count);
        keep(&mut self.by_tokens, tokens, time);
        time
    }

    /// What depends on the number of sequences alone.
    fn sequence_time(&mut self, sequences: u64) -> f64 {
        if let Some(kept) = kept(&self.by_sequences, sequences) {
            return kept;
        }
        let time = self.head(sequences as f64);
        keep(&mut self.by_sequences, sequences, time);
        time
    }
}

impl TimingModel for AnalyticTiming {
    fn pass(&mut self, shape: &PassShape) -> Nanos {
        let (tokens, sequences) = (shape.tokens(), shape.sequences());
        let cpu = self.cpu_pass_s + self.cpu_sequence_s * sequences as f64;
        if tokens == 0 {
            return Nanos::from_secs_f64(cpu);
        }
        let gpu = self.token_time(tokens)
            + self.sequence_time(sequences)
            + self.attending * self.attention.time(shape);
        let seconds = if self.async_scheduling { gpu.max(cpu) } else { gpu + cpu };
        Nanos::from_secs_f64(seconds)
    }

    fn front_end(&self) -> Nanos {
        self.front_end
    }
}

fn kept(table: &[f64], count: u64) -> Option<f64> {
    let time = *table.get(usize::try_from(count).ok()?)?;
    (!time.is_nan()).then_some(time)
}

fn keep(table: &mut Vec<f64>, count: u64, time: f64) {
    if count >= KEPT_COUNTS {
        return;
    }
    let index = count as usize;
    if index >= table.len() {
        table.resize((index + 1).next_power_of_two(), f64::NAN);
    }
    table[index] = time;
}

/// Without the layers that only keep states.
fn attending(model: &ModelShape) -> u32 {
    let count = |wanted: fn(KvKind) -> bool| {
        model.kv_layers.iter().filter(|of| wanted(of.kind)).map(|of| of.count).sum::<u32>()
    };
    let both = count(|kind| matches!(kind, KvKind::Full | KvKind::Latent));
    model.layers.saturating_sub(count(|kind| kind == KvKind::State)).max(both.min(model.layers))
}

/// On one rank; replicated beyond one rank per head.
fn kv_heads(model: &ModelShape, ranks: u32) -> f64 {
    f64::from(model.kv_heads.div_ceil(ranks))
}

/// Queries, keys and values of one token on one rank.
fn attention_width(model: &ModelShape, ranks: u32) -> f64 {
    let heads = f64::from(model.heads / ranks);
    let dim = f64::from(model.head_dim);
    match model.latent {
        None => (heads + 2.0 * kv_heads(model, ranks)) * dim,
        Some(latent) => heads * (3.0 * dim + f64::from(latent.rope)),
    }
}

/// Before the MLP. With latent attention: down- and up-projection of queries, of keys and values,
/// and the output. The shape lacks the queries' rank; `DeepSeek` uses three times the keys' or, if
/// cheaper, none.
fn projections(model: &ModelShape, ranks: u32) -> Vec<MatrixProduct> {
    let bytes_per_weight = model.bytes_per_weight;
    let product = |outputs, inputs| MatrixProduct { outputs, inputs, bytes_per_weight };
    let hidden = f64::from(model.hidden);
    let heads = f64::from(model.heads / ranks);
    let dim = f64::from(model.head_dim);
    let output = product(hidden, heads * dim);
    let Some(latent) = model.latent else {
        return vec![product(attention_width(model, ranks), hidden), output];
    };
    let (rank, rope) = (f64::from(latent.rank), f64::from(latent.rope));
    let queries = heads * (dim + rope);
    let query_rank = 3.0 * rank;
    let mut list = if query_rank * (hidden + queries) < hidden * queries {
        vec![product(query_rank, hidden), product(queries, query_rank)]
    } else {
        vec![product(queries, hidden)]
    };
    list.extend([product(rank + rope, hidden), product(2.0 * heads * dim, rank), output]);
    list
}

/// With experts, every layer is sparse.
fn mlp(model: &ModelShape, accelerator: &Accelerator, ranks: f64) -> Mlp {
    let bytes_per_weight = model.bytes_per_weight;
    let hidden = f64::from(model.hidden);
    if let Some(experts) = model.experts {
        return Mlp::Sparse {
            experts: ExpertLayer { experts, hidden, bytes_per_weight, ranks },
            roofline: Roofline::of_experts(accelerator, bytes_per_weight),
        };
    }
    let inner = f64::from(model.intermediate) / ranks;
    Mlp::Dense {
        gate_up: MatrixProduct { outputs: 2.0 * inner, inputs: hidden, bytes_per_weight },
        down: MatrixProduct { outputs: hidden, inputs: inner, bytes_per_weight },
    }
}

/// Of one layer on one rank. Latent attention decodes on the compressed vectors (shared by all
/// heads, so operations can bind) and prefills on expanded heads. vLLM has no cascade for it.
fn attention(config: &AnalyticConfig) -> Attention {
    let model = &config.model;
    let heads = f64::from(model.heads / config.tensor_parallel);
    let dim = f64::from(model.head_dim);
    let cascade = config.cascade_attention && model.latent.is_none();
    let element = f64::from(model.kv_bytes_per_element);
    let plain = Attention::on(&config.accelerator, cascade);
    match model.latent {
        None => Attention {
            kv_bytes: 2.0 * kv_heads(model, config.tensor_parallel) * dim * element,
            pair_flops: 4.0 * heads * dim,
            ..plain
        },
        Some(latent) => {
            let (rank, rope) = (f64::from(latent.rank), f64::from(latent.rope));
            Attention {
                kv_bytes: (rank + rope) * element,
                pair_flops: 2.0 * heads * (2.0 * dim + rope),
                decode_flops: 2.0 * heads * (2.0 * rank + rope),
                ..plain
            }
        }
    }
}

/// Refuses figures that would give a time of zero, infinity or NaN.
fn check(config: &AnalyticConfig) -> Result<(), TimingError> {
    let (model, accelerator) = (&config.model, &config.accelerator);
    let fit = &accelerator.fit;
    let of_model = [
        ("layers", f64::from(model.layers)),
        ("hidden", f64::from(model.hidden)),
        ("heads", f64::from(model.heads)),
        ("kv_heads", f64::from(model.kv_heads)),
        ("head_dim", f64::from(model.head_dim)),
        ("vocabulary", f64::from(model.vocabulary)),
        ("bytes_per_weight", model.bytes_per_weight),
        ("kv_bytes_per_element", f64::from(model.kv_bytes_per_element)),
        ("tensor_parallel", f64::from(config.tensor_parallel)),
    ];
    let of_mlp = match model.experts {
        None => vec![("intermediate", f64::from(model.intermediate))],
        Some(experts) => vec![
            ("experts.active", f64::from(experts.active)),
            ("experts.intermediate", f64::from(experts.intermediate)),
            // Zero spare experts are valid, but not more active experts than there are.
            ("experts.count - active + 1", {
                f64::from(experts.count) - f64::from(experts.active) + 1.0
            }),
        ],
    };
    for (figure, value) in of_model.into_iter().chain(of_mlp) {
        positive(&model.name, figure, value)?;
    }
    let of_accelerator = [
        ("bf16_tflops", accelerator.bf16_tflops),
        ("memory_gb_per_s", accelerator.memory_gb_per_s),
        ("gemm_flops_share", fit.gemm_flops_share),
        ("gemm_bandwidth_share", fit.gemm_bandwidth_share),
        ("gemm_blend", fit.gemm_blend),
        ("decode_bandwidth_share", fit.decode_bandwidth_share),
        ("prefill_flops_share", fit.prefill_flops_share),
        ("prefill_half_tokens", fit.prefill_half_tokens),
        ("gemm_fixed_us", fit.gemm_fixed_us),
    ];
    let all_reduce = fit.all_reduce.iter().flat_map(|(ranks, fixed, bandwidth)| {
        [
            ("all_reduce ranks", f64::from(*ranks)),
            ("all_reduce microseconds", *fixed),
            ("all_reduce GB/s", *bandwidth),
        ]
    });
    for (figure, value) in of_accelerator.into_iter().chain(all_reduce) {
        positive(&accelerator.name, figure, value)?;
    }
    if !model.heads.is_multiple_of(config.tensor_parallel) {
        return Err(TimingError::UnevenHeads {
            model: model.name.clone(),
            ranks: config.tensor_parallel,
            heads: model.heads,
        });
    }
    Ok(())
}

fn positive(owner: &str, figure: &'static str, value: f64) -> Result<(), TimingError> {
    if value.is_finite() && value > 0.0 {
        return Ok(());
    }
    Err(TimingError::NotPositive { owner: owner.to_owned(), figure, value })
}
