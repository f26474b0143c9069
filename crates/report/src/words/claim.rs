//! Claims of an arm, and their observed figures.

use weir_model::{Claimed, Signal, TokenShare};

use super::tier;

pub(crate) fn claimed(of: &Claimed) -> String {
    match of {
        Claimed::NoExternalHits { .. } => "no external hits".to_owned(),
        Claimed::NothingOutsideGpu { .. } => {
            "nothing stored or looked up outside the GPU".to_owned()
        }
        Claimed::EvenChoice { most_percent, .. } => {
            format!("no replica got more than {most_percent:.0} % of the requests")
        }
        Claimed::Stored { .. } => "the mechanism stored blocks".to_owned(),
        Claimed::Asked { .. } => "the mechanism was asked for blocks".to_owned(),
        Claimed::ServedEnough { least, .. } => format!(
            "it served at least {:.0} % of the reuse that the GPU did not hold",
            100.0 * least
        ),
        Claimed::FarthestServed { tier: of, .. } => format!("{} served blocks", tier(*of)),
        Claimed::HeldCounted { .. } => "what it held was counted".to_owned(),
        Claimed::AnswersAgree { .. } => {
            "engines and answers agree on what the tiers served".to_owned()
        }
        Claimed::StoreAgrees { .. } => {
            "mechanism and store agree on what the store served".to_owned()
        }
        Claimed::ServedEligible { .. } => {
            "the tiers served no more than was asked before".to_owned()
        }
        Claimed::SeveralReplicas { .. } => "there were replicas to choose from".to_owned(),
        Claimed::SeveralAnswered { .. } => "more than one replica answered".to_owned(),
        Claimed::RouterChose { .. } => "the router chose every replica".to_owned(),
        Claimed::PreciseDecides { .. } => "the precise index decides".to_owned(),
        Claimed::IndexStored { .. } => "the index's store holds it".to_owned(),
        Claimed::IndexEvents { .. } => "KV events reached the index".to_owned(),
        Claimed::IndexAsked { .. } => "the index was asked".to_owned(),
        Claimed::IndexHits { .. } => "lookups found blocks".to_owned(),
        Claimed::ChoicesGained { least, .. } => format!(
            "its choices gained at least {:.0} % of what the best ones would over chance",
            100.0 * least
        ),
    }
}

pub(crate) fn seen(of: &Claimed) -> String {
    match of {
        Claimed::NoExternalHits { tokens } => tokens.map_or_else(
            || "no such metric".to_owned(),
            |tokens| format!("{tokens:.0} tokens of external hits"),
        ),
        Claimed::NothingOutsideGpu { stored_bytes, asked_tokens } => {
            let [stored, asked] = [stored_bytes, asked_tokens]
                .map(|count| count.map_or("-".to_owned(), |count| format!("{count:.0}")));
            format!("{stored} bytes stored, {asked} tokens asked for")
        }
        Claimed::EvenChoice { largest_percent, .. } => {
            counted(*largest_percent, |share| format!("at most {share:.1} %"))
        }
        Claimed::Stored { bytes } => counted(*bytes, |bytes| format!("{bytes:.0} bytes stored")),
        Claimed::Asked { tokens } => counted(*tokens, |tokens| format!("{tokens:.0} tokens")),
        Claimed::ServedEnough { served, .. } => served_enough(*served),
        Claimed::FarthestServed { tokens, .. } => {
            counted(*tokens, |tokens| format!("{tokens:.0} tokens of hits"))
        }
        Claimed::HeldCounted { served } => format!("0 at the end, and {}", served_out(served)),
        Claimed::AnswersAgree { engines: one, answers: other }
        | Claimed::StoreAgrees { mechanism: one, store: other } => {
            format!("{}, {}", said(one), said(other))
        }
        Claimed::ServedEligible { engines, eligible } => {
            format!("{}, of {eligible:.0} that could be served", said(engines))
        }
        Claimed::SeveralReplicas { replicas: 1 } => "1 replica".to_owned(),
        Claimed::SeveralReplicas { replicas } => format!("{replicas} replicas"),
        Claimed::SeveralAnswered { largest_percent } => {
            format!("{largest_percent:.1} % of the answers are of one replica")
        }
        Claimed::RouterChose { unrouted } => {
            format!("{unrouted:.0} requests sent by the gateway alone")
        }
        Claimed::PreciseDecides { approximate_blocks } => {
            format!("{approximate_blocks:.0} blocks of its own choices")
        }
        Claimed::IndexStored { keys } => counted(*keys, |keys| format!("{keys:.0} keys")),
        Claimed::IndexEvents { events } => counted(*events, |count| format!("{count:.0} events")),
        Claimed::IndexAsked { lookups } | Claimed::IndexHits { lookups } => {
            counted(*lookups, |count| format!("{count:.0} lookups"))
        }
        Claimed::ChoicesGained { routed, uniform, best, .. } => format!(
            "{routed:.0} tokens held by the chosen, {uniform:.0} on average, {best:.0} by the best"
        ),
    }
}

fn counted(value: Option<f64>, words: impl Fn(f64) -> String) -> String {
    value.map_or_else(|| "not observable".to_owned(), words)
}

fn served_enough(served: TokenShare) -> String {
    if served.whole == 0.0 {
        return "nothing to serve: 0 tokens missed the GPU cache".to_owned();
    }
    let TokenShare { part, whole } = served;
    format!("{part:.0} of {whole:.0} tokens ({:.1} %)", served.percent())
}

fn said(of: &Signal) -> String {
    format!("{} says {:.0}", of.source.who, of.value)
}

/// "4000 tokens were served out of it (the mechanism)".
pub(super) fn served_out(of: &Signal) -> String {
    format!("{:.0} tokens were served out of it ({})", of.value, of.source.who)
}
