//! Other users' keys in a store that evicts: a probe's blocks must not displace them.

use weir_model::Bytes;
use weir_store::resp::ServerReport;

use crate::error::ProbeError;

/// Keys that a full store evicts, and the room before it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AtStake {
    place: String,
    keys: Option<u64>,
    /// Bytes before it evicts: the fullest server's room times the number of servers, because keys
    /// are spread over them.
    room: Bytes,
    /// Its eviction policy; empty if unknown.
    policy: String,
}

impl AtStake {
    /// Over all servers of a store; None if none would evict other users' keys.
    pub(crate) fn of(place: &str, servers: &[ServerReport]) -> Option<Self> {
        let found: Vec<(&ServerReport, Option<u64>, u64)> = servers
            .iter()
            .filter(|server| server.evicts())
            .filter_map(|server| {
                let keys = evictable(server);
                if keys == Some(0) {
                    return None;
                }
                let limit = server.limit?.0;
                let used = server.used.map_or(limit, |used| used.0);
                Some((server, keys, limit.saturating_sub(used)))
            })
            .collect();
        let (server, _, least) = found.iter().min_by_key(|(_, _, room)| *room)?;
        Some(Self {
            place: place.to_owned(),
            keys: found.iter().map(|(_, keys, _)| *keys).sum(),
            room: Bytes(least.saturating_mul(servers.len() as u64)),
            policy: server.policy.clone(),
        })
    }

    /// Refuses to store so many bytes of values if that would evict other users' keys.
    pub(crate) fn check(&self, values: Bytes) -> Result<(), ProbeError> {
        // Allocators round values of a few MiB up by as much as a quarter, and answers being sent
        // are in the store's memory too.
        let wanted = Bytes(values.0.saturating_add(values.0 / 2));
        if wanted <= self.room {
            return Ok(());
        }
        let policy = Some(self.policy.clone()).filter(|policy| !policy.is_empty());
        Err(ProbeError::AtStake {
            place: self.place.clone(),
            keys: self.keys.map_or("keys".to_owned(), |keys| format!("{keys} keys")),
            room: self.room,
            wanted,
            policy: policy.unwrap_or_else(|| "an eviction policy that it does not name".to_owned()),
        })
    }
}

/// Keys that a full server evicts; None if it does not report its keys.
fn evictable(server: &ServerReport) -> Option<u64> {
    match server.policy.as_str() {
        "noeviction" => Some(0),
        policy if policy.starts_with("volatile") => Some(server.keyspace?.with_life),
        _ => server.keyspace.map(|keys| keys.keys).or(server.keys),
    }
}

#[cfg(test)]
mod tests {
    use weir_model::{Attributed, ErrorCause};

    use weir_store::resp::Keyspace;

    use super::*;

    /// A server with 40 keys, 3 of them with an expiry, and `used` of 100 bytes.
    fn server(policy: &str, used: u64) -> ServerReport {
        let info = format!(
            "redis_version:7.0.0\r\nmaxmemory:100\r\nmaxmemory_policy:{policy}\r\n\
             used_memory:{used}\r\n# Keyspace\r\ndb0:keys=30,expires=1,avg_ttl=0\r\n\
             db3:keys=10,expires=2,avg_ttl=0\r\n"
        );
        ServerReport::read(&info, "h:1", false)
    }

    #[test]
    fn keys_of_others_are_at_stake_where_a_full_store_evicts_them() {
        let of = |servers: &[ServerReport]| AtStake::of("h:1", servers);
        let all = of(&[server("allkeys-lru", 40)]).unwrap();
        assert_eq!((all.keys, all.room), (Some(40), Bytes(60)));
        all.check(Bytes(40)).unwrap();
        let refused = all.check(Bytes(41)).unwrap_err();
        assert!(refused.fault() != ErrorCause::User);
        for part in ["h:1 has 40 keys", "room for 60 B", "61 B", "allkeys-lru"] {
            assert!(refused.to_string().contains(part), "{part}: {refused}");
        }
        assert_eq!(of(&[server("volatile-lru", 40)]).unwrap().keys, Some(3));
        // The behaviour of a store without a policy is unknown.
        assert!(of(&[server("", 40)]).unwrap().check(Bytes(100)).is_err());
        assert_eq!(of(&[server("noeviction", 40)]), None);
        let mut alone = server("allkeys-lru", 40);
        alone.keyspace = Some(Keyspace { keys: 0, with_life: 0 });
        assert_eq!(of(&[alone.clone()]), None);
        // The fuller of the two has half of the keys.
        let two = of(&[server("allkeys-lru", 90), alone, server("allkeys-lru", 40)]).unwrap();
        assert_eq!((two.keys, two.room), (Some(80), Bytes(30)));
        let endless = ServerReport { limit: None, ..server("allkeys-lru", 40) };
        assert_eq!(of(&[endless]), None);
    }
}
