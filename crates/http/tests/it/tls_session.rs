//! TLS sessions against a rustls server in memory and in a thread.

use std::io::{BufRead, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};
use weir_http::{TlsClient, TlsConfig, TlsError, TlsSession};

use crate::chance::Chance;

/// A self-signed certificate.
pub(crate) struct Identity {
    pub(crate) pem: String,
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
}

impl Identity {
    pub(crate) fn new(names: &[&str], expired: bool) -> Self {
        Self::with(names, expired, rcgen::IsCa::NoCa)
    }

    /// As from `openssl req -x509`: authority and server in one certificate.
    fn authority(names: &[&str], expired: bool) -> Self {
        Self::with(names, expired, rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained))
    }

    fn with(names: &[&str], expired: bool, is_ca: rcgen::IsCa) -> Self {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = rcgen::CertificateParams::new(names).unwrap();
        params.is_ca = is_ca;
        if expired {
            params.not_before = rcgen::date_time_ymd(2001, 1, 1);
            params.not_after = rcgen::date_time_ymd(2002, 1, 1);
        }
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self {
            pem: certificate.pem(),
            certificate: certificate.der().clone(),
            key: key.serialize_der(),
        }
    }

    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = PrivateKeyDer::try_from(self.key.clone()).unwrap();
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.clone()], key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Arc::new(config)
    }

    /// Trusts this certificate through a file.
    pub(crate) fn client(&self) -> TlsClient {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &self.pem).unwrap();
        let config = TlsConfig { ca_file: Some(file.path().to_owned()), insecure: false };
        TlsClient::new(&config).unwrap()
    }
}

pub(crate) fn insecure() -> TlsClient {
    TlsClient::new(&TlsConfig { ca_file: None, insecure: true }).unwrap()
}

/// Server side of a session without a socket.
struct Peer {
    connection: ServerConnection,
    said: Vec<u8>,
}

impl Peer {
    fn new(identity: &Identity) -> Self {
        let mut connection = ServerConnection::new(identity.server()).unwrap();
        connection.set_buffer_limit(None);
        Self { connection, said: Vec::new() }
    }

    fn read(&mut self, mut bytes: &[u8]) -> Result<(), rustls::Error> {
        while !bytes.is_empty() {
            self.connection.read_tls(&mut bytes).unwrap();
            self.connection.process_new_packets()?;
            let mut reader = self.connection.reader();
            while let Ok(span) = reader.fill_buf() {
                let length = span.len();
                if length == 0 {
                    break;
                }
                self.said.extend_from_slice(span);
                reader.consume(length);
            }
        }
        Ok(())
    }

    fn take(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        while self.connection.wants_write() {
            self.connection.write_tls(&mut out).unwrap();
        }
        out
    }
}

/// Exchanges bytes in pieces until neither side has any; returns what the client received.
fn carry(
    session: &mut TlsSession,
    peer: &mut Peer,
    chance: &mut Chance,
) -> Result<Vec<u8>, TlsError> {
    let mut heard = Vec::new();
    loop {
        let mut out = Vec::new();
        session.take_tls(&mut out);
        assert!(!session.wants_write());
        for piece in chance.pieces(&out) {
            let _ = peer.read(piece);
        }
        let back = peer.take();
        if out.is_empty() && back.is_empty() {
            return Ok(heard);
        }
        for piece in chance.pieces(&back) {
            session.read_tls(piece, &mut |plain: &[u8]| heard.extend_from_slice(plain))?;
        }
    }
}

#[test]
fn carries_bytes_both_ways_however_they_are_cut() {
    let identity = Identity::new(&["weir.test", "127.0.0.1"], false);
    let client = identity.client();
    for seed in 0..20 {
        let mut chance = Chance::new(seed);
        let mut session = client.session("weir.test").unwrap();
        let mut peer = Peer::new(&identity);
        assert!(session.is_handshaking() && session.wants_write());
        // Written before the handshake, sent after it.
        let request: Vec<u8> = (0..100_000).map(|i| (i * 7) as u8).collect();
        session.write_plain(&request).unwrap();
        assert!(carry(&mut session, &mut peer, &mut chance).unwrap().is_empty());
        assert!(!session.is_handshaking());
        assert_eq!(peer.said, request);
        assert_eq!(peer.connection.alpn_protocol(), Some(&b"http/1.1"[..]));
        let answer = request.repeat(3);
        peer.connection.writer().write_all(&answer).unwrap();
        assert_eq!(carry(&mut session, &mut peer, &mut chance).unwrap(), answer);

        assert_eq!(
            session.end_of_input(),
            Err(TlsError::CutOff { host: "weir.test".to_owned(), handshaking: false })
        );
        peer.connection.writer().write_all(b"bye").unwrap();
        peer.connection.send_close_notify();
        assert_eq!(carry(&mut session, &mut peer, &mut chance).unwrap(), b"bye");
        assert!(session.progress().peer_has_closed);
        assert_eq!(session.end_of_input(), Ok(()));
        session.close();
        assert!(session.wants_write());
    }
}

fn refusal(client: &TlsClient, identity: &Identity, host: &str) -> String {
    let mut session = client.session(host).unwrap();
    let mut peer = Peer::new(identity);
    let error = carry(&mut session, &mut peer, &mut Chance::new(1)).unwrap_err();
    // The alert for the server.
    assert!(session.wants_write(), "no alert");
    error.to_string()
}

