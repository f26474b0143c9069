//! Sentences about verdicts and their evidence. Nothing reads these sentences again.

mod claim;
pub(crate) mod difference;
mod failure;
mod note;
mod reason;
pub(crate) mod refusal;
mod remedy;

use weir_model::{TierKind, Verdict};

pub(crate) use claim::{claimed, seen};
pub use failure::failure;
pub use note::note;
pub(crate) use reason::reason;
pub use refusal::refusal_words;
pub use remedy::remedy;

/// With its reason, as in tables and files.
pub fn verdict(of: &Verdict) -> String {
    match of {
        Verdict::OverheadOnly(reason) => format!("{} ({})", of.word(), reason.name()),
        Verdict::Void(reason) => format!("{} ({})", of.word(), reason.name()),
        Verdict::Failed(why) => format!("{} ({})", of.word(), failure(why)),
        _ => of.word().to_owned(),
    }
}

const fn tier(of: TierKind) -> &'static str {
    match of {
        TierKind::Gpu => "the GPU",
        TierKind::Host => "host memory",
        TierKind::Disk => "the disk",
        TierKind::Remote => "the remote store",
    }
}

const fn place(of: TierKind) -> &'static str {
    match of {
        TierKind::Gpu => "GPU",
        TierKind::Host => "host memory",
        TierKind::Disk => "disk",
        TierKind::Remote => "store",
    }
}
