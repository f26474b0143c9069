//! A store's report of itself: evidence independent of Weir's counters.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use weir_model::{Bytes, HeldIn, OTHER_PRODUCT, Product};

use super::connection::StoreConnection;
use super::cpu;
use super::error::RespError;
use super::fleet::Fleet;
use super::layout::KeyLayout;
use super::rocksdb::RocksDbFigures;
use super::scan::{Counted, Proven};
use super::value::Value;
use crate::held_in::held_in;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keyspace {
    pub keys: u64,
    pub with_life: u64,
}

impl Keyspace {
    /// Sums `db0:keys=40,expires=0,...`; None if `INFO` has no such section.
    fn read(info: &str) -> Option<Self> {
        let lines = info.lines().skip_while(|line| !line.starts_with("# Keyspace"));
        let mut lines = lines.peekable();
        lines.peek()?;
        let mut sum = Self { keys: 0, with_life: 0 };
        let databases = lines.filter_map(|line| line.strip_prefix("db")?.split_once(':'));
        for (_, counts) in databases {
            for (name, count) in counts.split(',').filter_map(|one| one.split_once('=')) {
                let count: u64 = count.trim().parse().ok()?;
                match name {
                    "keys" => sum.keys += count,
                    "expires" => sum.with_life += count,
                    _ => {}
                }
            }
        }
        Some(sum)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerReport {
    pub place: String,
    /// None for other RESP servers.
    pub product: Option<Product>,
    pub version: String,
    /// `standalone`, `cluster` or `sentinel`.
    pub mode: String,
    /// Changes at each restart, which also resets its counters.
    pub run_id: String,
    pub process: Option<u32>,
    /// The data folder by its own name for it; None if unknown.
    pub folder: Option<String>,
    /// Bytes in use: memory, or for Kvrocks files and unflushed data. None if unknown.
    pub used: Option<Bytes>,
    /// The fields of `INFO` that `used` sums.
    pub used_fields: &'static [&'static str],
    /// Capacity; None without a limit.
    pub limit: Option<Bytes>,
    /// Eviction policy when full; empty without one.
    pub policy: String,
    /// Since its start.
    pub evicted_keys: u64,
    /// Refused commands since its start, by error code: `OOM`, `READONLY`, `NOPERM`, ... Redis and
    /// Valkey count them since 6.2.
    pub refusals: BTreeMap<String, u64>,
    /// Since its start.
    pub expired_keys: u64,
    /// Calls of `FLUSHALL` and `FLUSHDB` since its start; None if it counts no commands.
    pub flushes: Option<u64>,
    pub commands: Option<u64>,
    pub keyspace_hits: u64,
    pub keyspace_misses: u64,
    /// Keys in the database, other users' included. None if `DBSIZE` is of an earlier scan, or is 0
    /// although `SCAN` returns keys.
    pub keys: Option<u64>,
    pub keyspace: Option<Keyspace>,
    /// Whether its content survives on a disk; None if unknown.
    pub persistence: Option<bool>,
    pub io_threads: Option<u32>,
    pub clients: u64,
    pub input_bytes: u64,
    pub output_bytes: u64,
    /// Its own CPU time, user and system, nanoseconds; None if only whole seconds are known.
    pub cpu_ns: Option<u64>,
    pub machine_memory: Option<Bytes>,
    pub rocksdb: Option<RocksDbFigures>,
}

/// Out of memory, a replica, a missing permission, an unwritable disk, too few replicas.
const REFUSED_WRITES: [&str; 5] = ["OOM", "READONLY", "NOPERM", "MISCONF", "NOREPLICAS"];

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreReport {
    /// One server, or the masters of a cluster.
    pub servers: Vec<ServerReport>,
    /// Chunks of the layout, counted key by key. None without a layout, or if a server's `SCAN` is
    /// not proven to find its keys.
    pub layout_chunks: Option<u64>,
    pub layout_example: Option<String>,
}

impl StoreReport {
    /// Without a count of chunks.
    pub const fn of_servers(servers: Vec<ServerReport>) -> Self {
        Self { servers, layout_chunks: None, layout_example: None }
    }