#[test]
fn refuses_whom_it_does_not_trust() {
    let identity = Identity::new(&["weir.test", "127.0.0.1"], false);
    let other = Identity::new(&["weir.test"], false);
    let message = refusal(&other.client(), &identity, "weir.test");
    assert!(
        message.contains("weir.test is not trusted") && message.contains("CA file"),
        "{message}"
    );
    let message = refusal(&identity.client(), &identity, "other.test");
    assert!(message.contains("use a name that the certificate holds"), "{message}");
    let message = refusal(&identity.client(), &identity, "127.0.0.2");
    assert!(message.contains("use a name that the certificate holds"), "{message}");
    let expired = Identity::new(&["weir.test"], true);
    let message = refusal(&expired.client(), &expired, "weir.test");
    assert!(message.contains("renew it"), "{message}");
    // An IP address of the certificate, and any server if `insecure`.
    for (client, identity, host) in [
        (identity.client(), &identity, "127.0.0.1"),
        (insecure(), &expired, "other.test"),
        (insecure(), &identity, "::1"),
    ] {
        let mut session = client.session(host).unwrap();
        session.write_plain(b"hello").unwrap();
        let mut peer = Peer::new(identity);
        carry(&mut session, &mut peer, &mut Chance::new(2)).unwrap();
        assert_eq!(peer.said, b"hello", "{host}");
    }
}

/// A self-signed authority is accepted only if the file names exactly it, with all other checks.
#[test]
fn an_authority_of_its_own_is_the_server_that_the_file_names() {
    let own = Identity::authority(&["weir.test", "127.0.0.1"], false);
    for host in ["weir.test", "127.0.0.1"] {
        let mut session = own.client().session(host).unwrap();
        session.write_plain(b"hello").unwrap();
        let mut peer = Peer::new(&own);
        carry(&mut session, &mut peer, &mut Chance::new(3)).unwrap();
        assert_eq!(peer.said, b"hello", "{host}");
    }
    let message = refusal(&own.client(), &own, "other.test");
    assert!(message.contains("use a name that the certificate holds"), "{message}");
    let expired = Identity::authority(&["weir.test"], true);
    let message = refusal(&expired.client(), &expired, "weir.test");
    assert!(message.contains("renew it"), "{message}");
    // Another certificate of the same name and kind.
    let other = Identity::authority(&["weir.test"], false);
    let message = refusal(&other.client(), &own, "weir.test");
    assert!(message.contains("weir.test is not trusted"), "{message}");
}

#[test]
fn names_what_is_wrong_with_a_ca_file() {
    let directory = tempfile::tempdir().unwrap();
    let error = |name: &str, content: Option<&[u8]>| {
        let path: PathBuf = directory.path().join(name);
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        let config = TlsConfig { ca_file: Some(path), insecure: false };
        let message = TlsClient::new(&config).unwrap_err().to_string();
        assert!(message.contains(name) && !message.contains('\n'), "{message}");
        message
    };
    assert!(error("absent.pem", None).contains("No such file"));
    assert!(error("empty.pem", Some(b"")).contains("no PEM block"));
    assert!(
        error("key.pem", Some(rcgen::KeyPair::generate().unwrap().serialize_pem().as_bytes()))
            .contains("no PEM block")
    );
    error("cut.pem", Some(b"-----BEGIN CERTIFICATE-----\nAAAA\n"));
    error("junk.pem", Some(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"));
    assert!(insecure().session("not a name").unwrap_err().to_string().contains("not a name"));
}

#[test]
fn notices_servers_without_tls_and_broken_records() {
    let client = insecure();
    let mut session = client.session("weir.test").unwrap();
    let error = session.read_tls(b"HTTP/1.1 400 Bad Request\r\n\r\n", &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("write http://"), "{error}");
    let mut chance = Chance::new(5);
    for _ in 0..2_000 {
        let identity_free: Vec<u8> =
            (0..chance.below(200)).map(|_| chance.below(256) as u8).collect();
        let mut session = client.session("weir.test").unwrap();
        for piece in chance.pieces(&identity_free) {
            if session.read_tls(piece, &mut |_| panic!("plain bytes of noise")).is_err() {
                break;
            }
        }
        assert!(session.is_handshaking());
        assert!(session.end_of_input().unwrap_err().to_string().contains("inside the handshake"));
    }
}

/// One connection: reads a request's head and answers; sends `close_notify` if `farewell`.
pub(crate) fn serve_one(identity: &Identity, answer: Vec<u8>, farewell: bool) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = identity.server();
    std::thread::spawn(move || {
        let (mut socket, _): (TcpStream, _) = listener.accept().unwrap();
        let mut connection = ServerConnection::new(config).unwrap();
        let mut stream = rustls::Stream::new(&mut connection, &mut socket);
        let mut request = Vec::new();
        let mut buffer = [0; 4096];
        while !request.ends_with(b"\r\n\r\n") {
            match stream.read(&mut buffer) {
                Ok(count) if count > 0 => request.extend_from_slice(&buffer[..count]),
                // The client refused the certificate.
                _ => return,
            }
        }
        stream.write_all(&answer).unwrap();
        if farewell {
            stream.conn.send_close_notify();
        }
        stream.flush().unwrap();
    });
    port
}
