//! What an answer of the API server means: done, try again, or an error with its cause.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Status, StatusDetails};

use crate::error::{FieldConflict, KubernetesError};
use crate::resource::CallSubject;

/// With waits of 0.2, 0.4, 0.8, 1.6 and 3.2 s: an API server restarts in about 5 s.
pub(crate) const MOST_TRIES: u32 = 6;
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// A server that asks for more is not going to serve this run.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) enum Next {
    Again(Duration),
    Fail(KubernetesError),
}

/// Of a failed answer to try number `tries`, from 1.
pub(crate) fn judge(
    what: &CallSubject,
    server: &str,
    code: u16,
    body: &[u8],
    retry_after: Option<&str>,
    tries: u32,
) -> Next {
    let status: Option<Status> = serde_json::from_slice(body).ok();
    let details = status.as_ref().and_then(|status| status.details.as_ref());
    let message = message(status.as_ref(), body);
    let what = Box::new(what.clone());
    if may_pass(code, &message) {
        if tries < MOST_TRIES {
            return Next::Again(wait(tries, retry_after));
        }
        return Next::Fail(KubernetesError::Failing { what, code, tries, message });
    }
    let reason = status.as_ref().and_then(|status| status.reason.as_deref()).unwrap_or_default();
    Next::Fail(match code {
        401 => KubernetesError::Unauthorized { server: server.to_owned(), what },
        403 if reason != "Forbidden" || is_quota(&message) => {
            KubernetesError::Refused { what, code, message }
        }
        403 => KubernetesError::Forbidden { grant: what.grant(), what, message },
        404 if is_unknown_kind(details, &message) => KubernetesError::UnknownKind { what },
        404 => KubernetesError::NotFound { what, message },
        409 => conflict(what, details, message),
        410 => KubernetesError::Expired { what, message },
        400 | 422 | 500 => KubernetesError::Invalid { what, message },
        _ => KubernetesError::Refused { what, code, message },
    })
}

/// The wait before try number `tries + 1`.
pub(crate) fn wait(tries: u32, retry_after: Option<&str>) -> Duration {
    let own = FIRST_WAIT * 2u32.pow(tries.saturating_sub(1).min(10));
    let asked = retry_after.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
    asked.unwrap_or(own).max(own).min(LONGEST_WAIT)
}

/// A 500 that says that the object has an unknown field is the caller's mistake, although the code
/// says that the server failed (Kubernetes 1.37, server-side apply).
fn may_pass(code: u16, message: &str) -> bool {
    match code {
        500 => !message.contains("failed to create typed patch object"),
        429 | 502 | 503 | 504 => true,
        _ => false,
    }
}

/// Admission speaks by the code of a missing right.
fn is_quota(message: &str) -> bool {
    ["exceeded quota", "violates PodSecurity", "admission webhook"]
        .iter()
        .any(|part| message.contains(part))
}

/// The server knows no such address; an absent object is named in the details.
fn is_unknown_kind(details: Option<&StatusDetails>, message: &str) -> bool {
    let names_object = details.is_some_and(|details| details.name.is_some());
    !names_object
        && (message.contains("could not find the requested resource")
            || message.starts_with("404 page not found"))
}

fn conflict(
    what: Box<CallSubject>,
    details: Option<&StatusDetails>,
    message: String,
) -> KubernetesError {
    let causes = details.and_then(|details| details.causes.as_ref());
    let of_fields = causes
        .into_iter()
        .flatten()
        .filter(|cause| cause.reason.as_deref() == Some("FieldManagerConflict"));
    let conflicts: Vec<FieldConflict> = of_fields
        .map(|cause| FieldConflict {
            manager: manager(cause.message.as_deref().unwrap_or_default()),
            field: cause.field.clone().unwrap_or_default(),
        })
        .collect();
    if conflicts.is_empty() {
        KubernetesError::Changed { what, message }
    } else {
        KubernetesError::FieldConflict { what, conflicts }
    }
}

/// From `conflict with "somebody" using apps/v1`: the server says it in no other form.
fn manager(message: &str) -> String {
    message.split('"').nth(1).unwrap_or(message).to_owned()
}

fn message(status: Option<&Status>, body: &[u8]) -> String {
    const LONGEST: usize = 2000;
    let told = match status.and_then(|status| status.message.as_deref()) {
        Some(message) => message.to_owned(),
        None => String::from_utf8_lossy(body).into_owned(),
    };
    let line = told.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}
