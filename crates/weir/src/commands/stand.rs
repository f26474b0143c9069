//! `weir render`, `standup`, `status` and `smoketest`: an arm's stack in a cluster, without a run.

use std::fmt::Write;
use std::path::Path;

use anyhow::Context;
use weir_deploy::front;
use weir_deploy::kubernetes::{
    Applied, StackObject, Stand, StandProgress, StandStep, stacks, user_role,
};
use weir_spec::Plan;
use weir_spec::catalogue::models::ALIASES;
use weir_spec::plan::{Arm, Deployment, KubernetesTarget};

use crate::cli::{
    DryRun, ExperimentArgs, RenderArgs, SmoketestArgs, StandChoice, StandMethod, StandupArgs,
    StatusArgs,
};
use crate::exit::{Exit, Mistake};
use crate::interrupt::{Interrupt, Waiting};
use crate::planned::planned;
use crate::printer::Printer;

pub(crate) fn render(args: &RenderArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    let plan = planned(&args.experiment)?.plan;
    let target = target_of(&plan, &args.experiment)?;
    for (deployment, arm) in chosen(&plan, target, &args.choice)? {
        let objects = weir_deploy::kubernetes::render(target, deployment, arm)?;
        match &args.out {
            Some(folder) => {
                write_files(folder, &objects)?;
                let many = objects.len();
                printer.note(&format!("{}: {many} files in {}", arm.name, folder.display()));
            }
            None => {
                for object in &objects {
                    printer.result(&format!("---\n{}", object.manifest.yaml()))?;
                }
            }
        }
    }
    Ok(Exit::Done)
}

pub(crate) fn standup(args: &StandupArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    let plan = planned(&args.experiment)?.plan;
    let target = target_of(&plan, &args.experiment)?;
    if args.print_rbac {
        printer.result(&user_role(&plan, target)?.yaml())?;
        return Ok(Exit::Done);
    }
    let steps = args.steps.as_deref().map_or_else(|| Ok(StandStep::ALL.to_vec()), steps)?;
    let interrupt = Interrupt::listen(Waiting::Cells, printer.is_quiet())?;
    for (deployment, arm) in chosen(&plan, target, &args.choice)? {
        match args.dry_run {
            Some(DryRun::Here) => {
                let objects = weir_deploy::kubernetes::render(target, deployment, arm)?;
                list(&objects, &steps, printer)?;
                continue;
            }
            Some(DryRun::Server) => {
                let stand = Stand::connect(target, deployment, arm)?;
                printer.result(&stand.changes()?.join("\n"))?;
                continue;
            }
            None => {}
        }
        let stand = Stand::connect(target, deployment, arm)?;
        let _lease = stand.lease(&holder())?;
        let stopped = || interrupt.stop().is_asked();
        let mut last = String::new();
        stand.up(&steps, None, &stopped, &mut |progress| {
            let words = told(progress);
            if words != last {
                printer.note(&words);
                last = words;
            }
        })?;
        if steps.contains(&StandStep::SmokeTest) {
            printer.result(&stand.smoke()?.join("\n"))?;
        }
    }
    Ok(Exit::Done)
}

pub(crate) fn status(args: &StatusArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    let plan = planned(&args.experiment)?.plan;
    let target = target_of(&plan, &args.experiment)?;
    let stacks = stacks(target)?;
    if stacks.is_empty() {
        printer.note(&format!("nothing stands in namespace {}", target.namespace));
        return Ok(Exit::Done);
    }
    let mut out = String::new();
    for stack in stacks {
        let expires = stack.expires.map_or_else(String::new, |at| format!("  expires {at:.0}"));
        let _ = writeln!(out, "{}  arm {}{expires}", stack.stack, stack.arm);
        for (name, state) in stack.pods {
            let _ = writeln!(out, "  {name}  {state}");
        }
    }
    printer.result(&out)?;
    Ok(Exit::Done)
}

pub(crate) fn smoketest(args: &SmoketestArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    let plan = planned(&args.experiment)?.plan;
    let target = target_of(&plan, &args.experiment)?;
    for (deployment, arm) in chosen(&plan, target, &args.choice)? {
        let stand = Stand::connect(target, deployment, arm)?;
        printer.result(&stand.smoke()?.join("\n"))?;
    }
    Ok(Exit::Done)
}

/// What others see of a command that changes a stack.
pub(crate) fn holder() -> String {
    format!("weir-{}", std::process::id())
}

pub(crate) fn target_of<'a>(
    plan: &'a Plan,
    args: &ExperimentArgs,
) -> Result<&'a KubernetesTarget, Mistake> {
    plan.target.kubernetes().ok_or_else(|| {
        let file = args.file.as_ref().map_or("built-in".into(), |file| file.display().to_string());
        Mistake(format!(
            "{file}: the target is `{}`, and this command needs a cluster; write `target: \
             {{kubernetes: {{namespace: ...}}}}`",
            plan.target.name()
        ))
    })
}

