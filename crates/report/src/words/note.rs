//! What a reader must know besides, a sentence each without a full stop.

use weir_model::{COLD_SHARE, CacheNote, LoadNote, Note, RoutingNote, TierNote};

use super::difference::difference;

pub fn note(of: &Note) -> String {
    match of {
        Note::Load(note) => of_load(note),
        Note::Cache(note) => of_cache(note),
        Note::Tier(note) => of_tier(note),
        Note::Routing(note) => of_routing(note),
        Note::Stalled(stalled) => stalled.to_string(),
        Note::Unfit(unfit) => unfit.to_string(),
        Note::OtherRun { pid } => {
            format!("another weir run (process {pid}) ran on this machine during this cell")
        }
        Note::Error(error) => error.clone(),
    }
}

fn of_load(note: &LoadNote) -> String {
    match note {
        LoadNote::Failed(failed) => {
            format!("{} requests failed: {}", failed.requests, failed.cause)
        }
        LoadNote::GaveUp { requests, last } => {
            format!("{requests} requests in a row failed, the last: {last}")
        }
        LoadNote::SteadyLate { from, window_start } => format!(
            "The load was not steady before {from}, and the window begins at {window_start}: raise \
             load.warmup to that"
        ),
        LoadNote::NeverSteady { window } => format!(
            "The load was not steady in its {window}: lengthen load.warmup and load.duration"
        ),
        LoadNote::OtherLimitField { url } => {
            format!("{url} refuses max_tokens: max_completion_tokens is sent instead")
        }
        LoadNote::SmallerVocabulary { url, refused, sent_below } => format!(
            "{url} refuses token id {refused}: ids below {sent_below} are sent (--vocabulary says \
             how many it has)"
        ),
        LoadNote::OthersServed { url } => {
            format!("{url} serves other requests, which are measured with the cell's")
        }
        LoadNote::ClockBound { shard, bound } => format!(
            "The clock of shard {shard} is known to {bound} only: by so much its requests and those \
             of other shards can stand in another order"
        ),
    }
}

fn of_cache(note: &CacheNote) -> String {
    match note {
        CacheNote::NotEmptied { place, asked, served } => format!(
            "{place} said that it emptied its caches, and then served {served} of {asked} tokens \
             that it had before: what earlier loads left can serve the cell"
        ),
        CacheNote::Unverified { place } => format!(
            "{place} said that it emptied its caches; it does not report cache hits, so that is \
             unverified"
        ),
        CacheNote::CannotBeEmptied { place } => format!(
            "{place} has no request to empty its prefix cache (vLLM has one where \
             VLLM_SERVER_DEV_MODE=1): what it held before the cell can serve prompts that were \
             asked before"
        ),
        CacheNote::StoreHeld { place, keys } => {
            let begins = match keys {
                Some(keys) => format!("{place} held {keys} keys before the load"),
                None => format!("{place} is not known to be empty before the load"),
            };
            format!("{begins}: what others or an earlier load left there can serve the cell")
        }
    }
}

fn of_routing(note: &RoutingNote) -> String {
    let (requests, of, why) = match note {
        RoutingNote::ConfiguredOtherwise(of) => {
            return format!("picker_config is not what Weir would write: {}", difference(of));
        }
        RoutingNote::SlowReplica { address, requests, of, open } => {
            return format!(
                "{address} is slower than the other replicas: it answered {requests} of {of} \
                 requests, of which {open} were open at once on average"
            );
        }
        RoutingNote::ReplicasUnknown { requests, of } => {
            return format!(
                "{requests} of {of} answers do not name their replica (client.replica_header)"
            );
        }
        RoutingNote::HitsUnknown { requests, of, prompts_known: false, .. } => {
            (requests, of, "token ids of chats and of own answers are not known".to_owned())
        }
        RoutingNote::HitsUnknown { requests, of, is_full: true, .. } => {
            (requests, of, "the replicas hold more blocks than are kept in memory".to_owned())
        }
        RoutingNote::HitsUnknown { requests, of, lost, orphans, .. } => {
            let why = match (*lost, *orphans) {
                (0, 0) => "no KV event came from the replica in time".to_owned(),
                (lost, 0) => format!("{lost} batches of KV events were lost"),
                (lost, orphans) => format!(
                    "{lost} batches of KV events were lost, and {orphans} blocks came after one \
                     that was never reported"
                ),
            };
            (requests, of, why)
        }
    };
    format!("what the replicas held is unknown for {requests} of {of} answers: {why}")
}

fn of_tier(note: &TierNote) -> String {
    match note {
        TierNote::KeysExpired { keys } => format!(
            "{keys} keys of the store expired in the window: what was asked again after that was \
             not there; give keys a longer life, or none"
        ),
        TierNote::EventsLost { batches } => {
            format!("{batches} batches of KV events were lost: they give no signal")
        }
        TierNote::EventsUnreadable { problem } => format!(
            "KV events could not be read, and give no signal: {}",
            problem.as_deref().unwrap_or("unknown")
        ),
        TierNote::NoEvents => "no KV event came in the window".to_owned(),
        TierNote::StoreInMemory { who } => {
            format!("{who} keeps its files in memory: what it served came from no device")
        }
        TierNote::WarmLoads { who, from } => format!(
            "what {} served came from: {from}; a device has to give {:.0} % before figures are \
             those of a disk (a larger working set, or less memory for the page cache)",
            who.as_deref().unwrap_or("the disk"),
            100.0 * COLD_SHARE
        ),
        TierNote::DiskRoom { folder, free, planned } => {
            format!("{folder} has {free} free, and the arm may store {planned} there")
        }
        TierNote::PageCache { folder, memory } => format!(
            "{folder}: the page cache has room for all of it ({memory} of memory are free), so \
             reads may not reach the disk"
        ),
        TierNote::StoreRoom { place, free, wanted, limit } => format!(
            "{place} has room for {free} of the {wanted} that the arm may store: its limit is \
             {limit}"
        ),
        TierNote::StoreShared { place, by } => {
            format!("{place} is used by another weir run now: {by}")
        }
        TierNote::StoreTaken { place, by } => {
            format!("{place} was taken over by another weir run ({by})")
        }
        TierNote::StoreUnmarked { place, error } => {
            format!("{place} takes no mark, so another run would not see this one: {error}")
        }
        TierNote::OtherKeys { place, keys: Some(keys) } => {
            format!("{place} holds {keys} keys of others, which stay and take room")
        }
        TierNote::OtherKeys { place, keys: None } => format!(
            "{place} does not count its keys at once (DBSIZE), so keys of others in it are not \
             known"
        ),
        TierNote::Warning(text) => text.clone(),
    }
}
