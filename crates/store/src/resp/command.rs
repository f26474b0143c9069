//! RESP commands: arrays of bulk strings, appended to a reused buffer.

/// Appends a command head; `arguments` includes the name.
pub fn array(out: &mut Vec<u8>, arguments: usize) {
    out.push(b'*');
    decimal(out, arguments as u64);
    out.extend_from_slice(b"\r\n");
}

pub fn argument(out: &mut Vec<u8>, bytes: &[u8]) {
    argument_head(out, bytes.len());
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

pub fn argument_head(out: &mut Vec<u8>, bytes: usize) {
    out.push(b'$');
    decimal(out, bytes as u64);
    out.extend_from_slice(b"\r\n");
}

pub fn command(out: &mut Vec<u8>, arguments: &[&[u8]]) {
    array(out, arguments.len());
    for bytes in arguments {
        argument(out, bytes);
    }
}

pub fn decimal(out: &mut Vec<u8>, mut number: u64) {
    // Twenty digits hold any number of 64 bits.
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_arrays_of_bulk_strings() {
        let mut out = Vec::new();
        command(&mut out, &[b"SET", b"key", b"a\r\nb"]);
        assert_eq!(out, b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$4\r\na\r\nb\r\n");
        for number in [0, 9, 10, 65536, u64::MAX] {
            out.clear();
            decimal(&mut out, number);
            assert_eq!(out, number.to_string().as_bytes());
        }
    }
}