/// Of each model, one arm: the named one, else the first of the method.
fn chosen<'a>(
    plan: &'a Plan,
    target: &KubernetesTarget,
    choice: &StandChoice,
) -> Result<Vec<(&'a Deployment, &'a Arm)>, Mistake> {
    for wanted in &choice.models {
        if !plan.deployments.iter().any(|of| is_model(of, wanted)) {
            let names = plan.deployments.iter().map(|of| of.model.name.as_str());
            let names = names.collect::<Vec<_>>().join(", ");
            return Err(Mistake(format!("--models {wanted}: the experiment has {names}")));
        }
    }
    let mut all = Vec::new();
    for deployment in &plan.deployments {
        let models = &choice.models;
        if !(models.is_empty() || models.iter().any(|wanted| is_model(deployment, wanted))) {
            continue;
        }
        let fits = |arm: &&Arm| {
            let is_routed = front::is_needed(&target.router, arm, deployment.replicas);
            let by_name = choice.arm.as_ref().is_none_or(|name| arm.name == *name);
            by_name && choice.methods.is_none_or(|of| (of == StandMethod::LlmD) == is_routed)
        };
        let arm = deployment.arms.iter().find(fits).ok_or_else(|| {
            let names = deployment.arms.iter().map(|arm| arm.name.as_str());
            let names = names.collect::<Vec<_>>().join(", ");
            Mistake(format!("no arm fits --arm and --methods; the experiment has {names}"))
        })?;
        all.push((deployment, arm));
    }
    Ok(all)
}

fn is_model(deployment: &Deployment, wanted: &str) -> bool {
    let name = &deployment.model.name;
    let alias = ALIASES.iter().find(|(alias, _)| *alias == wanted);
    match alias {
        Some((_, of)) => name == of,
        None => name.to_ascii_lowercase().contains(&wanted.to_ascii_lowercase()),
    }
}

/// `4,6-8`, `standalone`, `08_smoketest.sh`.
fn steps(text: &str) -> Result<Vec<StandStep>, Mistake> {
    let mut all = Vec::new();
    for part in text.split(',').map(str::trim) {
        let found = one_or_range(part);
        if found.is_empty() {
            let known = StandStep::ALL.map(|step| step.to_string()).join(", ");
            return Err(Mistake(format!(
                "--steps: `{part}` is no step; expected numbers or names of: {known}"
            )));
        }
        all.extend(found);
    }
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

/// Empty where nothing fits.
fn one_or_range(part: &str) -> Vec<StandStep> {
    let all = StandStep::ALL.into_iter();
    if let Some((first, last)) = part.split_once('-')
        && let (Ok(first), Ok(last)) = (first.parse::<u8>(), last.parse::<u8>())
    {
        return all.filter(|step| (first..=last).contains(&step.number())).collect();
    }
    if let Ok(number) = part.parse::<u8>() {
        return all.filter(|step| step.number() == number).collect();
    }
    // llm-d-benchmark's scripts have such names.
    let plain = part.trim_end_matches(".sh").trim_start_matches(|c: char| c.is_ascii_digit());
    let plain = plain.trim_start_matches('_');
    let starts = |step: &StandStep| !plain.is_empty() && step.name().starts_with(plain);
    all.filter(starts).collect()
}

fn list(objects: &[StackObject], steps: &[StandStep], printer: &mut Printer) -> anyhow::Result<()> {
    let mut out = String::new();
    for object in objects.iter().filter(|object| steps.contains(&object.step)) {
        let manifest = &object.manifest;
        let name = manifest.name().unwrap_or_default();
        let _ = writeln!(out, "{:<14} {:<24} {name}", object.step, manifest.kind().qualified());
    }
    printer.result(&out)
}

/// `04_configmap_weir-....yaml`, in the order of applying.
fn write_files(folder: &Path, objects: &[StackObject]) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for object in objects {
        let kind = object.manifest.kind().kind.to_ascii_lowercase();
        let name = object.manifest.name().unwrap_or_default();
        let file = folder.join(format!("{:02}_{kind}_{name}.yaml", object.step.number()));
        std::fs::write(&file, object.manifest.yaml())
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

fn told(progress: &StandProgress<'_>) -> String {
    match progress {
        StandProgress::Applied(manifest, applied) => {
            let name = manifest.name().unwrap_or_default();
            let what = match applied {
                Applied::Created => "created",
                Applied::Changed => "changed",
                Applied::Unchanged => "as it was",
            };
            format!("{} {name}: {what}", manifest.kind().kind)
        }
        StandProgress::Waits(name, rollout) => format!("{name}: {rollout}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_numbers_ranges_and_names() {
        let of = |text: &str| {
            let found = steps(text).map(|steps| steps.iter().map(|step| step.number()).collect());
            found.map_err(|Mistake(words)| words)
        };
        assert_eq!(of("6-8"), Ok(vec![6, 7, 8]));
        assert_eq!(of("08_smoketest.sh, 4"), Ok(vec![4, 8]));
        assert_eq!(of("standalone,6"), Ok(vec![6]));
        assert!(of("99").is_err_and(|words| words.contains("04 namespace")), "{:?}", of("99"));
        assert!(of("").is_err());
    }
}
