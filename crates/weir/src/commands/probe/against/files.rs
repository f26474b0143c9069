use serde_json::{Value, json};
use weir_model::LoadedFrom;
use weir_probe::Report;
use weir_probe::against::Facet;
use weir_probe::statistics::Repeated;
use weir_report::ReportError;
use weir_report::charts::{Chart, LineChart, Point, Series, Stroke, png_bytes, svg_text};

use super::Judged;
use super::prices::{PricePair, unit};
use super::times::{Face, Faced, Times};

pub(super) fn document(
    reports: &[Report; 2],
    rows: &[Faced],
    judged: &[Judged],
    prices: Option<&PricePair>,
) -> Value {
    let [a, b] = reports;
    let points = rows.iter().map(|row| {
        let mut fields = row.times.json();
        fields["facet"] = row.facet.name().into();
        fields["unit"] = unit(row.facet).into();
        fields["a"] = row.a.label.clone().into();
        fields["b"] = row.b.label.clone().into();
        if let Some(prices) = prices {
            fields["per_money"] = prices.per_money(&row.times).json();
        }
        fields
    });
    let claims = judged.iter().map(|one| {
        let times = one.times.as_ref().map(Times::json);
        json!({"claim": one.claim, "ruling": one.ruling, "times": times})
    });
    let (points, claims): (Vec<Value>, Vec<Value>) = (points.collect(), claims.collect());
    let prices = prices.map(PricePair::json);
    json!({"a": a, "b": b, "points": points, "prices": prices, "claims": claims})
}

/// Described in docs/stores.md.
pub(super) const COLUMNS: [&str; 24] = [
    "side",
    "a_point",
    "b_point",
    "unit",
    "pairs",
    "a",
    "a_low",
    "a_high",
    "b",
    "b_low",
    "b_high",
    "ratio",
    "ratio_low",
    "ratio_high",
    "a_loaded_from",
    "a_device_percent",
    "b_loaded_from",
    "b_device_percent",
    "currency",
    "a_gib_month",
    "b_gib_month",
    "ratio_per_money",
    "ratio_per_money_low",
    "ratio_per_money_high",
];

pub(super) fn table(rows: &[Faced], prices: Option<&PricePair>) -> csv::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(COLUMNS)?;
    for row in rows {
        let text = |value: f64| value.to_string();
        let rate = |of: &Repeated| [of.median, of.low, of.high].map(text);
        let times = |times: Option<&Times>| {
            let end = |pick: fn((f64, f64)) -> f64| {
                let interval = times.and_then(|times| times.interval);
                interval.map_or(String::new(), |interval| text(pick(interval)))
            };
            let ratio = times.map_or(String::new(), |times| text(times.ratio));
            [ratio, end(|interval| interval.0), end(|interval| interval.1)]
        };
        let from = |face: &Face| {
            let percent = face.from.and_then(LoadedFrom::device_percent);
            [
                face.from.map_or(String::new(), |from| from.name().to_owned()),
                percent.map_or(String::new(), text),
            ]
        };
        let money = prices.map_or_else(Default::default, |prices| {
            [prices.currency.clone(), text(prices.a), text(prices.b)]
        });
        let per_money = prices.map(|prices| prices.per_money(&row.times));
        let what = [row.facet.name(), &row.a.label, &row.b.label, unit(row.facet)];
        let mut cells: Vec<String> = what.map(str::to_owned).into();
        cells.push(row.times.pairs.to_string());
        cells.extend(rate(&row.a.rate));
        cells.extend(rate(&row.b.rate));
        cells.extend(times(Some(&row.times)));
        cells.extend(from(&row.a));
        cells.extend(from(&row.b));
        cells.extend(money);
        cells.extend(times(per_money.as_ref()));
        writer.write_record(cells)?;
    }
    writer.into_inner().map_err(|error| error.into_error().into())
}

/// Offset that keeps the sides' bars apart: a small part of the chart's width, and less than the
/// distance to the next point.
fn aside(rows: usize) -> f64 {
    (0.015 * rows as f64).min(0.1)
}

pub(super) fn plots(
    rows: &[Faced],
    names: [&str; 2],
) -> Result<Vec<(String, Vec<u8>)>, ReportError> {
    let subject = format!("A: {}, B: {}", names[0], names[1]);
    let mut files = Vec::new();
    let rates = Facet::ALL.into_iter().filter_map(|facet| rates(rows, facet, &subject));
    for chart in rates.chain(ratios(rows, &subject)).map(Chart::Lines) {
        files.push((format!("{}.png", chart.id()), png_bytes(&chart)?));
        files.push((format!("{}.svg", chart.id()), svg_text(&chart)?.into_bytes()));
    }
    Ok(files)
}

