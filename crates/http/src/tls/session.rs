use std::fmt;
use std::io::{BufRead, Write};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use super::TlsError;

/// After a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TlsProgress {
    /// Plain bytes are sent after the handshake.
    pub is_handshaking: bool,
    /// [`TlsSession::take_tls`] has bytes.
    pub wants_write: bool,
    /// The server sent `close_notify`.
    pub peer_has_closed: bool,
}

/// Input goes to [`read_tls`](Self::read_tls), output to [`write_plain`](Self::write_plain). After
/// either, send the bytes of [`take_tls`](Self::take_tls).
pub struct TlsSession {
    connection: ClientConnection,
    host: String,
    peer_has_closed: bool,
}

impl fmt::Debug for TlsSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsSession")
            .field("host", &self.host)
            .field("progress", &self.progress())
            .finish_non_exhaustive()
    }
}

impl TlsSession {
    pub(super) fn new(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        host: &str,
    ) -> Result<Self, TlsError> {
        let mut connection = ClientConnection::new(config, name)
            .map_err(|error| TlsError::of_session(host, true, &error))?;
        // A request is written whole; the caller bounds it.
        connection.set_buffer_limit(None);
        Ok(Self { connection, host: host.to_owned(), peer_has_closed: false })
    }

    /// Takes all of `bytes`; `plain` gets the decrypted bytes in order. After an error,
    /// [`take_tls`](Self::take_tls) may still have an alert.
    pub fn read_tls(
        &mut self,
        mut bytes: &[u8],
        plain: &mut impl FnMut(&[u8]),
    ) -> Result<TlsProgress, TlsError> {
        while !bytes.is_empty() && !self.peer_has_closed {
            let handshaking = self.connection.is_handshaking();
            // The buffers are drained below, so an error is never "full".
            self.connection.read_tls(&mut bytes).map_err(|error| TlsError::Protocol {
                host: self.host.clone(),
                why: error.to_string(),
            })?;
            let state = self
                .connection
                .process_new_packets()
                .map_err(|error| TlsError::of_session(&self.host, handshaking, &error))?;
            self.peer_has_closed = state.peer_has_closed();
            let mut reader = self.connection.reader();
            // An error means no data yet; an empty buffer, the end.
            while let Ok(span) = reader.fill_buf() {
                let length = span.len();
                if length == 0 {
                    break;
                }
                plain(span);
                reader.consume(length);
            }
        }
        Ok(self.progress())
    }

    /// The socket ended. An error without `close_notify`, because anyone on the path can cut a
    /// connection.
    pub fn end_of_input(&self) -> Result<(), TlsError> {
        if self.peer_has_closed {
            return Ok(());
        }
        let handshaking = self.connection.is_handshaking();
        Err(TlsError::CutOff { host: self.host.clone(), handshaking })
    }

    pub fn write_plain(&mut self, bytes: &[u8]) -> Result<(), TlsError> {
        self.connection
            .writer()
            .write_all(bytes)
            .map_err(|error| TlsError::Protocol { host: self.host.clone(), why: error.to_string() })
    }

    /// Appends to `out`; returns the number of bytes.
    pub fn take_tls(&mut self, out: &mut Vec<u8>) -> usize {
        let before = out.len();
        while self.connection.wants_write() {
            // Writing to memory does not fail, and a session that wants to write has bytes.
            if !matches!(self.connection.write_tls(out), Ok(1..)) {
                break;
            }
        }
        out.len() - before
    }

    /// [`take_tls`](Self::take_tls) then includes a `close_notify`.
    pub fn close(&mut self) {
        self.connection.send_close_notify();
    }

    pub fn progress(&self) -> TlsProgress {
        TlsProgress {
            is_handshaking: self.connection.is_handshaking(),
            wants_write: self.connection.wants_write(),
            peer_has_closed: self.peer_has_closed,
        }
    }

    pub fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    pub fn wants_write(&self) -> bool {
        self.connection.wants_write()
    }
}
