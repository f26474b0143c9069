//! Requests: the needed part of HTTP/1.1 and of the body, read cheaply.

use memchr::memmem;

const REQUEST_BYTES_MAX: usize = 64 << 20;

/// Of a body with a text prompt, roughly.
const BYTES_PER_TOKEN: usize = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    Completions,
    Chat,
    Models,
    Health,
    Metrics,
    Log,
    Summary,
    Unknown,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) route: Route,
    pub(crate) id: String,
    pub(crate) keep_alive: bool,
    pub(crate) ask: Ask,
    pub(crate) length: usize,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) tokens: Option<u32>,
    pub(crate) stream: bool,
    pub(crate) usage: bool,
    pub(crate) prompt_tokens: u32,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    Partial,
    Whole(Request),
    /// Status and reason; the connection ends.
    Refused(u16, &'static str),
    /// Only the head is there: the client waits for `100 Continue`.
    WantsLeave,
}

pub(crate) fn parse(bytes: &[u8]) -> Parsed {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Request::new(&mut headers);
    let head_length = match head.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if bytes.len() > 65_536 => {
            return Parsed::Refused(431, "the head is longer than 65536 bytes");
        }
        Ok(httparse::Status::Partial) => return Parsed::Partial,
        Err(_) => return Parsed::Refused(400, "the head is no HTTP/1.1"),
    };
    let mut body_length = 0;
    let mut id = String::new();
    let mut keep_alive = head.version == Some(1);
    let mut wants_leave = false;
    for header in head.headers.iter() {
        let value = header.value.trim_ascii();
        if header.name.eq_ignore_ascii_case("content-length") {
            match std::str::from_utf8(value).ok().and_then(|text| text.parse::<usize>().ok()) {
                Some(length) if length <= REQUEST_BYTES_MAX => body_length = length,
                _ => return Parsed::Refused(413, "the body is longer than 64 MiB"),
            }
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            return Parsed::Refused(411, "send the body with a Content-Length");
        } else if header.name.eq_ignore_ascii_case("x-request-id") {
            id = String::from_utf8_lossy(value).into_owned();
        } else if header.name.eq_ignore_ascii_case("connection") {
            keep_alive = !value.eq_ignore_ascii_case(b"close");
        } else if header.name.eq_ignore_ascii_case("expect") {
            wants_leave = true;
        }
    }
    let Some(body) = bytes.get(head_length..head_length + body_length) else {
        let waits = wants_leave && bytes.len() == head_length;
        return if waits { Parsed::WantsLeave } else { Parsed::Partial };
    };
    let route = route(head.method.unwrap_or(""), head.path.unwrap_or(""));
    let ask = match route {
        Route::Completions | Route::Chat => ask(body),
        _ => Ask::default(),
    };
    let length = head_length + body_length;
    Parsed::Whole(Request { route, id, keep_alive, ask, length })
}

fn route(method: &str, path: &str) -> Route {
    match (method, path.split('?').next().unwrap_or(path)) {
        ("POST", "/v1/completions") => Route::Completions,
        ("POST", "/v1/chat/completions") => Route::Chat,
        ("GET", "/v1/models") => Route::Models,
        ("GET", "/health") => Route::Health,
        ("GET", "/metrics") => Route::Metrics,
        ("GET", "/log") => Route::Log,
        ("GET", "/summary") => Route::Summary,
        _ => Route::Unknown,
    }
}

/// Finds the few needed members without parsing the rest. A quoted name cannot occur inside a JSON
/// string, where its quotes are escaped.
fn ask(body: &[u8]) -> Ask {
    let number = |name: &str| {
        let digits = member(body, name)?;
        let end = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
        std::str::from_utf8(&digits[..end]).ok()?.parse::<u32>().ok()
    };
    Ask {
        tokens: number("\"max_completion_tokens\"").or_else(|| number("\"max_tokens\"")),
        stream: member(body, "\"stream\"").is_some_and(|value| value.starts_with(b"true")),
        usage: member(body, "\"include_usage\"").is_some_and(|value| value.starts_with(b"true")),
        prompt_tokens: prompt_tokens(body),
    }
}

/// Exact for token ids; estimated from the bytes of text.
fn prompt_tokens(body: &[u8]) -> u32 {
    let ids = member(body, "\"prompt\"").and_then(|value| value.strip_prefix(b"["));
    match ids.map(<[u8]>::trim_ascii_start) {
        Some(ids) if ids.first().is_some_and(u8::is_ascii_digit) => {
            let end = memchr::memchr(b']', ids).unwrap_or(ids.len());
            memchr::memchr_iter(b',', &ids[..end]).count() as u32 + 1
        }
        _ => (body.len() / BYTES_PER_TOKEN) as u32,
    }
}

fn member<'a>(body: &'a [u8], quoted_name: &str) -> Option<&'a [u8]> {
    let at = memmem::find(body, quoted_name.as_bytes())?;
    let rest = body.get(at + quoted_name.len()..)?.trim_ascii_start();
    Some(rest.strip_prefix(b":")?.trim_ascii_start())
}

#[cfg(test)]
mod tests {
    use super::{Ask, Parsed, Route, parse};

    fn request(head: &str, body: &str) -> Vec<u8> {
        format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    }

    #[test]
    fn members_are_found_whatever_their_order_and_spaces() {
        let body = r#"{"stream": true,"max_tokens":7, "prompt":[1, 2,3],
            "stream_options" : {"include_usage" :true}}"#;
        let bytes = request("POST /v1/completions HTTP/1.1\r\nX-Request-ID: a-1", body);
        let Parsed::Whole(request) = parse(&bytes) else { panic!("not whole") };
        assert_eq!(request.route, Route::Completions);
        assert_eq!(request.id, "a-1");
        assert!(request.keep_alive);
        assert_eq!(request.length, bytes.len());
        let ask = Ask { tokens: Some(7), stream: true, usage: true, prompt_tokens: 3 };
        assert_eq!(request.ask, ask);
    }

    #[test]
    fn the_newer_name_of_the_limit_counts_and_text_is_estimated() {
        let body = r#"{"messages":[{"role":"user","content":"one two  three"}],
            "max_completion_tokens":9,"stream":false}"#;
        let bytes = request("POST /v1/chat/completions HTTP/1.1\r\nConnection: close", body);
        let Parsed::Whole(request) = parse(&bytes) else { panic!("not whole") };
        assert!(!request.keep_alive);
        let prompt_tokens = (body.len() / 4) as u32;
        let ask = Ask { tokens: Some(9), stream: false, usage: false, prompt_tokens };
        assert_eq!(request.ask, ask);
    }

    #[test]
    fn a_name_inside_a_text_is_no_member() {
        let body = r#"{"prompt":"say \"max_tokens\": 5","max_tokens":2}"#;
        let bytes = request("POST /v1/completions HTTP/1.1", body);
        let Parsed::Whole(request) = parse(&bytes) else { panic!("not whole") };
        assert_eq!(request.ask.tokens, Some(2));
    }

    #[test]
    fn a_part_is_partial_and_garbage_is_refused() {
        let bytes = request("POST /v1/completions HTTP/1.1", "{}");
        for end in 0..bytes.len() {
            assert_eq!(parse(&bytes[..end]), Parsed::Partial, "{end}");
        }
        assert!(matches!(parse(b"\x01\x02 nonsense\r\n\r\n"), Parsed::Refused(400, _)));
        let chunked = b"POST /v1/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert!(matches!(parse(chunked), Parsed::Refused(411, _)));
    }
}
