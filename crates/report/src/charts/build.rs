//! Chart data from a comparison.

use weir_spec::plan::ArmRole;

use super::{Chart, HeatMap, LineChart, Point, Series, Stroke};
use crate::comparison::{ArmNote, Comparison, DeploymentComparison, LevelNote};
use crate::metric::{Metric, metric};
use crate::numerals;
use crate::results::GroupVerdicts;

/// Metrics drawn as lines, in the order of the report.
const LINES: [&str; 10] = [
    "output_tokens_per_s",
    "ttft_p50_ms",
    "ttft_p99_ms",
    "itl_mean_ms",
    "e2e_p50_ms",
    "goodput_requests_per_s",
    "gpu_hit_percent",
    "external_hit_percent",
    "loaded_gb_per_s",
    "stored_gb_per_s",
];

const HEATS: [&str; 3] = ["output_tokens_per_s", "ttft_p50_ms", "itl_mean_ms"];

pub fn charts(of: &Comparison) -> Vec<Chart> {
    of.deployments.iter().flat_map(deployment_charts).collect()
}

pub fn deployment_charts(of: &DeploymentComparison) -> Vec<Chart> {
    let lines = LINES.iter().filter_map(|key| line_chart(of, metric(key)?)).map(Chart::Lines);
    let heats = HEATS.iter().filter_map(|key| heat_map(of, metric(key)?)).map(Chart::Heat);
    lines.chain(heats).collect()
}

fn id(of: &DeploymentComparison, key: &str) -> String {
    let name = format!("{}_{}_{key}", of.model_slug, of.hardware);
    name.chars()
        .map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' })
        .collect()
}

fn line_chart(of: &DeploymentComparison, metric: &Metric) -> Option<LineChart> {
    // A single level gives no line: the arms stand side by side.
    let by_arm = of.levels.len() == 1;
    let mut ticks = if by_arm { Vec::new() } else { ticks(&of.levels) };
    let mut series = Vec::new();
    for (arm, place) in of.arms.iter().zip(places(&of.arms)) {
        let own = ticks.len() as f64;
        let points: Vec<Point> = of
            .levels
            .iter()
            .enumerate()
            .filter_map(|(at, level)| {
                let estimate = of.group(&arm.name, &level.name)?.metrics.get(metric.key)?;
                // No figure is below zero, but an interval over few repeats can be.
                let interval =
                    estimate.interval.map(|interval| (interval.low.max(0.0), interval.high));
                let x = if by_arm { own } else { ticks[at].0 };
                let level = level.name.clone();
                Some(Point { x, y: estimate.mean, interval, level })
            })
            .collect();
        // An arm without a tier has no traffic; its line at zero would hide others.
        let is_flat = metric.key.ends_with("gb_per_s") && points.iter().all(|point| point.y == 0.0);
        if !points.is_empty() && !is_flat {
            if by_arm {
                ticks.push((own, arm.name.clone()));
            }
            series.push(Series { name: arm.name.clone(), place, stroke: stroke(arm), points });
        }
    }
    if series.is_empty() {
        return None;
    }
    let values = || series.iter().flat_map(|series| &series.points).map(|point| point.y);
    let lowest = values().fold(f64::INFINITY, f64::min);
    let highest = values().fold(0.0, f64::max);
    let is_time = metric.unit == "ms";
    Some(LineChart {
        id: id(of, metric.key),
        what: metric.title.to_owned(),
        subject: format!("{} on {}", of.model, of.hardware),
        x_title: if by_arm { single(&of.levels[0]) } else { x_title(&of.levels).to_owned() },
        y_title: format!("{} ({})", metric.title, metric.unit_in(&of.currency)),
        ticks,
        by_arm,
        log_y: is_time && lowest > 0.0 && highest / lowest > 50.0,
        series,
        left_out: left_out(of, |_| true),
    })
}

/// Index of each arm's colour.
fn places(arms: &[ArmNote]) -> Vec<usize> {
    let mut next = 2..;
    let place = |arm: &ArmNote| match arm.role {
        ArmRole::Control => 0,
        ArmRole::ControlAgain => 1,
        ArmRole::RoutingControl | ArmRole::Treatment | ArmRole::AsDeployed => {
            next.next().unwrap_or(2)
        }
    };
    arms.iter().map(place).collect()
}

fn stroke(arm: &ArmNote) -> Stroke {
    match arm.role {
        ArmRole::Control => Stroke::Wide,
        ArmRole::ControlAgain | ArmRole::RoutingControl => Stroke::Dashed,
        ArmRole::Treatment | ArmRole::AsDeployed => Stroke::Solid,
    }
}

