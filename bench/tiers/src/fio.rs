//! fio, the limit of a disk: the same sizes, depth and direction past the page cache, from a few
//! buffers registered with the kernel.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::figures::{Round, Sample};

#[derive(Debug)]
pub(crate) struct Fio {
    /// Made by the first write.
    pub(crate) file: PathBuf,
    /// Of the file, moved by each call.
    pub(crate) bytes: usize,
    pub(crate) block_bytes: usize,
    pub(crate) depth: u16,
}

#[derive(Debug, Deserialize)]
struct Report {
    jobs: Vec<Job>,
}

#[derive(Debug, Deserialize)]
struct Job {
    error: i64,
    /// Milliseconds, and per cent of them.
    #[serde(rename = "job_runtime")]
    runtime: f64,
    usr_cpu: f64,
    sys_cpu: f64,
    read: Moved,
    write: Moved,
}

#[derive(Debug, Deserialize)]
struct Moved {
    io_bytes: u64,
    bw_bytes: f64,
}

pub(crate) fn version() -> Result<String, String> {
    let output = Command::new("fio")
        .arg("--version")
        .output()
        .map_err(|_| "not installed: apt-get install fio".to_owned())?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

impl Fio {
    /// Writes in order and reads in random order, each the whole file once.
    pub(crate) fn round(&self) -> Result<Round> {
        Ok([self.run("write")?, self.run("randread")?])
    }

    fn run(&self, pattern: &str) -> Result<Sample> {
        let output = Command::new("fio")
            .args(["--name=limit", "--direct=1", "--output-format=json", "--randrepeat=0"])
            .args(["--ioengine=io_uring", "--fixedbufs=1", "--registerfiles=1"])
            // It would change its buffers before each write, which costs a third of its rate.
            .arg("--scramble_buffers=0")
            .arg(format!("--filename={}", self.file.display()))
            .arg(format!("--size={}", self.bytes))
            .arg(format!("--bs={}", self.block_bytes))
            .arg(format!("--iodepth={}", self.depth))
            .arg(format!("--rw={pattern}"))
            .output()
            .context("fio could not be started")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "fio: {}{}", text.trim(), complaint.trim());
        sample(&text, pattern, self.bytes as u64)
    }
}

fn sample(text: &str, pattern: &str, bytes: u64) -> Result<Sample> {
    let from = text.find('{').context("fio printed no JSON")?;
    let report: Report = serde_json::from_str(text[from..].trim()).context("fio's JSON")?;
    let job = report.jobs.first().context("fio's JSON has no job")?;
    ensure!(job.error == 0, "fio ended with error {}", job.error);
    let moved = if pattern == "write" { &job.write } else { &job.read };
    ensure!(moved.io_bytes == bytes, "fio moved {} of {bytes} bytes", moved.io_bytes);
    let busy = (job.usr_cpu + job.sys_cpu) / 100.0 * job.runtime / 1e3;
    Ok(Sample {
        gb_per_s: moved.bw_bytes / 1e9,
        client_s_per_gb: Some(busy / (bytes as f64 / 1e9)),
        server_s_per_gb: None,
        foreign_cores: None,
    })
}

#[cfg(test)]
mod tests {
    use super::sample;

    /// fio 3.33: 512 MiB in blocks of 64 KiB, depth 16.
    const READ: &str = include_str!("../tests/fixtures/fio-randread.json");
    const WRITE: &str = include_str!("../tests/fixtures/fio-write.json");
    const BYTES: u64 = 512 << 20;

    #[test]
    fn both_ways_are_read() {
        for (text, pattern) in [(READ, "randread"), (WRITE, "write")] {
            let sample = sample(text, pattern, BYTES).expect(pattern);
            let json: serde_json::Value = serde_json::from_str(text).expect("JSON");
            let way = if pattern == "write" { "write" } else { "read" };
            let ms = json["jobs"][0][way]["runtime"].as_f64().expect("ms");
            // fio's own rate is of its runtime in whole milliseconds.
            let rate = BYTES as f64 / 1e6 / ms;
            assert!((sample.gb_per_s / rate - 1.0).abs() < 0.01, "{pattern}: {rate}");
            let client = sample.client_s_per_gb.expect("processor time");
            assert!((0.0..2.0).contains(&client), "{pattern}: {client}");
        }
    }

    #[test]
    fn what_is_not_whole_is_refused() {
        assert!(sample(READ, "write", BYTES).is_err());
        assert!(sample(READ, "randread", BYTES / 2).is_err());
        assert!(sample("fio: no such engine", "randread", BYTES).is_err());
        let failed = READ.replacen("\"error\" : 0", "\"error\" : 28", 1);
        let error = sample(&failed, "randread", BYTES).expect_err("an error");
        assert!(error.to_string().contains("28"), "{error}");
    }
}
