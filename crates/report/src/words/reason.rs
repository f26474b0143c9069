//! Why a cell has its verdict, in one sentence or two.

use weir_model::{
    FarthestTier, Inaction, OffloadReason, Reason, RoutingReason, Signal, TierKind, TokenShare,
    Unseen, Verdict,
};

use super::claim::served_out;
use super::{place, tier, verdict};

/// With full stops. `other_half`: the verdict of an arm's other claim, where it differs.
pub(crate) fn reason(of: &Reason, other_half: Option<&Verdict>) -> String {
    let why = alone(of);
    match other_half {
        Some(other) => {
            format!("{why} Its other half is {}, which does not count alone.", verdict(other))
        }
        None => why,
    }
}

fn alone(of: &Reason) -> String {
    match of {
        Reason::NothingClaimed => "No arm is under test here, so there is no verdict.".to_owned(),
        Reason::Baseline => "A baseline: the other arms are compared with it.".to_owned(),
        Reason::ControlServed => "Something outside the GPU served the control.".to_owned(),
        Reason::ControlConnected => {
            "A connector stores or looks up blocks outside the GPU: its cost is in the control's \
             figures."
                .to_owned()
        }
        Reason::UnevenChoice => {
            "Random routing sent nearly all requests to one replica.".to_owned()
        }
        Reason::NoSource(what) => format!("There is no source for {}.", unseen(*what)),
        Reason::AnswersContradict => {
            "The engines' metrics and the answers report different tokens: the metrics are not \
             those of the engines that answered, or something answered before them."
                .to_owned()
        }
        Reason::StoreContradicts { mechanism, store } => format!(
            "{mechanism} counts tokens out of the store, and {store} none that left it: the \
             mechanism uses another store than the arm names, or looked blocks up and did not \
             load them."
        ),
        Reason::ServedTooMuch => {
            "The tiers served more than the load had asked before and the GPU did not hold: they \
             hold what an earlier load left, or the metrics are of other engines."
                .to_owned()
        }
        Reason::Inaction(how) => inaction(how),
        Reason::Routing(why) => routing(*why),
        Reason::Offload(why) => offload(why),
    }
}

fn unseen(what: Unseen) -> String {
    match what {
        Unseen::Operations => "stores or lookups of the offload mechanism".to_owned(),
        Unseen::Served => "what the mechanism served or could have served".to_owned(),
        Unseen::ServedBy(of) => format!("what {} served", tier(of)),
        Unseen::IndexEvents => "the events of the index".to_owned(),
        Unseen::Replicas => "which replicas answered".to_owned(),
        Unseen::Choices => "what the chosen replicas held at the decisions".to_owned(),
    }
}

fn inaction(how: &Inaction) -> String {
    match how {
        Inaction::NoChunkFilled { chunk_tokens, longest } => format!(
            "No request fills a chunk of {chunk_tokens} tokens: the longest has {longest} tokens."
        ),
        Inaction::NothingReached => {
            "No store and no lookup reached the offload mechanism.".to_owned()
        }
        Inaction::StartupWarning { line } => {
            format!("It served nothing, and its start-up log said: {line}.")
        }
        Inaction::FarthestEmpty { tier, nearer_served, refused } => {
            let nothing = match tier {
                FarthestTier::Store { product } => format!("{product} holds none of its keys"),
                FarthestTier::Disk => "The disk holds none of its files".to_owned(),
            };
            let nearer =
                if *nearer_served { ": what was served came from nearer tiers" } else { "" };
            format!("{nothing}{nearer}.{}", refused.as_ref().map_or_else(String::new, refusal))
        }
        Inaction::StoreOfOthers { who, chunks, product, added_keys } => format!(
            "{who} reports {chunks:.0} chunks put into a store, and the {product} that the arm \
             names gained {added_keys:.0} keys: nothing shows that they are one store."
        ),
        Inaction::EmptyAndServed { tier, served } => format!(
            "The {} was counted as empty, and {}: they contradict each other.",
            place(*tier),
            served_out(served)
        ),
        Inaction::RefusedAll { capacity } => format!(
            "It refused all that it was offered, though the plan gives it {capacity}: its size did \
             not reach it."
        ),
        Inaction::StoredNothing => {
            "It was asked for blocks that had been computed, and stored none.".to_owned()
        }
    }
}

/// " It refused 12 stores (redis INFO).", after another sentence.
fn refusal(of: &Signal) -> String {
    let who =
        if of.tier == Some(TierKind::Host) { "Host memory, which leads there," } else { "It" };
    format!(" {who} refused {:.0} stores ({}).", of.value, of.source)
}

