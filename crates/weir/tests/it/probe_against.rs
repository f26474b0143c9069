//! `weir probe A --against B`: turns, ratios, claims and prices.

use std::fs;

use serde_json::Value;
use weir_model::Product;

use crate::binary::weir;
use crate::tiers::has;

/// Short points, on both sides.
const PAIRED: [&str; 9] = [
    "--block",
    "64KiB",
    "--threads",
    "1",
    "--depth",
    "4",
    "--duration=40ms",
    "--warmup=5ms",
    "--working-set=8MiB",
];

#[test]
fn two_tiers_are_measured_in_turns_and_claims_judged() {
    let folder = tempfile::tempdir().unwrap();
    let claims = ["--claim", "read <= 100000", "--claim", "write >= 100000", "--json", "p.json"];
    let args = [&["probe", "memory", "--against", "memory"][..], &PAIRED, &claims].concat();
    let answer = weir(folder.path(), &args).done();
    for part in ["A against B in turns, 6 repeats", "borne out", "not borne out"] {
        assert!(answer.out.contains(part), "no {part}:\n{}", answer.out);
    }
    let json: Value =
        serde_json::from_slice(&fs::read(folder.path().join("p.json")).unwrap()).unwrap();
    let rulings: Vec<&Value> =
        json["claims"].as_array().unwrap().iter().map(|one| &one["ruling"]).collect();
    assert_eq!(rulings, ["borne-out", "not-borne-out"]);
    for (point, facet) in json["points"].as_array().unwrap().iter().zip(["write", "read"]) {
        assert_eq!((&point["facet"], &point["pairs"]), (&facet.into(), &6.into()));
        let interval = point["interval"].as_array().unwrap();
        let [low, high] = [0, 1].map(|end| interval[end].as_f64().unwrap());
        // The ratio is that of the means over repeats on both sides.
        let mean = |side: &str| {
            let repeats = json[side]["measured"]["points"].as_array().unwrap().iter();
            let of_facet = repeats.filter(|one| !one[facet].is_null());
            let rates = of_facet.flat_map(|one| one["repeats"].as_array().unwrap());
            let rates: Vec<f64> = rates.map(|r| r[facet]["gb_per_s"].as_f64().unwrap()).collect();
            rates.iter().sum::<f64>() / rates.len() as f64
        };
        let ratio = point["ratio"].as_f64().unwrap();
        assert!((ratio / (mean("a") / mean("b")) - 1.0).abs() < 1e-9, "{point}");
        assert!(low <= ratio && ratio <= high, "{point}");
    }
}

