//! Variables and scenario files of other benchmark scripts, and the experiment that they become.
//!
//! The facts are tables, one per era of the scripts: a variable, what was taken where it was not
//! set, and what it becomes. The eras are the code of that time and not its documentation, which
//! names variables that nothing read. Nothing is run, and no secret is read or written.

mod accelerator;
mod engine_arguments;
mod error;
mod harness_profile;
mod images;
mod llmdbench;
mod natoscott;
mod settings;
mod shell;
mod table;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::path::Path;

use weir_model::Nanos;
use weir_model::quantity::Span;

use self::engine_arguments::EngineArguments;
pub use self::error::{VariableError, VariablePlace};
use self::harness_profile::HarnessProfile;
use self::settings::{Given, Settings};
pub use self::settings::{VariableFate, VariableOutcome};
pub use self::shell::ShellProblem;
use self::shell::Text;
use self::table::{Part, Row};
use crate::catalogue::models;
use crate::document::Spec;
use crate::document::arm::ArmSection;
use crate::document::model_file::ModelFile;
use crate::document::written::NameOr;
use crate::withheld;

/// Longest scenario file: theirs have a few hundred lines.
const MOST_BYTES: usize = 1 << 20;

/// Whose scripts, and of what time.
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Era {
    /// natoscott/benchmarks, `llm-d-kvcache-offload-eval` of early 2026.
    #[cfg_attr(feature = "cli", value(name = "natoscott"))]
    Natoscott,
    /// llm-d-benchmark of May 2025, which calls llm-d-deployer.
    #[cfg_attr(feature = "cli", value(name = "llmdbench-2025-05"))]
    LlmdbenchDeployer,
    /// llm-d-benchmark 0.5, the last one of shell scripts.
    #[cfg_attr(feature = "cli", value(name = "llmdbench-0.5"))]
    LlmdbenchModelservice,
}

impl Era {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Natoscott => "natoscott",
            Self::LlmdbenchDeployer => "llmdbench-2025-05",
            Self::LlmdbenchModelservice => "llmdbench-0.5",
        }
    }

    const fn rows(self) -> &'static [&'static [Row]] {
        match self {
            Self::Natoscott => &[natoscott::ROWS],
            Self::LlmdbenchDeployer => llmdbench::MAY_2025,
            Self::LlmdbenchModelservice => llmdbench::V0_5,
        }
    }

    /// In the environment of a process: other names are somebody else's.
    fn is_own(self, name: &str) -> bool {
        let is_of_tool = self != Self::Natoscott && name.starts_with("LLMDBENCH_");
        is_of_tool || table::find(self.rows(), name).is_some()
    }
}

/// What variables become, and what became of each.
#[derive(Debug, Clone)]
pub struct ImportedVariables {
    era: Era,
    source: String,
    spec: Spec,
    pub fates: Vec<VariableFate>,
}

impl ImportedVariables {
    /// Reads a scenario file, and the profile of its load where its name alone is not enough.
    pub fn of_file(file: &Path, profile: Option<&Path>, era: Era) -> Result<Self, VariableError> {
        let text = std::fs::read_to_string(file).map_err(|source| VariableError::Read {
            what: "scenario file",
            path: file.to_owned(),
            source,
        })?;
        let profile = profile.map(HarnessProfile::read).transpose()?;
        Self::of_text(&text, &file.display().to_string(), profile.as_ref(), era)
    }

