//! Where prompt tokens came from, by one source's account: its shares add up.
//!
//! An engine counts at lookups, a client at answers, and a store counts its network traffic for all
//! clients. Shares that mix two sources do not add up to the whole.

use weir_model::{SignalKind, TierKind};

use super::{Seen, tier_name};

/// Tolerance, as a share of the prompt tokens, for tiers to add up to their total: less than a
/// printed digit.
const SPLIT: f64 = 0.0005;

/// What is unknown is not computed from the rest.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct TokenSources {
    pub(crate) part: String,
    pub(crate) prompt: f64,
    pub(crate) gpu: Option<f64>,
    pub(crate) tiers: Vec<(&'static str, f64)>,
    /// From tiers below the GPU, where the tier is unknown.
    pub(crate) behind: Option<f64>,
    /// From some cache, where the cache is unknown.
    pub(crate) cached: Option<f64>,
    pub(crate) computed: Option<f64>,
}

impl TokenSources {
    /// `gpu_only`: the arm is known to have no tier. None without prompts.
    ///
    /// The account is that of the first source that knows prompts and GPU hits. Where that source
    /// lacks the tiers' hits, and another knows the hits of all caches, it is the other's.
    pub(crate) fn of(seen: &Seen, gpu_only: bool, only_tier: Option<TierKind>) -> Option<Self> {
        let prompts = || seen.all(SignalKind::PromptTokens).iter().filter(|of| of.value > 0.0);
        let with_gpu = prompts().find(|of| seen.by(&of.part, SignalKind::GpuHitTokens).is_some());
        let of_gpu = with_gpu.map(|of| Self::by(&of.part, of.value, seen, gpu_only, only_tier));
        if let Some(whole) = of_gpu.as_ref().filter(|account| account.computed.is_some()) {
            return Some(whole.clone());
        }
        let cached = prompts().find_map(|of| {
            let cached = seen.by(&of.part, SignalKind::CachedTokens)?;
            let (cached, computed) = (Some(cached), Some((of.value - cached).max(0.0)));
            Some(Self {
                part: of.part.clone(),
                prompt: of.value,
                cached,
                computed,
                ..Self::default()
            })
        });
        cached.or(of_gpu).or_else(|| {
            let first = prompts().next()?;
            Some(Self { part: first.part.clone(), prompt: first.value, ..Self::default() })
        })
    }

    fn by(
        part: &str,
        prompt: f64,
        seen: &Seen,
        gpu_only: bool,
        only_tier: Option<TierKind>,
    ) -> Self {
        let gpu = seen.by(part, SignalKind::GpuHitTokens);
        let told = seen.by(part, SignalKind::ExternalHitTokens);
        let served = if gpu_only { Some(0.0) } else { told };
        // Hits counted at lookups can be a request ahead of the prompts.
        let hits = gpu.unwrap_or(0.0) + served.unwrap_or(0.0);
        let prompt = prompt.max(hits);
        let tiers = match (served, only_tier) {
            (Some(served), Some(tier)) if !gpu_only => vec![(tier_name(tier), served)],
            (Some(served), None) => split(seen, served, prompt),
            _ => Vec::new(),
        };
        Self {
            part: part.to_owned(),
            prompt,
            gpu,
            behind: served.filter(|_| tiers.is_empty() && !gpu_only),
            tiers,
            cached: None,
            computed: served.map(|_| prompt - hits),
        }
    }

    /// Tokens that no source accounts for.
    pub(crate) fn unknown(&self) -> f64 {
        let tiers: f64 = self.tiers.iter().map(|(_, tokens)| tokens).sum();
        let known = [self.gpu, self.behind, self.cached, self.computed];
        (self.prompt - tiers - known.into_iter().flatten().sum::<f64>()).max(0.0)
    }
}

