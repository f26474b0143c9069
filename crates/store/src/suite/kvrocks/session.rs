use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use super::keyspace::{Counters, Keyspace, Value, split_glob};
use super::{Release, Shared};

pub(super) const KNOWN: &[&str] = &[
    "APPEND", "AUTH", "CLIENT", "CLUSTER", "CONFIG", "DBSIZE", "DEL", "EXISTS", "FLUSHDB", "GET",
    "HELLO", "INFO", "LPUSH", "PING", "SCAN", "SELECT", "SET", "SETRANGE", "STATS", "STRLEN",
    "UNLINK",
];
const WRITES: &[&str] = &["APPEND", "LPUSH", "SET", "SETRANGE"];
const ARGUMENTS_MAX: u64 = 1 << 20;
const ARGUMENT_MAX: u64 = 512 << 20;
const SYNTAX: &str = "syntax error";
const ARITY: &str = "wrong number of arguments";
const WRONG_TYPE: &str =
    "Invalid argument: WRONGTYPE Operation against a key holding the wrong kind of value";

/// An answer, or the text of a refusal after `ERR`.
type Answered = Result<Reply, String>;

enum Reply {
    Status(&'static str),
    Integer(u64),
    Text(Vec<u8>),
    Null,
    /// A separate type in RESP3.
    Verbatim(String),
    Map(Vec<Reply>),
    Array(Vec<Reply>),
}

fn text(bytes: impl Into<Vec<u8>>) -> Reply {
    Reply::Text(bytes.into())
}

pub(super) struct Session<'a> {
    shared: &'a Shared,
    input: BufReader<&'a TcpStream>,
    output: Vec<u8>,
    stream: &'a TcpStream,
    is_known: bool,
    is_resp3: bool,
}

impl<'a> Session<'a> {
    pub(super) fn new(shared: &'a Shared, stream: &'a TcpStream) -> Self {
        let input = BufReader::with_capacity(64 << 10, stream);
        let is_known = shared.password.is_none();
        Self { shared, input, output: Vec::new(), stream, is_known, is_resp3: false }
    }

    pub(super) fn serve(mut self) -> io::Result<()> {
        while let Some(command) = self.command()? {
            self.shared.wait();
            self.answer(&command);
            // Answers are sent together if more commands wait, up to a size.
            if self.input.buffer().is_empty() || self.output.len() > 64 << 10 {
                self.shared.output_bytes.fetch_add(self.output.len() as u64, Ordering::Relaxed);
                self.stream.write_all(&self.output)?;
                self.output.clear();
            }
        }
        Ok(())
    }

    fn command(&mut self) -> io::Result<Option<Vec<Vec<u8>>>> {
        if self.input.fill_buf()?.is_empty() {
            return Ok(None);
        }
        let count = self.number(b'*', ARGUMENTS_MAX)?;
        let mut arguments = Vec::new();
        for _ in 0..count {
            let length = self.number(b'$', ARGUMENT_MAX)?;
            let mut argument = vec![0; length as usize + 2];
            self.input.read_exact(&mut argument)?;
            self.shared.input_bytes.fetch_add(length + 2, Ordering::Relaxed);
            argument.truncate(length as usize);
            arguments.push(argument);
        }
        Ok(Some(arguments))
    }

