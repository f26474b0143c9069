use serde_json::{Value, json};
use weir_model::quantity::Money;
use weir_probe::ProbeMeasurements;
use weir_probe::against::Facet;
use weir_report::tables::{Table, text, wrapped};

use super::super::summary::figure;
use super::times::{Faced, Times};
use crate::cli::AgainstArgs;
use crate::exit::Mistake;

/// Per GiB and month, in one currency and above 0.
#[derive(Debug, Clone)]
pub(super) struct PricePair {
    pub(super) a: f64,
    pub(super) b: f64,
    pub(super) currency: String,
}

impl PricePair {
    /// From `--price-a` and `--price-b`; None without them.
    pub(super) fn of(args: &AgainstArgs) -> anyhow::Result<Option<Self>> {
        let (Some(a), Some(b)) = (&args.price_a, &args.price_b) else { return Ok(None) };
        let price = |flag: &str, text: &str| -> anyhow::Result<Money> {
            let money: Money = text.parse().map_err(|why| Mistake(format!("{flag}: {why}")))?;
            if money.amount > 0.0 {
                return Ok(money);
            }
            let why = format!(
                "{flag}: `{money}` must be above 0; write what one GiB costs for a month, for \
                 example `3 USD`"
            );
            Err(Mistake(why).into())
        };
        let (a, b) = (price("--price-a", a)?, price("--price-b", b)?);
        if a.currency != b.currency {
            let why = format!("--price-b: `{b}` and `{a}`; write both prices in one currency");
            return Err(Mistake(why).into());
        }
        Ok(Some(Self { a: a.amount, b: b.amount, currency: a.currency }))
    }

    /// Price of A over that of B.
    pub(super) fn ratio(&self) -> f64 {
        self.a / self.b
    }

    /// Ratio per money. Prices are exact, so the relative interval stays.
    pub(super) fn per_money(&self, times: &Times) -> Times {
        times.scaled(1.0 / self.ratio())
    }

    pub(super) fn json(&self) -> Value {
        let Self { a, b, currency } = self;
        json!({
            "a_gib_month": a,
            "b_gib_month": b,
            "currency": currency,
            "ratio": self.ratio(),
        })
    }

    /// Speed and price by row, and in one sentence for loads, stores and lookups.
    pub(super) fn written(&self, rows: &[Faced], measured: &[&ProbeMeasurements; 2]) -> String {
        let Self { a, b, currency } = self;
        let ratio = self.ratio();
        let (dear, cheap, less) =
            if ratio >= 1.0 { ("A", "B", ratio) } else { ("B", "A", 1.0 / ratio) };
        let title = format!(
            "Speed and price: one GiB for a month costs {} {currency} in A and {} {currency} in B \
             ({cheap} is {} times cheaper than {dear}); rates are for the price of one GiB",
            figure(*a),
            figure(*b),
            figure(less),
        );
        let (of_a, of_b) = (format!(">A per {currency}"), format!(">B per {currency}"));
        let heads = ["side", "point", &of_a, &of_b, ">A / B", "95 % interval"];
        let mut table = Table::new(&title, &heads);
        for row in rows {
            let times = self.per_money(&row.times);
            table.rows.push(vec![
                row.facet.name().into(),
                row.label().into(),
                format!("{} {}", figure(row.means.0 / a), unit(row.facet)).into(),
                format!("{} {}", figure(row.means.1 / b), unit(row.facet)).into(),
                figure(times.ratio).into(),
                times.range().into(),
            ]);
        }
        let mut out = format!("\n{}", text(&table));
        for facet in Facet::ALL {
            if let Some(times) = Times::over_points(measured, facet) {
                out += &wrapped(&self.sentence(facet, &times), "  ");
            }
        }
        out
    }

    fn sentence(&self, facet: Facet, times: &Times) -> String {
        let with = |times: &Times| {
            let interval =
                times.interval.map_or(String::new(), |_| format!(" ({})", times.range()));
            format!("{}{interval}", figure(times.ratio))
        };
        format!(
            "{}: A has {} times B's speed at {} times B's price per GiB: {} times B's speed for \
             the money.",
            facet.name(),
            with(times),
            figure(self.ratio()),
            with(&self.per_money(times)),
        )
    }
}

/// Of a row's rates.
pub(super) const fn unit(facet: Facet) -> &'static str {
    match facet {
        Facet::Read | Facet::Write => "GB/s",
        Facet::Lookup => "keys/s",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_that_of_the_figures_beside_it() {
        let rate = weir_probe::statistics::Repeated { median: 9.0, low: 1.0, high: 10.0 };
        let face = || super::super::times::Face { label: "read".to_owned(), rate, from: None };
        let times = Times { ratio: 1.5, interval: None, pairs: 2 };
        let row = Faced { facet: Facet::Read, a: face(), b: face(), means: (6.0, 4.0), times };
        let prices = PricePair { a: 3.0, b: 0.5, currency: "USD".to_owned() };
        let none = ProbeMeasurements::default();
        let written = prices.written(&[row], &[&none, &none]);
        for part in ["2.00 GB/s", "8.00 GB/s", "0.250"] {
            assert!(written.contains(part), "no {part}: {written}");
        }
    }

    fn pair(a: &str, b: &str) -> anyhow::Result<Option<PricePair>> {
        let args = AgainstArgs {
            price_a: Some(a.to_owned()),
            price_b: Some(b.to_owned()),
            ..AgainstArgs::default()
        };
        PricePair::of(&args)
    }

    #[test]
    fn money_buys_as_much_more_as_it_is_cheaper() {
        let prices = pair("3 USD", "0.1 USD").unwrap().unwrap();
        assert!((prices.ratio() - 30.0).abs() < 1e-9);
        let times = Times { ratio: 2.5, interval: Some((2.4, 2.6)), pairs: 6 };
        let money = prices.per_money(&times);
        let (low, high) = money.interval.unwrap();
        assert!((money.ratio - 2.5 / 30.0).abs() < 1e-12);
        assert!((low - 0.08).abs() < 1e-12 && (high - 2.6 / 30.0).abs() < 1e-12);
    }

    #[test]
    fn prices_are_money_above_nothing_in_one_currency() {
        for (a, b, part) in [
            ("3", "1 USD", "--price-a: `3` is not a price; write for example `1.9 USD`"),
            ("3 USD", "0 USD", "--price-b: `0 USD` must be above 0"),
            ("3 USD", "1 EUR", "--price-b: `1 EUR` and `3 USD`; write both prices in one currency"),
        ] {
            let error = pair(a, b).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
