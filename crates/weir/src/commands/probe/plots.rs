use std::collections::BTreeSet;

use weir_probe::config::{BlockSize, ProbePoint as ProbeMeasurements};
use weir_probe::figures::{PointResult, SidePoint};
use weir_probe::{Report, Work};
use weir_report::ReportError;
use weir_report::charts::{Chart, LineChart, Point, Series, Stroke, png_bytes, svg_text};

const FIRST_COLOUR: usize = 2;

struct Axis {
    id: &'static str,
    title: &'static str,
    value: fn(&ProbeMeasurements) -> u64,
    name: fn(&ProbeMeasurements) -> String,
    /// One line per combination of the other axes.
    line: fn(&ProbeMeasurements) -> String,
}

const AXES: [Axis; 3] = [
    Axis {
        id: "threads",
        title: "Threads",
        value: |point| u64::from(point.threads),
        name: |point| point.threads.to_string(),
        line: |point| {
            format!("{} {}, depth {}", point.work.name(), block(point.block), point.depth)
        },
    },
    Axis {
        id: "depth",
        title: "Blocks per batch",
        value: |point| u64::from(point.depth),
        name: |point| point.depth.to_string(),
        line: |point| {
            format!("{} {}, {} threads", point.work.name(), block(point.block), point.threads)
        },
    },
    Axis {
        id: "block",
        title: "Block",
        value: |point| point.block.bytes.0,
        name: |point| block(point.block),
        line: |point| format!("{}, {} x {}", point.work.name(), point.threads, point.depth),
    },
];

struct Figure {
    id: &'static str,
    title: &'static str,
    unit: &'static str,
    of: fn(&PointResult) -> Option<weir_probe::statistics::Repeated>,
    log: bool,
}

const FIGURES: [Figure; 3] = [
    Figure {
        id: "throughput",
        title: "Throughput",
        unit: "GB/s",
        of: |result| Some(side(result)?.gb_per_s),
        log: false,
    },
    Figure {
        id: "latency",
        title: "Batch latency, 99th percentile",
        unit: "ms",
        of: |result| Some(side(result)?.batch_us.p99?.map(|micros| micros / 1e3)),
        log: true,
    },
    Figure {
        id: "hits",
        title: "Hit rate",
        unit: "%",
        of: |result| Some(result.hit_share?.map(|share| 100.0 * share)),
        log: false,
    },
];

fn side(result: &PointResult) -> Option<&SidePoint> {
    result.main()
}

fn block(block: BlockSize) -> String {
    block.tokens.map_or_else(|| block.bytes.to_string(), |tokens| format!("{tokens} tokens"))
}

pub(super) fn files(report: &Report) -> Result<Vec<(String, Vec<u8>)>, ReportError> {
    let mut files = Vec::new();
    for chart in charts(report) {
        files.push((format!("{}.png", chart.id()), png_bytes(&chart)?));
        files.push((format!("{}.svg", chart.id()), svg_text(&chart)?.into_bytes()));
    }
    Ok(files)
}

/// Each figure over each axis with several values; over threads where none has.
fn charts(report: &Report) -> Vec<Chart> {
    let points = &report.measured.points;
    let values = |axis: &Axis| -> BTreeSet<u64> {
        points.iter().map(|result| (axis.value)(&result.point)).collect()
    };
    let mut axes: Vec<&Axis> = AXES.iter().filter(|axis| values(axis).len() > 1).collect();
    if axes.is_empty() {
        axes.push(&AXES[0]);
    }
    let mut charts = Vec::new();
    for axis in axes {
        let places: Vec<u64> = values(axis).into_iter().collect();
        for figure in &FIGURES {
            // A hit rate is a result only where blocks may be missing.
            let engine = points.iter().any(|result| result.point.work == Work::Engine);
            if figure.id != "hits" || engine {
                charts.extend(chart(report, axis, figure, &places).map(Chart::Lines));
            }
        }
    }
    charts
}

fn chart(report: &Report, axis: &Axis, figure: &Figure, places: &[u64]) -> Option<LineChart> {
    let points = &report.measured.points;
    let place = |value: u64| places.iter().position(|one| *one == value).unwrap_or(0) as f64;
    let mut names: Vec<String> = Vec::new();
    for result in points {
        let name = (axis.line)(&result.point);
        if (figure.of)(result).is_some() && !names.contains(&name) {
            names.push(name);
        }
    }
    let series: Vec<Series> = names
        .into_iter()
        .enumerate()
        .map(|(number, name)| {
            let mut line: Vec<Point> = points
                .iter()
                .filter(|result| (axis.line)(&result.point) == name)
                .filter_map(|result| {
                    let value = (figure.of)(result)?;
                    Some(Point {
                        x: place((axis.value)(&result.point)),
                        y: value.median,
                        interval: Some((value.low, value.high)),
                        level: (axis.name)(&result.point),
                    })
                })
                .collect();
            line.sort_by(|a, b| a.x.total_cmp(&b.x));
            Series { name, place: number + FIRST_COLOUR, stroke: Stroke::Solid, points: line }
        })
        .collect();
    let heights = || series.iter().flat_map(|series| &series.points).map(|point| point.y);
    let (lowest, highest) =
        heights().fold((f64::INFINITY, 0.0_f64), |(low, high), y| (low.min(y), high.max(y)));
    if series.is_empty() || highest <= 0.0 {
        return None;
    }
    // Evenly spaced: the values of a sweep grow by factors.
    let named = |value: &u64| {
        let of = points.iter().find(|result| (axis.value)(&result.point) == *value);
        of.map_or(String::new(), |result| (axis.name)(&result.point))
    };
    Some(LineChart {
        id: format!("probe_{}_by_{}", figure.id, axis.id),
        what: figure.title.to_owned(),
        subject: format!(
            "{} ({}), median of repeats, bars from smallest to largest",
            report.tier.product, report.tier.place
        ),
        x_title: axis.title.to_owned(),
        y_title: format!("{} ({})", figure.title, figure.unit),
        ticks: places.iter().map(|value| (place(*value), named(value))).collect(),
        by_arm: false,
        log_y: figure.log && lowest > 0.0 && highest / lowest > 50.0,
        series,
        left_out: Vec::new(),
    })
}
