//! Hash slots of a cluster: 16384 slots, a key's slot from its CRC16.

use super::address::StoreEndpoint;
use super::value::Value;

pub const SLOTS: usize = 16384;

/// CRC16/XMODEM (polynomial 0x1021), by the cluster specification.
const TABLE: [u16; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

/// The slot of a key: of the text in its first pair of braces, unless empty.
pub fn slot(key: &[u8]) -> u16 {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        let close = rest.iter().position(|byte| *byte == b'}')?;
        (close > 0).then_some(&rest[..close])
    });
    let crc = tag
        .unwrap_or(key)
        .iter()
        .fold(0_u16, |crc, byte| (crc << 8) ^ TABLE[usize::from((crc >> 8) as u8 ^ byte)]);
    crc % SLOTS as u16
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotRange {
    pub first: u16,
    /// Inclusive.
    pub last: u16,
    pub master: StoreEndpoint,
}

pub fn spans(reply: &Value, asked: &StoreEndpoint) -> Option<Vec<SlotRange>> {
    let Value::Array(rows) = reply else { return None };
    rows.iter().map(|row| span(row, asked)).collect()
}

fn span(row: &Value, asked: &StoreEndpoint) -> Option<SlotRange> {
    let [first, last, master, ..] = row.elements() else { return None };
    let slot = |value: &Value| u16::try_from(value.integer()?).ok().filter(|s| *s < 16384);
    let (first, last) = (slot(first)?, slot(last)?);
    let [host, port, ..] = master.elements() else { return None };
    let port = u16::try_from(port.integer()?).ok().filter(|port| *port > 0)?;
    // A server that does not know its own address leaves it out.
    let host = match (host.text(), asked) {
        (None | Some("" | "?"), StoreEndpoint::Tcp { host, .. }) => host.clone(),
        (Some(host), _) => host.to_owned(),
        (None, StoreEndpoint::Unix(_)) => return None,
    };
    (first <= last).then_some(SlotRange { first, last, master: StoreEndpoint::Tcp { host, port } })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the cluster specification of Redis, and `CLUSTER KEYSLOT` of a server.
    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(slot(b"123456789"), 0x31c3);
        assert_eq!(slot(b""), 0);
        assert_eq!(slot(b"foo"), 12182);
        assert_eq!(slot(b"{user1000}.following"), slot(b"{user1000}.followers"));
        assert_eq!(slot(b"foo{}{bar}"), slot_of_all(b"foo{}{bar}"));
        assert_eq!(slot(b"foo{{bar}}zap"), slot_of_all(b"{bar"));
        assert_eq!(slot(b"foo{bar}{zap}"), slot_of_all(b"bar"));
        assert_eq!(slot(b"foo{bar"), slot_of_all(b"foo{bar"));
    }

    fn slot_of_all(key: &[u8]) -> u16 {
        let mut crc = 0_u16;
        for byte in key {
            crc ^= u16::from(*byte) << 8;
            for _ in 0..8 {
                crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
            }
        }
        crc % 16384
    }

    #[test]
    fn replies_that_are_none_are_refused() {
        let asked = StoreEndpoint::Tcp { host: "h".to_owned(), port: 1 };
        let number = Value::Integer;
        let text = |text: &str| Value::Text(text.as_bytes().to_vec());
        let row = |first, last, host: &str, port| {
            Value::Array(vec![Value::Array(vec![
                number(first),
                number(last),
                Value::Array(vec![text(host), number(port)]),
            ])])
        };
        let master = |host: &str| StoreEndpoint::Tcp { host: host.to_owned(), port: 7 };
        let one = |host| Some(vec![SlotRange { first: 0, last: 9, master: master(host) }]);
        assert_eq!(spans(&row(0, 9, "a", 7), &asked), one("a"));
        assert_eq!(spans(&row(0, 9, "", 7), &asked), one("h"));
        assert_eq!(spans(&Value::Array(Vec::new()), &asked), Some(Vec::new()));
        for bad in [row(9, 0, "a", 7), row(0, 16384, "a", 7), row(0, 9, "a", 0), row(-1, 9, "a", 7)]
        {
            assert_eq!(spans(&bad, &asked), None, "{bad:?}");
        }
        assert_eq!(spans(&number(1), &asked), None);
    }
}
