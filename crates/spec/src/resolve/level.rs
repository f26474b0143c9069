use std::path::Path;

use weir_model::Nanos;
use weir_workload::WorkloadConfig;

use super::{check_span, check_unique};
use crate::document::load::LoadSection;
use crate::error::SpecError;
use crate::plan::{Level, LevelLoad};

pub(super) const DURATION: Nanos = Nanos::from_secs(120);
/// A year.
const LONGEST: Nanos = Nanos::from_secs(366 * 86_400);
const MOST_USERS: u32 = 1_000_000;

pub(super) fn all(
    workload: &WorkloadConfig,
    load: &LoadSection,
    base: &Path,
    max_model_len: u32,
) -> Result<Vec<Level>, SpecError> {
    let loads = loads(load)?;
    workload.validate()?;
    check_match(workload, load, max_model_len)?;
    let timed = load.trace.is_none();
    let duration = load.duration.map(|span| span.0).or(timed.then_some(DURATION));
    let warmup = warmup(load, duration)?;
    let ramp = ramp(load, warmup, duration)?;
    if load.max_requests == Some(0) {
        return Err(SpecError::value("load.max_requests", "0 requests", "raise it or remove it"));
    }
    let levels: Vec<Level> = loads
        .into_iter()
        .map(|(name, at)| Level {
            name,
            workload: at_level(workload, &at, base),
            load: at,
            duration,
            warmup,
            ramp,
            max_requests: load.max_requests,
        })
        .collect();
    let names = levels.iter().map(|level| level.name.as_str());
    check_unique("load", names, "remove the double level")?;
    Ok(levels)
}

/// Resolves counts per user, and trace paths from the file's folder.
fn at_level(workload: &WorkloadConfig, load: &LevelLoad, base: &Path) -> WorkloadConfig {
    let mut workload = match load {
        LevelLoad::Users(users) => workload.resolve_users(*users),
        _ => workload.clone(),
    };
    if let WorkloadConfig::Trace(file) = &mut workload {
        file.path = base.join(&file.path).display().to_string();
    }
    workload
}

fn loads(load: &LoadSection) -> Result<Vec<(String, LevelLoad)>, SpecError> {
    let forms = load.forms();
    let [form] = forms.as_slice() else {
        let problem = if forms.is_empty() {
            "it does not say how requests arrive".to_owned()
        } else {
            format!("`{}` exclude each other", forms.join("` and `"))
        };
        return Err(SpecError::value(
            "load",
            problem,
            "write one of `users`, `constant`, `poisson`, `gamma` and `trace`",
        ));
    };
    let rate = |value: f64| (format!("r{value}"), value);
    let mut levels: Vec<(String, LevelLoad)> = Vec::new();
    let mut rates: Vec<f64> = Vec::new();
    if let Some(users) = &load.users {
        levels.extend(users.0.iter().map(|n| (format!("c{n}"), LevelLoad::Users(*n))));
    }
    for (list, make) in [
        (&load.constant, LevelLoad::Constant as fn(f64) -> LevelLoad),
        (&load.poisson, LevelLoad::Poisson as fn(f64) -> LevelLoad),
    ] {
        for (name, value) in list.iter().flat_map(|list| list.0.iter().copied().map(rate)) {
            rates.push(value);
            levels.push((name, make(value)));
        }
    }
    if let Some(gamma) = &load.gamma {
        rates.extend(gamma.rates.0.iter().copied().chain([gamma.cv]));
        levels.extend(
            gamma
                .rates
                .0
                .iter()
                .copied()
                .map(rate)
                .map(|(name, rate)| (name, LevelLoad::Gamma { rate, cv: gamma.cv })),
        );
    }
    if let Some(trace) = &load.trace {
        rates.extend(&trace.speed.0);
        levels.extend(trace.speed.0.iter().map(|&speed| {
            let name = if speed == 1.0 { "trace".to_owned() } else { format!("trace-x{speed}") };
            (name, LevelLoad::Trace { speed })
        }));
    }
    check_values(form, &levels, &rates)?;
    Ok(levels)
}

