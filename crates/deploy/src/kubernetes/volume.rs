//! The volume of the model's weights: kept when the stack goes.

use std::collections::BTreeMap;

use weir_kubernetes::k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements,
};
use weir_kubernetes::k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use weir_kubernetes::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::arm::PodArm;
use super::names::{MANAGED_BY, MANAGER};

/// None for a claim that somebody else makes. It belongs to no stack: a model is not downloaded
/// twice.
pub(super) fn claim(of: &PodArm<'_>) -> Option<PersistentVolumeClaim> {
    let volume = of.target.model_volume.as_ref()?;
    let size = of.bytes_of(volume.size?);
    let labels = BTreeMap::from([(MANAGED_BY.to_owned(), MANAGER.to_owned())]);
    let requests = BTreeMap::from([("storage".to_owned(), Quantity(size.0.to_string()))]);
    Some(PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(volume.claim.clone()),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteMany".to_owned()]),
            storage_class_name: volume.class.clone(),
            resources: Some(VolumeResourceRequirements {
                requests: Some(requests),
                ..VolumeResourceRequirements::default()
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    })
}