/// Speed, price and their ratio, with one interval; and lookups beside loads and stores.
#[test]
fn a_comparison_has_lookups_prices_a_table_and_charts() {
    let folder = tempfile::tempdir().unwrap();
    let money = ["--price-a", "3 USD", "--price-b", "0.5 USD", "--claim", "lookup <= 100000"];
    let files = ["--json", "p.json", "--csv", "p.csv", "--plots", "plots"];
    let args = [&["probe", "memory", "--against", "memory"][..], &PAIRED, &money, &files].concat();
    let answer = weir(folder.path(), &args).done();
    let words = answer.out.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [
        "Lookups in turns",
        "one GiB for a month costs 3.00 USD in A and 0.500 USD in B (B is 6.00 times cheaper than A)",
        "times B's speed at 6.00 times B's price per GiB",
    ] {
        assert!(words.contains(part), "no {part}:\n{}", answer.out);
    }
    let json: Value =
        serde_json::from_slice(&fs::read(folder.path().join("p.json")).unwrap()).unwrap();
    assert_eq!(json["claims"][0]["ruling"], "borne-out");
    let mut rows = csv::Reader::from_path(folder.path().join("p.csv")).unwrap();
    let columns = rows.headers().unwrap().clone();
    let place = |name: &str| columns.iter().position(|column| column == name).unwrap();
    let rows: Vec<csv::StringRecord> = rows.records().map(Result::unwrap).collect();
    // A store, a load, and lookups of 1, 16 and 64 keys, in six turns each.
    let sides: Vec<(&str, &str)> =
        rows.iter().map(|row| (&row[place("side")], &row[place("pairs")])).collect();
    let lookup = ("lookup", "6");
    assert_eq!(sides, [("write", "6"), ("read", "6"), lookup, lookup, lookup]);
    let points = json["points"].as_array().unwrap();
    assert_eq!(points.len(), rows.len());
    for (row, point) in rows.iter().zip(points) {
        let value = |name: &str| row[place(name)].parse::<f64>().unwrap();
        for end in ["", "_low", "_high"] {
            let (speed, money) = (format!("ratio{end}"), format!("ratio_per_money{end}"));
            // A costs six times as much.
            assert!((value(&money) * 6.0 - value(&speed)).abs() <= 1e-9 * value(&speed), "{row:?}");
        }
        assert!(value("a_low") <= value("a") && value("a") <= value("a_high"), "{row:?}");
        assert!((point["ratio"].as_f64().unwrap() - value("ratio")).abs() < 1e-9);
        assert!(point["per_money"]["interval"].is_array(), "{point}");
    }
    for plot in ["read", "write", "lookup", "ratio"] {
        let path = folder.path().join(format!("plots/probe_against_{plot}.svg"));
        assert!(fs::read_to_string(&path).unwrap().contains("<svg"), "{plot}");
    }
    let turns = &json["a"]["measured"]["lookups"][0]["turns"];
    assert_eq!(turns.as_array().unwrap().len(), 6);
}

#[test]
fn a_server_of_either_side_takes_lines_of_its_configuration() {
    if !has("a_server_of_either_side", Product::Redis) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let sets = ["--set-b", "maxmemory-policy noeviction", "--repeats", "2", "--json", "p.json"];
    let args = [&["probe", "redis", "--against", "redis"][..], &PAIRED, &sets].concat();
    weir(folder.path(), &args).done();
    let json: Value =
        serde_json::from_slice(&fs::read(folder.path().join("p.json")).unwrap()).unwrap();
    let policy = |side: &str| json[side]["tier"]["settings"]["eviction"].clone();
    assert_eq!((policy("a"), policy("b")), ("allkeys-lru".into(), "noeviction".into()));

    let call = |args: &[&str]| {
        let all = [&["probe", "redis", "--against", "redis"][..], &PAIRED, args].concat();
        weir(folder.path(), &all).refusal(2, folder.path())
    };
    let mistaken = call(&["--set-a", "save \"\"", "--set-b", "no-such-setting 5"]);
    assert!(
        mistaken.contains("--set-b: `no-such-setting 5`: redis of B does not start"),
        "{mistaken}"
    );
    let moved = call(&["--set-a", "port 1"]);
    assert!(moved.contains("--set-a: `port 1` for A: where the server is and listens"), "{moved}");
}

#[test]
fn a_dry_run_of_two_tiers_says_what_they_would_take() {
    let folder = tempfile::tempdir().unwrap();
    let claim = ["--claim", "read >= 1", "--dry-run"];
    let args = [&["probe", "memory", "--against", "disk:kv"][..], &PAIRED, &claim].concat();
    let answer = weir(folder.path(), &args).done();
    let words = answer.out.split_whitespace().collect::<Vec<_>>().join(" ");
    // Two points of 45 ms, six times on both sides.
    for part in ["2 points, 6 repeats, at least 1 s in all", "claim: read >= 1 times B"] {
        assert!(words.contains(part), "no {part}:\n{}", answer.out);
    }
    let bytes = "blocks of 64 KiB: 128 different ones, 8 MiB; buffers of 512 KiB";
    assert_eq!(words.matches(bytes).count(), 2, "{}", answer.out);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
