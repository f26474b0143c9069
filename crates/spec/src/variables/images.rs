//! Images, and the versions that their tags name.

use weir_model::quantity::Version;

use super::settings::Settings;
use super::table::Part;
use crate::document::Spec;
use crate::document::arm::ArmSection;
use crate::document::kubernetes::KubernetesTarget;
use crate::document::written::NameOr;

/// An image of vLLM with LMCache, where the scripts do not say which they had.
const LMCACHE_IMAGE: &str = "docker.io/lmcache/vllm-openai:v0.5.6";
const LMCACHE: Version = Version { major: 0, minor: 5, patch: 6 };

/// The engine's image, with the version in it.
pub(super) fn put(settings: &mut Settings, spec: &mut Spec, target: &mut KubernetesTarget) {
    let given = settings.text(Part::Image);
    let tag = given.as_deref().and_then(tag).map(str::to_owned);
    let version = tag.as_deref().and_then(|tag| tag.parse::<Version>().ok());
    let is_of_lmcache = given.as_deref().is_some_and(|image| image.contains("lmcache"));
    let is_of_vllm = given.as_deref().is_some_and(|image| image.contains("vllm-openai"));
    match tag.as_deref() {
        _ if given.is_none() => {}
        None | Some("latest" | "nightly" | "main") => {
            let remark =
                "It names no version, so Weir's own of engine.vllm takes its place: pin it";
            settings.without_effect(Part::Image, "the image has no version");
            settings.remark(Part::Image, remark);
        }
        Some(_) => {
            target.images.vllm = given;
            match version {
                Some(version) if is_of_vllm && !is_of_lmcache => spec.engine.vllm = Some(version),
                _ => settings.remark(Part::Image, "Its vLLM is not known: write engine.vllm"),
            }
        }
    }
    if !spec.arms.iter().any(is_lmcache) {
        return;
    }
    target.lmcache = version.filter(|_| is_of_lmcache).or(Some(LMCACHE));
    if target.images.vllm.is_none() {
        target.images.vllm = Some(LMCACHE_IMAGE.to_owned());
    }
    if version.is_none() || !is_of_lmcache {
        let part = if settings.is_given(Part::Image) { Part::Image } else { Part::LmcacheImage };
        let remark = format!(
            "LMCache {LMCACHE} is an assumption: write target.kubernetes.lmcache and images.vllm"
        );
        settings.remark(part, remark);
    }
}

fn is_lmcache(arm: &NameOr<ArmSection>) -> bool {
    match arm {
        NameOr::Name(name) => name.starts_with("lmcache"),
        NameOr::Map(arm) => arm.lmcache_mode.is_some(),
    }
}

/// Not of a port of the registry. A digest is as good as a version.
fn tag(image: &str) -> Option<&str> {
    let last = image.rsplit('/').next().unwrap_or(image);
    last.split_once('@').or_else(|| last.split_once(':')).map(|(_, tag)| tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_behind_the_last_name() {
        assert_eq!(tag("vllm/vllm-openai:v0.11.0"), Some("v0.11.0"));
        assert_eq!(tag("registry:5000/vllm-openai"), None);
        assert_eq!(tag("a/vllm@sha256:00"), Some("sha256:00"));
    }
}
