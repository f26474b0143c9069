//! An arm as running pods, during a cell.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use weir_http::Url;
use weir_kubernetes::k8s_openapi::api::core::v1::Pod;
use weir_kubernetes::{Cluster, LeaseGuard, ReadyPod};
use weir_model::Note;
use weir_observe::UtcClock;
use weir_spec::plan::{Arm, Deployment, Fresh, KubernetesTarget, StoreAccess};

use super::drift;
use super::engine::{CONTAINER, EVENTS_PORT, PORT};
use super::names::{ROLE, Role};
use super::objects::{StackObject, StandStep};
use super::router::{DOOR_PORT, ENVOY, METRICS_PORT, PICKER, PodRouter};
use super::stand::{Stand, StoodUp};
use crate::endpoint::{Access, EngineEndpoint};
use crate::error::DeployError;
use crate::front::{Front, FrontRecord, PodIndex};
use crate::local::CellPlace;
use crate::remote::RemoteStore;

/// Between two looks at the pods during a load. A look takes the API server's time.
const LOOK: Duration = Duration::from_millis(500);

pub struct Pods {
    cluster: Cluster,
    selector: String,
    arm: String,
    engines: Vec<EngineEndpoint>,
    stood: Vec<StoodPod>,
    /// As they were applied.
    objects: Vec<StackObject>,
    front: Option<Front>,
    store: Option<RemoteStore>,
    is_fresh: bool,
    logs: PathBuf,
    looked: Mutex<Instant>,
    /// Dropped last.
    lease: LeaseGuard,
}

/// A pod with the containers whose logs are kept.
struct StoodPod {
    pod: ReadyPod,
    containers: &'static [&'static str],
}

impl fmt::Debug for Pods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.stood.iter().map(|of| &of.pod.name);
        f.debug_struct("Pods").field("names", &names.collect::<Vec<_>>()).finish_non_exhaustive()
    }
}

impl Pods {
    /// Waits until every pod is ready.
    pub fn start(
        target: &KubernetesTarget,
        deployment: &Deployment,
        arm: &Arm,
        place: CellPlace<'_>,
    ) -> Result<Self, DeployError> {
        let stand = Stand::connect(target, deployment, arm)?;
        let lease = stand.lease(place.run)?;
        let is_fresh = target.fresh == Fresh::Cell;
        let cell = is_fresh.then(|| format!("{}-{}", place.run, UtcClock::anchored().now().0));
        // Rights were looked at before the run.
        let steps: Vec<StandStep> =
            StandStep::ALL.into_iter().filter(|step| *step != StandStep::Preflight).collect();
        let StoodUp { pods: mut ready, objects } =
            stand.up(&steps, cell.as_deref(), place.stopped, &mut |_| {})?;
        let mut ready = |role| ready.remove(&stand.names.object(role)).unwrap_or_default();
        let logs = place.logs()?;
        let mut pods = Self {
            cluster: stand.cluster.clone(),
            selector: stand.names.selector(),
            arm: arm.name.clone(),
            engines: Vec::new(),
            stood: Vec::new(),
            objects,
            front: None,
            store: None,
            is_fresh,
            logs,
            looked: Mutex::new(Instant::now()),
            lease,
        };
        for pod in ready(Role::Engine) {
            let url = at(pod.ip, PORT);
            pods.engines.push(EngineEndpoint::new(&url, Access::default())?);
            pods.stood.push(StoodPod { pod, containers: &[CONTAINER] });
        }
        pods.add_store(&stand, arm, &mut ready)?;
        pods.add_front(&stand, target, deployment, place.stopped, &mut ready)?;
        pods.are_as_applied()?;
        Ok(pods)
    }

