//! Charts as PNG and SVG. The font is built in, so all machines give the same bytes.

use std::sync::OnceLock;

use ab_glyph::FontRef;
use plotters::coord::Shift;
use plotters::coord::ranged1d::{
    AsRangedCoord, DefaultFormatting, KeyPointHint, Ranged, ValueFormatter,
};
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontStyle, register_font};

use super::fine::{FineBackend, averaged, fine_bytes};
use super::palette;
use super::{Chart, HeatMap, LineChart, Series, Stroke};
use crate::error::ReportError;
use crate::numerals;

const FAMILY: &str = "DejaVu Sans";
const WIDTH: i32 = 1200;
const INK: RGBColor = RGBColor(40, 40, 40);
const GRID: RGBColor = RGBColor(225, 225, 225);
/// Distance of two arms of one level over the width of the plot.
const APART: f64 = 0.006;
/// Mean width of a character of the legend's text, pixels, rounded up.
const CHARACTER: i32 = 11;

/// Top of the first row of a heat map and height of a row, pixels.
const HEAT_TOP: i32 = 100;
const HEAT_ROW: i32 = 56;

type Area<'a, B> = DrawingArea<B, Shift>;

pub fn svg_text(chart: &Chart) -> Result<String, ReportError> {
    let mut text = String::new();
    let size = size(chart);
    {
        let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
        draw(&area, chart)?;
    }
    Ok(text)
}

pub fn png_bytes(chart: &Chart) -> Result<Vec<u8>, ReportError> {
    let size = size(chart);
    let (width, height) = size;
    let mut drawn = vec![0; fine_bytes(size)];
    {
        let font = FontRef::try_from_slice(dejavu::sans::regular());
        let font = font.map_err(|cause| failed(chart, &cause))?;
        draw(&FineBackend::new(&mut drawn, size, font).into_drawing_area(), chart)?;
    }
    let pixels = averaged(&drawn, size);
    let failed = |cause: png::EncodingError| failed(chart, &cause);
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().map_err(failed)?;
    writer.write_image_data(&pixels).map_err(failed)?;
    writer.finish().map_err(failed)?;
    Ok(bytes)
}

fn failed(chart: &Chart, cause: &dyn std::fmt::Display) -> ReportError {
    ReportError::Drawing { chart: chart.id().to_owned(), cause: cause.to_string() }
}

fn size(chart: &Chart) -> (u32, u32) {
    let height = match chart {
        Chart::Lines(_) => 640,
        Chart::Heat(map) => HEAT_TOP + HEAT_ROW * pixels(map.rows.len()) + 20,
    };
    (WIDTH.unsigned_abs(), height.unsigned_abs())
}

/// Charts have far fewer than a million of anything.
fn pixels(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX).min(1_000_000)
}

fn names_width<'a>(names: impl Iterator<Item = &'a String>) -> i32 {
    CHARACTER * pixels(names.map(|name| name.chars().count()).max().unwrap_or(0).min(40))
}

fn draw<B: DrawingBackend>(area: &Area<'_, B>, chart: &Chart) -> Result<(), ReportError> {
    static FONT: OnceLock<bool> = OnceLock::new();
    let has_font = FONT
        .get_or_init(|| register_font(FAMILY, FontStyle::Normal, dejavu::sans::regular()).is_ok());
    if !has_font {
        return Err(failed(chart, &"the font that comes with the program cannot be read"));
    }
    area.fill(&WHITE).map_err(|cause| failed(chart, &cause))?;
    let drawn = match chart {
        Chart::Lines(lines) => draw_lines(area, lines),
        Chart::Heat(map) => draw_heat(area, map),
    };
    drawn.map_err(|cause| failed(chart, &cause))?;
    area.present().map_err(|cause| failed(chart, &cause))
}

type Drawn<B> = Result<(), DrawingAreaErrorKind<<B as DrawingBackend>::ErrorType>>;

fn font(size: u32) -> TextStyle<'static> {
    (FAMILY, size).into_font().color(&INK)
}

