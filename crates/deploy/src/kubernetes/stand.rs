//! A stack brought up, looked at and taken down, without a run.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use weir_kubernetes::k8s_openapi::api::apps::v1 as apps;
use weir_kubernetes::k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use weir_kubernetes::k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use weir_kubernetes::{
    Applied, ApplyMode, Cluster, ClusterAccess, KubernetesError, LeaseGuard, Manifest, ReadyPod,
    Removal, Right, Rollout,
};
use weir_spec::plan::{Arm, Deployment, KubernetesTarget, Plan};

use super::arm::PodArm;
use super::names::{Role, StackNames, lease_of, with_roles};
use super::objects::{self, StackObject, StandStep};
use super::{rights, stacks};
use crate::error::DeployError;

/// What another arm may have left.
const OPTIONAL: [Role; 3] = [Role::Store, Role::Index, Role::Router];

/// Objects of an arm, in the order of applying, without a cluster.
pub fn render(
    target: &KubernetesTarget,
    deployment: &Deployment,
    arm: &Arm,
) -> Result<Vec<StackObject>, DeployError> {
    let names = StackNames::of(deployment);
    let of = PodArm { target, deployment, arm, names: &names, owner: None, cell: None };
    let anchor = Manifest::of(&objects::anchor(&of));
    let mut all = vec![StackObject { step: StandStep::Namespace, manifest: anchor }];
    all.extend(objects::all(&of, &target.namespace)?);
    Ok(all)
}

/// One arm of a deployment in a cluster.
pub struct Stand<'a> {
    pub(super) cluster: Cluster,
    target: &'a KubernetesTarget,
    deployment: &'a Deployment,
    arm: &'a Arm,
    pub(super) names: StackNames,
}

impl<'a> Stand<'a> {
    pub fn connect(
        target: &'a KubernetesTarget,
        deployment: &'a Deployment,
        arm: &'a Arm,
    ) -> Result<Self, DeployError> {
        let cluster = connect(target)?;
        let names = StackNames::of(deployment);
        Ok(Self { cluster, target, deployment, arm, names })
    }

    pub(super) fn model(&self) -> &str {
        &self.deployment.model.name
    }

    /// Where it is to be made.
    fn namespace(&self) -> Result<(), DeployError> {
        if self.target.create_namespace {
            let name = Some(self.target.namespace.clone());
            let namespace = Namespace {
                metadata: ObjectMeta { name, ..ObjectMeta::default() },
                ..Namespace::default()
            };
            self.cluster.apply(&Manifest::of(&namespace), ApplyMode::Apply)?;
        }
        Ok(())
    }

    /// What all other objects belong to.
    fn anchor(&self) -> Result<OwnerReference, DeployError> {
        let mut anchor = objects::anchor(&self.arm_of(None, None));
        if let Some(ttl) = self.target.ttl {
            let (name, time) = stacks::expiry(ttl.0);
            anchor.metadata.annotations.get_or_insert_default().insert(name, time);
        }
        self.cluster.apply(&Manifest::of(&anchor), ApplyMode::Apply)?;
        let name = self.names.object(Role::Anchor);
        let stands: Option<ConfigMap> = self.cluster.get(&name)?;
        let uid = stands.and_then(|anchor| anchor.metadata.uid).unwrap_or_default();
        Ok(OwnerReference {
            api_version: "v1".to_owned(),
            kind: "ConfigMap".to_owned(),
            name,
            uid,
            ..OwnerReference::default()
        })
    }