    fn number(&mut self, kind: u8, most: u64) -> io::Result<u64> {
        let mut line = Vec::new();
        (&mut self.input).take(32).read_until(b'\n', &mut line)?;
        self.shared.input_bytes.fetch_add(line.len() as u64, Ordering::Relaxed);
        let digits = line.strip_prefix(&[kind]).and_then(|rest| rest.strip_suffix(b"\r\n"));
        let number = digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        number
            .filter(|number| *number <= most)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "expected a command"))
    }

    fn answer(&mut self, command: &[Vec<u8>]) {
        let Some((word, arguments)) = command.split_first() else { return };
        let word = String::from_utf8_lossy(word).to_ascii_uppercase();
        let shared = self.shared;
        if !KNOWN.contains(&word.as_str()) || shared.without.contains(&word) {
            let said: Vec<String> = arguments
                .iter()
                .map(|part| format!("`{}`", String::from_utf8_lossy(part)))
                .collect();
            let said = said.join(" ");
            self.refuse(&format!("ERR unknown command `{word}`, with args beginning with: {said}"));
            return;
        }
        if !self.is_known && !matches!(word.as_str(), "AUTH" | "HELLO") {
            self.refuse("NOAUTH Authentication required.");
            return;
        }
        if WRITES.contains(&word.as_str()) && shared.keyspace().is_full() {
            self.refuse("ERR write command not allowed when reached max-db-size.");
            return;
        }
        let arguments: Vec<&[u8]> = arguments.iter().map(Vec::as_slice).collect();
        let answered = match word.as_str() {
            "AUTH" => self.auth(&arguments),
            "HELLO" => self.hello(&arguments),
            "PING" => Ok(Reply::Status("PONG")),
            // There is one database; the number is not even parsed.
            "SELECT" | "CLIENT" => Ok(Reply::Status("OK")),
            "CLUSTER" => Err("Cluster mode is not enabled".to_owned()),
            "CONFIG" => self.config(&arguments),
            "INFO" => Ok(Reply::Verbatim(self.info())),
            "STATS" => Ok(text(stats(shared.keyspace().counters()))),
            "SCAN" => self.scan(&arguments),
            _ => on_keys(&mut shared.keyspace(), &word, &arguments),
        };
        match answered {
            Ok(reply) => self.reply(&reply),
            Err(words) => self.refuse(&format!("ERR {words}")),
        }
    }

    fn refuse(&mut self, words: &str) {
        let words = words.replace(['\r', '\n'], " ");
        self.output.extend_from_slice(format!("-{words}\r\n").as_bytes());
    }

    fn reply(&mut self, reply: &Reply) {
        let mut line = |text: String| self.output.extend_from_slice(text.as_bytes());
        match reply {
            Reply::Status(word) => line(format!("+{word}\r\n")),
            Reply::Integer(number) => line(format!(":{number}\r\n")),
            Reply::Null => line(if self.is_resp3 { "_\r\n" } else { "$-1\r\n" }.to_owned()),
            Reply::Text(bytes) => {
                line(format!("${}\r\n", bytes.len()));
                self.output.extend_from_slice(bytes);
                self.output.extend_from_slice(b"\r\n");
            }
            Reply::Verbatim(said) if self.is_resp3 => {
                line(format!("={}\r\ntxt:{said}\r\n", said.len() + 4));
            }
            Reply::Verbatim(said) => line(format!("${}\r\n{said}\r\n", said.len())),
            Reply::Map(parts) if self.is_resp3 => {
                line(format!("%{}\r\n", parts.len() / 2));
                for part in parts {
                    self.reply(part);
                }
            }
            Reply::Map(parts) | Reply::Array(parts) => {
                line(format!("*{}\r\n", parts.len()));
                for part in parts {
                    self.reply(part);
                }
            }
        }
    }

    /// One argument only: there are no users.
    fn auth(&mut self, arguments: &[&[u8]]) -> Answered {
        let [password] = arguments else { return Err(ARITY.to_owned()) };
        match &self.shared.password {
            None => return Err("Client sent AUTH, but no password is set".to_owned()),
            Some(right) if right.as_bytes() != *password => {
                return Err("Invalid password".to_owned());
            }
            Some(_) => self.is_known = true,
        }
        Ok(Reply::Status("OK"))
    }

    /// Answered without a password too.
    fn hello(&mut self, arguments: &[&[u8]]) -> Answered {
        let (version, rest) = match arguments {
            [] => (b"2".as_slice(), arguments),
            [version, rest @ ..] => (*version, rest),
        };
        match rest {
            [] => {}
            [auth, user, password] if auth.eq_ignore_ascii_case(b"auth") => {
                if *user != b"default" {
                    return Err("Invalid password".to_owned());
                }
                self.auth(&[password])?;
            }
            _ => return Err("Syntax error in HELLO option".to_owned()),
        }
        self.is_resp3 = version == b"3";
        let proto = if self.is_resp3 { 3 } else { 2 };
        Ok(Reply::Map(vec![
            text("server"),
            text("redis"),
            text("version"),
            text("4.0.0"),
            text("proto"),
            Reply::Integer(proto),
            text("mode"),
            text("standalone"),
        ]))
    }

    fn config(&self, arguments: &[&[u8]]) -> Answered {
        let [get, name] = arguments else { return Err(ARITY.to_owned()) };
        if !get.eq_ignore_ascii_case(b"get") {
            return Err("CONFIG subcommand must be one of GET, SET, REWRITE".to_owned());
        }
        let limit = self.shared.keyspace().limit().unwrap_or(0) >> 30;
        let value = match *name {
            b"workers" => "8".to_owned(),
            b"max-db-size" => limit.to_string(),
            b"rocksdb.write_options.disable_wal" => "no".to_owned(),
            _ => return Ok(Reply::Map(Vec::new())),
        };
        Ok(Reply::Map(vec![text(*name), text(value)]))
    }

    fn scan(&self, arguments: &[&[u8]]) -> Answered {
        let (cursor, options) = arguments.split_first().ok_or_else(|| ARITY.to_owned())?;
        let (mut prefix, mut suffix, mut limit) = (Vec::new(), b"*".as_slice(), 20);
        for option in options.chunks(2) {
            match option {
                [word, pattern] if word.eq_ignore_ascii_case(b"match") => {
                    (prefix, suffix) = if self.shared.release >= Release::V2_11 {
                        split_glob(pattern)
                    } else {
                        let literal = pattern.strip_suffix(b"*");
                        let literal = literal.ok_or("only keys prefix match was supported")?;
                        (literal.to_owned(), b"*".as_slice())
                    };
                }
                [word, count] if word.eq_ignore_ascii_case(b"count") => {
                    let count = number(count).ok_or("count param should be type int")?;
                    limit = Some(count).filter(|count| *count > 0).ok_or(SYNTAX)?;
                }
                _ => return Err(SYNTAX.to_owned()),
            }
        }
        let cursor = match *cursor {
            b"0" => b"".as_slice(),
            named => named.strip_prefix(b"_").unwrap_or(named),
        };
        let (keys, end) = self.shared.keyspace().scan(cursor, &prefix, suffix, limit as usize);
        let next = end.map_or_else(|| b"0".to_vec(), |key| [b"_".as_slice(), &key].concat());
        let keys = keys.into_iter().map(Reply::Text).collect();
        Ok(Reply::Array(vec![Reply::Text(next), Reply::Array(keys)]))
    }

    fn info(&self) -> String {
        let shared = self.shared;
        let spent = clock_gettime(ClockId::ProcessCPUTime);
        let cpu = if shared.release >= Release::V2_12 {
            format!("{}.{:06}", spent.tv_sec, spent.tv_nsec / 1000)
        } else {
            // `tv_usec / 1000000` in integers.
            spent.tv_sec.to_string()
        };
        let keyspace = shared.keyspace();
        let (flushed, unflushed) = keyspace.levels();
        let scan = match keyspace.last_scan() {
            None => "# WARN: DBSIZE SCAN never performed yet",
            Some(_) => "# Last DBSIZE SCAN time: Mon Nov 30 12:00:00 2026",
        };
        let mut said = String::new();
        let _ = write!(
            said,
            "# Server\r\nversion:{version}\r\nkvrocks_version:{version}\r\nredis_version:4.0.0\r\n\
             kvrocks_mode:standalone\r\nprocess_id:{pid}\r\nuptime_in_seconds:{uptime}\r\n\r\n\
             # Clients\r\nmaxclients:10000\r\nconnected_clients:1\r\n\r\n# Memory\r\n\
             used_memory_rss:6000000\r\nused_memory_startup:5000000\r\n\r\n# Stats\r\n\
             total_net_input_bytes:{input}\r\ntotal_net_output_bytes:{output}\r\n\r\n# CPU\r\n\
             used_cpu_sys:0\r\nused_cpu_user:{cpu}\r\n\r\n# Keyspace\r\n{scan}\r\n\
             db0:keys={keys},expires=0,avg_ttl=0,expired=0\r\nused_db_size:{flushed}\r\n\
             max_db_size:{limit}\r\nused_percent: 0%\r\n\r\n# RocksDB\r\n\
             {families}block_cache_usage:0\r\nblock_cache_data_hit:0\r\n\
             block_cache_data_miss:{misses}\r\nall_mem_tables:{unflushed}\r\n\
             cur_mem_tables:{unflushed}\r\nnum_immutable_tables:0\r\nnum_running_flushes:0\r\n\
             num_running_compactions:0\r\nflush_count:{flushes}\r\ncompaction_count:{flushes}\r\n",
            version = shared.release.version(),
            pid = std::process::id(),
            uptime = uptime(),
            input = shared.input_bytes.load(Ordering::Relaxed),
            output = shared.output_bytes.load(Ordering::Relaxed),
            keys = keyspace.last_scan().unwrap_or(0),
            limit = keyspace.limit().unwrap_or(0),
            families = families(shared.release),
            misses = keyspace.counters().block_cache_misses,
            flushes = keyspace.counters().flushes,
        );
        said
    }
}

