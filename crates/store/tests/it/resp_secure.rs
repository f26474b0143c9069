//! Stores over TLS, with certificates made here.

use std::path::Path;

use weir_http::TlsConfig;
use weir_model::Product;
use weir_store::resp::RespTier;
use weir_store::server::{StoreServer, StoreSettings, TlsFiles};
use weir_store::suite::{Subject, keys};
use weir_store::{Address, Loaded, RespOptions, Stored, Tier, TierFault, tier_suite};

use crate::resp_fixture::{BLOCK, get, later, layout, put, store_with};

/// A server with a self-issued certificate, and the folder with its files.
fn server(product: Product, test: &str) -> Option<(StoreServer, tempfile::TempDir)> {
    let folder = tempfile::tempdir().unwrap();
    let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let write = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let files = TlsFiles {
        certificate: write("own.pem", certificate.pem()),
        key: write("own.key", key.serialize_pem()),
        authorities: write("authorities.pem", certificate.pem()),
    };
    let settings = StoreSettings { tls: Some(files), ..StoreSettings::default() };
    Some((store_with(product, test, settings)?, folder))
}

fn options(address: Address, folder: &Path, namespace: &str) -> RespOptions {
    let mut options = RespOptions::new(address, layout(namespace, true), BLOCK);
    options.tls = TlsConfig { ca_file: Some(folder.join("authorities.pem")), insecure: false };
    options
}

fn subject(product: Product) -> Option<Subject> {
    let (server, folder) = server(product, "suite over TLS")?;
    let tier = |namespace: &str| {
        RespTier::new(options(server.address(), folder.path(), namespace)).unwrap()
    };
    let (tier, neighbour) = (tier("one"), tier("two"));
    Some(Subject::new(tier).with_neighbour(neighbour).with_guard((server, folder)))
}

tier_suite!(redis, || subject(Product::Redis));
tier_suite!(valkey, || subject(Product::Valkey));

#[test]
fn large_blocks_in_both_directions() {
    let Some((server, folder)) = server(Product::Redis, "large_blocks") else { return };
    let mut options = options(server.address(), folder.path(), "large");
    options.block_bytes = 3 << 20;
    let tier = RespTier::new(options).unwrap();
    assert_eq!(put(&tier, &keys(0..20), later()), [Stored::Stored; 20]);
    assert_eq!(get(&tier, &keys(0..20), later()), [Loaded::Hit; 20]);
}

#[test]
fn whom_not_to_trust() {
    let Some((server, folder)) = server(Product::Redis, "whom_not_to_trust") else { return };
    let problem = |options: RespOptions| {
        let tier = RespTier::new(options).unwrap();
        tier.contains(&keys(0..1), later(), &mut [false]).unwrap_err()
    };
    // Another issuer.
    let stranger = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    std::fs::write(stranger.path().join("authorities.pem"), pem).unwrap();
    let error = problem(options(server.address(), stranger.path(), "x"));
    assert_eq!(error.fault, TierFault::Refused);
    assert!(error.to_string().contains("not trusted"), "{error}");
    // An insecure connection is reported, and works.
    let mut any = options(server.address(), stranger.path(), "x");
    any.tls = TlsConfig { ca_file: None, insecure: true };
    let tier = RespTier::new(any).unwrap();
    assert_eq!(put(&tier, &keys(0..1), later()), [Stored::Stored]);
    // TLS to a port without it, and the reverse.
    let plain = server.plain_port().unwrap();
    let wrong: Address = format!("rediss://127.0.0.1:{plain}").parse().unwrap();
    let error = problem(options(wrong, folder.path(), "x"));
    assert!(error.to_string().contains("write redis:// instead"), "{error}");
    let wrong = Address { tls: false, ..server.address() };
    let error = problem(options(wrong, folder.path(), "x"));
    assert!(matches!(error.fault, TierFault::Disconnected | TierFault::Protocol), "{error}");
    // Not a certificate file.
    let address: Address = "rediss://127.0.0.1:1".parse().unwrap();
    let error = RespTier::new(options(address, Path::new("/nowhere"), "x")).unwrap_err();
    assert!(error.to_string().contains("/nowhere/authorities.pem"), "{error}");
}
