//! Store addresses. Passwords are a separate type, so that nothing printed can hold one.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use weir_model::Product;

/// More seeds than any cluster needs; catches a file pasted by mistake.
const ENDPOINTS_MAX: usize = 64;
const LENGTH_MAX: usize = 4096;
/// Longest path of a unix socket on Linux, with its final zero (`sockaddr_un`).
const UNIX_PATH_MAX: usize = 107;

/// Its `Debug` form hides the password.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The password in plain text, for sending only. Never print it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StoreEndpoint {
    Tcp {
        /// Name or IP address, without brackets.
        host: String,
        port: u16,
    },
    Unix(PathBuf),
}

impl fmt::Display for StoreEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// `Display` and `Debug` contain no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// One server, or the seeds of a cluster.
    pub endpoints: Vec<StoreEndpoint>,
    pub cluster: bool,
    pub tls: bool,
    /// A password without user is that of `default`.
    pub user: Option<String>,
    pub password: Option<Secret>,
    /// 0 in a cluster.
    pub database: u32,
}

/// The problem with an address. The address itself is not repeated, since it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "store address: {problem}; write redis://[user[:password]@]host[:port][/database], rediss://..., \
     unix:///path or redis-cluster://host:port,host:port"
)]
pub struct AddressError {
    problem: String,
}

fn wrong<T>(problem: impl Into<String>) -> Result<T, AddressError> {
    Err(AddressError { problem: problem.into() })
}

struct Scheme {
    cluster: bool,
    tls: bool,
    unix: bool,
    port: u16,
}

impl Scheme {
    /// `unix`, or a product name, with suffix `s` for TLS and `-cluster` for a cluster.
    fn of(word: &str) -> Option<Self> {
        if word == "unix" {
            return Some(Self { cluster: false, tls: false, unix: true, port: 0 });
        }
        let (word, cluster) = match word.strip_suffix("-cluster") {
            Some(word) => (word, true),
            None => (word, false),
        };
        let with_tls = || Product::named(word.strip_suffix('s')?).map(|product| (product, true));
        let plain = Product::named(word).map(|product| (product, false));
        let (product, tls) = plain.or_else(with_tls)?;
        Some(Self { cluster, tls, unix: false, port: product.traits().port })
    }
}

/// Whether `word://` begins store addresses.
pub fn is_scheme(word: &str) -> bool {
    Scheme::of(word).is_some()
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text.len() > LENGTH_MAX || text.chars().any(char::is_control) {
            return wrong("it is too long, or has control characters in it");
        }
        let Some((word, rest)) = text.split_once("://") else {
            return wrong("it has no scheme");
        };
        let Some(scheme) = Scheme::of(word) else {
            return wrong(format!("unsupported scheme {word:?}"));
        };
        // The last at sign: an unescaped password may contain one.
        let (login, rest) = match rest.rsplit_once('@') {
            Some((login, rest)) => (Some(login), rest),
            None => (None, rest),
        };
        let (user, password) = credentials(login)?;
        let (place, database) = database(rest, &scheme)?;
        let endpoints = endpoints(place, &scheme)?;
        let (cluster, tls) = (scheme.cluster, scheme.tls);
        if cluster && database != 0 {
            return wrong("a cluster has database 0 only");
        }
        Ok(Self { endpoints, cluster, tls, user, password, database })
    }
}

fn credentials(login: Option<&str>) -> Result<(Option<String>, Option<Secret>), AddressError> {
    let Some(login) = login else { return Ok((None, None)) };
    let (user, password) = match login.split_once(':') {
        Some((user, password)) => (user, Some(password)),
        None => (login, None),
    };
    let user = unescaped(user)?;
    let password = password.map(unescaped).transpose()?;
    let user = Some(user).filter(|user| !user.is_empty());
    Ok((user, password.filter(|text| !text.is_empty()).map(Secret)))
}

fn database<'a>(rest: &'a str, scheme: &Scheme) -> Result<(&'a str, u32), AddressError> {
    let (place, number) = if scheme.unix {
        match rest.split_once('?') {
            None => (rest, ""),
            Some((place, query)) => match query.strip_prefix("db=") {
                Some(number) => (place, number),
                None => return wrong("after the path only ?db=NUMBER is known"),
            },
        }
    } else {
        rest.split_once('/').unwrap_or((rest, ""))
    };
    if number.is_empty() {
        return Ok((place, 0));
    }
    number
        .parse()
        .map(|number| (place, number))
        .or_else(|_| wrong(format!("the database must be a number, not {number:?}")))
}

fn endpoints(place: &str, scheme: &Scheme) -> Result<Vec<StoreEndpoint>, AddressError> {
    if scheme.unix {
        let path = unescaped(place)?;
        if !path.starts_with('/') || path.len() > UNIX_PATH_MAX {
            return wrong(format!(
                "{path:?} must be an absolute path of at most {UNIX_PATH_MAX} bytes"
            ));
        }
        return Ok(vec![StoreEndpoint::Unix(path.into())]);
    }
    let mut parts = place.split(',');
    let endpoints = parts
        .by_ref()
        .take(ENDPOINTS_MAX)
        .map(|part| endpoint(part, scheme.port))
        .collect::<Result<Vec<_>, _>>()?;
    if parts.next().is_some() || (endpoints.len() > 1 && !scheme.cluster) {
        return wrong("too many servers: only a redis-cluster:// address has several");
    }
    Ok(endpoints)
}

