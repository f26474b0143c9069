//! A physical bound: no engine computes more tokens than its accelerators' arithmetic allows.

use weir_model::ModelShape;
use weir_record::CellFigures;
use weir_spec::plan::Deployment;

/// The implied share of the deployment's peak arithmetic. None for models whose active weights the
/// shape does not give exactly.
///
/// A token costs at least `2 * weights` floating-point operations (one multiplication and one
/// addition per weight), plus attention. Computed tokens are the uncached prompt tokens and the
/// output tokens. A share above 1 means that hits were missed, or that throughput is inflated.
pub fn compute_share(figures: &CellFigures, deployment: &Deployment) -> Option<f64> {
    let model = &deployment.model;
    if model.experts.is_some() || model.latent.is_some() || !model.kv_layers.is_empty() {
        return None;
    }
    if model.layers == 0 {
        // An endpoint's model, of which only the name is known.
        return None;
    }
    let weights = products(model);
    let hits = figures.gpu_hit_percent? + figures.external_hit_percent.unwrap_or(0.0);
    let computed = figures.prompt_tokens_per_s? * (1.0 - hits / 100.0)
        + figures.completed_output_tokens_per_s?;
    let accelerators = f64::from(deployment.hardware.count) * f64::from(deployment.replicas);
    let peak = deployment.hardware.accelerator.bf16_tflops * 1e12 * accelerators;
    (peak > 0.0).then(|| 2.0 * weights * computed / peak)
}

/// Weights of the layers that each token is multiplied with. Embeddings are looked up; logits are
/// computed for the last prompt token only.
fn products(model: &ModelShape) -> f64 {
    let of = f64::from;
    let attention = 2.0 * of(model.heads) + 2.0 * of(model.kv_heads);
    let layer = of(model.hidden) * (attention * of(model.head_dim) + 3.0 * of(model.intermediate));
    of(model.layers) * layer
}
