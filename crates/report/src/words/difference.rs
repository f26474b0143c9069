//! Facts of the running software and their differences, in words.

use weir_model::{ArmArgument, ComparedWith, Differing, FactDifference, FactKind, FactValue};

use crate::numerals;

/// Most differences in a headline.
const TOLD: usize = 2;

pub(crate) const fn name(kind: FactKind) -> &'static str {
    match kind {
        FactKind::PrefixCaching => "prefix caching",
        FactKind::Blocks => "KV blocks",
        FactKind::BlockSize => "block size",
        FactKind::Dtype => "dtype",
        FactKind::KvDtype => "KV cache dtype",
        FactKind::MaxSequences => "max_num_seqs",
        FactKind::MaxBatchedTokens => "max_num_batched_tokens",
        FactKind::MaxModelLen => "max_model_len",
        FactKind::ChunkedPrefill => "chunked prefill",
        FactKind::TensorParallel => "tensor parallel ranks",
        FactKind::Eager => "eager mode",
        FactKind::ServedModel => "served model",
        FactKind::EngineVersion => "engine version",
        FactKind::Connector => "connector",
        FactKind::HostBytes => "connector's host memory in bytes",
        FactKind::LmcacheVersion => "LMCache version",
        FactKind::SecondLevel => "LMCache's second level",
        FactKind::ChunkTokens => "LMCache chunk size",
        FactKind::StoreProduct => "store",
        FactKind::StoreVersion => "store version",
        FactKind::Scorers => "scorers",
        FactKind::IndexBlock => "index block size",
        FactKind::IndexSeed => "index hash seed",
        FactKind::IndexStore => "index store",
        FactKind::EventsPort => "port of KV events",
    }
}

pub(crate) fn value(of: &FactValue) -> String {
    match of {
        FactValue::Flag(true) => "on".to_owned(),
        FactValue::Flag(false) => "off".to_owned(),
        FactValue::Count(count) => numerals::whole(*count as f64),
        FactValue::Text(text) => text.clone(),
        FactValue::Words(words) if words.is_empty() => "none".to_owned(),
        FactValue::Words(words) => words.join(" and "),
    }
}

fn or_unset(of: Option<&FactValue>) -> String {
    of.map_or_else(|| "not set".to_owned(), value)
}

/// "prefix caching on, but off in no-offload (no-offload has --no-enable-prefix-caching)".
pub(crate) fn difference(of: &FactDifference) -> String {
    match &of.differs {
        Differing::Fact(kind) => fact(*kind, of),
        Differing::Argument(flag) => argument(flag, of),
        Differing::Variable(name) => match &of.than {
            ComparedWith::Arm(arm) => format!("env gives {name} another value than in {arm}"),
            _ => format!("env gives {name} another value"),
        },
    }
}

fn fact(kind: FactKind, of: &FactDifference) -> String {
    let (name, is, was) = (name(kind), or_unset(of.is.as_ref()), or_unset(of.was.as_ref()));
    let at = if of.place.is_empty() { String::new() } else { format!(" at {}", of.place) };
    match &of.than {
        ComparedWith::Plan => format!("{name} {is}{at}, but {was} in the plan"),
        ComparedWith::Part(other) => format!("{name} {is}{at}, but {was} at {other}"),
        ComparedWith::Earlier => format!("{name} {is}{at}, but {was} before the load"),
        ComparedWith::Arm(arm) => {
            let given: Vec<String> = of.arguments.iter().map(written).collect();
            let from =
                if given.is_empty() { String::new() } else { format!(" ({})", given.join(", ")) };
            format!("{name} {is}, but {was} in {arm}{from}")
        }
    }
}

fn written(of: &ArmArgument) -> String {
    format!("{} has {}", of.arm, of.argument)
}

fn argument(flag: &str, of: &FactDifference) -> String {
    let with = |given: &FactValue| match given {
        FactValue::Text(text) if text.is_empty() => flag.to_owned(),
        other => format!("{flag} {}", value(other)),
    };
    let arm = match &of.than {
        ComparedWith::Arm(arm) => arm.as_str(),
        _ => "the control",
    };
    match (&of.is, &of.was) {
        (Some(is), Some(was)) => {
            format!("vllm_args has {}, but {arm} has {}", with(is), with(was))
        }
        (Some(is), None) => format!("vllm_args has {}, but {arm} has not", with(is)),
        (None, Some(was)) => format!("vllm_args lacks {}, which {arm} has", with(was)),
        (None, None) => format!("vllm_args has {flag} otherwise than {arm}"),
    }
}

/// All differences of a cell that does not count.
pub(crate) fn explanation(differences: &[FactDifference]) -> String {
    let all: Vec<String> = differences.iter().map(difference).collect();
    let is_planned_otherwise = differences.iter().any(|seen| seen.than == ComparedWith::Plan);
    let begins = if is_planned_otherwise {
        "What ran is not what the plan says"
    } else {
        "What ran differs in more than the mechanism"
    };
    format!("{begins}: {}.", all.join("; "))
}

pub(crate) fn not_comparable(differences: &[FactDifference]) -> String {
    let told: Vec<String> = differences.iter().take(TOLD).map(difference).collect();
    let more = match differences.len().saturating_sub(TOLD) {
        0 => String::new(),
        1 => "; and 1 more difference".to_owned(),
        more => format!("; and {more} more differences"),
    };
    format!("not comparable: {}{more}", told.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(than: ComparedWith, arguments: Vec<ArmArgument>) -> FactDifference {
        FactDifference {
            differs: Differing::Fact(FactKind::Blocks),
            place: "vllm-0".to_owned(),
            is: Some(FactValue::Count(8_224)),
            than,
            was: Some(FactValue::Count(33)),
            arguments,
        }
    }

    #[test]
    fn differences_name_both_values_and_where_they_come_from() {
        let given = ArmArgument {
            arm: "big-pool".to_owned(),
            argument: "--num-gpu-blocks-override 8224".to_owned(),
        };
        let cases = [
            (ComparedWith::Plan, "KV blocks 8,224 at vllm-0, but 33 in the plan"),
            (ComparedWith::Earlier, "KV blocks 8,224 at vllm-0, but 33 before the load"),
            (
                ComparedWith::Part("vllm-1".to_owned()),
                "KV blocks 8,224 at vllm-0, but 33 at vllm-1",
            ),
        ];
        for (than, words) in cases {
            assert_eq!(difference(&blocks(than, Vec::new())), words);
        }
        let arm = blocks(ComparedWith::Arm("no-offload".to_owned()), vec![given]);
        assert_eq!(
            difference(&arm),
            "KV blocks 8,224, but 33 in no-offload (big-pool has --num-gpu-blocks-override 8224)"
        );
        let many = vec![arm; 4];
        assert!(not_comparable(&many).ends_with("; and 2 more differences"));
    }
}