/// `INFO` lines of each column family: writes never stall here.
fn families(release: Release) -> String {
    let mut said = String::new();
    for family in ["default", "metadata"] {
        for reason in ["level0_file_limit", "pending_compaction_bytes", "memtable_count_limit"] {
            let _ = write!(said, "{reason}_slowdown[{family}]:0\r\n{reason}_stop[{family}]:0\r\n");
        }
        if release >= Release::V2_12 {
            let _ = write!(said, "estimate_pending_compaction_bytes[{family}]:0\r\n");
        }
    }
    said
}

/// The answer to `STATS`: tickers as numbers, and histograms as p50, p95, p99, largest, count and
/// sum, of which only the last two are real here.
fn stats(counters: &Counters) -> String {
    let micros = |time: Duration| time.as_micros();
    let (gets, writes, reads) = (counters.gets, counters.writes, counters.file_reads);
    format!(
        "{{\"rocksdb.memtable.hit\":{},\"rocksdb.memtable.miss\":{},\
         \"rocksdb.block.cache.data.hit\":0,\"rocksdb.block.cache.data.miss\":{},\
         \"rocksdb.bytes.read\":{},\"rocksdb.bytes.written\":{written},\
         \"rocksdb.wal.bytes\":{written},\"rocksdb.flush.write.bytes\":{},\
         \"rocksdb.compact.read.bytes\":{},\"rocksdb.compact.write.bytes\":{},\
         \"rocksdb.blobdb.blob.file.bytes.read\":0,\
         \"rocksdb.blobdb.blob.file.bytes.written\":0,\"rocksdb.stall.micros\":0,\
         \"rocksdb.db.get.micros\":[0.0,0.0,0.0,0.0,{gets},{}],\
         \"rocksdb.db.write.micros\":[0.0,0.0,0.0,0.0,{writes},{}],\
         \"rocksdb.sst.read.micros\":[0.0,0.0,0.0,0.0,{reads},{}],\
         \"rocksdb.blobdb.blob.file.read.micros\":[0.0,0.0,0.0,0.0,0,0]}}",
        counters.memtable_hits,
        counters.memtable_misses,
        counters.block_cache_misses,
        counters.read_bytes,
        counters.flushed_bytes,
        counters.compaction_read_bytes,
        counters.compaction_written_bytes,
        micros(counters.get_time),
        micros(counters.write_time),
        micros(counters.file_read_time),
        written = counters.written_bytes,
    )
}