/// `host`, `host:port` or `[IPv6]:port`.
pub(crate) fn endpoint(text: &str, default_port: u16) -> Result<StoreEndpoint, AddressError> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((host, port)) => (host, port.strip_prefix(':').or(port.is_empty().then_some(""))),
            None => return wrong("an opening bracket has no closing one"),
        },
        None => match text.rsplit_once(':') {
            Some((host, _)) if host.contains(':') => {
                return wrong("an IPv6 address stands in brackets");
            }
            Some((host, port)) => (host, Some(port)),
            None => (text, Some("")),
        },
    };
    let port = match port {
        Some("") => default_port,
        Some(digits) => match digits.parse() {
            Ok(port) if port > 0 => port,
            _ => return wrong(format!("{digits:?} is not a port")),
        },
        None => return wrong("behind a bracket stands only :PORT"),
    };
    let fits = |c: char| c.is_ascii_alphanumeric() || ".:-_%".contains(c);
    if host.is_empty() || !host.chars().all(fits) {
        return wrong(format!("{host:?} is not a host name"));
    }
    Ok(StoreEndpoint::Tcp { host: host.to_owned(), port })
}

/// Decodes `%41` and the like.
fn unescaped(text: &str) -> Result<String, AddressError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = rest.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.map(|digits| u8::from_str_radix(digits, 16)) {
            Some(Ok(byte)) => bytes.push(byte),
            _ => return wrong("a percent sign is not followed by two hex digits (write %25)"),
        }
        rest = &rest[2..];
    }
    String::from_utf8(bytes).or_else(|_| wrong("user, password and path must be UTF-8"))
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unix = matches!(self.endpoints.first(), Some(StoreEndpoint::Unix(_)));
        let word = match (unix, self.tls, self.cluster) {
            (true, ..) => "unix",
            (false, false, false) => "redis",
            (false, true, false) => "rediss",
            (false, false, true) => "redis-cluster",
            (false, true, true) => "rediss-cluster",
        };
        write!(f, "{word}://")?;
        for (index, endpoint) in self.endpoints.iter().enumerate() {
            write!(f, "{}{endpoint}", if index > 0 { "," } else { "" })?;
        }
        match (self.database, unix) {
            (0, _) => Ok(()),
            (database, true) => write!(f, "?db={database}"),
            (database, false) => write!(f, "/{database}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> StoreEndpoint {
        StoreEndpoint::Tcp { host: host.to_owned(), port }
    }

    #[test]
    fn addresses_say_what_they_mean() {
        let parse = |text: &str| text.parse::<Address>().unwrap();
        assert_eq!(parse("redis://localhost").endpoints, [tcp("localhost", 6379)]);
        assert_eq!(parse("kvrocks://h").endpoints, [tcp("h", 6666)]);
        assert_eq!(parse("valkey://10.0.0.1:7000/3").database, 3);
        assert!(parse("rediss://h").tls);
        let secure = parse("kvrockss-cluster://h");
        assert!(secure.tls && secure.cluster && secure.endpoints == [tcp("h", 6666)]);
        assert_eq!(parse("redis://[::1]:6380").endpoints, [tcp("::1", 6380)]);
        let cluster = parse("redis-cluster://a:1,b:2,c");
        assert!(cluster.cluster);
        assert_eq!(cluster.endpoints, [tcp("a", 1), tcp("b", 2), tcp("c", 6379)]);
        let unix = parse("unix:///run/redis/redis.sock?db=2");
        assert_eq!(unix.endpoints, [StoreEndpoint::Unix("/run/redis/redis.sock".into())]);
        assert_eq!(unix.database, 2);
        let login = parse("redis://u%40v:p%3Aw@x@h:1");
        assert_eq!(login.user.as_deref(), Some("u@v"));
        assert_eq!(login.password, Some(Secret::new("p:w@x")));
        // The password may come from another place.
        let alone = parse("redis://lm@h");
        assert_eq!((alone.user.as_deref(), alone.password), (Some("lm"), None));
        assert_eq!(parse("redis://:secret@h").user, None);
        assert_eq!(parse("redis://:secret@h").password, Some(Secret::new("secret")));
    }

    #[test]
    fn nothing_secret_is_printed() {
        for text in ["redis://user:hunter2@h:1/4", "unix://:hunter2@/s?db=4", "redis://u:hunter2@h"]
        {
            let address: Address = text.parse().unwrap();
            let printed = format!("{address} {address:?}");
            assert!(!printed.contains("hunter2"), "{printed}");
            let again: Address = address.to_string().parse().unwrap();
            assert_eq!((again.endpoints, again.database), (address.endpoints, address.database));
        }
        for text in ["redis://u:hunter2@h:99999", "what://:hunter2@h", "redis://u:hunter2%@h"] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "localhost:6379",
            "http://h",
            "redis://",
            "redis://h:0",
            "redis://h:x",
            "redis://::1",
            "redis://[::1",
            "redis://[::1]x",
            "redis://h/x",
            "redis://a,b",
            "redis-cluster://a/1",
            "unix://relative",
            "redis://h\n",
            "redis://a b",
            "unix:///s?x=1",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text:?}");
        }
    }
}
