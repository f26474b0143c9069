use std::path::Path;
use std::time::Duration;

use weir_deploy::{Access, EngineEndpoint};
use weir_model::Nanos;
use weir_model::quantity::Span;
use weir_spec::document::engine::EngineSection;
use weir_spec::document::load::{GammaRates, LoadSection, TraceSpeed};
use weir_spec::document::written::OneOrMany;
use weir_spec::document::{SloSection, section};
use weir_spec::plan::{EndpointTarget, HeaderValue};
use weir_spec::{AS_DEPLOYED, ENDPOINT, EndpointLimits, Spec};
use weir_workload::WorkloadConfig;
use weir_workload::config::{Count, Draw, Length, OverContext, SharedPrefix, TraceFile};

use super::search::{Search, rates};
use crate::cli::LoadArgs;
use crate::exit::Mistake;

/// Where nothing else ends a level.
const DURATION: Nanos = Nanos::from_secs(30);
/// Where the number of requests or the trace ends a level.
const NO_LIMIT: Nanos = Nanos::from_secs(366 * 86_400);

pub(super) fn request_timeout(args: &LoadArgs) -> Duration {
    Duration::from_nanos(args.client.request_timeout.0.0)
}

pub(super) fn target(args: &LoadArgs) -> anyhow::Result<EndpointTarget> {
    let mut headers = std::collections::BTreeMap::new();
    for header in &args.access.headers {
        let (name, value) = header.split_once(':').ok_or_else(|| {
            Mistake("--header: no colon; write `--header 'Name: value'`".to_owned())
        })?;
        let value = HeaderValue::Text(value.trim().to_owned());
        headers.insert(name.trim().to_owned(), value);
    }
    Ok(EndpointTarget {
        url: OneOrMany(args.urls.clone()),
        model: args.model.clone(),
        bearer_file: args.access.bearer_file.clone(),
        headers,
        ca_file: args.access.ca_file.clone(),
        insecure: args.access.insecure,
        ..EndpointTarget::default()
    })
}

pub(super) struct Discovered {
    pub(super) model: String,
    /// The least over all URLs.
    pub(super) limits: EndpointLimits,
}

/// All URLs must serve the model.
pub(super) fn discover(target: &EndpointTarget, timeout: Duration) -> anyhow::Result<Discovered> {
    let access = Access::of(target, timeout)?;
    let mut found: Option<Discovered> = None;
    for url in &target.url.0 {
        let endpoint = EngineEndpoint::new(url, access.clone())?;
        let wanted = target.model.as_deref().or(found.as_ref().map(|served| served.model.as_str()));
        // Ctrl-C still ends the program here.
        let served = endpoint.choose(wanted, &|| false)?;
        let mut limits =
            EndpointLimits { max_model_len: served.max_model_len, ..endpoint.cache_limits() };
        if let Some(before) = &found {
            limits = limits.least(before.limits);
        }
        found = Some(Discovered { model: served.id, limits });
    }
    found.ok_or_else(|| Mistake("no URL: write where the server is".to_owned()).into())
}

pub(super) fn spec(
    args: &LoadArgs,
    target: EndpointTarget,
    served: &Discovered,
    search: Option<&Search>,
) -> anyhow::Result<Spec> {
    let sets = &args.asked.working_set;
    Ok(Spec {
        target: EndpointTarget { model: Some(served.model.clone()), ..target }.into(),
        models: vec![served.model.as_str().into()],
        hardware: OneOrMany(vec![ENDPOINT.into()]),
        engine: EngineSection {
            max_model_len: served.limits.max_model_len,
            kv_tokens: served.limits.kv_tokens,
            ..EngineSection::default()
        },
        arms: vec![AS_DEPLOYED.into()],
        working_sets: (!sets.is_empty()).then(|| OneOrMany(sets.clone())),
        client: args.client.clone(),
        slo: SloSection {
            ttft: args.objectives.slo_ttft,
            tpot: args.objectives.slo_tpot,
            e2e: args.objectives.slo_e2e,
        },
        repeats: args.arrival.repeats,
        seed: args.arrival.seed,
        ..Spec::of("load", workload(args)?, load(args, search))
    })
}

fn workload(args: &LoadArgs) -> anyhow::Result<WorkloadConfig> {
    let asked = &args.asked;
    if let Some(text) = &asked.workload {
        // YAML text, else the path of a file with it.
        let is_file = !text.contains(':') || Path::new(text).is_file();
        let (text, name) = if is_file {
            let read = std::fs::read_to_string(text);
            let why = |error| Mistake(format!("--workload {text}: {error}; check the path"));
            (read.map_err(why)?, text.as_str())
        } else {
            (text.clone(), "--workload")
        };
        return Ok(section(&text, name)?);
    }
    if let Some(path) = &asked.trace {
        return Ok(WorkloadConfig::Trace(TraceFile {
            format: asked.trace_format,
            path: path.clone(),
            block_tokens: asked.trace_block_tokens,
            time_unit: asked.trace_time_unit,
            limit: args.arrival.requests,
            over_context: OverContext::Skip,
        }));
    }
    Ok(WorkloadConfig::SharedPrefix(SharedPrefix {
        prefixes: Count::Absolute(asked.prefixes),
        draw: Draw::Uniform,
        prefix_tokens: asked.prefix_tokens,
        turns: asked.turns,
        prompt_tokens: Length::Fixed(asked.prompt_tokens),
        output_tokens: Length::Fixed(asked.output_tokens),
        think: asked.think.0,
    }))
}

fn load(args: &LoadArgs, search: Option<&Search>) -> LoadSection {
    let arrival = &args.arrival;
    let many = |list: &[f64]| (!list.is_empty()).then(|| OneOrMany(list.to_vec()));
    let searched = search.map(|search| OneOrMany(rates(search)));
    let speeds = many(&arrival.trace_speed);
    let is_open = !(arrival.rate.is_empty() && arrival.poisson.is_empty());
    let is_given = is_open || !arrival.gamma.is_empty() || !arrival.users.is_empty();
    let is_trace = args.asked.trace.is_some() && !is_given && searched.is_none();
    let users = if is_given || is_trace || searched.is_some() || speeds.is_some() {
        arrival.users.clone()
    } else {
        vec![1]
    };
    let ends_itself = arrival.requests.is_some() || args.asked.trace.is_some();
    let given = arrival.duration;
    let mut warmup = arrival.warmup;
    let duration = given.unwrap_or(Span(if ends_itself { NO_LIMIT } else { DURATION }));
    if given.is_none() && ends_itself {
        // A tenth of no limit is no warm-up.
        warmup = warmup.or(Some(Span(Nanos::ZERO)));
    }
    LoadSection {
        users: (!users.is_empty()).then_some(OneOrMany(users)),
        constant: many(&arrival.rate),
        poisson: many(&arrival.poisson).or(searched),
        gamma: many(&arrival.gamma).map(|rates| GammaRates { rates, cv: arrival.cv }),
        trace: if is_trace || speeds.is_some() {
            Some(speeds.map_or_else(TraceSpeed::default, |speed| TraceSpeed { speed }))
        } else {
            None
        },
        duration: (!(is_trace && given.is_none())).then_some(duration),
        warmup,
        ramp: arrival.ramp,
        max_requests: arrival.requests,
    }
}
