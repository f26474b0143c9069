//! Samples a store's counters during a cell: `INFO`, and a Kvrocks's `STATS`, over its own
//! connection.

use std::time::{Duration, Instant};

use weir_observe::{SampleSource, SourceSample, StoreFigure, StoreSample, UtcClock};
use weir_store::StoreClient;
use weir_store::resp::{RocksDbFigures, ServerReport};

#[derive(Debug)]
pub struct StoreProbe {
    client: StoreClient,
    source: String,
}

impl StoreProbe {
    pub(crate) const fn new(client: StoreClient, source: String) -> Self {
        Self { client, source }
    }
}

impl SampleSource for StoreProbe {
    fn name(&self) -> &str {
        &self.source
    }

    fn sample(&mut self, clock: &UtcClock, budget: Duration) -> Result<SourceSample, String> {
        let servers = self.client.counters(Instant::now() + budget);
        let servers = servers.map_err(|error| error.to_string())?;
        let at = clock.now();
        let figures = servers.iter().flat_map(figures).collect();
        Ok(SourceSample::Store(StoreSample { at, source: self.source.clone(), figures }))
    }
}

/// Optional counters, which read 0 where the server lacks them, are left out at 0.
fn figures(server: &ServerReport) -> Vec<StoreFigure> {
    let counter = |value: u64| Some(value).filter(|value| *value > 0);
    let seconds = server.cpu_ns.map(|nanos| nanos as f64 / 1e9);
    let said = [
        ("store_used_bytes", server.used.map(|bytes| bytes.0)),
        ("store_limit_bytes", server.limit.map(|bytes| bytes.0)),
        ("store_clients", Some(server.clients)),
        ("store_commands_total", server.commands),
        ("store_input_bytes_total", counter(server.input_bytes)),
        ("store_output_bytes_total", counter(server.output_bytes)),
        ("store_keyspace_hits_total", counter(server.keyspace_hits)),
        ("store_keyspace_misses_total", counter(server.keyspace_misses)),
        ("store_evicted_keys_total", counter(server.evicted_keys)),
        ("store_expired_keys_total", counter(server.expired_keys)),
        ("store_refusals_total", counter(server.refusals.values().sum())),
    ];
    let said = said.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value? as f64)));
    let cpu = seconds.map(|seconds| ("store_cpu_seconds_total".to_owned(), seconds));
    let of_rocksdb = server.rocksdb.iter().flat_map(RocksDbFigures::iter);
    let of_rocksdb = of_rocksdb.map(|(figure, value)| {
        let end = if figure.grows() { "_total" } else { "" };
        (format!("store_rocksdb_{}{end}", figure.name()), value as f64)
    });
    said.chain(cpu)
        .chain(of_rocksdb)
        .map(|(metric, value)| StoreFigure { metric, server: server.place.clone(), value })
        .collect()
}