fn check_values(
    form: &str,
    levels: &[(String, LevelLoad)],
    rates: &[f64],
) -> Result<(), SpecError> {
    let key = format!("load.{form}");
    if levels.is_empty() {
        return Err(SpecError::value(key, "the list is empty", "write at least one level"));
    }
    for (_, load) in levels {
        if let LevelLoad::Users(users) = load
            && !(1..=MOST_USERS).contains(users)
        {
            return Err(SpecError::value(
                key,
                format!("{users} users"),
                format!("write a number from 1 to {MOST_USERS}"),
            ));
        }
    }
    match rates.iter().find(|rate| !(**rate > 0.0 && **rate <= 1e6)) {
        Some(rate) => Err(SpecError::value(
            key,
            format!("{rate} is out of range"),
            "write a number above 0 and up to 1000000",
        )),
        None => Ok(()),
    }
}

fn check_match(
    workload: &WorkloadConfig,
    load: &LoadSection,
    max_model_len: u32,
) -> Result<(), SpecError> {
    if load.trace.is_some() && !matches!(workload, WorkloadConfig::Trace(_)) {
        return Err(SpecError::value(
            "load.trace",
            "only a trace has times of its own, and the workload is another kind",
            "write `load: {users: ...}` or a rate, or a `workload: {trace: ...}`",
        ));
    }
    if workload.is_per_user() && load.users.is_none() {
        return Err(SpecError::value(
            workload.key(),
            "a count is per user, and the load has no users",
            "write a plain number, or `load: {users: ...}`",
        ));
    }
    match workload.longest_request() {
        Some(longest) if longest > u64::from(max_model_len) => Err(SpecError::value(
            workload.key(),
            format!(
                "a request can have {longest} tokens with its answer, and the engine takes \
                 {max_model_len}"
            ),
            "shorten it, or use a model with a longer context",
        )),
        _ => Ok(()),
    }
}

/// Users that start after the warm-up would be measured while they arrive. By default they start
/// over its first half: users in step make bursts that outlast it. In the other half the requests
/// that found cold caches end.
fn ramp(load: &LoadSection, warmup: Nanos, duration: Option<Nanos>) -> Result<Nanos, SpecError> {
    let Some(ramp) = load.ramp.map(|span| span.0) else {
        let has_users = load.users.is_some();
        return Ok(if has_users { Nanos(warmup.0 / 2) } else { Nanos::ZERO });
    };
    if load.users.is_none() {
        return Err(SpecError::value(
            "load.ramp",
            "only users start one after the other, and the load has none",
            "remove it, or write `load: {users: ...}`",
        ));
    }
    if ramp > warmup && duration.is_some() {
        return Err(SpecError::value(
            "load.ramp",
            format!("{ramp} reaches into the measured window, which starts at {warmup}"),
            "lower it, or raise load.warmup",
        ));
    }
    Ok(ramp)
}

fn warmup(load: &LoadSection, duration: Option<Nanos>) -> Result<Nanos, SpecError> {
    if let Some(duration) = duration {
        check_span("load.duration", duration, LONGEST)?;
    }
    if duration == Some(Nanos::ZERO) {
        return Err(SpecError::value("load.duration", "0s", "write for example `120s`"));
    }
    let default = duration.map_or(Nanos::ZERO, |duration| {
        if load.trace.is_some() { Nanos::ZERO } else { Nanos(duration.0 / 10) }
    });
    let warmup = load.warmup.map_or(default, |span| span.0);
    match duration {
        Some(duration) if warmup >= duration => Err(SpecError::value(
            "load.warmup",
            format!("{warmup} leaves nothing of the duration of {duration}"),
            "lower it, or raise load.duration",
        )),
        _ => Ok(warmup),
    }
}