fn offload(why: &OffloadReason) -> String {
    match why {
        OffloadReason::NoFirstToken => "No request got its first token in the window.".to_owned(),
        OffloadReason::Served(share) => {
            format!("The tiers served {} of the reuse that the GPU did not hold.", part(*share))
        }
        OffloadReason::NoReuseInWindow { eligible } => format!(
            "The plan predicts that blocks leave the GPU and are asked for again, and only {:.2} % \
             of the prompt tokens in the window were such.",
            eligible.percent()
        ),
        OffloadReason::NothingAskedTwice => {
            "Hardly anything is asked twice: no cache can help.".to_owned()
        }
        OffloadReason::FitsGpu { eligible, working_set } => {
            let working_set = working_set.map_or_else(String::new, |bytes| {
                format!(" (the working set is {bytes} per replica)")
            });
            format!(
                "The GPU itself holds what is asked again: only {:.2} % of the prompt tokens were \
                 left for the tiers{working_set}.",
                eligible.percent()
            )
        }
        OffloadReason::ChunkTooLong { chunk_tokens, longest } => format!(
            "A chunk of {chunk_tokens} tokens is longer than what requests have in common with \
             earlier ones, {longest} tokens at most."
        ),
        OffloadReason::NoRoom { capacity, served } => format!(
            "Blocks were refused for want of room, though the largest tier, {capacity}, could hold \
             what is asked again{}.",
            of_reuse(*served)
        ),
        OffloadReason::TierTooSmall { capacity: Some(capacity), served } => {
            let share = of_reuse(*served);
            format!("The tier of {capacity} cannot hold what is asked again{share}.")
        }
        OffloadReason::TierTooSmall { capacity: None, served } => {
            format!("The tier could not store enough{}.", of_reuse(*served))
        }
        OffloadReason::Evicted { evicted, served } => {
            format!("The tier evicted {evicted} before they were asked for{}.", of_reuse(*served))
        }
        OffloadReason::Unexplained { served, stored, kept } => {
            let though = match (stored, kept) {
                (true, true) => ", though it stored blocks and evicted none",
                (true, false) => ", though it stored blocks",
                (false, true) => ", though it evicted nothing",
                (false, false) => "",
            };
            format!(
                "It served only {:.1} % of the reuse{though}: the signals do not say why.",
                served.percent()
            )
        }
        OffloadReason::NearerServed { tier: of, served, refused, evicted } => {
            let (name, share) = (tier(*of), part(*served));
            let refused = refused.as_ref().map_or_else(String::new, refusal);
            let evicted = evicted.map_or_else(String::new, |bytes| format!(" It evicted {bytes}."));
            format!(
                "The tiers served {share} of the reuse that the GPU did not hold, and nearer tiers \
                 than {name} served nearly all of that: it says nothing about {name}.\
                 {refused}{evicted}"
            )
        }
    }
}

/// "all", or its percent.
fn part(of: TokenShare) -> String {
    if of.is_all() { "all".to_owned() } else { format!("{:.1} %", of.percent()) }
}

fn of_reuse(served: TokenShare) -> String {
    format!(": it served {:.1} % of the reuse", served.percent())
}

fn routing(why: RoutingReason) -> String {
    match why {
        RoutingReason::OneReplica => {
            "There is one replica: the router has nothing to choose.".to_owned()
        }
        RoutingReason::OneAnswered => {
            "One replica answered all requests: the router had nothing to choose, or did not choose."
                .to_owned()
        }
        RoutingReason::GatewayChose { requests, of } => {
            let of = of.map_or_else(String::new, |of| format!(" of {of:.0}"));
            format!(
                "The gateway itself sent {requests:.0}{of} requests to any replica, because the \
                 router did not answer."
            )
        }
        RoutingReason::ReplicasAlike { possible } => format!(
            "All replicas hold the same: the best choice would gain {:.2} % of the prompt tokens \
             over chance.",
            possible.percent()
        ),
        RoutingReason::ChoicesGained(gained) => format!(
            "Its choices gained {:.1} % of what the best ones would over chance.",
            gained.percent()
        ),
        RoutingReason::ChoicesInVain(gained) => format!(
            "Its choices gained {:.1} % of what the best ones would over chance: what the index \
             knew was gone, or load outweighed it.",
            gained.percent()
        ),
        RoutingReason::NoEvents => {
            "No KV event reached the index: it can only answer that it knows nothing.".to_owned()
        }
        RoutingReason::IndexBlockUnfilled { index, engine } => format!(
            "No KV event filled a block of the index: it has {index} tokens, and the engines' have \
             {engine}."
        ),
        RoutingReason::IndexNotAsked => {
            "The index was never asked: the router decides without it.".to_owned()
        }
        RoutingReason::ApproximateDecides { blocks } => format!(
            "The router scores by its own earlier choices ({blocks:.0} blocks of them), not by the \
             index of KV events."
        ),
        RoutingReason::NothingFound => {
            "KV events reached the index, prompts were asked again, and no lookup found a block: \
             router and engines make different keys of the same prompt."
                .to_owned()
        }
        RoutingReason::IndexStoreEmpty => {
            "The index's store holds no key: an index in the router's memory serves in its place."
                .to_owned()
        }
    }
}