/// Tokens by tier, where the tiers' own figures add up to the total served.
fn split(seen: &Seen, served: f64, prompt: f64) -> Vec<(&'static str, f64)> {
    let of_tier = |tier: TierKind| {
        let mut all = seen.all(SignalKind::hits_of(tier)).iter();
        let tokens = all.find(|of| !of.at_lookup)?.value;
        Some((tier_name(tier), tokens)).filter(|_| tokens > 0.0)
    };
    let tiers: Vec<(&str, f64)> = TierKind::ALL.into_iter().skip(1).filter_map(of_tier).collect();
    let sum: f64 = tiers.iter().map(|(_, tokens)| tokens).sum();
    if (sum - served).abs() <= SPLIT * prompt { tiers } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use weir_model::Signals;

    use super::super::tests::cell_with;
    use super::*;

    const ENGINE: &str = "vLLM's /metrics";
    const CLIENT: &str = "load generator";

    fn sources(signals: &[(SignalKind, f64, &str)]) -> TokenSources {
        let mut all = Signals::default();
        for (kind, value, source) in signals {
            all.add(*kind, *value, *source);
        }
        let result = cell_with(all);
        TokenSources::of(&Seen::of(&[&result]), false, None).unwrap()
    }

    /// Must equal the prompt tokens of the account.
    fn sum(of: &TokenSources) -> f64 {
        let tiers: f64 = of.tiers.iter().map(|(_, tokens)| tokens).sum();
        let known = [of.gpu, of.behind, of.cached, of.computed];
        tiers + known.into_iter().flatten().sum::<f64>() + of.unknown()
    }

    /// Host memory by the tier's count, 52.0 of 100, and by the engine's, 49.8: the engine's
    /// account excludes the tier's.
    #[test]
    fn one_account_adds_up_whatever_others_count() {
        let engine = [
            (SignalKind::PromptTokens, 1000.0, ENGINE),
            (SignalKind::PromptTokens, 990.0, CLIENT),
            (SignalKind::GpuHitTokens, 213.0, ENGINE),
            (SignalKind::ExternalHitTokens, 459.0, ENGINE),
        ];
        let with_tier = [&engine[..], &[(SignalKind::HostHitTokens, 498.0, "LMCache")]].concat();
        let seen = sources(&with_tier);
        assert_eq!(
            (seen.part.as_str(), seen.behind, seen.computed),
            (ENGINE, Some(459.0), Some(328.0))
        );
        assert!(seen.tiers.is_empty() && sum(&seen) == 1000.0, "{seen:?}");
        let equal = [&engine[..], &[(SignalKind::HostHitTokens, 459.0, "LMCache")]].concat();
        let seen = sources(&equal);
        assert_eq!((seen.tiers.as_slice(), seen.behind), (&[("host memory", 459.0)][..], None));
        assert_eq!(sum(&seen), 1000.0);
        // A lookup ahead of the prompts does not raise the total above all of them.
        let ahead = [
            (SignalKind::PromptTokens, 1000.0, ENGINE),
            (SignalKind::GpuHitTokens, 600.0, ENGINE),
            (SignalKind::ExternalHitTokens, 403.0, ENGINE),
        ];
        let seen = sources(&ahead);
        assert_eq!((seen.prompt, seen.computed, sum(&seen)), (1003.0, Some(0.0), 1003.0));
    }

    /// The engine does not report its tiers' hits, and answers report all caches: the answers'
    /// account is complete.
    #[test]
    fn answers_tell_where_the_engine_does_not() {
        let engine = [
            (SignalKind::PromptTokens, 1000.0, ENGINE),
            (SignalKind::PromptTokens, 800.0, CLIENT),
            (SignalKind::GpuHitTokens, 200.0, ENGINE),
        ];
        let cached = [&engine[..], &[(SignalKind::CachedTokens, 600.0, CLIENT)]].concat();
        let seen = sources(&cached);
        assert_eq!((seen.part.as_str(), seen.prompt), (CLIENT, 800.0));
        assert_eq!((seen.cached, seen.computed, seen.gpu), (Some(600.0), Some(200.0), None));
        let seen = sources(&engine);
        assert_eq!((seen.gpu, seen.computed, seen.unknown()), (Some(200.0), None, 800.0));
    }
}
