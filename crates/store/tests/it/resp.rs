//! Redis, Valkey and Kvrocks pass the suite, over TCP and unix sockets, in every layout.

use weir_model::Product;
use weir_store::resp::RespTier;
use weir_store::server::{Listen, StoreSettings};
use weir_store::suite::{Release, Subject};
use weir_store::{RespOptions, tier_suite};

use crate::resp_fixture::{BLOCK, Kind, layout, running_with};

fn subject(product: Product, listen: Listen, edit: fn(&mut RespOptions)) -> Option<Subject> {
    on(Kind::Real(product), listen, edit)
}

fn scripted(release: Release, edit: fn(&mut RespOptions)) -> Option<Subject> {
    on(Kind::Scripted(release), Listen::FreePort, edit)
}

fn on(kind: Kind, listen: Listen, edit: fn(&mut RespOptions)) -> Option<Subject> {
    let settings = StoreSettings { listen, ..StoreSettings::default() };
    let server = running_with(kind, "suite of the RESP tier", settings)?;
    let tier = |namespace: &str| {
        let layout = layout(namespace, true);
        let mut options = RespOptions::new(server.address(), layout, BLOCK);
        edit(&mut options);
        RespTier::new(options).unwrap()
    };
    let (tier, neighbour) = (tier("one"), tier("one.two"));
    Some(Subject::new(tier).with_neighbour(neighbour).with_guard(server))
}

fn looks_first(options: &mut RespOptions) {
    options.skip_present = true;
    options.touch = false;
}

fn one_connection(options: &mut RespOptions) {
    options.connections = 1;
    options.ttl = Some(std::time::Duration::from_hours(1));
}

tier_suite!(redis, || subject(Product::Redis, Listen::FreePort, |_| ()));
tier_suite!(redis_unix, || subject(Product::Redis, Listen::Unix, |_| ()));
tier_suite!(redis_looks_first, || subject(Product::Redis, Listen::FreePort, looks_first));
tier_suite!(redis_one, || subject(Product::Redis, Listen::FreePort, one_connection));
tier_suite!(valkey, || subject(Product::Valkey, Listen::FreePort, |_| ()));
tier_suite!(valkey_unix, || subject(Product::Valkey, Listen::Unix, |_| ()));
tier_suite!(kvrocks, || subject(Product::Kvrocks, Listen::FreePort, |_| ()));
tier_suite!(kvrocks_2_10, || scripted(Release::V2_10, |_| ()));
tier_suite!(kvrocks_2_10_looks_first, || scripted(Release::V2_10, looks_first));
tier_suite!(kvrocks_2_10_one, || scripted(Release::V2_10, one_connection));
tier_suite!(kvrocks_2_11, || scripted(Release::V2_11, |_| ()));
tier_suite!(kvrocks_2_12, || scripted(Release::V2_12, |_| ()));
