//! Arguments of `vllm serve` by flag, and the facts that each decides.

use std::collections::BTreeMap;

use weir_model::FactKind;

use crate::document::local::is_flag;
use crate::plan::flag;

const DECIDES: [(&str, &[FactKind]); 17] = [
    ("--enable-prefix-caching", &[FactKind::PrefixCaching]),
    ("--no-enable-prefix-caching", &[FactKind::PrefixCaching]),
    ("--num-gpu-blocks-override", &[FactKind::Blocks]),
    ("--gpu-memory-utilization", &[FactKind::Blocks]),
    ("--kv-cache-memory-bytes", &[FactKind::Blocks]),
    ("--block-size", &[FactKind::BlockSize, FactKind::Blocks]),
    ("--dtype", &[FactKind::Dtype, FactKind::KvDtype]),
    ("--kv-cache-dtype", &[FactKind::KvDtype]),
    ("--max-num-seqs", &[FactKind::MaxSequences]),
    ("--max-num-batched-tokens", &[FactKind::MaxBatchedTokens]),
    ("--max-model-len", &[FactKind::MaxModelLen]),
    ("--enable-chunked-prefill", &[FactKind::ChunkedPrefill]),
    ("--no-enable-chunked-prefill", &[FactKind::ChunkedPrefill]),
    ("--tensor-parallel-size", &[FactKind::TensorParallel]),
    ("-tp", &[FactKind::TensorParallel]),
    ("--enforce-eager", &[FactKind::Eager]),
    ("--no-enforce-eager", &[FactKind::Eager]),
];
pub(super) const CONNECTOR: &str = "--kv-transfer-config";
const MECHANISM: [&str; 6] = [
    CONNECTOR,
    "--kv-events-config",
    "--kv-offloading-size",
    "--kv-offloading-backend",
    "--disable-hybrid-kv-cache-manager",
    "--no-disable-hybrid-kv-cache-manager",
];
const SIZES: [&str; 2] = [CONNECTOR, "--kv-offloading-size"];
/// Variables of a mechanism: LMCache's, the seed of keys, the search path of a connector's module.
const MECHANISM_VARIABLES: [&str; 3] =
    ["PYTHONHASHSEED", "PYTHONPATH", "VLLM_USE_SIMPLE_KV_OFFLOAD"];
const LMCACHE_VARIABLES: &str = "LMCACHE_";

/// Arguments by flag, with their values: empty for a bare flag, and the last value of a repeated
/// flag. Words before the first flag are left out.
pub fn by_flag(arguments: &[String]) -> BTreeMap<String, String> {
    let mut flags: BTreeMap<String, String> = BTreeMap::new();
    let mut last = None;
    for argument in arguments {
        if is_flag(argument) {
            let value = argument.split_once('=').map_or("", |(_, value)| value);
            let name = flag(argument);
            flags.insert(name.clone(), value.to_owned());
            last = Some(name);
        } else if let Some(value) = last.as_ref().and_then(|name| flags.get_mut(name)) {
            if !value.is_empty() {
                value.push(' ');
            }
            value.push_str(argument);
        }
    }
    flags
}

pub(super) fn decides(flag: &str) -> &'static [FactKind] {
    DECIDES.iter().find(|(name, _)| *name == flag).map_or(&[], |(_, kinds)| kinds)
}

pub(super) fn is_mechanism(flag: &str) -> bool {
    MECHANISM.contains(&flag)
}

pub(super) fn is_mechanism_variable(name: &str) -> bool {
    name.starts_with(LMCACHE_VARIABLES) || MECHANISM_VARIABLES.contains(&name)
}

pub(super) fn is_size(flag: &str) -> bool {
    SIZES.contains(&flag)
}

pub(super) fn is_setting(name: &str) -> bool {
    name.starts_with(LMCACHE_VARIABLES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_belong_to_the_flag_before_them() {
        let line = "vllm serve m --max_num_seqs=8 --enforce-eager --rope -1 2 --max-num-seqs 9 -O3";
        let line: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let flags = by_flag(&line);
        assert_eq!(flags["--max-num-seqs"], "9");
        assert_eq!(flags["--enforce-eager"], "");
        assert_eq!(flags["--rope"], "-1 2");
        assert_eq!(flags.len(), 4, "{flags:?}");
    }
}