/// Horizontal places: by size where levels are of one kind and labels do not overlap, else evenly
/// spaced.
fn ticks(levels: &[LevelNote]) -> Vec<(f64, String)> {
    let names =
        |level: &LevelNote| level.value.map_or(level.name.clone(), |value| value.to_string());
    let sizes: Option<Vec<f64>> = levels.iter().map(|level| level.value).collect();
    let one_kind = levels.iter().all(|level| level.open_loop == levels[0].open_loop);
    if let Some(sizes) = sizes.filter(|sizes| one_kind && sizes.len() > 1) {
        let span = sizes[sizes.len() - 1] - sizes[0];
        let closest = sizes.windows(2).map(|pair| pair[1] - pair[0]).fold(span, f64::min);
        if span > 0.0 && closest / span >= 0.04 {
            return sizes.into_iter().zip(levels.iter().map(names)).collect();
        }
    }
    levels.iter().enumerate().map(|(place, level)| (place as f64, names(level))).collect()
}

fn single(level: &LevelNote) -> String {
    format!("Arms at level {}", level.name)
}

fn x_title(levels: &[LevelNote]) -> &'static str {
    match (levels.iter().any(|level| level.open_loop), levels.iter().any(|level| !level.open_loop))
    {
        (false, _) => "Concurrent users",
        (true, true) => "Level",
        (true, false) if levels.iter().all(|level| level.value.is_none()) => "Trace",
        (true, false) => "Offered load (sessions/s)",
    }
}

fn heat_map(of: &DeploymentComparison, metric: &Metric) -> Option<HeatMap> {
    let mut map = HeatMap {
        id: format!("{}_change", id(of, metric.key)),
        what: format!(
            "Change of {} against the control at the same level (%), blue is better",
            metric.title
        ),
        subject: format!("{} on {}", of.model, of.hardware),
        columns: of.levels.iter().map(|level| level.name.clone()).collect(),
        rows: Vec::new(),
        gains: Vec::new(),
        words: Vec::new(),
        left_out: left_out(of, |arm| arm.control.is_some()),
    };
    for arm in of.arms.iter().filter(|arm| arm.control.is_some()) {
        let changes: Vec<Option<f64>> = of
            .levels
            .iter()
            .map(|level| {
                let delta = of.change(&arm.name, metric.key, &level.name)?;
                delta.change.as_ref().map(|change| change.percent)
            })
            .collect();
        if changes.iter().all(Option::is_none) {
            continue;
        }
        map.rows.push(arm.name.clone());
        let words = changes.iter().map(|change| change.map_or("·".to_owned(), numerals::percent));
        map.words.push(words.collect());
        let gain = |change: &Option<f64>| change.map(|percent| metric.better.gain(percent));
        map.gains.push(changes.iter().map(gain).collect());
    }
    (!map.rows.is_empty()).then_some(map)
}

/// Arms and levels without a cell that counts: "lmcache-redis: void (no-operation)".
fn left_out(of: &DeploymentComparison, which: impl Fn(&ArmNote) -> bool) -> Vec<String> {
    let mut notes = Vec::new();
    for arm in of.arms.iter().filter(|arm| which(arm)) {
        let mut by_verdict: Vec<(&GroupVerdicts, Vec<&str>)> = Vec::new();
        for group in of.groups.iter().filter(|group| group.arm == arm.name && group.counted == 0) {
            match by_verdict.iter_mut().find(|(verdict, _)| **verdict == group.verdict) {
                Some((_, levels)) => levels.push(&group.level),
                None => by_verdict.push((&group.verdict, vec![&group.level])),
            }
        }
        for (verdict, levels) in by_verdict {
            let at = if levels.len() == of.levels.len() {
                String::new()
            } else {
                format!(" at {}", levels.join(", "))
            };
            notes.push(format!("{}{at}: {}", arm.name, verdict.words()));
        }
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_charted_metric_exists() {
        for key in LINES.iter().chain(&HEATS) {
            assert!(metric(key).is_some(), "{key}");
        }
    }

    #[test]
    fn levels_that_would_collide_are_spaced_evenly() {
        let level = |value: f64| LevelNote {
            name: format!("c{value}"),
            index: 0,
            load: String::new(),
            value: Some(value),
            open_loop: false,
        };
        let wide: Vec<LevelNote> = [1.0, 50.0, 650.0].map(level).into();
        assert_eq!(ticks(&wide)[1], (50.0, "50".to_owned()));
        let close: Vec<LevelNote> = [1.0, 2.0, 256.0].map(level).into();
        assert_eq!(ticks(&close)[2], (2.0, "256".to_owned()));
    }
}
