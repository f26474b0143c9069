//! What the tasks of the forwarding thread share.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use weir_router::PolicyConfig;

use crate::config::{ProxyConfig, ProxyError};
use crate::decision::{Chooser, Looked, ReplicaChoice, look_up};
use crate::decision_log::DecisionLog;
use crate::known::SharedState;
use crate::prompt::Route;
use crate::tokens::Tokens;
use crate::turns::Turns;
use crate::upstream::{Upstream, upstreams};

pub(crate) struct ProxyState {
    pub(crate) shared: Arc<SharedState>,
    pub(crate) upstreams: Vec<Rc<Upstream>>,
    pub(crate) body_limit: usize,
    policy: PolicyConfig,
    chooser: RefCell<Chooser>,
    tokens: Tokens,
    turns: Turns,
    log: Option<RefCell<DecisionLog>>,
    /// Where requests that need no decision go next.
    next: Cell<usize>,
    request_number: Cell<u64>,
    /// Makes ids of two proxies differ.
    started: u64,
}

impl ProxyState {
    pub(crate) fn new(config: &ProxyConfig, shared: Arc<SharedState>) -> Result<Self, ProxyError> {
        let log = config.log.as_deref().map(|path| {
            DecisionLog::open(path)
                .map_err(|source| ProxyError::Log { path: path.to_path_buf(), source })
        });
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Self {
            upstreams: upstreams(shared.replicas.iter().map(|replica| &replica.url)),
            body_limit: config.body_limit,
            policy: config.router.policy.clone(),
            chooser: RefCell::new(Chooser::new(&config.router)),
            tokens: Tokens::new(config.tokenizer.as_deref())?,
            turns: Turns::new(),
            log: log.transpose()?.map(RefCell::new),
            next: Cell::new(0),
            request_number: Cell::new(0),
            started: started.as_nanos() as u64,
            shared,
        })
    }

    pub(crate) async fn look_up(&self, route: Route, body: &Bytes) -> Looked {
        self.turns.next().await;
        let reach = (&self.shared, self.upstreams.as_slice());
        look_up(&self.policy, route, body, &self.tokens, reach).await
    }

    /// `except` has just refused a connection.
    pub(crate) fn decide(
        &self,
        request: &str,
        looked: &mut Looked,
        except: Option<u16>,
    ) -> Option<ReplicaChoice> {
        let counters = &self.shared.counters;
        let decision = self.chooser.borrow_mut().choose(&self.shared, looked, except);
        match decision {
            Some(_) => counters.decisions.add(1),
            None => counters.unanswered.add(1),
        }
        if let Some(log) = &self.log {
            let made = (decision.as_ref(), except.is_some());
            let written =
                log.borrow_mut().write(&self.shared, self.policy_name(), request, looked, made);
            counters.log_failures.add(u64::from(written.is_err()));
        }
        decision
    }

    /// The next replica that is up, for a request that needs no decision.
    pub(crate) fn any_replica(&self) -> Option<u16> {
        let count = self.upstreams.len();
        let first = self.next.replace(self.next.get().wrapping_add(1)) % count;
        let mut places = (0..count).map(|step| (first + step) % count);
        places.find(|at| self.shared.replicas[*at].is_up()).map(|at| at as u16)
    }

    pub(crate) fn new_request_id(&self) -> String {
        let number = self.request_number.get();
        self.request_number.set(number + 1);
        format!("route-{:x}-{number}", self.started)
    }

    pub(crate) const fn policy_name(&self) -> &'static str {
        match self.policy {
            PolicyConfig::Random => "random",
            PolicyConfig::RoundRobin => "round-robin",
            PolicyConfig::LeastLoaded => "least-loaded",
            PolicyConfig::ApproximatePrefix { .. } => "approximate-prefix",
            PolicyConfig::PrecisePrefix { .. } => "precise-prefix",
        }
    }

    /// Blocks in the index, where this process knows it.
    pub(crate) fn index_blocks(&self) -> Option<u64> {
        match &self.shared.index {
            Some(index) => index.known_blocks(),
            None => self.chooser.borrow_mut().approximate_blocks(),
        }
    }
}
