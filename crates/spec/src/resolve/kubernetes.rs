use std::path::Path;

use weir_model::{Nanos, Product};

use super::{HOUR, check_span, live_router, local, target};
use crate::document::kubernetes::{KubernetesTarget, ModelVolume};
use crate::error::SpecError;
use crate::plan::{Deployment, RouterKind};

/// Of a label and of most names in a cluster.
const NAME_CHARACTERS: usize = 63;

/// Paths become relative to the experiment file's folder.
pub(super) fn resolve(
    target: &KubernetesTarget,
    base: &Path,
    deployments: &[Deployment],
) -> Result<KubernetesTarget, SpecError> {
    names(target)?;
    login(target)?;
    engines(target)?;
    router(target, deployments)?;
    times(target)?;
    let file = |path: &String| base.join(path).display().to_string();
    Ok(KubernetesTarget {
        kubeconfig: target.kubeconfig.as_ref().map(file),
        token_file: target.token_file.as_ref().map(file),
        ca_file: target.ca_file.as_ref().map(file),
        ..target.clone()
    })
}

fn times(target: &KubernetesTarget) -> Result<(), SpecError> {
    let ttl = target.ttl.map(|ttl| ("ttl", ttl, HOUR * 24 * 365, "write for example 8h"));
    let patience = ("start_timeout", target.start_timeout, HOUR * 24, "write for example 15m");
    for (name, span, most, remedy) in std::iter::once(patience).chain(ttl) {
        check_span(&key(name), span.0, most)?;
        if span.0 == Nanos::ZERO {
            return Err(SpecError::value(key(name), "no time at all", remedy));
        }
    }
    Ok(())
}

fn key(name: &str) -> String {
    format!("target.kubernetes.{name}")
}

fn names(target: &KubernetesTarget) -> Result<(), SpecError> {
    let claims = target.model_volume.iter().map(|volume| ("model_volume.claim", &volume.claim));
    let secrets = target.hf_secret.iter().map(|secret| ("hf_secret.name", &secret.name));
    let others = [
        ("pull_secret", &target.pull_secret),
        ("service_account", &target.service_account),
        ("disk_claim", &target.disk_claim),
    ];
    let others = others.into_iter().filter_map(|(key, name)| Some((key, name.as_ref()?)));
    let all = std::iter::once(("namespace", &target.namespace)).chain(claims).chain(secrets);
    for (name, text) in all.chain(others) {
        if !is_name(text) {
            return Err(SpecError::value(
                key(name),
                format!("`{text}` is not a name of Kubernetes"),
                format!(
                    "write at most {NAME_CHARACTERS} lower-case letters, digits and `-`, with a \
                     letter or digit at both ends"
                ),
            ));
        }
    }
    Ok(())
}

/// As a DNS label.
fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    let ends = [bytes.first(), bytes.last()];
    bytes.len() <= NAME_CHARACTERS
        && ends.into_iter().all(|end| end.is_some_and(|end| plain(*end)))
        && bytes.iter().all(|byte| plain(*byte) || *byte == b'-')
}

fn login(target: &KubernetesTarget) -> Result<(), SpecError> {
    let by_file = [("kubeconfig", &target.kubeconfig), ("context", &target.context)];
    let by_token = [("token_file", &target.token_file), ("ca_file", &target.ca_file)];
    let given = |of: [(&'static str, &Option<String>); 2]| {
        of.into_iter().find_map(|(name, value)| value.is_some().then_some(name))
    };
    match (&target.server, given(by_file), given(by_token)) {
        (Some(_), Some(other), _) => Err(SpecError::value(
            key(other),
            "the login is by `server` and a token",
            "remove one of the two",
        )),
        (Some(_), None, _) if target.token_file.is_none() => Err(SpecError::value(
            key("server"),
            "there is no token for it",
            "write `token_file: FILE`, or log in by `kubeconfig`",
        )),
        (None, _, Some(other)) => Err(SpecError::value(
            key(other),
            "it belongs to a login by `server`",
            "write `server: https://host:6443`, or remove it",
        )),
        _ => Ok(()),
    }
}

fn engines(target: &KubernetesTarget) -> Result<(), SpecError> {
    local::check_arguments(&key("vllm_args"), &target.vllm_args)?;
    local::check_env(&key("env"), &target.env, "name a Secret of the cluster: `hf_secret`")?;
    if target.cpu == 0 {
        return Err(SpecError::value(key("cpu"), "no CPU at all", "write a number from 1"));
    }
    if let Some(emulated) = &target.emulated {
        target::check_emulated(&key("emulated"), emulated)?;
        if !emulated.router.is_default() {
            return Err(SpecError::value(
                key("emulated.router"),
                "the router is a pod of its own",
                "write it under `target.kubernetes.router`",
            ));
        }
        if target.images.weir.is_none() {
            return Err(SpecError::value(
                key("images.weir"),
                "Weir's engine runs from Weir's image, and none is named",
                "write the name under which you pushed what `make image` wrote",
            ));
        }
    }
    let known = |name: &String| Product::ALL.iter().any(|product| product.name() == name);
    if let Some(name) = target.images.stores.keys().find(|name| !known(name)) {
        return Err(SpecError::value(
            key(&format!("images.stores.{name}")),
            "unknown store",
            format!("write {}", Product::choice()),
        ));
    }
    if let Some(ModelVolume { class: Some(_), size: None, .. }) = &target.model_volume {
        return Err(SpecError::value(
            key("model_volume.class"),
            "a claim that exists has a class already",
            "write `size` too, to have the claim made, or remove it",
        ));
    }
    Ok(())
}

fn router(target: &KubernetesTarget, deployments: &[Deployment]) -> Result<(), SpecError> {
    let router = &target.router;
    for (name, program) in [("picker", &router.picker), ("envoy", &router.envoy)] {
        if program.is_some() {
            return Err(SpecError::value(
                key(&format!("router.{name}")),
                "a program of this machine does not run in a pod",
                format!("write its image: `images: {{{name}: ...}}`"),
            ));
        }
    }
    if router.kind != RouterKind::LlmD {
        return Err(SpecError::value(
            key("router.kind"),
            "only llm-d's picker runs as a pod",
            "write `llm-d`, or leave it out",
        ));
    }
    if router.fail_open {
        return Err(SpecError::value(
            key("router.fail_open"),
            "Envoy does not know the addresses of pods that no picker names",
            "remove it",
        ));
    }
    live_router::check(&key("router"), router, deployments)
}