    /// Of a process: only names of the era's table, and those that begin like them.
    pub fn of_environment(
        variables: impl IntoIterator<Item = (String, String)>,
        profile: Option<&Path>,
        era: Era,
    ) -> Result<Self, VariableError> {
        let profile = profile.map(HarnessProfile::read).transpose()?;
        let given = variables.into_iter().filter(|(name, _)| era.is_own(name));
        let mut given: Vec<Given> = given
            .map(|(name, text)| Given { name, value: Text { text, missing: None }, line: None })
            .collect();
        given.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self::of(&given, None, profile.as_ref(), era))
    }

    fn of_text(
        text: &str,
        file: &str,
        profile: Option<&HarnessProfile>,
        era: Era,
    ) -> Result<Self, VariableError> {
        if text.len() > MOST_BYTES {
            return Err(VariableError::TooLong { file: file.to_owned(), limit: MOST_BYTES });
        }
        let assignments = shell::assignments(text).map_err(|fault| {
            let (line, name) = (Some(fault.line), fault.name);
            let place = Box::new(VariablePlace { file: Some(file.to_owned()), line, name });
            VariableError::Shell { place, problem: fault.problem }
        })?;
        let given: Vec<Given> = assignments
            .into_iter()
            .map(|of| Given { name: of.name, value: of.value, line: Some(of.line) })
            .collect();
        Ok(Self::of(&given, Some(file), profile, era))
    }

    fn of(given: &[Given], file: Option<&str>, profile: Option<&HarnessProfile>, era: Era) -> Self {
        let method = (era != Era::Natoscott).then(|| llmdbench::method(given));
        let mut settings = Settings::of(given, era.rows(), method, file);
        let spec = match method {
            None => natoscott::spec(&mut settings),
            Some(method) => llmdbench::spec(&mut settings, method, profile),
        };
        let source = file.unwrap_or("the environment").to_owned();
        Self { era, source, spec, fates: settings.into_fates() }
    }

    /// Names that the era's table does not have.
    pub fn unknown(&self) -> impl Iterator<Item = &VariablePlace> {
        let unknown = |fate: &&VariableFate| fate.outcome == VariableOutcome::Unknown;
        self.fates.iter().filter(unknown).map(|fate| &fate.place)
    }

    /// The experiment, unless a variable was refused.
    pub fn spec(&self) -> Result<&Spec, VariableError> {
        let refused = |fate: &VariableFate| match &fate.outcome {
            VariableOutcome::Refused { problem, remedy } => {
                Some((fate.place.clone(), problem.clone(), remedy.clone()))
            }
            _ => None,
        };
        let mut all = self.fates.iter().filter_map(refused);
        let Some((place, problem, remedy)) = all.next() else { return Ok(&self.spec) };
        let (place, more) = (Box::new(place), all.count());
        Err(VariableError::Refused { place, problem, remedy, more })
    }

    /// The experiment as a file, with what there is to know of it in its head.
    pub fn experiment_file(&self) -> Result<String, VariableError> {
        let spec = self.spec()?;
        let mut head =
            format!("# By `weir spec from-env --era {}`, of {}.\n", self.era.name(), self.source);
        for fate in &self.fates {
            for remark in &fate.remarks {
                let name = fate.place.name.as_deref().unwrap_or_default();
                let _ = writeln!(head, "# {name}: {remark}.");
            }
        }
        Ok(withheld::whole_spec(spec, &head))
    }
}

/// The arguments in a variable's value.
fn arguments(
    settings: &mut Settings,
    part: Part,
    words: Result<Vec<Text>, ShellProblem>,
) -> EngineArguments {
    let read = words.map_err(|problem| (problem.to_string(), String::new())).and_then(|words| {
        if let Some(missing) = words.iter().find_map(|word| word.missing.as_ref()) {
            let problem = format!("`{missing}` was known to the container's shell alone");
            return Err((problem, "write the value itself".to_owned()));
        }
        let words: Vec<String> = words.into_iter().map(|word| word.text).collect();
        EngineArguments::read(&words).map_err(|of| (of.problem, of.remedy.to_owned()))
    });
    match read {
        Ok(arguments) => {
            for remark in &arguments.remarks {
                settings.remark(part, remark.clone());
            }
            arguments
        }
        Err((problem, remedy)) => {
            settings.refuse(part, problem, remedy);
            EngineArguments::default()
        }
    }
}

/// By its name alone where that says it all.
fn bare(arm: ArmSection) -> NameOr<ArmSection> {
    match &arm.preset {
        Some(name)
            if arm == (ArmSection { preset: arm.preset.clone(), ..ArmSection::default() }) =>
        {
            NameOr::Name(name.clone())
        }
        _ => NameOr::Map(arm),
    }
}

/// By its alias or name. One that the catalogue does not have is a file that has to be there.
fn model(settings: &mut Settings) -> NameOr<ModelFile> {
    let text = settings.text(Part::Model).unwrap_or_default();
    let name =
        models::ALIASES.iter().find(|(alias, _)| *alias == text).map_or(&*text, |(_, of)| *of);
    if models::find(name).is_some() {
        return name.into();
    }
    settings.remark(
        Part::Model,
        "The catalogue does not have it: put its config.json beside the experiment file",
    );
    NameOr::Map(ModelFile { name: Some(name.to_owned()), ..ModelFile::at("config.json") })
}

fn seconds(settings: &mut Settings, part: Part) -> Option<Span> {
    /// A day: also keeps nanoseconds in range.
    const MOST: f64 = 86_400.0;
    let seconds: f64 = settings.read(part, "a number of seconds")?;
    if !(seconds > 0.0 && seconds <= MOST) {
        settings.refuse(part, "it is no time up to a day", "write a number of seconds");
        return None;
    }
    Some(Span(Nanos((seconds * 1e9) as u64)))
}

/// As names of folders, arms and experiments may be.
fn plain_name(text: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let name: String = text.chars().map(plain).collect();
    if name.starts_with('.') { format!("x{name}") } else { name }
}
