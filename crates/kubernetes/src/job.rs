//! Waiting for a Job.

use std::fmt;
use std::time::Instant;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;

use crate::cluster::{Cluster, pause};
use crate::error::KubernetesError;
use crate::pods::{PodState, query};
use crate::rollout::{Diagnosis, LOOK_INTERVAL, Patience, Trouble, absent, of_pod};

#[derive(Debug, Clone)]
pub struct JobProgress {
    pub job: String,
    pub wanted: i32,
    pub active: i32,
    pub ready: i32,
    pub succeeded: i32,
    pub failed: i32,
    pub is_suspended: bool,
    pub pods: Vec<PodState>,
    diagnoses: Vec<Diagnosis>,
    end: Option<Condition>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Condition {
    is_complete: bool,
    reason: String,
    message: String,
}

/// A Job whose pods all succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobEnd {
    pub succeeded: i32,
    /// Pods that failed before others took their place.
    pub failed: i32,
    pub pods: Vec<PodState>,
}

impl JobProgress {
    fn of(job: &Job, pods: &[Pod]) -> Self {
        let spec = job.spec.clone().unwrap_or_default();
        let status = job.status.clone().unwrap_or_default();
        let conditions = status.conditions.iter().flatten();
        let end = conditions.filter(|condition| condition.status == "True").find_map(|condition| {
            matches!(condition.type_.as_str(), "Complete" | "Failed").then(|| Condition {
                is_complete: condition.type_ == "Complete",
                reason: condition.reason.clone().unwrap_or_default(),
                message: condition.message.clone().unwrap_or_default(),
            })
        });
        Self {
            job: job.metadata.name.clone().unwrap_or_default(),
            wanted: spec.completions.unwrap_or(1),
            active: status.active.unwrap_or(0),
            ready: status.ready.unwrap_or(0),
            succeeded: status.succeeded.unwrap_or(0),
            failed: status.failed.unwrap_or(0),
            is_suspended: spec.suspend.unwrap_or(false),
            pods: pods.iter().map(PodState::of).collect(),
            diagnoses: pods.iter().flat_map(of_pod).collect(),
            end,
        }
    }

    pub fn troubles(&self) -> impl Iterator<Item = &Trouble> {
        self.diagnoses.iter().map(|diagnosis| &diagnosis.trouble)
    }
}

impl fmt::Display for JobProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { succeeded, wanted, active, failed, .. } = self;
        write!(f, "{succeeded} of {wanted} pods succeeded, {active} active, {failed} failed")?;
        if self.is_suspended {
            write!(f, ", suspended")?;
        }
        for trouble in self.troubles() {
            write!(f, "; {trouble}")?;
        }
        Ok(())
    }
}

impl Cluster {
    /// Until all pods succeeded. A failed pod is the Job's own matter: its policy says when the Job
    /// has failed. What can never start ends the wait at once.
    pub fn wait_job(
        &self,
        job: &str,
        until: Instant,
        stopped: &dyn Fn() -> bool,
        progress: &mut dyn FnMut(&JobProgress),
    ) -> Result<JobEnd, KubernetesError> {
        let begun = Instant::now();
        let what = format!("job {job}");
        let mut patience = Patience::default();
        loop {
            let state = self.look_at_job(job)?;
            progress(&state);
            if let Some(end) = &state.end {
                return ended(&state, end);
            }
            let before_start: Vec<Diagnosis> =
                state.diagnoses.iter().filter(|one| one.is_before_start()).cloned().collect();
            if let Some(trouble) = self.hopeless(&mut patience, &before_start)? {
                return Err(KubernetesError::Hopeless { what, trouble });
            }
            let now = Instant::now();
            if now >= until {
                let (waited, last) = (now - begun, state.to_string());
                return Err(KubernetesError::TimedOut { what, waited, last });
            }
            if !pause(until.min(now + LOOK_INTERVAL), stopped) {
                let last = state.to_string();
                return Err(KubernetesError::Stopped { what, last });
            }
        }
    }

    fn look_at_job(&self, name: &str) -> Result<JobProgress, KubernetesError> {
        let job: Job = self.get(name)?.ok_or_else(|| absent::<Job>(self, name))?;
        let selector = job.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        // The server fills the selector in.
        let pods = match selector {
            Some(selector) => self.list::<Pod>(&query(selector))?,
            None => Vec::new(),
        };
        Ok(JobProgress::of(&job, &pods))
    }
}

fn ended(state: &JobProgress, end: &Condition) -> Result<JobEnd, KubernetesError> {
    if end.is_complete {
        let (succeeded, failed) = (state.succeeded, state.failed);
        return Ok(JobEnd { succeeded, failed, pods: state.pods.clone() });
    }
    Err(KubernetesError::JobFailed {
        job: state.job.clone(),
        reason: end.reason.clone(),
        message: end.message.clone(),
        pods: state.troubles().cloned().collect(),
    })
}
