//! The stores that Weir knows, and the properties in which they differ. Their start arguments are
//! in `weir-store`'s recipe.

crate::words! {
    /// A store that speaks RESP.
    pub enum Product {
        Redis = "redis",
        Valkey = "valkey",
        Kvrocks = "kvrocks",
    }
}

/// For stores outside [`Product`], in reports.
pub const OTHER_PRODUCT: &str = "other";

#[derive(Debug)]
pub struct ProductTraits {
    pub port: u16,
    pub program: &'static str,
    /// How to get the program on Debian 12.
    pub install: &'static str,
    /// False where values are in files of a `RocksDB`.
    pub keeps_in_memory: bool,
    /// Whether a full server can evict keys; otherwise it refuses stores.
    pub evicts: bool,
    /// Field of `INFO`. Valkey and Kvrocks have `redis_version` too.
    pub version_field: &'static str,
    /// Setting for the bytes that it may hold.
    pub limit_setting: &'static str,
    /// Setting for threads that move bytes between sockets and memory.
    pub threads_setting: &'static str,
    /// What a cluster runs where nobody names an image.
    pub image: &'static str,
    /// Before the path of its configuration file, if anything.
    pub config_flag: Option<&'static str>,
    /// Key for its address in the index configuration of llm-d-inference-scheduler 0.7.
    pub picker_key: &'static str,
}

const REDIS: ProductTraits = ProductTraits {
    port: 6379,
    program: "redis-server",
    install: "apt-get install redis-server",
    keeps_in_memory: true,
    evicts: true,
    version_field: "redis_version",
    limit_setting: "maxmemory",
    threads_setting: "io-threads",
    image: "docker.io/library/redis:8-alpine",
    config_flag: None,
    picker_key: "redisConfig",
};

const VALKEY: ProductTraits = ProductTraits {
    program: "valkey-server",
    install: "apt-get install -t bookworm-backports valkey-server (with that suite among the \
              sources)",
    version_field: "valkey_version",
    image: "docker.io/valkey/valkey:8-alpine",
    picker_key: "valkeyConfig",
    ..REDIS
};

const KVROCKS: ProductTraits = ProductTraits {
    port: 6666,
    program: "kvrocks",
    install: "build kvrocks from kvrocks.apache.org: Debian has no package of it",
    keeps_in_memory: false,
    evicts: false,
    version_field: "kvrocks_version",
    limit_setting: "max-db-size",
    threads_setting: "workers",
    image: "docker.io/apache/kvrocks:2.12.1",
    config_flag: Some("-c"),
    picker_key: "redisConfig",
};

impl Product {
    pub const fn traits(self) -> &'static ProductTraits {
        match self {
            Self::Redis => &REDIS,
            Self::Valkey => &VALKEY,
            Self::Kvrocks => &KVROCKS,
        }
    }

    /// "`redis`, `valkey` or `kvrocks`", for messages.
    pub fn choice() -> String {
        let names = Self::ALL.map(|product| format!("`{product}`"));
        match names.split_last() {
            Some((last, [])) => last.clone(),
            Some((last, others)) => format!("{} or {last}", others.join(", ")),
            None => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_the_same_in_files_and_messages() {
        assert_eq!(Product::named("valkey"), Some(Product::Valkey));
        assert_eq!(Product::named(OTHER_PRODUCT), None);
        assert_eq!(Product::choice(), "`redis`, `valkey` or `kvrocks`");
    }
}
