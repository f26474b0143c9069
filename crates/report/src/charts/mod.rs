//! Charts as data, and their two renderings from it: interactive (plotly) and still (plotters).
//!
//! Cells that do not count are not drawn; each chart lists the arms or points it leaves out.

mod build;
mod fine;
mod interactive;
mod palette;
mod still;

pub use build::{charts, deployment_charts};
pub use interactive::{chart_json, script};
pub use still::{png_bytes, svg_text};

#[derive(Debug, Clone, PartialEq)]
pub enum Chart {
    Lines(LineChart),
    /// Changes, arm by level.
    Heat(HeatMap),
}

impl Chart {
    /// Unique in a report; the stem of its files.
    pub fn id(&self) -> &str {
        match self {
            Self::Lines(chart) => &chart.id,
            Self::Heat(chart) => &chart.id,
        }
    }

    pub fn title(&self) -> String {
        match self {
            Self::Lines(chart) => chart.title(),
            Self::Heat(chart) => chart.title(),
        }
    }

    pub(crate) fn what(&self) -> &str {
        match self {
            Self::Lines(chart) => &chart.what,
            Self::Heat(chart) => &chart.what,
        }
    }

    pub fn left_out(&self) -> &[String] {
        match self {
            Self::Lines(chart) => &chart.left_out,
            Self::Heat(chart) => &chart.left_out,
        }
    }
}

/// Lines over levels, one per arm; at a single level the arms side by side.
#[derive(Debug, Clone, PartialEq)]
pub struct LineChart {
    pub id: String,
    pub what: String,
    /// Model and hardware, or a tier.
    pub subject: String,
    pub x_title: String,
    pub y_title: String,
    /// Places and names on the horizontal axis.
    pub ticks: Vec<(f64, String)>,
    /// The arms are on the horizontal axis, so there is no legend.
    pub by_arm: bool,
    /// Set where values span more than a factor of 50.
    pub log_y: bool,
    pub series: Vec<Series>,
    pub left_out: Vec<String>,
}

fn titled(what: &str, subject: &str) -> String {
    format!("{what} — {subject}")
}

impl LineChart {
    fn title(&self) -> String {
        titled(&self.what, &self.subject)
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    pub name: String,
    /// Index of the colour and marker in all charts of a deployment: 0 is the control, 1 the A/A
    /// arm.
    pub place: usize,
    pub stroke: Stroke,
    /// From light to heavy load.
    pub points: Vec<Point>,
}

/// The control is wide; repeats and replacements are dashed, so that a covered control stays
/// visible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stroke {
    Wide,
    /// The A/A arm and random routing.
    Dashed,
    Solid,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    pub x: f64,
    pub y: f64,
    /// 95 %.
    pub interval: Option<(f64, f64)>,
    pub level: String,
}

/// Changes in percent, arm by level, coloured around zero.
#[derive(Debug, Clone, PartialEq)]
pub struct HeatMap {
    pub id: String,
    pub what: String,
    /// Model and hardware.
    pub subject: String,
    pub columns: Vec<String>,
    pub rows: Vec<String>,
    /// Percent; positive is better, whatever the metric's direction.
    pub gains: Vec<Vec<Option<f64>>>,
    /// The change as it is, per cell.
    pub words: Vec<Vec<String>>,
    pub left_out: Vec<String>,
}

impl HeatMap {
    fn title(&self) -> String {
        titled(&self.what, &self.subject)
    }

    /// The end of the colour scale in both directions: the largest change, at least 1 %.
    pub fn reach(&self) -> f64 {
        self.gains.iter().flatten().flatten().fold(1.0, |held: f64, gain| held.max(gain.abs()))
    }
}
