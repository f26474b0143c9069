crate::words! {
    /// Where a KV block came from or went to, nearest first.
    #[derive(schemars::JsonSchema)]
    pub enum TierKind {
        /// The GPU's own prefix cache.
        Gpu = "gpu",
        /// Host memory of the replica.
        Host = "host",
        /// A disk of the replica.
        Disk = "disk",
        /// A store reached over a network, possibly shared by replicas.
        Remote = "remote",
    }
}

impl TierKind {
    pub const fn index(self) -> usize {
        self as usize
    }
}