    fn arm_of<'b>(
        &'b self,
        owner: Option<&'b OwnerReference>,
        cell: Option<&'b str>,
    ) -> PodArm<'b> {
        let Self { target, deployment, arm, names, .. } = self;
        PodArm { target, deployment, arm, names, owner, cell }
    }

    pub(super) fn pod_arm(&self) -> PodArm<'_> {
        self.arm_of(None, None)
    }

    /// What applying would change, a line each, as the cluster says.
    pub fn changes(&self) -> Result<Vec<String>, DeployError> {
        let of = self.pod_arm();
        let mut lines = Vec::new();
        for object in objects::all(&of, &self.target.namespace)? {
            let manifest = &object.manifest;
            let name =
                format!("{} {}", manifest.kind().qualified(), manifest.name().unwrap_or_default());
            match self.cluster.difference(manifest)? {
                None => {
                    self.cluster.apply(manifest, ApplyMode::ServerDryRun)?;
                    lines.push(format!("{name}: new"));
                }
                Some(changes) if changes.is_empty() => lines.push(format!("{name}: as it is")),
                Some(changes) => {
                    lines.extend(changes.iter().map(|change| format!("{name}: {}", change.path)));
                }
            }
        }
        Ok(lines)
    }

    /// An error that names every right the user lacks for this arm, and a kind that the cluster
    /// does not know.
    pub fn preflight(&self) -> Result<(), DeployError> {
        self.preflight_after(&mut Vec::new())
    }

    /// Asks for what is not among the `granted` rights, and adds it.
    fn preflight_after(&self, granted: &mut Vec<Right>) -> Result<(), DeployError> {
        let objects = objects::all(&self.pod_arm(), &self.target.namespace)?;
        let mut rights = rights::needed(objects.iter().map(|object| &object.manifest));
        rights.retain(|right| !granted.contains(right));
        let may = self.cluster.may(&rights)?;
        let lacking: Vec<String> = rights
            .iter()
            .zip(may)
            .filter(|(_, may)| !may)
            .map(|(right, _)| rights::words(right))
            .collect();
        if !lacking.is_empty() {
            return Err(DeployError::Unsupported {
                arm: self.arm.name.clone(),
                problem: format!("the user may not {}", lacking.join(", ")),
                remedy: format!("have a Role in namespace {} grant it", self.target.namespace),
            });
        }
        for object in &objects {
            let value = object.manifest.value();
            let text = |key: &str| value[key].as_str().unwrap_or_default();
            let (version, kind) = (text("apiVersion"), text("kind"));
            if !self.cluster.serves(version, kind)? {
                return Err(DeployError::Unsupported {
                    arm: self.arm.name.clone(),
                    problem: format!("the cluster has no {kind} of {version}"),
                    remedy: "have its definition (CRD) installed, or name a picker that needs none"
                        .to_owned(),
                });
            }
        }
        granted.extend(rights);
        Ok(())
    }

    /// Nobody else changes the stack meanwhile. `holder` names a run. The namespace is made before.
    pub fn lease(&self, holder: &str) -> Result<LeaseGuard, DeployError> {
        self.namespace()?;
        Ok(self.cluster.lease(&lease_of(self.names.stack()), holder)?)
    }

    /// Removes what only another arm needs, applies what differs, and waits until all pods are
    /// ready. Pods of another `cell` are replaced.
    pub fn up(
        &self,
        steps: &[StandStep],
        cell: Option<&str>,
        stopped: &dyn Fn() -> bool,
        progress: &mut dyn FnMut(&StandProgress<'_>),
    ) -> Result<StoodUp, DeployError> {
        if steps.contains(&StandStep::Preflight) {
            self.preflight()?;
        }
        let owner = self.anchor()?;
        let of = self.arm_of(Some(&owner), cell);
        self.remove_others(&of, stopped)?;
        let mut pods = BTreeMap::new();
        let objects = objects::all(&of, &self.target.namespace)?;
        for step in [StandStep::Namespace, StandStep::Standalone, StandStep::LlmD] {
            let own: Vec<_> = objects.iter().filter(|object| object.step == step).collect();
            if own.is_empty() || !steps.contains(&step) {
                continue;
            }
            for object in &own {
                let applied = self.cluster.apply(&object.manifest, ApplyMode::Apply)?;
                progress(&StandProgress::Applied(&object.manifest, applied));
            }
            for object in own {
                if object.manifest.kind().plural == "deployments" {
                    let name = object.manifest.name().unwrap_or_default();
                    pods.insert(name.to_owned(), self.wait(name, stopped, progress)?);
                }
            }
        }
        Ok(StoodUp { pods, objects })
    }

    /// Pods of the newest template of a role.
    pub(super) fn wait(
        &self,
        deployment: &str,
        stopped: &dyn Fn() -> bool,
        progress: &mut dyn FnMut(&StandProgress<'_>),
    ) -> Result<Vec<ReadyPod>, DeployError> {
        let patience = Duration::from_nanos(self.target.start_timeout.0.0);
        let until = Instant::now() + patience;
        let mut told = |rollout: &Rollout| progress(&StandProgress::Waits(deployment, rollout));
        match self.cluster.wait_rollout(deployment, until, stopped, &mut told) {
            Err(KubernetesError::Stopped { .. }) => Err(DeployError::Interrupted),
            ended => Ok(ended?),
        }
    }

    /// By labels, so that no kind is missed. Without a Deployment of theirs nothing is left.
    fn remove_others(
        &self,
        of: &PodArm<'_>,
        stopped: &dyn Fn() -> bool,
    ) -> Result<(), DeployError> {
        let needed = [
            of.own_store().map(|_| Role::Store),
            of.index_product().map(|_| Role::Index),
            of.is_routed().then_some(Role::Router),
        ];
        let others: Vec<Role> =
            OPTIONAL.into_iter().filter(|role| !needed.contains(&Some(*role))).collect();
        if others.is_empty() {
            return Ok(());
        }
        let (stack, roles) = (self.names.selector(), with_roles(&others));
        if self.cluster.list::<apps::Deployment>(&format!("{stack},{roles}"))?.is_empty() {
            return Ok(());
        }
        let how = Removal {
            // All at once.
            anchors: roles.clone(),
            keep: Vec::new(),
            until: Instant::now() + Duration::from_nanos(self.target.start_timeout.0.0),
            stopped,
            strip_finalizers: false,
        };
        let removed = self.cluster.remove(&format!("{stack},{roles}"), &how)?;
        if stopped() {
            return Err(DeployError::Interrupted);
        }
        match removed.left.first() {
            None => Ok(()),
            Some(left) => Err(DeployError::Pod {
                arm: self.arm.name.clone(),
                pod: format!("{} {}", left.kind, left.name),
                problem: format!("it belongs to another arm and does not go: {left}"),
            }),
        }
    }
}

/// A Role with the rights that all arms of the plan need.
pub fn user_role(plan: &Plan, target: &KubernetesTarget) -> Result<Manifest, DeployError> {
    let mut objects = Vec::new();
    for deployment in &plan.deployments {
        for arm in &deployment.arms {
            objects.extend(render(target, deployment, arm)?);
        }
    }
    let rights = rights::needed(objects.iter().map(|object| &object.manifest));
    Ok(rights::role(&rights, &target.namespace))
}

/// Before a run: of all arms, each right once.
pub fn preflight(plan: &Plan) -> Result<(), DeployError> {
    let Some(target) = plan.target.kubernetes() else { return Ok(()) };
    let cluster = connect(target)?;
    let mut granted = Vec::new();
    for deployment in &plan.deployments {
        let names = StackNames::of(deployment);
        for arm in &deployment.arms {
            let (cluster, names) = (cluster.clone(), names.clone());
            Stand { cluster, target, deployment, arm, names }.preflight_after(&mut granted)?;
        }
    }
    Ok(())
}

/// An arm that is ready.
#[derive(Debug)]
pub struct StoodUp {
    /// By Deployment.
    pub(super) pods: BTreeMap<String, Vec<ReadyPod>>,
    /// As they were applied.
    pub(super) objects: Vec<StackObject>,
}

/// What happens while a stack comes up.
#[derive(Debug)]
pub enum StandProgress<'a> {
    Applied(&'a Manifest, Applied),
    /// The name of what is waited for.
    Waits(&'a str, &'a Rollout),
}

pub(super) fn connect(target: &KubernetesTarget) -> Result<Cluster, DeployError> {
    let path = |text: &Option<String>| text.as_ref().map(PathBuf::from);
    let access = ClusterAccess {
        kubeconfig: path(&target.kubeconfig),
        context: target.context.clone(),
        server: target.server.clone(),
        token_file: path(&target.token_file),
        ca_file: path(&target.ca_file),
        namespace: target.namespace.clone(),
    };
    Ok(Cluster::connect(&access)?)
}
