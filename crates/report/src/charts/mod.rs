//! Charts as data, and their two renderings from it: interactive (plotly) and still (plotters).
//!
//! Cells that do not count are not drawn; each chart lists the arms or points it leaves out.

mod build;
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

    /// What it shows, and of what.
    pub fn title(&self) -> String {
        match self {
            Self::Lines(chart) => chart.title(),
            Self::Heat(chart) => chart.title(),
        }
    }

    /// What it shows, for where a reader knows of what.
    pub(crate) fn what(&self) -> &str {
        match self {
            Self::Lines(chart) => &chart.what,
            Self::Heat(chart) => &chart.what,
        }
    }

    /// What is not drawn, with the reason.
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
    /// Unique in a report.
    pub id: String,
    pub what: String,
    /// Of what: model and hardware, or a tier.
    pub subject: String,
    /// Title of the horizontal axis, with its unit.
    pub x_title: String,
    /// Title of the vertical axis, with its unit.
    pub y_title: String,
    /// Places and names of the levels, or arms, on the horizontal axis.
    pub ticks: Vec<(f64, String)>,
    /// The arms are on the horizontal axis, with one point each: no legend is needed.
    pub by_arm: bool,
    /// Whether the vertical axis is logarithmic (values span more than a factor of 50).
    pub log_y: bool,
    pub series: Vec<Series>,
    /// What is not drawn, with the reason.
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
    /// Its colour and marker, in all charts of a deployment alike: 0 is the control, 1 the A/A arm.
    pub place: usize,
    /// How the line is drawn.
    pub stroke: Stroke,
    /// Points, from light to heavy load.
    pub points: Vec<Point>,
}

/// How a line is drawn: the control wide, what repeats or replaces it dashed, so that a dashed
/// line that lies on the control's lets it be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stroke {
    Wide,
    /// The A/A arm and routing by chance.
    Dashed,
    /// An arm under test.
    Solid,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Place on the horizontal axis.
    pub x: f64,
    pub y: f64,
    /// 95 % interval, where there is one.
    pub interval: Option<(f64, f64)>,
    pub level: String,
}

/// Changes in percent, arm by level, coloured around zero.
#[derive(Debug, Clone, PartialEq)]
pub struct HeatMap {
    /// Unique in a report.
    pub id: String,
    pub what: String,
    /// Of what: model and hardware.
    pub subject: String,
    /// Names of the levels.
    pub columns: Vec<String>,
    /// Names of the arms.
    pub rows: Vec<String>,
    /// Gain in percent (positive is better, whatever the metric's direction), which colours.
    pub gains: Vec<Vec<Option<f64>>>,
    /// What stands in the cells: the change as it is.
    pub words: Vec<Vec<String>>,
    /// What is not drawn, with the reason.
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
