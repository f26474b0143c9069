//! Request heads. Names and values are checked, because a line break in a header would begin a
//! second request.

use thiserror::Error;

use crate::quote::Quoted;
use crate::url::Url;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Method {
    #[default]
    Get,
    /// The response has no body.
    Head,
    /// That it handles the body of the request.
    Post,
}

impl Method {
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RequestError {
    /// Not a token of RFC 9110.
    #[error("{0} is not a header name: use letters, digits and hyphens")]
    Name(Quoted),
    #[error("the header {name} has {character:?} in its value: it would end the line; remove it")]
    Value {
        name: String,
        /// The first invalid character. The value is not repeated, as it may be secret.
        character: char,
    },
    #[error("the header {0} is set from the body itself: leave it out")]
    Framing(String),
    #[error("the path {0} has a character that must be percent-encoded, or no slash at its start")]
    Target(Quoted),
}

/// `target` begins with a slash (see [`Url::target`]); the empty line is included. Adds `Host`,
/// `User-Agent` and `Content-Length` (with a body); `headers` may replace the first two.
pub fn head<N: AsRef<str>, V: AsRef<str>>(
    method: Method,
    url: &Url,
    target: &str,
    headers: &[(N, V)],
    body_len: Option<usize>,
) -> Result<Vec<u8>, RequestError> {
    let mut out = Vec::with_capacity(256);
    write_head(&mut out, method, url, target, headers, body_len)?;
    Ok(out)
}

/// As [`head`], appended to `out`, which is unchanged on error.
pub fn write_head<N: AsRef<str>, V: AsRef<str>>(
    out: &mut Vec<u8>,
    method: Method,
    url: &Url,
    target: &str,
    headers: &[(N, V)],
    body_len: Option<usize>,
) -> Result<(), RequestError> {
    if !target.starts_with('/') || !target.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(RequestError::Target(Quoted::new(target.as_bytes())));
    }
    for (name, value) in headers {
        check(name.as_ref(), value.as_ref())?;
    }
    let given =
        |wanted: &str| headers.iter().any(|(name, _)| name.as_ref().eq_ignore_ascii_case(wanted));
    let mut line = |parts: &[&str]| {
        for part in parts {
            out.extend_from_slice(part.as_bytes());
        }
        out.extend_from_slice(b"\r\n");
    };
    line(&[method.name(), " ", target, " HTTP/1.1"]);
    if !given("host") {
        line(&["Host: ", &url.authority()]);
    }
    if !given("user-agent") {
        line(&["User-Agent: weir/", env!("CARGO_PKG_VERSION")]);
    }
    for (name, value) in headers {
        line(&[name.as_ref(), ": ", value.as_ref()]);
    }
    if let Some(length) = body_len {
        line(&["Content-Length: ", &length.to_string()]);
    }
    line(&[]);
    Ok(())
}

pub fn check(name: &str, value: &str) -> Result<(), RequestError> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err(RequestError::Name(Quoted::new(name.as_bytes())));
    }
    if let Some(character) = value.chars().find(|c| c.is_ascii_control() && *c != '\t') {
        return Err(RequestError::Value { name: name.to_owned(), character });
    }
    let framing = ["content-length", "transfer-encoding"];
    if framing.iter().any(|reserved| name.eq_ignore_ascii_case(reserved)) {
        return Err(RequestError::Framing(name.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Method, check, head};
    use crate::url::Url;

    #[test]
    fn writes_what_a_server_expects() {
        let url = Url::parse("http://[::1]:8000/v1").unwrap();
        let headers = [("Authorization", "Bearer x"), ("user-agent", "mine")];
        let bytes = head(Method::Post, &url, "/v1/completions", &headers, Some(12)).unwrap();
        assert_eq!(
            String::from_utf8(bytes).unwrap(),
            "POST /v1/completions HTTP/1.1\r\nHost: [::1]:8000\r\nAuthorization: Bearer x\r\n\
             user-agent: mine\r\nContent-Length: 12\r\n\r\n"
        );
        let none: [(&str, &str); 0] = [];
        let bytes = head(Method::Get, &url, "/metrics", &none, None).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.starts_with("GET /metrics HTTP/1.1\r\nHost: [::1]:8000\r\nUser-Agent: weir/"));
        assert!(text.ends_with("\r\n\r\n") && !text.contains("Content-Length"));
    }

    #[test]
    fn refuses_injection_and_framing() {
        for (name, value) in [
            ("X", "a\r\nY: b"),
            ("X", "a\nb"),
            ("X", "a\0"),
            ("X", "\x7f"),
            ("X: y\r\nZ", "a"),
            ("", "a"),
            ("X ", "a"),
            ("Ü", "a"),
            ("Content-Length", "5"),
            ("transfer-encoding", "chunked"),
        ] {
            assert!(check(name, value).is_err(), "{name:?}: {value:?}");
        }
        assert!(check("X-Tag", "a\tb ü").is_ok());
        let secret = check("Authorization", "Bearer hunter2\n").unwrap_err().to_string();
        assert!(secret.contains("Authorization") && !secret.contains("hunter2"), "{secret}");
        let url = Url::parse("http://h").unwrap();
        let none: [(&str, &str); 0] = [];
        for target in ["", "v1", "/a b", "/a\r\nX: y", "/ü"] {
            assert!(head(Method::Get, &url, target, &none, None).is_err(), "{target:?}");
        }
    }
}