    /// Queries every server and counts the keys of a layout.
    pub(super) fn collect(
        fleet: &Fleet,
        layout: Option<(&KeyLayout, &Proven)>,
        deadline: Instant,
    ) -> Result<Self, RespError> {
        let servers = servers(fleet, deadline)?;
        let Counted { chunks, example } = match layout {
            Some((layout, proven)) => super::scan::count(fleet, layout, proven, deadline)?,
            None => Counted::default(),
        };
        Ok(Self { servers, layout_chunks: chunks, layout_example: example })
    }

    /// None if any server does not say.
    pub fn used(&self) -> Option<Bytes> {
        let used = self.servers.iter().map(|server| server.used.map(|bytes| bytes.0));
        used.sum::<Option<u64>>().map(Bytes)
    }

    pub fn keys(&self) -> Option<u64> {
        self.servers.iter().map(|server| server.keys).sum()
    }

    pub fn limit(&self) -> Option<Bytes> {
        let limits = self.servers.iter().map(|server| server.limit.map(|bytes| bytes.0));
        limits.sum::<Option<u64>>().map(Bytes)
    }

    pub fn evicted_keys(&self) -> u64 {
        self.servers.iter().map(|server| server.evicted_keys).sum()
    }

    /// Since the servers' start.
    pub fn expired_keys(&self) -> u64 {
        self.servers.iter().map(|server| server.expired_keys).sum()
    }

    pub fn flushes(&self) -> Option<u64> {
        self.servers.iter().map(|server| server.flushes).sum()
    }

    /// Refused writes since the servers' start, by error code.
    pub fn refused_writes(&self) -> BTreeMap<String, u64> {
        let mut sums = BTreeMap::new();
        for (error, count) in self.servers.iter().flat_map(|server| &server.refusals) {
            if REFUSED_WRITES.contains(&error.as_str()) {
                *sums.entry(error.clone()).or_default() += count;
            }
        }
        sums
    }

    pub fn warnings(&self) -> Vec<String> {
        self.servers.iter().flat_map(ServerReport::warnings).collect()
    }
}

impl ServerReport {
    pub fn read(text: &str, place: &str, is_local: bool) -> Self {
        let fields = fields(text);
        let word = |key: &str| fields.get(key).copied().unwrap_or_default();
        let number = |key: &str| word(key).parse::<u64>().unwrap_or(0);
        let said = |key: &str| fields.get(key).and_then(|value| value.parse::<u64>().ok());
        let product = product(&fields);
        let version = product.unwrap_or(Product::Redis).traits().version_field;
        let mode = [word("redis_mode"), word("server_mode")];
        // The fields present in `INFO` show the kind of store.
        let (used_fields, limit): (&[&str], _) = if fields.contains_key("used_db_size") {
            (&["used_db_size", "all_mem_tables"], "max_db_size")
        } else {
            (&["used_memory"], "maxmemory")
        };
        let used: Option<u64> = used_fields.iter().map(|field| said(field)).sum();
        let spent = cpu::Said {
            used: ["used_cpu_user", "used_cpu_sys"].map(|key| fields.get(key).copied()),
            pid: fields.get("process_id").and_then(|value| value.parse().ok()),
            uptime: said("uptime_in_seconds"),
        };
        let bytes = |key: &str| Some(Bytes(number(key))).filter(|bytes| bytes.0 > 0);
        let mut report = Self {
            place: place.to_owned(),
            product,
            version: word(version).to_owned(),
            mode: mode.into_iter().find(|mode| !mode.is_empty()).unwrap_or_default().to_owned(),
            run_id: word("run_id").to_owned(),
            process: cpu::process(&spent, is_local),
            folder: None,
            used: used.map(Bytes),
            used_fields,
            limit: bytes(limit),
            policy: word("maxmemory_policy").to_owned(),
            evicted_keys: number("evicted_keys"),
            refusals: fields.iter().filter_map(|(key, value)| refusals(key, value)).collect(),
            expired_keys: number("expired_keys"),
            flushes: None,
            commands: said("total_commands_processed"),
            keyspace_hits: number("keyspace_hits"),
            keyspace_misses: number("keyspace_misses"),
            keys: None,
            keyspace: Keyspace::read(text),
            persistence: fields.get("aof_enabled").map(|value| *value == "1"),
            io_threads: None,
            clients: number("connected_clients"),
            input_bytes: number("total_net_input_bytes"),
            output_bytes: number("total_net_output_bytes"),
            cpu_ns: cpu::of(&spent, is_local),
            machine_memory: bytes("total_system_memory"),
            rocksdb: None,
        };
        if !report.evicts() {
            report.policy.clear();
        }
        if report.keeps_in_files() {
            report.persistence = Some(true);
        }
        report
    }

