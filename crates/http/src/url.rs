//! Endpoint URLs: `http` or `https`, host, port, path prefix. Strict, so that a typing error does
//! not reach the wrong server.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use thiserror::Error;

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Url {
    pub scheme_is_tls: bool,
    /// Lower-case name, or an IP address; IPv6 without brackets.
    pub host: String,
    /// Default: the scheme's (80, 443).
    pub port: u16,
    /// Without a final slash: empty, or `/v1`.
    pub path: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum UrlError {
    #[error("the URL is empty: write e.g. http://localhost:8000")]
    Empty,
    #[error("{url:?} has no scheme: write {corrected}")]
    NoScheme {
        url: String,
        /// With a scheme.
        corrected: String,
    },
    #[error("{url:?} has the scheme {scheme:?}: the scheme must be http or https")]
    Scheme { url: String, scheme: String },
    #[error(
        "the URL holds user information before {host:?}: leave it out and give a bearer token or \
         an Authorization header instead"
    )]
    UserInfo {
        /// The part after `@`; the rest may be secret.
        host: String,
    },
    #[error("{url:?} is followed by a {part} ({mark}): give scheme, host, port and path only")]
    Extra { url: String, part: &'static str, mark: char },
    #[error("{url:?} has no usable host: {why}")]
    Host { url: String, why: String },
    #[error("{url:?} has the port {port:?}: the port must be a number from 1 to 65535")]
    Port { url: String, port: String },
    #[error("{url:?} has {character:?} in its path: percent-encode it")]
    Path { url: String, character: char },
}

impl Url {
    /// For example `http://localhost:8000/v1`.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let text = text.trim();
        let url = || text.to_owned();
        if text.is_empty() {
            return Err(UrlError::Empty);
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            let corrected = format!("http://{}", text.trim_start_matches('/'));
            return Err(UrlError::NoScheme { url: url(), corrected });
        };
        let scheme_is_tls = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return Err(UrlError::Scheme { url: url(), scheme: scheme.to_owned() }),
        };
        let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(authority_end);
        if let Some((_, host)) = authority.rsplit_once('@') {
            return Err(UrlError::UserInfo { host: host.to_owned() });
        }
        for (mark, part) in [('?', "query"), ('#', "fragment")] {
            if path.contains(mark) {
                // The rest may be secret.
                let url = text.split(['?', '#']).next().unwrap_or_default().to_owned();
                return Err(UrlError::Extra { url, part, mark });
            }
        }
        if let Some(character) = path.chars().find(|c| !c.is_ascii_graphic()) {
            return Err(UrlError::Path { url: url(), character });
        }
        let (host, port) =
            split_port(authority).map_err(|why| UrlError::Host { url: url(), why })?;
        let host = host_of(host).map_err(|why| UrlError::Host { url: url(), why })?;
        let port = match port {
            None => default_port(scheme_is_tls),
            Some(port) => port
                .parse::<u16>()
                .ok()
                .filter(|number| *number > 0 && port.bytes().all(|b| b.is_ascii_digit()))
                .ok_or_else(|| UrlError::Port { url: url(), port: port.to_owned() })?,
        };
        Ok(Self { scheme_is_tls, host, port, path: path.trim_end_matches('/').to_owned() })
    }

    /// For the `Host` header: brackets around IPv6, no default port.
    pub fn authority(&self) -> String {
        let host = self.bracketed_host();
        if self.port == default_port(self.scheme_is_tls) {
            host
        } else {
            format!("{host}:{}", self.port)
        }
    }

    /// For messages: always with the port.
    pub fn address(&self) -> String {
        format!("{}:{}", self.bracketed_host(), self.port)
    }

    /// `path` begins with a slash. A segment that ends the prefix and begins `path` is not doubled:
    /// `http://h/v1` and `http://h` both give `/v1/models` for `/v1/models`.
    pub fn target(&self, path: &str) -> String {
        let first = path.get(1..).and_then(|rest| rest.find('/')).map(|at| &path[..=at]);
        match first {
            Some(segment) if self.path.ends_with(segment) => {
                format!("{}{}", self.path, &path[segment.len()..])
            }
            _ if self.path.is_empty() && path.is_empty() => "/".to_owned(),
            _ => format!("{}{path}", self.path),
        }
    }

    fn bracketed_host(&self) -> String {
        if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.scheme_is_tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

impl FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        Self::parse(text)
    }
}

fn default_port(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
}

/// `host:port`, `[v6]:port`, or these without a port.
fn split_port(authority: &str) -> Result<(&str, Option<&str>), String> {
    if authority.starts_with('[') {
        let end = authority.find(']').ok_or("the bracket of an IPv6 address is not closed")?;
        let (host, rest) = authority.split_at(end + 1);
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if rest.is_empty() => Ok((host, None)),
            None => Err(format!("{rest:?} follows the IPv6 address")),
        };
    }
    match authority.split_once(':') {
        None => Ok((authority, None)),
        Some((_, rest)) if rest.contains(':') => {
            if authority.parse::<Ipv6Addr>().is_ok() {
                return Err(format!("write an IPv6 address in brackets: [{authority}]"));
            }
            Err("it has more than one colon".to_owned())
        }
        Some((host, port)) => Ok((host, Some(port))),
    }
}

