//! What to change, as an order without a full stop.

use weir_model::{CheckSetup, MakeAlike, Remedy};

use super::place;

pub fn remedy(of: Remedy) -> String {
    let fixed = match of {
        Remedy::Check(what) => return check(what),
        Remedy::Alike(how) => make_alike(how),
        Remedy::LargerTier(None) => "a larger tier",
        Remedy::LargerTier(Some(needed)) => {
            return format!("a tier of at least {needed} per replica, the working set");
        }
        Remedy::LargerOrKeeping(stored) => {
            return format!(
                "a tier of up to {stored}, all that was stored, or an eviction policy that keeps \
                 what is asked again"
            );
        }
        Remedy::ShorterChunks { longest } => {
            return format!("chunk_tokens of at most {longest}, or longer common prefixes");
        }
        Remedy::FlushTiers => "flush all tiers, and check that no connector is loaded",
        Remedy::RemoveConnector => "serve the control without a connector",
        Remedy::ReachMetrics => "make the metrics of engine, router and stores reachable",
        Remedy::NameReplicas => {
            "let the gateway add a response header with the replica's address \
             (client.replica_header)"
        }
        Remedy::HearEvents => "let all engines publish KV events where Weir hears them",
        Remedy::NameEngines => {
            "name the metrics of the engines that answer, all of them, and no others"
        }
        Remedy::StartFresh => {
            "empty the tiers, ask new prompts, and name the metrics of the engines that answer"
        }
        Remedy::OtherMode => "use a mode of it that runs on this platform",
        Remedy::LongerPrompts => {
            "longer prompts, or chunk_tokens no longer than what prompts have in common"
        }
        Remedy::LongerOrFewerUsers => "a longer duration, or fewer users",
        Remedy::LongerOrMoreUsers => "a longer duration or more users, so that reuse comes round",
        Remedy::AddReuse => "use a workload with reuse, or run it longer",
        Remedy::ExceedGpu => {
            "more prefixes or users, or a lower gpu_memory_utilization, so that the GPU pool loses \
             what is asked again"
        }
        Remedy::MorePrefixes => {
            "more prefixes than one replica holds, or sessions of several turns"
        }
        Remedy::RoomInTier => {
            "give it room (maxmemory, free space) and write permission, and its keys no expiry"
        }
        Remedy::LargerNearestOrFaster => {
            "a larger nearest tier, or a faster farthest one: what is on its way there stands in \
             the nearest"
        }
        Remedy::LargerNearest => {
            "a larger nearest tier: what is on its way to a farther one stands in it"
        }
        Remedy::SmallerNearer => {
            "smaller nearer tiers, or a larger working set, so that they do not hold it all"
        }
        Remedy::AddReplicas => "`replicas: 2` or more",
        Remedy::RaisePrefixWeight => "a higher weight of the prefix score, or a larger index",
    };
    fixed.to_owned()
}

fn check(what: CheckSetup) -> String {
    let fixed = match what {
        CheckSetup::Replicas => "check that all replicas are ready and behind the router",
        CheckSetup::StoreAddress => {
            "check that store.address is the store that the mechanism was told"
        }
        CheckSetup::StoreAlone => {
            "check that store.address is the store that the mechanism was told, and keep others \
             from it"
        }
        CheckSetup::Connector => {
            "check that the connector is loaded and that its keys are those of its version"
        }
        CheckSetup::Place(tier) => {
            return format!(
                "check that the mechanism is told where its {} is, by the keys of its version",
                place(tier)
            );
        }
        CheckSetup::Contents(tier) => {
            return format!(
                "look into the {} by hand, and whether something else removes what is in it",
                place(tier)
            );
        }
        CheckSetup::Keys => {
            "run it longer, for what is asked again may still have been in flight; or check that \
             stored and asked keys agree (hash seed, block size, model name)"
        }
        CheckSetup::Events => {
            "check that the engines publish KV events and that the index subscribes to them"
        }
        CheckSetup::Scorer => "check that the router's profile uses the precise scorer",
        CheckSetup::Router => {
            "see in its log why the router did not answer, and give it CPU time (fail_open lets \
             requests pass without it)"
        }
        CheckSetup::Producer => {
            "check that the precise scorer names its producer (prefixMatchInfoProducerName) and \
             that a token producer is configured"
        }
        CheckSetup::IndexKeys => {
            "check that the router's tokens, block size and hash seed are those of the engines, and \
             that it has a token producer"
        }
        CheckSetup::IndexStore => {
            "check that the store's address stands where this version of the router reads it"
        }
        CheckSetup::Blocks => {
            "find the blocks that come back wrong before any figure of this arm is read: block and \
             chunk size, dtype and parallel ranks of what is stored, the connector's own \
             checksums, its log"
        }
    };
    fixed.to_owned()
}

const fn make_alike(how: MakeAlike) -> &'static str {
    match how {
        MakeAlike::KeepDeployment => "keep the deployment as it is while a cell is measured",
        MakeAlike::Replicas => "start all replicas of an arm alike",
        MakeAlike::Plan => "change the deployment, or write into the file what runs",
        MakeAlike::Arguments => "give all arms these vllm_args and env (target.local), or none",
        MakeAlike::Arms => "start both alike but for the mechanism",
    }
}