    /// As this machine sees it: a server in a container has its own file system.
    pub fn files(&self) -> Option<PathBuf> {
        let (process, folder) = self.process.zip(self.folder.as_deref())?;
        Some(Path::new(&format!("/proc/{process}/root")).join(folder.trim_start_matches('/')))
    }

    pub const fn product_name(&self) -> &'static str {
        match self.product {
            Some(product) => product.name(),
            None => OTHER_PRODUCT,
        }
    }

    pub fn keeps_in_memory(&self) -> bool {
        self.product.is_some_and(|product| product.traits().keeps_in_memory)
    }

    pub fn keeps_in_files(&self) -> bool {
        self.product.is_some_and(|product| !product.traits().keeps_in_memory)
    }

    pub fn threads_setting(&self) -> &'static str {
        self.product.unwrap_or(Product::Redis).traits().threads_setting
    }

    pub fn evicts(&self) -> bool {
        self.product.is_none_or(|product| product.traits().evicts)
    }

    pub fn values_in(&self) -> HeldIn {
        if self.keeps_in_memory() {
            return HeldIn::Memory;
        }
        // Other products' use of their folder is unknown.
        let files = self.files().filter(|_| self.keeps_in_files());
        files.and_then(|files| held_in(&files).ok()).unwrap_or(HeldIn::Uncounted)
    }

    /// Settings unsuited for blocks of a KV cache, one sentence each.
    pub fn warnings(&self) -> Vec<String> {
        warnings(self).into_iter().map(|text| format!("{}: {text}", self.place)).collect()
    }
}

/// The product, by its own version field. Redis' field is checked last: others have it too, for
/// compatibility.
fn product(fields: &BTreeMap<&str, &str>) -> Option<Product> {
    let says = |product: &Product| fields.contains_key(product.traits().version_field);
    let found = Product::ALL.into_iter().rev().find(says);
    found.filter(|_| !fields.contains_key("dragonfly_version"))
}

pub(super) fn servers(fleet: &Fleet, deadline: Instant) -> Result<Vec<ServerReport>, RespError> {
    each(fleet, deadline, |connection| ask(connection, deadline))
}

pub(super) fn counters(fleet: &Fleet, deadline: Instant) -> Result<Vec<ServerReport>, RespError> {
    each(fleet, deadline, |connection| Ok(counted(connection, deadline)?.0))
}

fn each(
    fleet: &Fleet,
    deadline: Instant,
    asked: impl Fn(&mut StoreConnection) -> Result<ServerReport, RespError>,
) -> Result<Vec<ServerReport>, RespError> {
    let mut servers = Vec::new();
    fleet.visit(deadline, |connection| {
        servers.push(asked(connection)?);
        Ok(())
    })?;
    Ok(servers)
}

/// A server's counters, and whether its key count comes from a scan.
fn counted(
    connection: &mut StoreConnection,
    deadline: Instant,
) -> Result<(ServerReport, bool), RespError> {
    let info = connection.demand(&[b"INFO"], deadline)?;
    let Some(text) = info.text() else {
        return Err(RespError::Protocol {
            place: connection.place().to_owned(),
            why: "the answer to INFO must be text".to_owned(),
        });
    };
    let mut report = ServerReport::read(text, connection.place(), connection.is_local());
    if report.keeps_in_files() {
        // A renamed command returns an error, and its figures are absent.
        let stats = connection.call(&[b"STATS"], deadline)?;
        report.rocksdb = RocksDbFigures::read(&fields(text), stats.text());
    }
    Ok((report, is_of_a_scan(text)))
}

