//! Where loads of `weir probe` came from: a device, the page cache, or memory.

use std::fs;
use std::path::Path;

use serde_json::Value;
use weir_model::HeldIn;

use crate::probe::{fitted, probe};

/// (`device_percent`, `loaded_from`) per load, from the CSV.
fn loaded_from(folder: &Path) -> Vec<(String, String)> {
    let mut rows = csv::Reader::from_path(folder.join("p.csv")).unwrap();
    let columns = rows.headers().unwrap().clone();
    let place = |name: &str| columns.iter().position(|column| column == name).unwrap();
    let (percent, from) = (place("device_percent"), place("loaded_from"));
    let rows = rows.records().map(Result::unwrap).filter(|row| &row[1] == "read");
    rows.map(|row| (row[percent].to_owned(), row[from].to_owned())).collect()
}

#[test]
fn loads_out_of_the_page_cache_are_called_so_in_every_output() {
    let folder = tempfile::tempdir().unwrap();
    if weir_store::held_in(folder.path()).unwrap() != HeldIn::Device {
        println!(
            "SKIPPED loads_out_of_the_page_cache: {} is on no device",
            folder.path().display()
        );
        return;
    }
    let outputs = ["--csv", "p.csv", "--json", "p.json", "--profile", "p.yaml"];
    let call = |args: &[&str]| {
        fitted(folder.path(), &[&["disk:kv", "--no-differential"], args, &outputs].concat())
    };
    let answer = call(&["--page-cache"]);
    assert!(answer.out.contains("page cache 100 %"), "{}", answer.out);
    let words = answer.out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("warning: loads came out of memory (page cache)"), "{words}");
    let from = loaded_from(folder.path());
    assert!(from.iter().all(|row| *row == ("0".to_owned(), "page-cache".to_owned())), "{from:?}");
    let json: Value =
        serde_json::from_slice(&fs::read(folder.path().join("p.json")).unwrap()).unwrap();
    let points = json["measured"]["points"].as_array().unwrap();
    for point in points {
        let expected = if point["read"].is_null() { Value::Null } else { "page-cache".into() };
        assert_eq!(point["loaded_from"].get("from").cloned().unwrap_or_default(), expected);
    }
    let profile = fs::read_to_string(folder.path().join("p.yaml")).unwrap();
    assert!(profile.contains("device_percent: 0"), "{profile}");

    let answer = call(&["--cold"]);
    assert!(answer.out.contains("cold                   by O_DIRECT"), "{}", answer.out);
    assert!(!answer.out.contains("not cold"), "{}", answer.out);
    assert!(answer.out.contains("index in memory"), "{}", answer.out);
    let from = loaded_from(folder.path());
    assert!(from.iter().all(|row| row.1 == "device"), "{from:?}");
}

/// Without direct access, the page cache is dropped between laps of few blocks, so that few
/// repeat.
#[test]
fn a_cold_probe_drops_the_page_cache() {
    let folder = tempfile::tempdir().unwrap();
    if weir_store::held_in(folder.path()).unwrap() != HeldIn::Device {
        println!("SKIPPED a_cold_probe: {} is on no device", folder.path().display());
        return;
    }
    let args = ["disk:kv", "--no-differential", "--page-cache", "--cold", "--csv", "p.csv"];
    let answer = probe(folder.path(), &args).done();
    assert!(answer.out.contains("by posix_fadvise(DONTNEED)"), "{}", answer.out);
    // A cold load is not from the page cache.
    assert!(!answer.out.contains("page cache is measured"), "{}", answer.out);
    for (percent, from) in loaded_from(folder.path()) {
        assert!(from == "device" && percent.parse::<f64>().unwrap() > 50.0, "{from} {percent}");
    }
}

#[test]
fn a_folder_in_memory_is_no_disk_and_never_cold() {
    let Ok(folder) = tempfile::tempdir_in("/dev/shm") else {
        println!("SKIPPED a_folder_in_memory: there is no /dev/shm");
        return;
    };
    if weir_store::held_in(folder.path()).unwrap() != HeldIn::Memory {
        println!("SKIPPED a_folder_in_memory: /dev/shm is not in memory");
        return;
    }
    let args = ["disk:kv", "--no-differential", "--csv", "p.csv"];
    let answer = probe(folder.path(), &args).done();
    let words = answer.out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("kv is in memory: what it loads comes from no device"), "{words}");
    for row in loaded_from(folder.path()) {
        assert_eq!(row, ("0".to_owned(), "memory".to_owned()));
    }
    let refused = probe(folder.path(), &["disk:kv", "--cold"]).refusal(2, folder.path());
    assert!(refused.contains("--cold: kv is in memory"), "{refused}");
}
