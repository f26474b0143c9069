//! A router in front of an arm's replicas, for one cell: llm-d's endpoint picker behind Envoy, or
//! Weir's own.
//!
//! Start order: index store, then the router. The replicas run before, because a router asks them
//! for tokens.

mod files;
mod llm_d;
mod parts;
mod place;
mod record;
mod weir;

use std::path::Path;
use std::time::{Duration, Instant};

use weir_http::{TlsConfig, Url};
use weir_model::{Bytes, FactDifference, Product, RunningFacts};
use weir_observe::signals::StoreCounts;
use weir_picker::{PickedReplicas, PickerRelease};
use weir_proxy::ProxyHandle;
use weir_router::PolicyConfig;
use weir_spec::plan::{Arm, LiveRouter, Plan, RouterKind};
use weir_store::StoreClient;
use weir_store::server::{StoreServer, StoreSettings};

use crate::error::DeployError;
use crate::process::Owner;
use crate::remote::store_counts;
use crate::store_probe::StoreProbe;

use llm_d::BehindEnvoy;
use parts::Parts;
pub use parts::preflight;
pub(crate) use place::place;
pub use record::FrontRecord;

/// Of a store's counters.
const SCRAPE: Duration = Duration::from_secs(5);
/// Of an index: about 100 bytes per block and replica, and blocks for some TiB of KV.
const INDEX_BYTES: Bytes = Bytes::from_gib(4);
/// For the replicas of a router in a pod.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// True where requests to the arm's replicas go through a router that is started for them.
pub fn is_needed(router: &LiveRouter, arm: &Arm, replicas: u32) -> bool {
    router.kind != RouterKind::Engine && arm.is_routed() && replicas > 1
}

pub fn is_planned(plan: &Plan) -> bool {
    parts::routed(plan).next().is_some()
}

/// What a front is for.
#[derive(Clone, Copy)]
pub(crate) struct FrontPlan<'a> {
    pub(crate) router: &'a LiveRouter,
    pub(crate) arm: &'a Arm,
    pub(crate) model: &'a str,
    pub(crate) owner: &'a Owner,
    /// For sockets and files that other programs read.
    pub(crate) scratch: &'a Path,
    /// For logs and configurations, which stay with the cell.
    pub(crate) logs: &'a Path,
    /// True when the user stops the run.
    pub(crate) stopped: &'a dyn Fn() -> bool,
}

/// Dropping it ends its processes.
#[derive(Debug)]
pub struct Front {
    // In the order of ending: users of a part go before it.
    way: Way,
    index: Option<Index>,
    door: Url,
    record: FrontRecord,
}

/// A store outside the router's memory.
#[derive(Debug)]
enum Index {
    Started(Box<StoreServer>),
    Pod(PodIndex),
}

/// An index in a pod of its own, with its address.
#[derive(Debug)]
pub(crate) struct PodIndex {
    pub(crate) product: Product,
    pub(crate) address: String,
}

#[derive(Debug)]
enum Way {
    LlmD(Box<BehindEnvoy>),
    Weir(ProxyHandle),
    /// The address of its metrics' server.
    Pod {
        metrics: Url,
        takes_token_ids: bool,
    },
}

impl Front {
    /// Waits until the router has found all replicas.
    pub(crate) fn start(
        plan: FrontPlan<'_>,
        replicas: &PickedReplicas,
    ) -> Result<Self, DeployError> {
        let index = index_store(plan.arm, plan.scratch)?;
        let mut record = FrontRecord {
            router: "weir".to_owned(),
            commands: Vec::new(),
            replicas: replicas.names(),
        };
        let (way, door) = if plan.router.kind == RouterKind::Weir {
            let proxy = weir::start(plan, replicas, index.as_ref())?;
            let door = Url::parse(&format!("http://{}", proxy.addr))?;
            (Way::Weir(proxy), door)
        } else {
            let (behind, door) = BehindEnvoy::start(plan, replicas, index.as_ref(), &mut record)?;
            (Way::LlmD(Box::new(behind)), door)
        };
        Ok(Self { way, index: index.map(Box::new).map(Index::Started), door, record })
    }

    /// A router that runs in a pod.
    pub(crate) fn of_pods(
        door: Url,
        metrics: Url,
        release: PickerRelease,
        index: Option<PodIndex>,
        record: FrontRecord,
    ) -> Self {
        let way = Way::Pod { metrics, takes_token_ids: release.takes_token_ids() };
        Self { way, index: index.map(Index::Pod), door, record }
    }

    /// Until the router has found them all.
    pub(crate) fn wait_for_replicas(
        &self,
        replicas: u32,
        until: Instant,
        stopped: &dyn Fn() -> bool,
    ) -> Result<(), DeployError> {
        let Way::Pod { metrics, .. } = &self.way else { return Ok(()) };
        loop {
            let found = llm_d::ready_replicas(metrics);
            if found.is_some_and(|found| found >= f64::from(replicas)) {
                return Ok(());
            }
            if stopped() {
                return Err(DeployError::Interrupted);
            }
            if Instant::now() >= until {
                let found = found.map_or_else(|| "an unknown number".to_owned(), |n| n.to_string());
                return Err(DeployError::Answer {
                    url: metrics.to_string(),
                    problem: format!("the picker has found {found} of {replicas} replicas"),
                    remedy: "compare its selector or pool with the labels of the engines' pods"
                        .to_owned(),
                });
            }
            std::thread::sleep(ASK_AGAIN);
        }
    }