/// Checks a host and normalizes it for [`Url::host`].
fn host_of(host: &str) -> Result<String, String> {
    if let Some(v6) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let address: Ipv6Addr = v6.parse().map_err(|_| format!("{v6:?} is not an IPv6 address"))?;
        return Ok(address.to_string());
    }
    if host.is_empty() {
        return Err("the host is missing".to_owned());
    }
    if let Some(bad) =
        host.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_')))
    {
        let how = if bad.is_ascii() { "" } else { "; write the name in its xn-- form" };
        return Err(format!("{bad:?} is not allowed in a host name{how}"));
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    if name.len() > 253 || name.split('.').any(|label| label.is_empty() || label.len() > 63) {
        return Err("a name has labels of 1 to 63 characters, 253 in all".to_owned());
    }
    // Resolvers read a name whose last label is a number as an address.
    let last = name.rsplit('.').next().unwrap_or(name);
    if last.bytes().all(|byte| byte.is_ascii_digit()) && name.parse::<Ipv4Addr>().is_err() {
        return Err(format!("{name:?} is not an IPv4 address (four numbers from 0 to 255)"));
    }
    Ok(host.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::Url;

    fn shown(text: &str) -> String {
        Url::parse(text).unwrap().to_string()
    }

    fn error(text: &str) -> String {
        Url::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn reads_the_forms_people_write() {
        let url = Url::parse(" http://LocalHost:8000/v1/ ").unwrap();
        assert_eq!((url.host.as_str(), url.port, url.path.as_str()), ("localhost", 8000, "/v1"));
        assert!(!url.scheme_is_tls);
        assert_eq!(url.authority(), "localhost:8000");
        assert_eq!(Url::parse("https://h").unwrap().port, 443);
        assert_eq!(Url::parse("http://h").unwrap().address(), "h:80");
        let v6 = Url::parse("https://[::1]:8443").unwrap();
        assert_eq!((v6.host.as_str(), v6.authority().as_str()), ("::1", "[::1]:8443"));
        assert_eq!(shown("HTTPS://[2001:DB8::1]/a%20b"), "https://[2001:db8::1]/a%20b");
        assert_eq!(shown("http://10.0.0.1"), "http://10.0.0.1");
        assert_eq!(shown("http://my_service.ns.svc.cluster.local:80///"), {
            "http://my_service.ns.svc.cluster.local"
        });
    }

    #[test]
    fn joins_paths_without_doubling_the_version() {
        for (base, path, target) in [
            ("http://h", "/v1/models", "/v1/models"),
            ("http://h/v1", "/v1/models", "/v1/models"),
            ("http://h/proxy/v1", "/v1/models", "/proxy/v1/models"),
            ("http://h/proxy", "/v1/models", "/proxy/v1/models"),
            ("http://h/av1", "/v1/models", "/av1/v1/models"),
            ("http://h/v1", "/metrics", "/v1/metrics"),
            ("http://h", "/metrics", "/metrics"),
            ("http://h/v1", "/v1", "/v1/v1"),
            ("http://h", "", "/"),
            ("http://h/v1", "", "/v1"),
        ] {
            assert_eq!(Url::parse(base).unwrap().target(path), target, "{base} {path}");
        }
    }

    #[test]
    fn refuses_with_the_remedy() {
        assert_eq!(
            error("localhost:8000/v1"),
            "\"localhost:8000/v1\" has no scheme: write http://localhost:8000/v1"
        );
        assert!(error("//h:1").contains("write http://h:1"));
        assert!(error("").contains("empty"));
        assert!(error("ftp://h").contains("must be http or https"));
        assert!(error("http://:80").contains("host is missing"));
        assert!(error("http:///v1").contains("host is missing"));
        assert!(error("http://h:0").contains("1 to 65535"));
        assert!(error("http://h:65536").contains("1 to 65535"));
        assert!(error("http://h:+80").contains("1 to 65535"));
        assert!(error("http://h:").contains("1 to 65535"));
        assert!(error("http://h?x=1").contains("query"));
        assert!(error("http://h/#top").contains("fragment"));
        assert!(error("http://::1:80").contains("[::1:80]"));
        assert!(error("http://[::1").contains("not closed"));
        assert!(error("http://[::1]x").contains("follows"));
        assert!(error("http://[fe80::1%eth0]").contains("not an IPv6"));
        assert!(error("http://300.1.1.1").contains("IPv4"));
        assert!(error("http://1.2.3").contains("IPv4"));
        assert!(error("http://a..b").contains("labels"));
        assert!(error("http://bücher.de").contains("xn--"));
        assert!(error("http://a b").contains("' '"));
        assert!(error("http://h/a b").contains("percent-encode"));
        assert!(error("http://h/a\r\nX: y").contains("percent-encode"));
    }

    #[test]
    fn keeps_secrets_out_of_messages() {
        let message = error("http://user:hunter2@h:80/v1");
        assert!(message.contains("user information") && !message.contains("hunter2"), "{message}");
        let message = error("http://user:hun@ter2@h");
        assert!(!message.contains("hun"), "{message}");
        let message = error("http://h:80/v1?token=hunter2");
        assert!(message.contains("query") && !message.contains("hunter2"), "{message}");
    }
}
