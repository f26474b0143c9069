//! Settings of a store for blocks of a KV cache, as configuration text. `docs/stores.md` gives the
//! reasons; a test compares its recipes with these.

use std::fmt::Write as _;
use std::num::NonZero;
use std::path::{Path, PathBuf};

use weir_model::{Bytes, Product};

use crate::resp::{Secret, StoreEndpoint};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listen {
    /// On 127.0.0.1.
    FreePort,
    /// On 127.0.0.1.
    Port(u16),
    /// In its scratch folder.
    Unix,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// CA certificates, PEM.
    pub authorities: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreSettings {
    pub listen: Listen,
    /// Capacity, bytes: memory, or disk for Kvrocks (whole GiB, rounded up).
    pub capacity: Option<Bytes>,
    /// Eviction policy; not for Kvrocks.
    pub policy: String,
    /// I/O threads; None for the recipe's number.
    pub io_threads: Option<u32>,
    pub password: Option<Secret>,
    pub tls: Option<TlsFiles>,
    pub cluster: bool,
    pub lines: Vec<String>,
    /// Parent of its scratch folder; None for the system's temporary folder.
    pub below: Option<PathBuf>,
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            listen: Listen::FreePort,
            capacity: None,
            policy: "allkeys-lru".to_owned(),
            io_threads: None,
            password: None,
            tls: None,
            cluster: false,
            lines: Vec::new(),
            below: None,
        }
    }
}

impl StoreSettings {
    pub fn recipe(&self, product: Product) -> Vec<String> {
        match product {
            Product::Redis | Product::Valkey => self.redis(product),
            Product::Kvrocks => self.kvrocks(),
        }
    }

    fn redis(&self, product: Product) -> Vec<String> {
        let mut lines = vec!["save \"\"".to_owned(), "appendonly no".to_owned()];
        if let Some(capacity) = self.capacity {
            lines.push(format!("{} {}", product.traits().limit_setting, capacity.0));
            lines.push(format!("maxmemory-policy {}", self.policy));
        }
        let threads = self.threads(product);
        if threads > 1 {
            lines.push(format!("{} {threads}", product.traits().threads_setting));
            // Valkey's I/O threads always read as well.
            if product == Product::Redis {
                lines.push("io-threads-do-reads yes".to_owned());
            }
        }
        lines.push("lazyfree-lazy-eviction yes".to_owned());
        lines.push("lazyfree-lazy-expire yes".to_owned());
        lines.push("lazyfree-lazy-server-del yes".to_owned());
        lines
    }

    fn threads(&self, product: Product) -> u32 {
        let cpus = std::thread::available_parallelism().map_or(1, NonZero::get);
        self.io_threads.unwrap_or_else(|| recipe_threads(product, cpus)).max(1)
    }

    fn kvrocks(&self) -> Vec<String> {
        let of = Product::Kvrocks.traits();
        let mut lines = vec![
            format!("{} {}", of.threads_setting, self.threads(Product::Kvrocks)),
            "rocksdb.compression no".to_owned(),
            "rocksdb.enable_blob_files yes".to_owned(),
            "rocksdb.min_blob_size 4096".to_owned(),
            "rocksdb.blob_file_size 268435456".to_owned(),
            "rocksdb.enable_blob_garbage_collection yes".to_owned(),
            "rocksdb.blob_garbage_collection_age_cutoff 50".to_owned(),
            "rocksdb.write_buffer_size 256".to_owned(),
            "rocksdb.max_total_wal_size 1024".to_owned(),
            "rocksdb.wal_ttl_seconds 0".to_owned(),
            "rocksdb.wal_size_limit_mb 64".to_owned(),
            "rocksdb.block_cache_size 256".to_owned(),
        ];
        if let Some(capacity) = self.capacity {
            lines.push(format!("{} {}", of.limit_setting, capacity.0.div_ceil(1 << 30)));
        }
        lines
    }

    pub(super) fn config(
        &self,
        product: Product,
        folder: &Path,
        endpoint: &StoreEndpoint,
        plain: Option<u16>,
    ) -> String {
        let basics = Basics::of(product);
        let mut text = String::new();
        let mut line = |parts: &[&str]| {
            if parts.is_empty() {
                return;
            }
            let _ = writeln!(text, "{}", parts.join(" "));
        };
        let folder = quoted(folder);
        line(&["dir", &folder]);
        line(&["daemonize no"]);
        match endpoint {
            StoreEndpoint::Unix(path) => {
                line(basics.no_port);
                line(&["unixsocket", &quoted(path)]);
            }
            StoreEndpoint::Tcp { host, port } => {
                let port = port.to_string();
                line(&["bind", host]);
                match (plain, &self.tls) {
                    (Some(plain), Some(files)) => {
                        line(&["port", &plain.to_string()]);
                        line(&["tls-port", &port]);
                        line(&["tls-cert-file", &quoted(&files.certificate)]);
                        line(&["tls-key-file", &quoted(&files.key)]);
                        line(&["tls-ca-cert-file", &quoted(&files.authorities)]);
                        line(&["tls-auth-clients no"]);
                    }
                    _ => line(&["port", &port]),
                }
            }
        }
        if let Some(password) = &self.password {
            line(&["requirepass", &quoted(Path::new(password.reveal()))]);
        }
        line(basics.log);
        if self.cluster {
            line(&["cluster-enabled yes"]);
            line(basics.cluster);
        }
        for own in self.recipe(product).iter().chain(&self.lines) {
            line(&[own]);
        }
        text
    }
}

/// Lines, each optional, of every store of a product, for any purpose.
struct Basics {
    no_port: &'static [&'static str],
    log: &'static [&'static str],
    cluster: &'static [&'static str],
}

impl Basics {
    const fn of(product: Product) -> Self {
        match product {
            Product::Redis | Product::Valkey => Self {
                no_port: &["port 0"],
                log: &["logfile \"\""],
                cluster: &["cluster-config-file nodes.conf"],
            },
            // Kvrocks cannot disable its port.
            Product::Kvrocks => Self { no_port: &[], log: &["log-dir stdout"], cluster: &[] },
        }
    }
}

/// The flag before the configuration path on the command line.
pub(super) const fn config_flag(product: Product) -> Option<&'static str> {
    match product {
        Product::Redis | Product::Valkey => None,
        Product::Kvrocks => Some("-c"),
    }
}

/// The recipe's threads on a machine with `cpus` CPUs. Kvrocks' default is 8 everywhere
/// (`kvrocks.conf`); Redis and Valkey want "at least 4 cores", some of them for the main thread
/// (`redis.conf`).
const fn recipe_threads(product: Product, cpus: usize) -> u32 {
    match product {
        Product::Kvrocks => 8,
        Product::Redis | Product::Valkey => match cpus {
            ..4 => 1,
            4..6 => 2,
            6..8 => 3,
            8.. => 4,
        },
    }
}

fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    if !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c)) {
        return text;
    }
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        if matches!(character, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_with_few_processors_gets_fewer_threads() {
        for (cpus, threads) in [(1, 1), (3, 1), (4, 2), (6, 3), (8, 4), (96, 4)] {
            assert_eq!(recipe_threads(Product::Redis, cpus), threads, "{cpus}");
            assert_eq!(recipe_threads(Product::Kvrocks, cpus), 8);
        }
    }
}
