//! Accelerators by the names that clusters label their nodes with.

use crate::document::hardware::HardwareSection;
use crate::document::written::NameOr;

/// First word of a product name, and the catalogue's name for it. An A100 has 80 GB unless its name
/// says 40.
const PRODUCTS: [(&str, &str); 8] = [
    ("L40S", "l40s"),
    ("L4", "l4"),
    ("A10", "a10"),
    ("A100", "a100-80"),
    ("H100", "h100"),
    ("H200", "h200"),
    ("B200", "b200"),
    ("CPU", "cpu"),
];

/// A replica's accelerators, by a product name such as `NVIDIA-H100-80GB-HBM3` or `L40S`. None for
/// one that the catalogue does not have.
pub(super) fn hardware(product: &str, count: u32) -> Option<NameOr<HardwareSection>> {
    let upper = product.to_ascii_uppercase();
    let bare = upper.trim_start_matches("NVIDIA-");
    let first = bare.split('-').next().unwrap_or_default();
    let (_, name) = PRODUCTS.iter().find(|(known, _)| *known == first)?;
    let name = if *name == "a100-80" && bare.contains("40GB") { "a100-40" } else { name };
    match slice(bare) {
        None => Some(NameOr::Name(format!("{count}x-{name}"))),
        Some((profile, gib)) => Some(NameOr::Map(HardwareSection {
            accelerator: name.to_owned(),
            count,
            name: Some(format!("{count}x-{name}-mig-{profile}")),
            memory_gib: Some(gib),
            memory_gb_per_s: None,
            host_link_gb_per_s: None,
        })),
    }
}

/// True for a part of an accelerator (MIG).
pub(super) fn is_slice(product: &str) -> bool {
    slice(&product.to_ascii_uppercase()).is_some()
}

/// Profile and GiB of `...-MIG-3G.40GB`.
fn slice(product: &str) -> Option<(String, f64)> {
    let profile = product.split_once("-MIG-")?.1;
    let gib = profile.split_once("G.")?.1.strip_suffix("GB")?.parse().ok()?;
    Some((profile.to_ascii_lowercase(), gib))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::accelerators;

    #[test]
    fn products_are_found_by_their_first_word() {
        for (product, name) in [
            ("NVIDIA-H100-80GB-HBM3", "2x-h100"),
            ("NVIDIA-L40S", "2x-l40s"),
            ("L40S", "2x-l40s"),
            ("NVIDIA-L4", "2x-l4"),
            ("NVIDIA-A100-SXM4-80GB", "2x-a100-80"),
            ("NVIDIA-A100-PCIE-40GB", "2x-a100-40"),
            ("NVIDIA-H200", "2x-h200"),
        ] {
            assert_eq!(hardware(product, 2), Some(NameOr::Name(name.to_owned())), "{product}");
        }
        for unknown in ["NVIDIA-L40", "NVIDIA-A10G", "AMD-MI300X", "", "Tesla-V100"] {
            assert_eq!(hardware(unknown, 1), None, "{unknown}");
        }
        for (_, name) in PRODUCTS {
            assert!(accelerators::all().iter().any(|known| known.name == name), "{name}");
        }
    }

    #[test]
    fn a_slice_has_its_own_memory() {
        let product = "NVIDIA-H100-80GB-HBM3-MIG-3g.40gb";
        let Some(NameOr::Map(section)) = hardware(product, 1) else { panic!("{product}") };
        assert_eq!(section.memory_gib, Some(40.0));
        assert_eq!(section.name.as_deref(), Some("1x-h100-mig-3g.40gb"));
        assert!(is_slice(product) && !is_slice("NVIDIA-H100-80GB-HBM3"));
    }
}
