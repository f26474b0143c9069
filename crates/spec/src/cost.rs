//! The hourly cost of an arm, and which of its parts have a price.
//!
//! An arm with a larger tier can give more tokens and still cost more for each, so costs include
//! tiers that have a price. Parts without one are named, because a cost without the store makes the
//! arm with the store look cheap.

use serde::Serialize;
use weir_model::{Bytes, Product, TierKind};

use crate::plan::{Arm, Deployment, Prices};

/// A twelfth of 365 days.
const MONTH_HOURS: f64 = 730.0;
const GIB: f64 = (1_u64 << 30) as f64;

pub(crate) fn month(
    prices: &Prices,
    kind: TierKind,
    product: Option<Product>,
    capacity: Bytes,
) -> Option<f64> {
    Some(prices.gib_month(kind, product)? * capacity.0 as f64 / GIB)
}

struct PricedTier {
    kind: TierKind,
    product: Option<Product>,
    capacity: Bytes,
    /// A replica has its own, and all share the store.
    count: u32,
}

fn tiers(deployment: &Deployment, arm: &Arm) -> Vec<PricedTier> {
    let Some(offload) = &arm.offload else { return Vec::new() };
    let own = offload.tiers.iter().map(|tier| PricedTier {
        kind: tier.kind,
        product: None,
        capacity: tier.capacity,
        count: deployment.replicas,
    });
    let store = offload.store.iter().map(|store| PricedTier {
        kind: TierKind::Remote,
        product: Some(store.product),
        capacity: store.capacity,
        count: 1,
    });
    own.chain(store).collect()
}

/// Accelerators and priced tiers. None without a price of accelerators.
pub fn hour_price(prices: &Prices, deployment: &Deployment, arm: &Arm) -> Option<f64> {
    let gpus = f64::from(deployment.hardware.count * deployment.replicas) * prices.gpu_hour?;
    let of_tier = |tier: PricedTier| {
        let month = month(prices, tier.kind, tier.product, tier.capacity)?;
        Some(f64::from(tier.count) * month / MONTH_HOURS)
    };
    Some(gpus + tiers(deployment, arm).into_iter().filter_map(of_tier).sum::<f64>())
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CostBasis {
    /// Nearest first.
    pub priced: Vec<TierKind>,
    /// No cost contains them.
    pub unpriced: Vec<TierKind>,
}

impl CostBasis {
    pub fn of(prices: &Prices, deployment: &Deployment) -> Self {
        let all = deployment.arms.iter().flat_map(|arm| tiers(deployment, arm));
        let used: Vec<PricedTier> = all.collect();
        let has = |kind: TierKind, priced: bool| {
            let of_kind = used.iter().filter(|tier| tier.kind == kind);
            let mut prices = of_kind.map(|tier| prices.gib_month(kind, tier.product).is_some());
            prices.any(|known| known == priced)
        };
        // A kind counts as unpriced if one of its tiers has no price.
        let kinds = TierKind::ALL.into_iter().filter(|kind| has(*kind, true) || has(*kind, false));
        let (unpriced, priced) = kinds.partition(|kind| has(*kind, false));
        Self { priced, unpriced }
    }
}