fn rates(rows: &[Faced], facet: Facet, subject: &str) -> Option<LineChart> {
    let rows: Vec<&Faced> = rows.iter().filter(|row| row.facet == facet).collect();
    let aside = aside(rows.len());
    let side = |name: &str, place: usize, pick: fn(&Faced) -> &Face, by: f64| Series {
        name: name.to_owned(),
        place,
        stroke: Stroke::Solid,
        points: rows
            .iter()
            .enumerate()
            .map(|(place, row)| {
                let rate = pick(row).rate;
                let interval = Some((rate.low, rate.high));
                Point { x: place as f64 + by, y: rate.median, interval, level: row.label() }
            })
            .collect(),
    };
    (!rows.is_empty()).then(|| LineChart {
        id: format!("probe_against_{}", facet.name()),
        what: format!("A and B, {}", facet.name()),
        subject: format!("{subject}, median of repeats, bars from smallest to largest"),
        x_title: "Point".to_owned(),
        y_title: unit(facet).to_owned(),
        ticks: ticks(&rows),
        by_arm: false,
        log_y: false,
        series: vec![side("A", 0, |row| &row.a, -aside), side("B", 2, |row| &row.b, aside)],
        left_out: Vec::new(),
    })
}

fn ratios(rows: &[Faced], subject: &str) -> Option<LineChart> {
    let all: Vec<&Faced> = rows.iter().collect();
    let of_facet = |(place, facet): (usize, Facet)| {
        let points: Vec<Point> = rows
            .iter()
            .enumerate()
            .filter(|(_, row)| row.facet == facet)
            .map(|(place, row)| Point {
                x: place as f64,
                y: row.times.ratio,
                interval: row.times.interval,
                level: row.label(),
            })
            .collect();
        let (name, stroke) = (facet.name().to_owned(), Stroke::Solid);
        (!points.is_empty()).then_some(Series { name, place: place + 2, stroke, points })
    };
    let at = |x: f64| Point { x, y: 1.0, interval: None, level: "A = B".to_owned() };
    let equal = Series {
        name: "A = B".to_owned(),
        place: 0,
        stroke: Stroke::Dashed,
        points: vec![at(-aside(all.len())), at(all.len() as f64 - 1.0 + aside(all.len()))],
    };
    (!all.is_empty()).then(|| LineChart {
        id: "probe_against_ratio".to_owned(),
        what: "A / B".to_owned(),
        subject: format!("{subject}, bars are 95 % intervals"),
        x_title: "Point".to_owned(),
        y_title: "A / B".to_owned(),
        ticks: ticks(&all),
        by_arm: false,
        log_y: false,
        series: std::iter::once(equal)
            .chain(Facet::ALL.into_iter().enumerate().filter_map(of_facet))
            .collect(),
        left_out: Vec::new(),
    })
}

fn ticks(rows: &[&Faced]) -> Vec<(f64, String)> {
    rows.iter().enumerate().map(|(place, row)| (place as f64, row.label())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_stand_beside_each_other_and_ratios_beside_one() {
        let rate = Repeated { median: 2.0, low: 1.0, high: 3.0 };
        let face = || Face { label: "read 2 MiB, 1 x 8".to_owned(), rate, from: None };
        let times = Times { ratio: 1.5, interval: Some((1.2, 1.8)), pairs: 6 };
        let rows = [Faced { facet: Facet::Read, a: face(), b: face(), means: (1.5, 1.0), times }];
        let of_rates = rates(&rows, Facet::Read, "A: redis, B: kvrocks").unwrap();
        let places: Vec<f64> = of_rates.series.iter().map(|side| side.points[0].x).collect();
        assert!(places[0] < 0.0 && places[1] > 0.0, "{places:?}");
        let of_ratios = ratios(&rows, "A: redis, B: kvrocks").unwrap();
        let equal = &of_ratios.series[0];
        assert_eq!(equal.name, "A = B");
        assert!(equal.points.iter().all(|point| point.y == 1.0 && point.interval.is_none()));
        assert!(equal.points[0].x < equal.points[1].x);
        assert_eq!(of_ratios.series[1].points[0].y, 1.5);
    }

    #[test]
    fn each_column_is_explained() {
        let docs = include_str!("../../../../../../docs/stores.md");
        for column in COLUMNS {
            assert!(docs.contains(&format!("`{column}`")), "docs/stores.md lacks `{column}`");
        }
    }
}