fn ask(connection: &mut StoreConnection, deadline: Instant) -> Result<ServerReport, RespError> {
    let (mut report, has_scans) = counted(connection, deadline)?;
    // Plain `INFO` does not contain it.
    let commands = connection.call(&[b"INFO", b"commandstats"], deadline)?;
    report.flushes = commands.text().and_then(flushes);
    let mut setting = |name: &str| -> Result<Option<String>, RespError> {
        // A managed store may lack CONFIG, and a user may lack the permission.
        let reply = connection.call(&[b"CONFIG", b"GET", name.as_bytes()], deadline)?;
        Ok(reply.entry(name).and_then(Value::text).map(str::to_owned))
    };
    let threads = setting(report.threads_setting())?;
    report.io_threads = threads.and_then(|text| text.parse().ok());
    report.folder = setting("dir")?;
    if !report.keeps_in_files()
        && let Some(save) = setting("save")?
    {
        let appends = report.persistence == Some(true);
        report.persistence = Some(appends || !save.trim().is_empty());
    }
    if !has_scans {
        report.keys = keys(connection, deadline)?;
    }
    Ok(report)
}

/// Whether the server's key count comes from a `DBSIZE SCAN`, or from none so far.
fn is_of_a_scan(info: &str) -> bool {
    let info = info.to_ascii_lowercase();
    info.contains("dbsize scan") || info.contains("last scan db time")
}

/// Keys of the database. A zero counts only if `SCAN` finds none either.
fn keys(connection: &mut StoreConnection, deadline: Instant) -> Result<Option<u64>, RespError> {
    let reply = connection.call(&[b"DBSIZE"], deadline)?;
    let Some(keys) = reply.integer().and_then(|keys| u64::try_from(keys).ok()) else {
        return Ok(None);
    };
    if keys > 0 {
        return Ok(Some(keys));
    }
    let page = connection.call(&[b"SCAN", b"0", b"COUNT", b"100"], deadline)?;
    let is_empty = matches!(
        page.elements(),
        [Value::Text(cursor), Value::Array(keys)] if cursor == b"0" && keys.is_empty()
    );
    Ok(is_empty.then_some(0))
}

fn flushes(commandstats: &str) -> Option<u64> {
    let calls = |line: &str, command: &str| -> Option<u64> {
        let counts =
            line.strip_prefix("cmdstat_")?.strip_prefix(command)?.strip_prefix(":calls=")?;
        counts.split(',').next()?.trim().parse().ok()
    };
    let of_line = |line| ["flushall", "flushdb"].iter().find_map(|command| calls(line, command));
    let counts = || commandstats.lines().filter(|line| line.starts_with("cmdstat_"));
    counts().next()?;
    Some(counts().filter_map(of_line).sum())
}

/// Parses `errorstat_OOM` and `count=24`.
fn refusals(key: &str, value: &str) -> Option<(String, u64)> {
    let error = key.strip_prefix("errorstat_")?;
    Some((error.to_owned(), value.strip_prefix("count=")?.parse().ok()?))
}

fn fields(text: &str) -> BTreeMap<&str, &str> {
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.map(|(key, value)| (key, value.trim())).collect()
}

fn warnings(server: &ServerReport) -> Vec<String> {
    let mut found = Vec::new();
    let mut warn = |text: String| found.push(text);
    if let Some(of) = server.product.map(Product::traits).filter(|of| !of.evicts) {
        let setting = of.limit_setting;
        warn(match server.limit {
            Some(_) => {
                format!("it evicts nothing: at {setting} it refuses to store (give a TTL)")
            }
            None => {
                format!("it evicts nothing and has no {setting}: its disk fills up (give a TTL)")
            }
        });
        return found;
    }
    if server.persistence == Some(true) {
        warn(
            "it writes to disk what it has in memory: blocks can be computed again, and forks and \
             log cost time and memory (save '', appendonly no)"
                .to_owned(),
        );
    }
    match (server.limit, server.policy.as_str()) {
        (None, _) => warn(
            "it has no maxmemory: it grows until the system ends it (set maxmemory and \
             maxmemory-policy allkeys-lru)"
                .to_owned(),
        ),
        (Some(_), "noeviction") => warn(
            "it evicts nothing: when it is full it refuses to store (maxmemory-policy allkeys-lru)"
                .to_owned(),
        ),
        (Some(_), policy) if policy.starts_with("volatile") => warn(format!(
            "{policy} evicts only keys that have a life: without a TTL it refuses to store"
        )),
        _ => {}
    }
    if let (Some(limit), Some(machine)) = (server.limit, server.machine_memory)
        && limit.0 > machine.0
    {
        warn(format!("maxmemory is {} bytes, its machine has {}", limit.0, machine.0));
    }
    if server.io_threads == Some(1) {
        warn("one thread moves all bytes of all clients (io-threads)".to_owned());
    }
    if server.evicted_keys > 0 {
        warn(format!("it has evicted {} keys since it was started", server.evicted_keys));
    }
    found
}

