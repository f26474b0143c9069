//! Cases: number of streams, length of answers, pace of the server.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Tokens per write.
    Unpaced { burst: u32 },
    /// The first token after 100 ms, then at this interval.
    Paced { every_ms: u32 },
}

pub(crate) const FIRST_MS: u32 = 100;
pub(crate) const PROMPT_TOKENS: u32 = 64;
/// Tokens per write where the server must be far from its limit.
pub(crate) const LARGE_BURST: u32 = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) pace: Pace,
    pub(crate) streams: u32,
    pub(crate) output_tokens: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Group {
    Unpaced,
    Bursts,
    Paced,
}

impl Group {
    pub(crate) const ALL: [Self; 3] = [Self::Unpaced, Self::Bursts, Self::Paced];

    pub(crate) fn title(self) -> String {
        match self {
            Self::Unpaced => "No server delay, one token per write".to_owned(),
            Self::Bursts => {
                let far = "the server is far from its limit";
                format!("No server delay, {LARGE_BURST} tokens per write: {far}")
            }
            Self::Paced => {
                let every = "one every 10 ms (4,096 streams: every 100 ms)";
                format!("First token after {FIRST_MS} ms, then {every}")
            }
        }
    }
}

impl Case {
    pub(crate) fn group(self) -> Group {
        match self.pace {
            Pace::Unpaced { burst: 1 } => Group::Unpaced,
            Pace::Unpaced { .. } => Group::Bursts,
            Pace::Paced { .. } => Group::Paced,
        }
    }

    /// Short and unique, for folders and `--case`.
    pub(crate) fn name(self) -> String {
        let Self { streams, output_tokens, .. } = self;
        let kind = match self.group() {
            Group::Unpaced => "unpaced",
            Group::Bursts => "bursts",
            Group::Paced => "paced",
        };
        format!("{kind}-{streams}x{output_tokens}")
    }

    /// Milliseconds between tokens of a paced server.
    pub(crate) fn every_ms(self) -> Option<f64> {
        match self.pace {
            Pace::Unpaced { .. } => None,
            Pace::Paced { every_ms } => Some(f64::from(every_ms)),
        }
    }
}

/// `quick` selects those of a short run.
pub(crate) fn all(quick: bool) -> Vec<Case> {
    let case = |pace, streams, output_tokens| Case { pace, streams, output_tokens };
    let mut cases = Vec::new();
    for output_tokens in [128, 1024] {
        for streams in [1, 64, 512] {
            if !quick || (streams > 1 && output_tokens == 128) {
                cases.push(case(Pace::Unpaced { burst: 1 }, streams, output_tokens));
            }
        }
    }
    for streams in [64, 512] {
        if !quick || streams == 64 {
            cases.push(case(Pace::Unpaced { burst: LARGE_BURST }, streams, 128));
        }
    }
    // At 10 ms, 4,096 streams would be 410,000 tokens per second, more than one core can write.
    for (streams, every_ms) in [(1, 10), (64, 10), (512, 10), (4096, 100)] {
        if !quick || streams <= 512 {
            cases.push(case(Pace::Paced { every_ms }, streams, 128));
        }
    }
    cases
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::all;

    #[test]
    fn names_are_unique_and_a_short_run_is_a_part_of_a_long_one() {
        let names: Vec<String> = all(false).into_iter().map(super::Case::name).collect();
        let unique: BTreeSet<&String> = names.iter().collect();
        assert_eq!(unique.len(), names.len());
        for case in all(true) {
            assert!(names.contains(&case.name()));
        }
    }
}
