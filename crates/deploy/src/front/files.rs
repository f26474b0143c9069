//! Configuration files and command lines of picker and Envoy.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use weir_picker::{Door, PickerConfig, PickerRelease, Services};

use super::FrontPlan;
use super::llm_d::written;
use super::parts::Parts;
use crate::error::DeployError;
use crate::process::Recipe;

pub(super) struct Files<'a> {
    pub(super) plan: &'a FrontPlan<'a>,
    pub(super) config: &'a PickerConfig,
    pub(super) parts: &'a Parts,
}

impl Files<'_> {
    pub(super) fn picker(&self, services: &Services) -> Result<Recipe, DeployError> {
        let release = self.parts.release;
        let config = self.picker_config(release)?;
        let mut env = BTreeMap::new();
        if let Some(port) = services.port() {
            let path = self.plan.scratch.join("kubeconfig.json");
            let path = written(&path, &PickerConfig::kubeconfig(port))?;
            env.insert("KUBECONFIG".to_owned(), path.display().to_string());
        } else {
            written(&self.config.endpoints_file, &self.config.endpoints())?;
        }
        let args = self.config.arguments(release, &config.display().to_string());
        Ok(self.recipe("picker", &self.parts.picker, args, env))
    }

    /// A user's own may hold a password: it does not stay with the cell.
    fn picker_config(&self, release: PickerRelease) -> Result<PathBuf, DeployError> {
        let arm = self.plan.arm;
        if let Some(own) = &arm.processes.picker_config {
            let failed = |what: &'static str, path: &Path| {
                let path = path.display().to_string();
                move |source| DeployError::File { what, path, source }
            };
            let text =
                std::fs::read_to_string(own).map_err(failed("picker_config", Path::new(own)))?;
            let path = self.plan.scratch.join("picker.yaml");
            std::fs::write(&path, self.config.filled_in(&text))
                .map_err(failed("the picker's configuration", &path))?;
            return Ok(path);
        }
        let document = self.config.document(release).map_err(|error| DeployError::Unsupported {
            arm: arm.name.clone(),
            problem: format!("{} cannot serve it", release.name()),
            remedy: error.to_string(),
        })?;
        written(&self.plan.logs.join("picker.json"), &document)
    }

    pub(super) fn envoy(&self, door: &Door) -> Result<Recipe, DeployError> {
        let config = written(&self.plan.logs.join("envoy.json"), &door.bootstrap())?;
        let config = config.display().to_string();
        let args = ["--config-path", &config, "--disable-hot-restart", "--log-level", "warning"];
        let args = args.map(str::to_owned).to_vec();
        Ok(self.recipe("envoy", &self.parts.envoy, args, BTreeMap::new()))
    }

    fn recipe(
        &self,
        name: &str,
        program: &Path,
        args: Vec<String>,
        env: BTreeMap<String, String>,
    ) -> Recipe {
        Recipe {
            name: name.to_owned(),
            program: program.to_path_buf(),
            args,
            env,
            secrets: Vec::new(),
            withheld: BTreeSet::new(),
            folder: self.plan.scratch.to_path_buf(),
            log: self.plan.logs.join(format!("{name}.log")),
            cores: None,
        }
    }
}
