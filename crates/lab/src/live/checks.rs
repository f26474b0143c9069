//! Comparisons that test whether a cell shows its own arm.

use serde::{Deserialize, Serialize};
use weir_model::{CountedTokens, LostKeys, Note, ServedTokens, Stalled, TierNote, Unfit};
use weir_spec::plan::ArmRole;

/// A comparison that could not be made is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checks {
    /// Prompt tokens that caches served, and the most that they can have held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served: Option<ServedTokens>,
    /// Prompt tokens that engines counted, and those sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted: Option<CountedTokens>,
    /// Keys in a store before the load, where prompts repeat those of earlier loads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm_keys: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<LostKeys>,
    /// Of a router's index outside its memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index_lost: Option<LostKeys>,
    /// Time of the window without a token.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stalls: Vec<Stalled>,
}

impl Checks {
    /// Why a cell of an arm has no result. An arm as it is deployed makes no claim that other
    /// clients could spoil. Where the same prompts were planned, earlier contents are too.
    pub fn unfit(&self, role: ArmRole, same_prompts: bool) -> Option<Unfit> {
        let is_claimed = role != ArmRole::AsDeployed;
        let foreign = self.foreign().filter(|_| is_claimed);
        let beyond = self.beyond().filter(|_| is_claimed || !same_prompts);
        let warm = self.warm_keys.filter(|_| is_claimed && same_prompts).map(Unfit::WarmStore);
        let index = self.index_lost.filter(LostKeys::is_all).map(Unfit::IndexLost);
        let lost = self.lost().or(index).filter(|_| is_claimed);
        let stalled = || self.stalls.iter().find(|stalled| stalled.is_too_long());
        foreign.or(beyond).or(warm).or(lost).or_else(|| stalled().cloned().map(Unfit::Stalled))
    }

    pub(crate) fn notes(&self, role: ArmRole, same_prompts: bool) -> Vec<Note> {
        let reason = self.unfit(role, same_prompts);
        let others = [self.foreign(), self.beyond(), self.lost()].into_iter().flatten();
        let untold = others.filter(|of| role == ArmRole::AsDeployed && reason.as_ref() != Some(of));
        let stalls = self.stalls.iter().cloned().map(Note::Stalled);
        let expired = self.lost.map(|lost| lost.expired).filter(|keys| *keys > 0);
        let expired = expired.map(|keys| TierNote::KeysExpired { keys }.into());
        stalls.chain(expired).chain(untold.map(Note::Unfit)).collect()
    }

    fn foreign(&self) -> Option<Unfit> {
        let counted = self.counted?;
        if counted.are_missing() {
            return Some(Unfit::UncountedTokens(counted));
        }
        counted.are_foreign().then_some(Unfit::ForeignTokens(counted))
    }

    fn lost(&self) -> Option<Unfit> {
        self.lost.filter(LostKeys::is_all).map(Unfit::StoreLost)
    }

    fn beyond(&self) -> Option<Unfit> {
        self.served.filter(ServedTokens::are_beyond).map(Unfit::HitsBeyondAsked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEYOND: ServedTokens = ServedTokens { served: 11, allowed: 10 };
    const FOREIGN: CountedTokens = CountedTokens { counted: 11, sent: 8, most: 10, least: 7 };

    #[test]
    fn other_clients_are_told_before_what_they_left() {
        let checks = Checks { served: Some(BEYOND), counted: Some(FOREIGN), ..Checks::default() };
        let unfit = checks.unfit(ArmRole::Treatment, false);
        assert_eq!(unfit, Some(Unfit::ForeignTokens(FOREIGN)));
        assert_eq!(checks.notes(ArmRole::Treatment, false), []);
        let missing = CountedTokens { counted: 6, ..FOREIGN };
        let unfit = Checks { counted: Some(missing), ..checks.clone() };
        let unfit = unfit.unfit(ArmRole::Control, false);
        assert_eq!(unfit, Some(Unfit::UncountedTokens(missing)), "a control is of its engines too");
        let fit = CountedTokens { most: 11, ..FOREIGN };
        let checks = Checks { counted: Some(fit), ..checks };
        let unfit = checks.unfit(ArmRole::Treatment, true);
        assert_eq!(unfit, Some(Unfit::HitsBeyondAsked(BEYOND)));
        let fit = ServedTokens { allowed: 11, ..BEYOND };
        let checks = Checks { served: Some(fit), ..checks };
        assert_eq!(checks.unfit(ArmRole::Control, false), None);
    }

    #[test]
    fn of_an_arm_as_deployed_they_are_notes() {
        let checks = Checks { served: Some(BEYOND), counted: Some(FOREIGN), ..Checks::default() };
        assert_eq!(checks.unfit(ArmRole::AsDeployed, true), None);
        assert_eq!(checks.notes(ArmRole::AsDeployed, true).len(), 2);
        // Unplanned contents make its figures those of another load.
        let unfit = checks.unfit(ArmRole::AsDeployed, false);
        assert_eq!(unfit, Some(Unfit::HitsBeyondAsked(BEYOND)));
        assert_eq!(checks.notes(ArmRole::AsDeployed, false).len(), 1);
    }

    #[test]
    fn a_store_that_lost_all_shows_no_arm() {
        let lost = LostKeys { flushes: 1, restarted: false, expired: 4 };
        let checks = Checks { lost: Some(lost), ..Checks::default() };
        let unfit = checks.unfit(ArmRole::Treatment, true).unwrap();
        assert_eq!(unfit, Unfit::StoreLost(lost));
        assert_eq!(checks.unfit(ArmRole::AsDeployed, true), None);
        assert_eq!(checks.notes(ArmRole::AsDeployed, true).len(), 2);
        let expired = LostKeys { flushes: 0, ..lost };
        let checks = Checks { lost: Some(expired), ..checks };
        assert_eq!(checks.unfit(ArmRole::Treatment, true), None);
        assert_eq!(checks.notes(ArmRole::Treatment, true).len(), 1);
    }

    #[test]
    fn the_same_prompts_on_a_store_that_held_keys_show_no_arm() {
        let checks = Checks { warm_keys: Some(39), ..Checks::default() };
        let unfit = checks.unfit(ArmRole::Treatment, true);
        assert_eq!(unfit, Some(Unfit::WarmStore(39)));
        assert_eq!(checks.unfit(ArmRole::Treatment, false), None, "nobody asked for these");
        assert_eq!(checks.unfit(ArmRole::AsDeployed, true), None);
    }
}