    fn add_store(
        &mut self,
        stand: &Stand<'_>,
        arm: &Arm,
        ready: &mut dyn FnMut(Role) -> Vec<ReadyPod>,
    ) -> Result<(), DeployError> {
        let of = stand.pod_arm();
        let Some(offload) = &arm.offload else { return Ok(()) };
        let Some(config) = &offload.store else { return Ok(()) };
        let mut arm = arm.clone();
        if let Some(product) = of.own_store() {
            let pod = self.one(ready(Role::Store), Role::Store)?;
            // Names of Services mean nothing outside of the pods.
            let address = format!("redis://{}", socket(pod.ip, product.traits().port));
            arm.store_access = Some(StoreAccess { address, password_file: None, empty: false });
            self.stood.push(StoodPod { pod, containers: &[] });
        }
        let store = RemoteStore::of_endpoint(&arm, config, offload.chunk_bytes.kept)?;
        self.store = Some(store);
        Ok(())
    }

    fn add_front(
        &mut self,
        stand: &Stand<'_>,
        target: &KubernetesTarget,
        deployment: &Deployment,
        stopped: &dyn Fn() -> bool,
        ready: &mut dyn FnMut(Role) -> Vec<ReadyPod>,
    ) -> Result<(), DeployError> {
        let of = stand.pod_arm();
        if !of.is_routed() {
            return Ok(());
        }
        let release = PodRouter::new(&of)?.release();
        let pod = self.one(ready(Role::Router), Role::Router)?;
        let index = match of.index_product() {
            Some(product) => {
                let pod = self.one(ready(Role::Index), Role::Index)?;
                let address = format!("redis://{}", socket(pod.ip, product.traits().port));
                self.stood.push(StoodPod { pod, containers: &[] });
                Some(PodIndex { product, address })
            }
            None => None,
        };
        let record = FrontRecord {
            router: release.name().to_owned(),
            commands: Vec::new(),
            replicas: self.engines.iter().map(|engine| engine.url().address()).collect(),
        };
        let door = Url::parse(&at(pod.ip, DOOR_PORT))?;
        let metrics = Url::parse(&at(pod.ip, METRICS_PORT))?;
        let patience = Duration::from_nanos(target.start_timeout.0.0);
        let front = Front::of_pods(door, metrics, release, index, record);
        front.wait_for_replicas(deployment.replicas, Instant::now() + patience, stopped)?;
        self.front = Some(front);
        self.stood.push(StoodPod { pod, containers: &[PICKER, ENVOY] });
        Ok(())
    }

    fn one(&self, pods: Vec<ReadyPod>, role: Role) -> Result<ReadyPod, DeployError> {
        let count = pods.len();
        <[ReadyPod; 1]>::try_from(pods).map(|[pod]| pod).map_err(|_| DeployError::Pod {
            arm: self.arm.clone(),
            pod: format!("of the {role:?}"),
            problem: format!("expected one that is ready, and there are {count}"),
        })
    }

    pub fn endpoints(&self) -> &[EngineEndpoint] {
        &self.engines
    }

    pub const fn front(&self) -> Option<&Front> {
        self.front.as_ref()
    }

    pub const fn store(&self) -> Option<&RemoteStore> {
        self.store.as_ref()
    }

    /// True where the pods were started for this cell.
    pub const fn is_fresh(&self) -> bool {
        self.is_fresh
    }

    pub fn notes(&self) -> Vec<Note> {
        self.store.iter().flat_map(RemoteStore::notes).cloned().collect()
    }

    pub fn kv_event_endpoints(&self) -> Vec<String> {
        let engines = self.stood.iter().filter(|of| of.containers == [CONTAINER]);
        engines.map(|of| format!("tcp://{}", socket(of.pod.ip, EVENTS_PORT))).collect()
    }

    /// [`Self::look`], not more often than the API server's time allows. A fault is looked for
    /// again at once.
    pub fn check(&self) -> Result<(), DeployError> {
        let mut looked = self.looked.lock();
        if looked.elapsed() >= LOOK {
            self.look()?;
            *looked = Instant::now();
        }
        Ok(())
    }

