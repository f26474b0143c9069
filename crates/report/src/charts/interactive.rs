//! Charts as plotly figures, in JSON.

use plotly::color::{NamedColor, Rgb};
use plotly::common::{
    Anchor, ColorScale, ColorScaleElement, DashType, ErrorData, ErrorType, Font, Line, Marker,
    MarkerSymbol, Mode, Orientation, Title,
};
use plotly::layout::{Annotation, Axis, AxisType, HoverMode, Layout, Legend, Margin};
use plotly::{HeatMap as HeatTrace, Plot, Scatter};

use super::palette::{self, BETTER, NEUTRAL, WORSE};
use super::{Chart, HeatMap, LineChart, Series, Stroke};

/// The plotly script as one `<script>` element. The crate's second script typesets formulas, which
/// no chart has.
pub fn script() -> String {
    let sources = Plot::offline_js_sources();
    let end = "</script>";
    let first = sources.find(end).map_or(sources.len(), |place| place + end.len());
    sources[..first].to_owned()
}

/// `<` is escaped, so that the JSON can stand inside a `<script>` element.
pub fn chart_json(chart: &Chart) -> String {
    let plot = match chart {
        Chart::Lines(chart) => lines(chart),
        Chart::Heat(chart) => heat(chart),
    };
    plot.to_json().replace('<', "\\u003c").replace('\u{2028}', "\\u2028")
}

fn rgb(colour: palette::Rgb) -> Rgb {
    Rgb::new(colour.0, colour.1, colour.2)
}

fn lines(chart: &LineChart) -> Plot {
    let mut plot = Plot::new();
    for series in &chart.series {
        plot.add_trace(trace(series));
    }
    let x_axis = Axis::new()
        .title(Title::with_text(chart.x_title.clone()))
        .tick_values(chart.ticks.iter().map(|tick| tick.0).collect())
        .tick_text(chart.ticks.iter().map(|tick| tick.1.clone()).collect())
        .zero_line(false)
        .auto_margin(true);
    let y_axis = Axis::new()
        .title(Title::with_text(chart.y_title.clone()))
        .zero_line(false)
        .auto_margin(true);
    let y_axis = if chart.log_y {
        y_axis.type_(AxisType::Log).dtick(1.0)
    } else {
        y_axis.range_mode(plotly::layout::RangeMode::ToZero)
    };
    let legend_rows = if chart.by_arm { 0 } else { chart.series.len().div_ceil(3) };
    plot.set_layout(
        layout(370 + 20 * legend_rows)
            .x_axis(x_axis)
            .y_axis(y_axis)
            .hover_mode(HoverMode::XUnified)
            .show_legend(!chart.by_arm)
            // Below the axis title, so that it never covers a line.
            .legend(
                Legend::new()
                    .orientation(Orientation::Horizontal)
                    .y(-0.3)
                    .y_anchor(Anchor::Top)
                    .x(0.0),
            ),
    );
    plot
}

fn layout(height: usize) -> Layout {
    Layout::new()
        .height(height)
        .auto_size(true)
        .paper_background_color(NamedColor::Transparent)
        .plot_background_color(NamedColor::Transparent)
        .font(Font::new().size(13).family("system-ui, sans-serif"))
        .margin(Margin::new().left(60).right(16).top(32).bottom(48))
}

fn trace(series: &Series) -> Box<Scatter<f64, f64>> {
    let colour = palette::arm(series.place);
    let (dash, width) = match series.stroke {
        Stroke::Wide => (DashType::Solid, 4.0),
        Stroke::Dashed => (DashType::Dash, 2.0),
        Stroke::Solid => (DashType::Solid, 2.0),
    };
    let symbols = [
        MarkerSymbol::Circle,
        MarkerSymbol::Square,
        MarkerSymbol::Diamond,
        MarkerSymbol::TriangleUp,
        MarkerSymbol::Cross,
    ];
    let symbol = symbols[series.place % symbols.len()].clone();
    let x = series.points.iter().map(|point| point.x).collect();
    let y = series.points.iter().map(|point| point.y).collect();
    let trace = Scatter::new(x, y)
        .name(&series.name)
        .mode(Mode::LinesMarkers)
        .line(Line::new().color(rgb(colour)).width(width).dash(dash))
        .marker(Marker::new().color(rgb(colour)).size(7).symbol(symbol));
    let gaps = |side: fn(f64, (f64, f64)) -> f64| -> Vec<f64> {
        let gap = |point: &super::Point| point.interval.map_or(0.0, |ends| side(point.y, ends));
        series.points.iter().map(gap).collect()
    };
    if series.points.iter().all(|point| point.interval.is_none()) {
        return trace;
    }
    trace.error_y(
        ErrorData::new(ErrorType::Data)
            .symmetric(false)
            .array(gaps(|mean, ends| ends.1 - mean))
            .array_minus(gaps(|mean, ends| mean - ends.0))
            .color(rgb(colour))
            .thickness(1.0)
            .width(3),
    )
}

fn heat(chart: &HeatMap) -> Plot {
    let reach = chart.reach();
    let scale = ColorScale::Vector(vec![
        ColorScaleElement(0.0, palette::css(WORSE)),
        ColorScaleElement(0.5, palette::css(NEUTRAL)),
        ColorScaleElement(1.0, palette::css(BETTER)),
    ]);
    // plotly counts rows from below; the first arm belongs on top.
    let rows: Vec<String> = chart.rows.iter().rev().cloned().collect();
    let gains: Vec<Vec<Option<f64>>> = chart.gains.iter().rev().cloned().collect();
    let trace = HeatTrace::new(chart.columns.clone(), rows, gains)
        .color_scale(scale)
        .zmin(-reach)
        .zmax(reach)
        .zmid(0.0)
        .show_scale(false)
        .x_gap(2)
        .y_gap(2)
        .hover_info(plotly::common::HoverInfo::Skip);
    let mut notes = Vec::new();
    for (row, name) in chart.rows.iter().enumerate() {
        for (column, level) in chart.columns.iter().enumerate() {
            let colour = chart.gains[row][column].map(|gain| palette::diverging(gain, reach));
            let ink = match colour {
                Some(colour) if palette::wants_white_text(colour) => NamedColor::White,
                Some(_) => NamedColor::Black,
                None => NamedColor::Gray,
            };
            notes.push(
                Annotation::new()
                    .x(level.as_str())
                    .y(name.as_str())
                    .text(&chart.words[row][column])
                    .show_arrow(false)
                    .font(Font::new().size(13).color(ink)),
            );
        }
    }
    let mut plot = Plot::new();
    plot.add_trace(trace);
    let axis = || Axis::new().show_grid(false).zero_line(false).auto_margin(true);
    plot.set_layout(
        layout(90 + 44 * chart.rows.len())
            .x_axis(axis().type_(AxisType::Category))
            .y_axis(axis().type_(AxisType::Category))
            .annotations(notes),
    );
    plot
}