/// Evictions since a tier was opened, over restarts of its servers.
#[derive(Debug, Default)]
pub(super) struct Evictions {
    /// Per server: its run, its first counter (0 in a later run), and its last one.
    seen: BTreeMap<String, (String, u64, u64)>,
    /// Of ended runs.
    past: u64,
}

impl Evictions {
    /// Whether the first counters are known.
    pub(super) fn has_begun(&self) -> bool {
        !self.seen.is_empty()
    }

    /// Takes the servers' counters; returns the evictions since the beginning.
    pub(super) fn update(&mut self, servers: &[ServerReport]) -> u64 {
        for server in servers {
            let now = server.evicted_keys;
            match self.seen.get_mut(&server.place) {
                None => {
                    self.seen.insert(server.place.clone(), (server.run_id.clone(), now, now));
                }
                Some((run, base, last)) if *run == server.run_id && now >= *last => {
                    debug_assert!(*base <= now);
                    *last = now;
                }
                Some((run, base, last)) => {
                    self.past += *last - *base;
                    run.clone_from(&server.run_id);
                    (*base, *last) = (0, now);
                }
            }
        }
        self.past + self.seen.values().map(|(_, base, last)| last - base).sum::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_emptied_a_store_is_counted_where_commands_are() {
        let said = "# Commandstats\r\ncmdstat_flushall:calls=2,usec=9\r\n\
                    cmdstat_flushdb:calls=1,usec=4\r\ncmdstat_flushdbx:calls=7\r\n\
                    cmdstat_get:calls=40,usec=80\r\n";
        assert_eq!(flushes(said), Some(3));
        assert_eq!(flushes("# Commandstats\r\ncmdstat_get:calls=40,usec=80\r\n"), Some(0));
        assert_eq!(flushes("# Server\r\n"), None);
    }

    #[test]
    fn evictions_go_on_over_restarts() {
        let mut evictions = Evictions::default();
        let mut server = ServerReport::read("run_id:a\r\nevicted_keys:5\r\n", "h:1", false);
        let mut at = |run: &str, evicted| {
            server.run_id = run.to_owned();
            server.evicted_keys = evicted;
            evictions.update(std::slice::from_ref(&server))
        };
        assert_eq!(at("a", 5), 0);
        assert_eq!(at("a", 9), 4);
        assert_eq!(at("b", 2), 6);
        assert_eq!(at("b", 3), 7);
        // CONFIG RESETSTAT within a run.
        assert_eq!(at("b", 1), 8);
    }

    #[test]
    fn products_are_told_apart() {
        let read = |text: &str| ServerReport::read(text, "h", false);
        let redis = read("redis_version:7.0.15\r\nredis_mode:standalone\r\nmaxmemory:0");
        assert_eq!((redis.product, redis.version.as_str()), (Some(Product::Redis), "7.0.15"));
        assert_eq!((redis.limit, redis.used, redis.cpu_ns), (None, None, None));
        let valkey = read("redis_version:7.2.4\nvalkey_version:8.0.1\nserver_mode:cluster");
        assert_eq!((valkey.product, valkey.mode.as_str()), (Some(Product::Valkey), "cluster"));
        let keys = "# Keyspace\r\ndb0:keys=30,expires=1,avg_ttl=0\r\ndb3:keys=10,expires=2\r\n";
        let keyspace = Some(Keyspace { keys: 40, with_life: 3 });
        assert_eq!((read(keys).keyspace, redis.keyspace), (keyspace, None));
        let text = "redis_version:4.0.0\nkvrocks_version:2.10.1\nused_db_size:7\nmax_db_size:9";
        let kvrocks = read(&format!("{text}\nall_mem_tables:5"));
        assert_eq!((kvrocks.product, kvrocks.used), (Some(Product::Kvrocks), Some(Bytes(12))));
        assert_eq!(kvrocks.limit, Some(Bytes(9)));
        // Files alone are not the bytes in use.
        assert_eq!(read(text).used, None);
        assert_eq!(read("").product, None);
        assert_eq!(read("redis_version:7.4.0\ndragonfly_version:1.2").product, None);
    }
}