    /// An error for a pod whose containers are not those of its Deployment.
    fn are_as_applied(&self) -> Result<(), DeployError> {
        let pods = self.cluster.list::<Pod>(&self.selector)?;
        let deployments = self.objects.iter().map(|object| &object.manifest);
        for deployment in deployments.filter(|of| of.kind().plural == "deployments") {
            let role = &deployment.value()["metadata"]["labels"][ROLE];
            let is_of = |pod: &&Pod| {
                let labels = pod.metadata.labels.as_ref();
                labels.and_then(|labels| labels.get(ROLE)).map(String::as_str) == role.as_str()
            };
            let is_stood = |pod: &&Pod| {
                let uid = pod.metadata.uid.as_deref();
                self.stood.iter().any(|of| Some(&*of.pod.uid) == uid)
            };
            for pod in pods.iter().filter(is_of).filter(is_stood) {
                if let Some(drift) = drift::of_pod(deployment, pod) {
                    let name = pod.metadata.name.as_deref().unwrap_or_default();
                    return Err(drift.of(&self.arm, format!("pod {name}")));
                }
            }
        }
        Ok(())
    }

    /// An error where a pod has gone, was replaced, or one of its containers was started again.
    pub fn look(&self) -> Result<(), DeployError> {
        if let Some(problem) = self.lease.lost() {
            let (arm, pod) = (self.arm.clone(), "of the stack".to_owned());
            let problem = format!("the lease on them was lost: {problem}");
            return Err(DeployError::Pod { arm, pod, problem });
        }
        let now: BTreeMap<String, Pod> = self
            .cluster
            .list::<Pod>(&self.selector)?
            .into_iter()
            .filter_map(|pod| Some((pod.metadata.uid.clone()?, pod)))
            .collect();
        for StoodPod { pod: stood, .. } in &self.stood {
            let problem = match now.get(&stood.uid) {
                None => "it is gone".to_owned(),
                Some(pod) if pod.metadata.deletion_timestamp.is_some() => {
                    "it is being removed".to_owned()
                }
                Some(pod) => match restarted(pod, stood.restarts) {
                    Some(problem) => problem,
                    None => continue,
                },
            };
            return Err(DeployError::Pod {
                arm: self.arm.clone(),
                pod: stood.name.clone(),
                problem,
            });
        }
        Ok(())
    }

    /// The pods stand on, for the next cell. Their logs stay with this one, and a line for each
    /// call to the API server. An error where something changed what was applied.
    pub fn leave(self) -> Result<(), DeployError> {
        let drifted = drift::of_objects(&self.cluster, &self.objects, &self.arm);
        let calls = self.cluster.drain_calls();
        let lines = calls.iter().filter_map(|call| serde_json::to_string(call).ok());
        let lines = lines.fold(String::new(), |all, line| all + &line + "\n");
        let _ = std::fs::write(self.logs.join("kubernetes.jsonl"), lines);
        for StoodPod { pod, containers } in &self.stood {
            for container in *containers {
                // A log that cannot be had does not fail the cell.
                if let Ok(text) = self.cluster.logs(&pod.name, container, false) {
                    let file = self.logs.join(format!("{}-{container}.log", pod.name));
                    let _ = std::fs::write(file, text);
                }
            }
        }
        drifted
    }
}

/// With the cause that the kubelet tells.
fn restarted(pod: &Pod, before: i32) -> Option<String> {
    let containers = pod.status.as_ref()?.container_statuses.as_ref()?;
    let now: i32 = containers.iter().map(|container| container.restart_count).sum();
    let ended = containers.iter().find_map(|container| {
        let of = [&container.last_state, &container.state];
        let end = of.into_iter().flatten().find_map(|state| state.terminated.as_ref())?;
        let reason = end.reason.as_deref().unwrap_or("it ended");
        Some(format!("container {}: {reason}, exit status {}", container.name, end.exit_code))
    });
    let is_down = containers.iter().any(|container| {
        !container.ready && container.state.as_ref().is_some_and(|state| state.terminated.is_some())
    });
    (now > before || is_down)
        .then(|| ended.unwrap_or_else(|| "a container was started again".to_owned()))
}

fn socket(ip: IpAddr, port: u16) -> String {
    std::net::SocketAddr::from((ip, port)).to_string()
}

fn at(ip: IpAddr, port: u16) -> String {
    format!("http://{}", socket(ip, port))
}
