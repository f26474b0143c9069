//! Links to tiers by name, measured by others and by us.
//!
//! One's own figures (`link:` in the file) are better: published ones differ by a factor of twenty.

use weir_model::Nanos;
use weir_tier::LinkConfig;

/// Of one contiguous copy between GPU and host: 3.2 to 4.2 us in vLLM's offload measurements.
pub const COPY_ISSUE: Nanos = Nanos(3_500);

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinkProfile {
    pub name: &'static str,
    /// Towards the GPU.
    pub read_gb_per_s: f64,
    /// Away from the GPU.
    pub write_gb_per_s: f64,
    /// Before the first byte.
    pub latency: Nanos,
    pub lanes: u32,
    pub source: &'static str,
    /// False for assumed figures.
    pub measured: bool,
}

impl LinkProfile {
    pub fn link(&self) -> LinkConfig {
        LinkConfig {
            base_latency: self.latency,
            per_copy: Nanos::ZERO,
            read_bytes_per_s: self.read_gb_per_s * 1e9,
            write_bytes_per_s: self.write_gb_per_s * 1e9,
            lanes: self.lanes,
        }
    }
}

pub const DISKS: [LinkProfile; 4] = [
    LinkProfile {
        name: "nvme-gen4",
        read_gb_per_s: 6.2,
        write_gb_per_s: 4.8,
        latency: Nanos(700_000),
        // One 2.3 MB read alone reached 3.0 of the 6.2 GB/s.
        lanes: 2,
        source: "published fio runs, O_DIRECT, 2304 KB",
        measured: true,
    },
    LinkProfile {
        name: "ibm-vpc-block",
        read_gb_per_s: 0.762,
        write_gb_per_s: 0.3,
        latency: Nanos(48_000_000),
        lanes: 8,
        source: "published fio runs: the volume's cap",
        measured: true,
    },
    LinkProfile {
        name: "cephfs",
        read_gb_per_s: 0.205,
        write_gb_per_s: 0.205,
        latency: Nanos(173_000_000),
        lanes: 8,
        source: "published fio runs",
        measured: true,
    },
    LinkProfile {
        name: "s3",
        read_gb_per_s: 0.25,
        write_gb_per_s: 0.25,
        latency: Nanos(98_000_000),
        lanes: 8,
        source: "published runs against RGW",
        measured: true,
    },
];

/// With LMCache's client.
pub const STORES: [LinkProfile; 4] = [
    LinkProfile {
        name: "redis",
        read_gb_per_s: 1.3,
        write_gb_per_s: 1.0,
        latency: Nanos(200_000),
        lanes: 1,
        source: "`lmcache bench l2`, 4 MiB values, Redis 7.0 on loopback, one run",
        measured: true,
    },
    LinkProfile {
        name: "redis-io-threads",
        read_gb_per_s: 6.0,
        write_gb_per_s: 6.0,
        latency: Nanos(200_000),
        lanes: 4,
        source: "published for LMCache's C++ client and Redis 8.2 with 4 I/O threads",
        measured: true,
    },
    LinkProfile {
        name: "valkey",
        read_gb_per_s: 1.08,
        write_gb_per_s: 0.65,
        latency: Nanos(200_000),
        lanes: 1,
        source: "`lmcache bench l2`, 4 MiB values, Valkey 8.0 on loopback, one run",
        measured: true,
    },
    LinkProfile {
        name: "kvrocks",
        read_gb_per_s: 1.0,
        write_gb_per_s: 0.4,
        latency: Nanos(500_000),
        lanes: 1,
        source: "no measurement known: below Valkey's, with a log and a flush per value",
        measured: false,
    },
];

pub fn find(profiles: &'static [LinkProfile], name: &str) -> Option<&'static LinkProfile> {
    profiles.iter().find(|profile| profile.name == name)
}
