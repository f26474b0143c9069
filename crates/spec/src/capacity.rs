//! KV capacity: what the weights leave of the GPU's memory.

use weir_model::{Accelerator, Bytes, ModelShape};

use crate::error::SpecError;

/// From here on vLLM treats a GPU as a large one (8192 tokens per pass, 1024 sequences).
const LARGE_MIB: u64 = 70 * 1024;
const MIB: f64 = 1024.0 * 1024.0;
const GIB: f64 = 1024.0 * MIB;

pub const fn is_large(accelerator: &Accelerator) -> bool {
    accelerator.memory_mib >= LARGE_MIB
}

/// Memory of one GPU that is neither weights nor KV blocks (activations, sampler, CUDA context).
///
/// 6.1 GiB fits four published models on L40S with `max-num-seqs` 1024, and 3.4 GiB llm-d's
/// default on H100. On smaller GPUs the part of it that grows with the sequences (the sampler's
/// buffers) is an estimate: 3.7 of the 6.1 GiB.
pub fn overhead(accelerator: &Accelerator, max_num_seqs: u32) -> Bytes {
    let gib = if is_large(accelerator) {
        3.4
    } else {
        2.4 + 3.7 * f64::from(max_num_seqs.min(1024)) / 1024.0
    };
    Bytes((gib * GIB) as u64)
}

/// `gpu_memory_utilization * memory - weights / tp - overhead`, for each GPU of a replica.
///
/// Fails when the weights leave nothing, or are not known. `model` is for the error.
pub fn kv_bytes(
    model: &ModelShape,
    accelerator: &Accelerator,
    tensor_parallel: u32,
    gpu_memory_utilization: f64,
    max_num_seqs: u32,
) -> Result<u64, SpecError> {
    let Some(weights) = model.weight_bytes else {
        return Err(SpecError::UnknownWeights {
            model: model.name.clone(),
            why: "its shape does not tell".to_owned(),
        });
    };
    let usable = accelerator.memory_mib as f64 * MIB * gpu_memory_utilization;
    let weights = weights.0 as f64 / f64::from(tensor_parallel);
    let overhead = overhead(accelerator, max_num_seqs).0 as f64;
    let left = usable - weights - overhead;
    if left <= 0.0 {
        return Err(SpecError::DoesNotFit {
            model: model.name.clone(),
            ranks: tensor_parallel,
            accelerator: accelerator.name.clone(),
            usable: usable / GIB,
            weights: weights / GIB,
            overhead: overhead / GIB,
        });
    }
    Ok(left as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::{accelerators, models};
    use crate::kv_pool::KvPool;
    use weir_model::quantity::Version;

    const VLLM: Version = Version { major: 0, minor: 11, patch: 2 };

    fn pool(model: &str, utilization: f64) -> f64 {
        let model = models::find(model).unwrap();
        let l40s = accelerators::find("l40s", "hardware").unwrap();
        let bytes = kv_bytes(&model, &l40s, 2, utilization, 1024).unwrap();
        KvPool::of(&model, 2, 16, VLLM).tokens(bytes, 1) as f64
    }

    #[test]
    fn pools_of_the_published_evaluation_are_reproduced() {
        for (model, tokens) in [
            ("Qwen/Qwen3-0.6B", 635_200.0),
            ("Qwen/Qwen3-8B", 390_704.0),
            ("Qwen/Qwen3-14B", 269_712.0),
            ("Qwen/Qwen3-32B-AWQ", 208_080.0),
        ] {
            let computed = pool(model, 0.9);
            assert!((computed / tokens - 1.0).abs() < 0.02, "{model}: {computed}");
        }
    }

    #[test]
    fn pools_under_memory_pressure_are_near_the_published_ones() {
        // The published overhead varies more here (6.1 to 6.9 GiB).
        for (model, utilization, tokens) in [
            ("Qwen/Qwen3-0.6B", 0.55, 335_000.0),
            ("Qwen/Qwen3-8B", 0.65, 215_000.0),
            ("Qwen/Qwen3-14B", 0.70, 142_000.0),
            ("Qwen/Qwen3-32B-AWQ", 0.65, 116_000.0),
        ] {
            let computed = pool(model, utilization);
            assert!((computed / tokens - 1.0).abs() < 0.08, "{model}: {computed}");
        }
    }

    #[test]
    fn a_model_that_does_not_fit_is_refused() {
        let model = models::find("meta-llama/Llama-3.1-70B").unwrap();
        let l4 = accelerators::find("l4", "hardware").unwrap();
        let error = kv_bytes(&model, &l4, 1, 0.9, 256).unwrap_err().to_string();
        assert_eq!(
            error,
            "models: meta-llama/Llama-3.1-70B does not fit: each of 1 l4 offers 20.2 GiB, and \
             needs 131.4 GiB of weights and 3.3 GiB besides; use more or larger accelerators, or \
             a quantized model"
        );
    }
}
