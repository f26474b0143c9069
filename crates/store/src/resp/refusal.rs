//! Meaning of an error reply's text. Its first word is a code; the rest is for people.

use super::address::{StoreEndpoint, endpoint};
use crate::tier::TierFault;

/// Texts for a too long value: of Redis and its forks (`proto-max-bulk-len`, when reading a value
/// and when building one), and of services with a limit per request.
const TOO_LONG: [&str; 4] = [
    "invalid bulk length",
    "exceeds maximum allowed size",
    "max request size exceeded",
    "value is too large",
];

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErrorReply {
    /// No memory or disk space, and nothing may be evicted.
    Full,
    /// The slot has another server.
    Moved {
        slot: u16,
        /// Its server; None if the redirecting server does not know its own name.
        to: Option<StoreEndpoint>,
    },
    /// The key may have moved already: ask that server, once.
    Ask {
        to: Option<StoreEndpoint>,
    },
    /// Temporary: the server loads its data, or a slot is moving.
    Later,
    ClusterDown,
    Password,
    /// The server has no users, but one was given.
    NoUsers,
    /// The server has one database only, but another was given.
    NoDatabases,
    Permission,
    ReadOnly,
    TooLong,
    WrongType,
    UnknownCommand,
    Other,
}

impl ErrorReply {
    pub fn of(text: &[u8]) -> Self {
        let text = String::from_utf8_lossy(text);
        let mut words = text.split_ascii_whitespace();
        let code = words.next().unwrap_or_default();
        match code {
            "OOM" => Self::Full,
            "MOVED" | "ASK" => {
                let slot = words.next().and_then(|word| word.parse().ok()).filter(|s| *s < 16384);
                let to = words.next().and_then(target);
                match (code, slot) {
                    ("MOVED", Some(slot)) => Self::Moved { slot, to },
                    ("ASK", Some(_)) => Self::Ask { to },
                    _ => Self::Other,
                }
            }
            "LOADING" | "TRYAGAIN" | "BUSY" | "MASTERDOWN" => Self::Later,
            "CLUSTERDOWN" => Self::ClusterDown,
            "NOAUTH" | "WRONGPASS" => Self::Password,
            "NOPERM" => Self::Permission,
            "READONLY" => Self::ReadOnly,
            "WRONGTYPE" => Self::WrongType,
            _ => Self::without_code(&text.to_ascii_lowercase()),
        }
    }

    /// Kvrocks, and Redis before it had codes, explain the error after `ERR`.
    fn without_code(text: &str) -> Self {
        let says = |words: &[&str]| words.iter().any(|words| text.contains(words));
        match text {
            // The text after this may repeat what the client sent.
            _ if text.starts_with("err unknown command") => Self::UnknownCommand,
            _ if says(&["max-db-size", "no space left"]) => Self::Full,
            _ if says(&["wrongtype", "wrong kind of value"]) => Self::WrongType,
            _ if says(&["invalid password", "no password is set", "authentication required"]) => {
                Self::Password
            }
            _ if says(&TOO_LONG) => Self::TooLong,
            _ if says(&["unknown command"]) => Self::UnknownCommand,
            _ => Self::Other,
        }
    }

    /// The fault of a block whose command was refused.
    pub const fn fault(&self) -> TierFault {
        match self {
            Self::Later => TierFault::Busy,
            Self::Moved { .. } | Self::Ask { .. } | Self::ClusterDown => TierFault::Disconnected,
            _ => TierFault::Refused,
        }
    }

    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Full => {
                "give the store more room (maxmemory, max-db-size), or let it evict \
                 (maxmemory-policy allkeys-lru)"
            }
            Self::Moved { .. } | Self::Ask { .. } => {
                "it is a cluster: write redis-cluster:// in the address"
            }
            Self::Later => "wait until it has loaded its data",
            Self::ClusterDown => "see CLUSTER INFO: not all slots are served",
            Self::Password => "check user and password in the address",
            Self::NoUsers => {
                "leave the user out of the address if the server has none; on Kvrocks the token of \
                 a namespace is the password"
            }
            Self::NoDatabases => {
                "leave the number out of the address; on Kvrocks a namespace, with its token as the \
                 password, keeps keys apart"
            }
            Self::Permission => "give the user the right (ACL SETUSER), or name another user",
            Self::ReadOnly => "give the address of its primary, which takes writes",
            Self::TooLong => "raise the server's limit of a value, or use smaller blocks",
            Self::WrongType | Self::UnknownCommand | Self::Other => "",
        }
    }
}

/// Parses `host:port`; a host without brackets may be an IPv6 address, or empty.
fn target(word: &str) -> Option<StoreEndpoint> {
    let (host, port) = word.rsplit_once(':')?;
    let bracketed = if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]:{port}")
    } else {
        word.to_owned()
    };
    endpoint(&bracketed, 0).ok().filter(|e| !matches!(e, StoreEndpoint::Tcp { port: 0, .. }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_apart() {
        let tcp = |host: &str, port| Some(StoreEndpoint::Tcp { host: host.to_owned(), port });
        for (text, wanted) in [
            ("OOM command not allowed when used memory > 'maxmemory'.", ErrorReply::Full),
            (
                "MOVED 3999 127.0.0.1:6381",
                ErrorReply::Moved { slot: 3999, to: tcp("127.0.0.1", 6381) },
            ),
            ("MOVED 1 ::1:6381", ErrorReply::Moved { slot: 1, to: tcp("::1", 6381) }),
            ("MOVED 1 :6381", ErrorReply::Moved { slot: 1, to: None }),
            ("MOVED 99999 h:1", ErrorReply::Other),
            ("MOVED", ErrorReply::Other),
            ("ASK 7 h:1", ErrorReply::Ask { to: tcp("h", 1) }),
            ("LOADING Redis is loading the dataset in memory", ErrorReply::Later),
            ("CLUSTERDOWN Hash slot not served", ErrorReply::ClusterDown),
            ("WRONGPASS invalid username-password pair or user is disabled.", ErrorReply::Password),
            ("ERR invalid password", ErrorReply::Password),
            ("ERR Invalid password", ErrorReply::Password),
            ("ERR Client sent AUTH, but no password is set", ErrorReply::Password),
            ("NOAUTH Authentication required.", ErrorReply::Password),
            (
                "ERR Invalid argument: WRONGTYPE Operation against a key holding the wrong kind of \
                 value",
                ErrorReply::WrongType,
            ),
            (
                "ERR unknown command `TOUCH`, with args beginning with: `invalid password`",
                ErrorReply::UnknownCommand,
            ),
            (
                "NOPERM this user has no permissions to run the 'set' command",
                ErrorReply::Permission,
            ),
            ("READONLY You can't write against a read only replica.", ErrorReply::ReadOnly),
            ("ERR Protocol error: invalid bulk length", ErrorReply::TooLong),
            ("ERR string exceeds maximum allowed size (proto-max-bulk-len)", ErrorReply::TooLong),
            ("WRONGTYPE Operation against a key", ErrorReply::WrongType),
            ("ERR unknown command 'TOUCH'", ErrorReply::UnknownCommand),
            ("ERR write command not allowed when reached max-db-size.", ErrorReply::Full),
            ("ERR syntax error", ErrorReply::Other),
            ("", ErrorReply::Other),
        ] {
            assert_eq!(ErrorReply::of(text.as_bytes()), wanted, "{text}");
        }
        assert_eq!(ErrorReply::of(&[0xff, 0xfe]), ErrorReply::Other);
    }
}