fn anchored(style: &TextStyle<'static>, horizontal: HPos, vertical: VPos) -> TextStyle<'static> {
    style.pos(Pos::new(horizontal, vertical))
}

fn draw_lines<B: DrawingBackend>(area: &Area<'_, B>, chart: &LineChart) -> Drawn<B> {
    // The legend has a strip of its own beside the plot, so that it never covers a line.
    let names = names_width(chart.series.iter().map(|series| &series.name));
    let strip = if chart.by_arm { 0 } else { (60 + names).min(420) };
    area.draw(&Text::new(chart.title(), (24, 18), font(22)))?;
    let (plot, legend) = area.margin(56, 8, 8, 8).split_horizontally(WIDTH - strip - 16);
    if !chart.by_arm {
        draw_legend(&legend, &chart.series)?;
    }
    let (low, high) = ends(chart);
    if chart.log_y {
        draw_plot(&plot, chart, (low * 0.7..high * 1.4).log_scale())
    } else {
        let top = if high > 0.0 { high * 1.08 } else { 1.0 };
        draw_plot(&plot, chart, 0.0..top)
    }
}

/// The least value above 0 and the greatest, intervals included.
fn ends(chart: &LineChart) -> (f64, f64) {
    let points = chart.series.iter().flat_map(|series| &series.points);
    points
        .flat_map(|point| {
            let (low, high) = point.interval.unwrap_or((point.y, point.y));
            [low, point.y, high]
        })
        .fold((f64::INFINITY, 0.0), |(low, high), value| {
            (if value > 0.0 { low.min(value) } else { low }, high.max(value))
        })
}

/// The horizontal axis: its marks are the levels, not round numbers.
struct Levels {
    places: Vec<f64>,
    low: f64,
    high: f64,
}

impl Ranged for Levels {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let share = (value - self.low) / (self.high - self.low);
        limit.0 + (share * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _hint: Hint) -> Vec<f64> {
        self.places.clone()
    }

    fn range(&self) -> std::ops::Range<f64> {
        self.low..self.high
    }
}

fn draw_plot<B, Y>(area: &Area<'_, B>, chart: &LineChart, y_range: Y) -> Drawn<B>
where
    B: DrawingBackend,
    Y: AsRangedCoord<Value = f64>,
    Y::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let places: Vec<f64> = chart.ticks.iter().map(|tick| tick.0).collect();
    let (first, last) = (places[0], places[places.len() - 1]);
    let pad = if chart.by_arm || last <= first { 0.5 } else { (last - first) * 0.03 };
    let x_range = Levels { places, low: first - pad, high: last + pad };
    // Arm names that do not fit side by side stand upright.
    let names = names_width(chart.ticks.iter().map(|tick| &tick.1));
    let is_upright = chart.by_arm && names * pixels(chart.ticks.len()) > WIDTH - 150;
    let mut context = ChartBuilder::on(area)
        .x_label_area_size(if is_upright { 40 + names } else { 64 })
        .y_label_area_size(96)
        .margin_right(16)
        .build_cartesian_2d(x_range, y_range)?;
    context
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(INK)
        .x_label_style(font(17))
        .y_label_style(font(17))
        .axis_desc_style(font(19))
        .x_desc(chart.x_title.clone())
        .y_desc(chart.y_title.clone())
        .x_labels(chart.ticks.len())
        .y_labels(8)
        .x_label_formatter(&|x| if is_upright { String::new() } else { tick_name(chart, *x) })
        .y_label_formatter(&|y| tick_value(*y))
        .draw()?;
    // Arms of one figure stand beside each other, so that none hides another.
    let apart = (last - first + 2.0 * pad) * APART;
    let bottom = context.as_coord_spec().get_y_range().start;
    for (place, series) in chart.series.iter().enumerate() {
        let colour = colour(series);
        let beside = if chart.by_arm {
            0.0
        } else {
            apart * (place as f64 - (chart.series.len() - 1) as f64 / 2.0)
        };
        let line: Vec<(f64, f64)> =
            series.points.iter().map(|point| (point.x + beside, point.y)).collect();
        let stroke = colour.stroke_width(width(series.stroke));
        if series.stroke == Stroke::Dashed {
            let dashed = DashedPathElement::new(line.clone(), 9, 6, stroke);
            context.draw_series(std::iter::once(dashed))?;
        } else {
            context.draw_series(LineSeries::new(line.clone(), stroke))?;
        }
        context.draw_series(
            line.iter()
                .map(|&at| EmptyElement::at(at) + Polygon::new(marker(series), colour.filled())),
        )?;
        let bars = series.points.iter().filter_map(|point| {
            let (low, high) = point.interval?;
            let x = point.x + beside;
            Some(PathElement::new(vec![(x, low.max(bottom)), (x, high)], colour.stroke_width(2)))
        });
        context.draw_series(bars)?;
    }
    if is_upright {
        let places = chart.ticks.iter().map(|(x, name)| {
            let place = context.backend_coord(&(*x, chart.series[0].points[0].y));
            (place.0, name)
        });
        let bottom = context.plotting_area().get_pixel_range().1.end;
        draw_upright(area, bottom + 10, places)?;
    }
    Ok(())
}

/// Names below an axis, read from top to bottom. Places are pixels of the whole picture.
fn draw_upright<'a, B: DrawingBackend>(
    area: &Area<'_, B>,
    top: i32,
    names: impl Iterator<Item = (i32, &'a String)>,
) -> Drawn<B> {
    let (left, above) = area.get_base_pixel();
    let style = (FAMILY, 17).into_font().transform(FontTransform::Rotate90).color(&INK);
    let style = anchored(&style, HPos::Left, VPos::Center);
    for (x, name) in names {
        area.draw(&Text::new(name.clone(), (x - left, top - above), style.clone()))?;
    }
    Ok(())
}

/// Corners of an arm's marker around its point, pixels. Shapes tell arms apart, as colours do.
fn marker(series: &Series) -> Vec<(i32, i32)> {
    let corners: &[(i32, i32)] = match series.place % 4 {
        0 => &[(6, 0), (4, 4), (0, 6), (-4, 4), (-6, 0), (-4, -4), (0, -6), (4, -4)],
        1 => &[(-5, -5), (5, -5), (5, 5), (-5, 5)],
        2 => &[(0, -7), (7, 0), (0, 7), (-7, 0)],
        _ => &[(0, -7), (7, 5), (-7, 5)],
    };
    corners.to_vec()
}

fn colour(series: &Series) -> RGBColor {
    let (red, green, blue) = palette::arm(series.place);
    RGBColor(red, green, blue)
}

fn width(stroke: Stroke) -> u32 {
    match stroke {
        Stroke::Wide => 5,
        Stroke::Dashed | Stroke::Solid => 3,
    }
}

fn tick_name(chart: &LineChart, x: f64) -> String {
    let near = |tick: &&(f64, String)| (tick.0 - x).abs() < 1e-9;
    chart.ticks.iter().find(near).map_or(String::new(), |tick| tick.1.clone())
}

fn tick_value(value: f64) -> String {
    if value == 0.0 { "0".to_owned() } else { numerals::axis(value) }
}

fn draw_legend<B: DrawingBackend>(area: &Area<'_, B>, series: &[Series]) -> Drawn<B> {
    for (y, series) in (24..).step_by(30).zip(series) {
        let colour = colour(series);
        let line = vec![(6, y), (40, y)];
        let stroke = colour.stroke_width(width(series.stroke));
        if series.stroke == Stroke::Dashed {
            area.draw(&DashedPathElement::new(line, 9, 6, stroke))?;
        } else {
            area.draw(&PathElement::new(line, stroke))?;
        }
        let corners = marker(series).into_iter().map(|(right, down)| (23 + right, y + down));
        area.draw(&Polygon::new(corners.collect::<Vec<_>>(), colour.filled()))?;
        let style = anchored(&font(17), HPos::Left, VPos::Center);
        area.draw(&Text::new(series.name.clone(), (50, y), style))?;
    }
    Ok(())
}

fn draw_heat<B: DrawingBackend>(area: &Area<'_, B>, map: &HeatMap) -> Drawn<B> {
    let reach = map.reach();
    let left = (24 + names_width(map.rows.iter())).min(400);
    let (width, height) = ((WIDTH - left - 24) / pixels(map.columns.len()).max(1), HEAT_ROW - 4);
    let columns = || (left..).step_by(width.unsigned_abs().max(1) as usize);
    area.draw(&Text::new(map.title(), (24, 18), font(20)))?;
    let centred = anchored(&font(17), HPos::Center, VPos::Center);
    for (x, name) in columns().zip(&map.columns) {
        area.draw(&Text::new(name.clone(), (x + width / 2, HEAT_TOP - 20), centred.clone()))?;
    }
    let rows = (HEAT_TOP..).step_by(HEAT_ROW as usize).zip(&map.rows);
    for ((y, name), (gains, words)) in rows.zip(map.gains.iter().zip(&map.words)) {
        let style = anchored(&font(17), HPos::Right, VPos::Center);
        area.draw(&Text::new(name.clone(), (left - 12, y + height / 2), style))?;
        for (x, (gain, word)) in columns().zip(gains.iter().zip(words)) {
            let mut ink = centred.clone();
            if let Some(gain) = gain {
                let (red, green, blue) = palette::diverging(*gain, reach);
                let fill = RGBColor(red, green, blue).filled();
                area.draw(&Rectangle::new([(x, y), (x + width - 4, y + height)], fill))?;
                if palette::wants_white_text((red, green, blue)) {
                    ink = ink.color(&WHITE);
                }
            }
            let centre = (x + width / 2 - 2, y + height / 2);
            area.draw(&Text::new(word.clone(), centre, ink))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::charts::Point;

    fn chart(interval: (f64, f64)) -> LineChart {
        let point = |x: f64, y| Point { x, y, interval: Some(interval), level: format!("c{x}") };
        let series = |place, name: &str| Series {
            name: name.to_owned(),
            place,
            stroke: Stroke::Solid,
            points: vec![point(1.0, 100.0), point(2.0, 90.0)],
        };
        LineChart {
            id: "ttft".to_owned(),
            what: "TTFT".to_owned(),
            subject: String::new(),
            x_title: String::new(),
            y_title: String::new(),
            ticks: vec![(1.0, "1".to_owned()), (2.0, "2".to_owned())],
            by_arm: false,
            log_y: true,
            series: vec![series(2, "one"), series(3, "other")],
            left_out: Vec::new(),
        }
    }

    #[test]
    fn an_axis_holds_its_intervals() {
        assert_eq!(ends(&chart((14.0, 400.0))), (14.0, 400.0));
        // A logarithmic axis has no 0.
        assert_eq!(ends(&chart((0.0, 400.0))), (90.0, 400.0));
    }

    #[test]
    fn arms_of_the_same_figures_are_both_seen() {
        let bytes = png_bytes(&Chart::Lines(chart((80.0, 120.0)))).expect("a picture");
        let mut reader =
            png::Decoder::new(std::io::Cursor::new(bytes)).read_info().expect("a picture");
        let mut pixels = vec![0; reader.output_buffer_size().expect("a small picture")];
        reader.next_frame(&mut pixels).expect("a picture");
        // The plot without its legend.
        let plot = pixels.chunks_exact(WIDTH as usize * 3).flat_map(|row| row[..900 * 3].chunks(3));
        let seen = |place| {
            let (red, green, blue) = palette::arm(place);
            plot.clone().filter(|pixel| **pixel == [red, green, blue]).count()
        };
        let (one, other) = (seen(2), seen(3));
        // Under the other arm, hardly any pixel of the one would be left.
        assert!(one > 300 && other > 300, "{one} and {other} pixels");
    }
}
