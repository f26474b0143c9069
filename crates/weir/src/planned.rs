//! From the command line's experiment to a plan.

use std::path::Path;

use weir_lab::{LabError, Planned};
use weir_model::Nanos;
use weir_model::quantity::Span;
use weir_spec::Spec;
use weir_spec::document::engine::EngineSection;
use weir_spec::document::load::LoadSection;
use weir_spec::document::model_file::ModelFile;
use weir_spec::document::written::{NameOr, OneOrMany};
use weir_workload::WorkloadConfig;
use weir_workload::config::{Count, Draw, Length, SharedPrefix};

use crate::cli::ExperimentArgs;

/// Without a file: the built-in experiment.
pub(crate) fn planned(args: &ExperimentArgs) -> Result<Planned, LabError> {
    match &args.file {
        Some(file) => weir_lab::planned::of_file(file, &args.sets),
        None => weir_lab::planned::built_in(&args.sets),
    }
}

/// The smallest experiment for a model and hardware, for commands on a deployment without a
/// workload.
pub(crate) fn minimal(
    model: &str,
    hardware: &str,
    tensor_parallel: Option<u32>,
    arms: &[&str],
) -> Spec {
    let is_file = Path::new(model).extension().is_some_and(|end| end == "json");
    let workload = WorkloadConfig::SharedPrefix(SharedPrefix {
        prefixes: Count::Absolute(1),
        draw: Draw::Uniform,
        prefix_tokens: 16,
        turns: 1,
        prompt_tokens: Length::Fixed(16),
        output_tokens: Length::Fixed(1),
        think: Nanos::ZERO,
    });
    let load = LoadSection {
        users: Some(OneOrMany(vec![1])),
        duration: Some(Span(Nanos::from_secs(1))),
        ..LoadSection::default()
    };
    Spec {
        models: vec![if is_file { NameOr::Map(ModelFile::at(model)) } else { model.into() }],
        hardware: OneOrMany(vec![hardware.into()]),
        engine: EngineSection {
            tensor_parallel: tensor_parallel.map(|ranks| OneOrMany(vec![ranks])),
            ..EngineSection::default()
        },
        arms: arms.iter().map(|arm| (*arm).into()).collect(),
        ..Spec::of("minimal", workload, load)
    }
}