/// Seconds since the start of this process (proc(5): field 22 of `stat`), used as the server's.
fn uptime() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let (_, rest) = stat.rsplit_once(')').unwrap_or_default();
    let began = rest.split_ascii_whitespace().nth(19).and_then(|ticks| ticks.parse::<u64>().ok());
    let now = clock_gettime(ClockId::Boottime).tv_sec as u64;
    now.saturating_sub(began.unwrap_or(0) / rustix::param::clock_ticks_per_second().max(1))
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn string(keyspace: &mut Keyspace, key: &[u8]) -> Result<Option<Vec<u8>>, String> {
    match keyspace.read(key) {
        None => Ok(None),
        Some(Value::Text(bytes)) => Ok(Some(bytes)),
        Some(Value::List(_)) => Err(WRONG_TYPE.to_owned()),
    }
}

fn on_keys(keyspace: &mut Keyspace, word: &str, arguments: &[&[u8]]) -> Answered {
    match (word, arguments) {
        ("GET", [key]) => {
            let found = string(keyspace, key)?;
            Ok(found.map_or(Reply::Null, text))
        }
        ("STRLEN", [key]) => {
            let found = string(keyspace, key)?;
            Ok(Reply::Integer(found.map_or(0, |bytes| bytes.len() as u64)))
        }
        ("SET", [key, value, options @ ..]) => set(keyspace, key, value, options),
        ("EXISTS", keys @ [_, ..]) => {
            let found = keys.iter().filter(|key| keyspace.read(key).is_some());
            Ok(Reply::Integer(found.count() as u64))
        }
        ("DEL" | "UNLINK", keys @ [_, ..]) => {
            let removed = keys.iter().filter(|key| keyspace.remove(key)).count();
            Ok(Reply::Integer(removed as u64))
        }
        ("APPEND", [key, more]) => {
            let mut bytes = string(keyspace, key)?.unwrap_or_default();
            bytes.extend_from_slice(more);
            let length = bytes.len() as u64;
            keyspace.set(key, Value::Text(bytes), None);
            Ok(Reply::Integer(length))
        }
        ("SETRANGE", [key, from, part]) => {
            let from = number(from).ok_or("value is not an integer or out of range")? as usize;
            let mut bytes = string(keyspace, key)?.unwrap_or_default();
            bytes.resize(bytes.len().max(from + part.len()), 0);
            bytes[from..from + part.len()].copy_from_slice(part);
            let length = bytes.len() as u64;
            keyspace.set(key, Value::Text(bytes), None);
            Ok(Reply::Integer(length))
        }
        ("LPUSH", [key, part]) => {
            let mut parts = match keyspace.read(key) {
                None => Vec::new(),
                Some(Value::List(parts)) => parts,
                Some(Value::Text(_)) => return Err(WRONG_TYPE.to_owned()),
            };
            parts.insert(0, part.to_vec());
            let length = parts.len() as u64;
            keyspace.set(key, Value::List(parts), None);
            Ok(Reply::Integer(length))
        }
        ("DBSIZE", []) => Ok(Reply::Integer(keyspace.last_scan().unwrap_or(0))),
        ("DBSIZE", [scan]) if scan.eq_ignore_ascii_case(b"scan") => {
            keyspace.scan_all();
            Ok(Reply::Status("OK"))
        }
        ("DBSIZE", [_]) => Err("DBSIZE subcommand only supports scan".to_owned()),
        ("FLUSHDB", []) => {
            *keyspace = Keyspace::new(keyspace.limit());
            Ok(Reply::Status("OK"))
        }
        _ => Err(ARITY.to_owned()),
    }
}

fn set(keyspace: &mut Keyspace, key: &[u8], value: &[u8], options: &[&[u8]]) -> Answered {
    let (mut ends, mut only_new) = (None, false);
    let mut options = options.iter();
    while let Some(option) = options.next() {
        let mut life = |unit: u64| {
            let count = options.next().and_then(|digits| number(digits)).ok_or(SYNTAX)?;
            Ok::<_, String>(Some(Instant::now() + Duration::from_millis(count * unit)))
        };
        match option.to_ascii_uppercase().as_slice() {
            b"EX" => ends = life(1000)?,
            b"PX" => ends = life(1)?,
            b"NX" => only_new = true,
            _ => return Err(SYNTAX.to_owned()),
        }
    }
    if only_new && keyspace.read(key).is_some() {
        return Ok(Reply::Null);
    }
    keyspace.set(key, Value::Text(value.to_vec()), ends);
    Ok(Reply::Status("OK"))
}