    pub const fn record(&self) -> &FrontRecord {
        &self.record
    }

    /// Where requests come in.
    pub(crate) const fn door(&self) -> &Url {
        &self.door
    }

    /// Of the router and its door, with their paths.
    pub(crate) fn metrics(&self) -> Vec<Url> {
        match &self.way {
            Way::LlmD(behind) => behind.metrics().map(|(_, url)| url.clone()).collect(),
            Way::Weir(_) => {
                vec![Url { path: self.door.target("/metrics"), ..self.door.clone() }]
            }
            Way::Pod { metrics, .. } => {
                vec![Url { path: metrics.target("/metrics"), ..metrics.clone() }]
            }
        }
    }

    /// The part that is sampled at this address: `picker (127.0.0.1:9090)`.
    pub fn part(&self, source: &str) -> Option<String> {
        let Way::LlmD(behind) = &self.way else { return None };
        let (name, url) = behind.metrics().find(|(_, url)| url.to_string() == source)?;
        Some(format!("{name} ({})", url.authority()))
    }

    pub(crate) fn takes_token_ids(&self) -> bool {
        match &self.way {
            Way::LlmD(behind) => behind.takes_token_ids(),
            Way::Weir(_) => true,
            Way::Pod { takes_token_ids, .. } => *takes_token_ids,
        }
    }

    /// What llm-d's picker says that it runs with. In a pod, it is not asked.
    pub(crate) fn said(&self) -> Option<&RunningFacts> {
        match &self.way {
            Way::LlmD(behind) => Some(behind.said()),
            Way::Weir(_) | Way::Pod { .. } => None,
        }
    }

    /// Where the picker runs with something else than Weir would write for the arm.
    pub fn otherwise(&self) -> &[FactDifference] {
        match &self.way {
            Way::LlmD(behind) => behind.otherwise(),
            Way::Weir(_) | Way::Pod { .. } => &[],
        }
    }

    /// Counters of the index outside the router's memory, with the product. None where there is
    /// none, or it does not answer.
    pub fn index_counts(&self) -> Option<(Product, StoreCounts)> {
        let (product, client) = self.index_client()?;
        // With the commands, which show whether it was emptied.
        let report = client.report(None, Instant::now() + SCRAPE).ok()?;
        Some((product, store_counts(&report, true)))
    }

    /// Samples that index during a cell.
    pub fn index_probe(&self) -> Option<StoreProbe> {
        let (product, client) = self.index_client()?;
        Some(StoreProbe::new(client, format!("{product} of the index")))
    }

    fn index_client(&self) -> Option<(Product, StoreClient)> {
        let (product, address) = match self.index.as_ref()? {
            Index::Started(server) => (server.product(), server.address()),
            Index::Pod(pod) => (pod.product, pod.address.parse().ok()?),
        };
        Some((product, StoreClient::new(&address, &TlsConfig::default()).ok()?))
    }

    /// An error where a part has died, with the cause from its log.
    pub(crate) fn check(&self, arm: &str) -> Result<(), DeployError> {
        if let Way::LlmD(behind) = &self.way {
            behind.check()?;
        }
        match &self.index {
            Some(Index::Started(index)) if !index.is_running() => Err(DeployError::Store {
                arm: arm.to_owned(),
                problem: format!("the index in {} has ended", index.product()),
            }),
            _ => Ok(()),
        }
    }

    pub(crate) fn stop(self) -> Result<(), DeployError> {
        match self.way {
            Way::LlmD(behind) => behind.stop(),
            Way::Weir(proxy) => proxy.shutdown().map(drop).map_err(DeployError::from),
            Way::Pod { .. } => Ok(()),
        }
    }
}

/// The arm's own store for its index, where the policy has one outside the picker's memory.
fn index_store(arm: &Arm, scratch: &Path) -> Result<Option<StoreServer>, DeployError> {
    let Some(product) = index_product(arm) else { return Ok(None) };
    let settings = StoreSettings {
        capacity: Some(INDEX_BYTES),
        // A lost key is a hit that is not seen, which nobody would notice.
        policy: "noeviction".to_owned(),
        below: Some(scratch.to_path_buf()),
        ..StoreSettings::default()
    };
    let server = StoreServer::start(product, settings).map_err(|error| DeployError::Store {
        arm: arm.name.clone(),
        problem: error.to_string(),
    })?;
    Ok(Some(server))
}

pub(crate) fn index_product(arm: &Arm) -> Option<Product> {
    match &arm.routing.policy {
        PolicyConfig::PrecisePrefix { index, .. } => {
            Product::ALL.into_iter().find(|product| product.name() == index.backend)
        }
        _ => None,
    }
}
