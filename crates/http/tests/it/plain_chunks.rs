//! Naive reference reader of the chunked coding.

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PlainChunks {
    /// Ends, followed by this many bytes.
    Complete {
        data: Vec<u8>,
        unread: usize,
    },
    /// Continues after the input.
    Unfinished {
        data: Vec<u8>,
    },
    Malformed,
}

/// Size lines must be shorter than any limit.
pub(crate) fn read(input: &[u8], trailer_limit: usize) -> PlainChunks {
    let mut data = Vec::new();
    let mut rest = input;
    loop {
        let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") else {
            return unfinished_size(rest, data);
        };
        let Some(size) = size_of(&rest[..end]) else { return PlainChunks::Malformed };
        rest = &rest[end + 2..];
        if size == 0 {
            return trailers(rest, data, trailer_limit);
        }
        if size >= rest.len() as u128 {
            data.extend_from_slice(rest);
            return PlainChunks::Unfinished { data };
        }
        let (chunk, behind) = rest.split_at(size as usize);
        data.extend_from_slice(chunk);
        rest = match behind {
            [b'\r'] => return PlainChunks::Unfinished { data },
            [b'\r', b'\n', rest @ ..] => rest,
            _ => return PlainChunks::Malformed,
        };
        if rest.is_empty() {
            return PlainChunks::Unfinished { data };
        }
    }
}

fn size_of(line: &[u8]) -> Option<u128> {
    let end = line.iter().position(|byte| b"; \t".contains(byte)).unwrap_or(line.len());
    let (digits, extension) = line.split_at(end);
    if digits.is_empty() || extension.iter().any(|byte| b"\r\n".contains(byte)) {
        return None;
    }
    let digits = std::str::from_utf8(digits).ok()?;
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let significant = digits.trim_start_matches('0');
    if significant.is_empty() {
        Some(0)
    } else {
        u64::from_str_radix(significant, 16).ok().map(u128::from)
    }
}

/// Valid if some continuation would complete the size line.
fn unfinished_size(rest: &[u8], data: Vec<u8>) -> PlainChunks {
    let line = rest.strip_suffix(b"\r").unwrap_or(rest);
    if rest.is_empty() || size_of(line).is_some() {
        PlainChunks::Unfinished { data }
    } else {
        PlainChunks::Malformed
    }
}

fn trailers(input: &[u8], data: Vec<u8>, limit: usize) -> PlainChunks {
    let mut rest = input;
    loop {
        let used = input.len() - rest.len();
        match rest {
            [b'\r', b'\n', behind @ ..] if used < limit => {
                return PlainChunks::Complete { data, unread: behind.len() };
            }
            [b'\r'] if used < limit => return PlainChunks::Unfinished { data },
            _ => {}
        }
        let (line, ended) = match rest.iter().position(|byte| *byte == b'\n') {
            Some(end) => (&rest[..=end], true),
            None => (rest, false),
        };
        let colon = line.iter().position(|byte| *byte == b':');
        let name = &line[..colon.unwrap_or(line.len())];
        let bad_name =
            !name.iter().all(u8::is_ascii_graphic) || (name.is_empty() && colon.is_some());
        if bad_name || used + line.len() > limit {
            return PlainChunks::Malformed;
        }
        if !ended {
            return PlainChunks::Unfinished { data };
        }
        rest = &rest[line.len()..];
    }
}
