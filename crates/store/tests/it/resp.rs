//! Redis, Valkey and Kvrocks pass the suite, over TCP and unix sockets, in every layout.

use weir_model::Product;
use weir_store::resp::{LmcacheDtype, LmcacheWorker, RespTier};
use weir_store::server::{Listen, StoreSettings};
use weir_store::suite::{Release, Subject};
use weir_store::{Layout, RespOptions, tier_suite};

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
        // An edit of the layout must not make neighbours one.
        if let Layout::LmcachePair { worker, .. } | Layout::LmcacheSingle(worker) =
            &mut options.layout
        {
            namespace.clone_into(&mut worker.model);
        }
        RespTier::new(options).unwrap()
    };
    let (tier, neighbour) = (tier("one"), tier("one.two"));
    let short = !matches!(tier.options().layout, Layout::Weir { .. });
    let subject = Subject::new(tier).with_neighbour(neighbour).with_guard(server);
    Some(if short { subject.with_short_hashes() } else { subject })
}

fn worker() -> LmcacheWorker {
    let dtype = LmcacheDtype::Bfloat16;
    LmcacheWorker { model: "a/model".to_owned(), world_size: 1, worker: 0, dtype }
}

fn pair(options: &mut RespOptions) {
    options.layout = Layout::LmcachePair { worker: worker(), format: 1, shape: [2, 1, 25, 50] };
}

fn plain(options: &mut RespOptions) {
    options.layout = Layout::LmcacheSingle(worker());
    options.skip_present = true;
    options.touch = false;
}

fn one_connection(options: &mut RespOptions) {
    options.connections = 1;
    options.ttl = Some(std::time::Duration::from_hours(1));
}

tier_suite!(redis, || subject(Product::Redis, Listen::FreePort, |_| ()));
tier_suite!(redis_unix, || subject(Product::Redis, Listen::Unix, |_| ()));
tier_suite!(redis_pair, || subject(Product::Redis, Listen::FreePort, pair));
tier_suite!(redis_single, || subject(Product::Redis, Listen::FreePort, plain));
tier_suite!(redis_one, || subject(Product::Redis, Listen::FreePort, one_connection));
tier_suite!(valkey, || subject(Product::Valkey, Listen::FreePort, |_| ()));
tier_suite!(valkey_unix, || subject(Product::Valkey, Listen::Unix, |_| ()));
tier_suite!(valkey_pair, || subject(Product::Valkey, Listen::FreePort, pair));
tier_suite!(kvrocks, || subject(Product::Kvrocks, Listen::FreePort, |_| ()));
tier_suite!(kvrocks_pair, || subject(Product::Kvrocks, Listen::FreePort, pair));
tier_suite!(kvrocks_2_10, || scripted(Release::V2_10, |_| ()));
tier_suite!(kvrocks_2_10_pair, || scripted(Release::V2_10, pair));
tier_suite!(kvrocks_2_10_single, || scripted(Release::V2_10, plain));
tier_suite!(kvrocks_2_10_one, || scripted(Release::V2_10, one_connection));
tier_suite!(kvrocks_2_11, || scripted(Release::V2_11, |_| ()));
tier_suite!(kvrocks_2_12, || scripted(Release::V2_12, |_| ()));
