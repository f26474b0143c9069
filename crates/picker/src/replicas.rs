use std::net::Ipv4Addr;

/// The replicas that a picker chooses from: each has an address of its own and the same ports,
/// because a pool of the picker has one port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PickedReplicas {
    pub addresses: Vec<Ipv4Addr>,
    pub port: u16,
    /// Of their KV events.
    pub events_port: u16,
}

impl PickedReplicas {
    /// As the picker and Envoy name them: `IP:PORT`.
    pub fn names(&self) -> Vec<String> {
        self.addresses.iter().map(|address| format!("{address}:{}", self.port)).collect()
    }
}
