//! Accelerators: data-sheet figures, and kernel constants fitted to published vLLM kernel
//! measurements (AIConfigurator's data, Apache-2.0).
//!
//! `memory_mib` is what the driver reports, which is a little below the nominal size. The host
//! link is what large copies reach: 51 GB/s on PCIe 5 (vLLM's offload measurements on H100),
//! 22 to 25 GB/s on PCIe 4; PCIe 6 is taken as twice PCIe 5.
//!
//! `cpu` runs vLLM without a GPU. Machines differ too much for common figures: give it
//! `engine.kv_tokens`, and `engine.timing` from a recording (docs/calibration.md).

use weir_model::{Accelerator, KernelFit};

use crate::error::SpecError;
use crate::plan::Hardware;

pub(crate) const CPU: &str = "cpu";
/// Compute capability 10.
const BLACKWELL: &str = "b200";

const MOST: u32 = 64;

/// `(flops share, bandwidth share, fixed us, blend)` of matrix products.
type Gemm = (f64, f64, f64, f64);
/// `(share of peak, half-efficiency chunk)` of prefill attention.
type Prefill = (f64, f64);

fn fit(gemm: Gemm, decode: f64, prefill: Prefill, reduce: [(f64, f64); 3]) -> KernelFit {
    KernelFit {
        gemm_flops_share: gemm.0,
        gemm_bandwidth_share: gemm.1,
        gemm_fixed_us: gemm.2,
        gemm_blend: gemm.3,
        decode_bandwidth_share: decode,
        prefill_flops_share: prefill.0,
        prefill_half_tokens: prefill.1,
        all_reduce: [2, 4, 8].into_iter().zip(reduce).map(|(n, (us, gb))| (n, us, gb)).collect(),
    }
}

fn l40s_fit() -> KernelFit {
    let reduce = [(5.3, 18.9), (12.9, 2.55), (24.3, 1.12)];
    fit((0.644, 0.804, 1.1, 2.19), 0.84, (0.51, 450.0), reduce)
}

fn a100_fit() -> KernelFit {
    let reduce = [(5.0, 175.0), (5.4, 95.0), (6.3, 81.0)];
    fit((0.849, 0.758, 5.6, 1.64), 0.81, (0.58, 500.0), reduce)
}

fn h100_fit() -> KernelFit {
    let reduce = [(4.2, 222.0), (4.7, 172.0), (5.4, 185.0)];
    fit((0.815, 0.883, 3.5, 2.80), 0.955, (0.60, 1100.0), reduce)
}

fn h200_fit() -> KernelFit {
    let reduce = [(4.4, 243.0), (4.7, 178.0), (5.1, 194.0)];
    fit((0.806, 0.836, 3.8, 3.2), 0.943, (0.60, 1100.0), reduce)
}

fn b200_fit() -> KernelFit {
    let reduce = [(7.0, 332.0), (7.1, 232.0), (8.1, 304.0)];
    fit((0.715, 0.805, 3.3, 2.56), 0.956, (0.58, 1600.0), reduce)
}

pub fn all() -> Vec<Accelerator> {
    // Name, MiB, bf16 TFLOP/s, GB/s, L2 MiB, host link GB/s, fit, fitted on this accelerator.
    let rows = [
        ("l40s", 46_068, 362.0, 864.0, 96, 24.0, l40s_fit(), true),
        ("l4", 23_034, 121.0, 300.0, 48, 24.0, l40s_fit(), false),
        ("a10", 23_028, 125.0, 600.0, 6, 24.0, l40s_fit(), false),
        ("a100-40", 40_960, 312.0, 1555.0, 40, 24.0, a100_fit(), false),
        ("a100-80", 81_920, 312.0, 2039.0, 40, 24.0, a100_fit(), true),
        ("h100", 81_559, 989.0, 3350.0, 50, 51.0, h100_fit(), true),
        ("h200", 143_771, 989.0, 4800.0, 50, 51.0, h200_fit(), true),
        ("b200", 183_359, 2250.0, 7700.0, 126, 102.0, b200_fit(), true),
        (CPU, 16_384, 2.0, 40.0, 32, 5.0, l40s_fit(), false),
    ];
    rows.into_iter()
        .map(|(name, memory_mib, bf16_tflops, memory_gb_per_s, l2_mib, link, fit, calibrated)| {
            Accelerator {
                name: name.to_owned(),
                memory_mib,
                bf16_tflops,
                memory_gb_per_s,
                l2_mib,
                host_link_gb_per_s: link,
                fit,
                calibrated,
            }
        })
        .collect()
}

pub(crate) fn is_blackwell(accelerator: &Accelerator) -> bool {
    accelerator.name == BLACKWELL
}

pub(crate) fn find(name: &str, key: &str) -> Result<Accelerator, SpecError> {
    let all = all();
    let names: Vec<String> = all.iter().map(|accelerator| accelerator.name.clone()).collect();
    all.into_iter().find(|accelerator| accelerator.name == name).ok_or_else(|| {
        let known = names.iter().map(String::as_str);
        SpecError::unknown(key, "accelerator", name, "hardware", known)
    })
}

/// `<count>x-<accelerator>`; `key` is for the error.
pub(crate) fn hardware(name: &str, key: &str) -> Result<Hardware, SpecError> {
    let parts = name.split_once("x-").and_then(|(count, accelerator)| {
        count.parse::<u32>().ok().map(|count| (count, accelerator))
    });
    let Some((count, accelerator)) = parts else {
        return Err(SpecError::value(
            key,
            format!("`{name}` is not hardware"),
            "write the count and the accelerator, for example `2x-l40s`",
        ));
    };
    check_count(count, key)?;
    Ok(Hardware { name: name.to_owned(), count, accelerator: find(accelerator, key)? })
}

pub(crate) fn check_count(count: u32, key: &str) -> Result<(), SpecError> {
    if (1..=MOST).contains(&count) {
        return Ok(());
    }
    Err(SpecError::value(
        key,
        format!("{count} accelerators per replica"),
        format!("write a count from 1 to {MOST}"),
    ))
}
