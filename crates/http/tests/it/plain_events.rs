//! Naive reference reader of event streams.

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PlainEvents {
    pub(crate) events: Vec<Vec<u8>>,
    pub(crate) is_mid_event: bool,
    pub(crate) too_long: bool,
}

/// Normalizes line ends, then reads line by line.
pub(crate) fn read(input: &[u8], limit: usize) -> PlainEvents {
    let mut alike = Vec::new();
    for (at, byte) in input.iter().enumerate() {
        match (byte, at.checked_sub(1).map(|before| input[before])) {
            (b'\r', _) => alike.push(b'\n'),
            (b'\n', Some(b'\r')) => {}
            _ => alike.push(*byte),
        }
    }
    let bom: &[u8] = "\u{feff}".as_bytes();
    let text = if alike.starts_with(bom) { &alike[3..] } else { &alike[..] };
    let mut lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    let unfinished = lines.pop().unwrap();

    let mut found = PlainEvents { events: Vec::new(), is_mid_event: false, too_long: false };
    let mut data: Option<Vec<Vec<u8>>> = None;
    let held =
        |data: &Option<Vec<Vec<u8>>>| data.as_ref().map_or(0, |data| data.join(&b'\n').len());
    for line in lines {
        if held(&data) + line.len() > limit {
            found.too_long = true;
            return found;
        }
        if line.is_empty() {
            found.events.extend(data.take().map(|data| data.join(&b'\n')));
            continue;
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let (name, value) = match colon {
            Some(at) => (&line[..at], &line[at + 1..]),
            None => (line, &line[line.len()..]),
        };
        if name == b"data" {
            let value = if value.first() == Some(&b' ') { &value[1..] } else { value };
            data.get_or_insert_default().push(value.to_vec());
        }
    }
    // A possible start of a byte order mark is no line yet.
    let is_half_bom = bom.starts_with(input) && input.len() < bom.len();
    found.too_long = !is_half_bom && held(&data) + unfinished.len() > limit;
    found.is_mid_event = data.is_some() || !unfinished.is_empty();
    found
}
