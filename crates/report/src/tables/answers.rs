//! How the tokens of live answers were counted, and where answers were not as requested, in words.

use weir_model::AnswerFacts;
use weir_model::answers::OtherLength;

use crate::comparison::{DeploymentComparison, GroupNote};

const MARK: &str = "~";

/// Marked with `~` where stream events were counted as tokens.
pub fn marked_tokens(facts: Option<&AnswerFacts>, figure: String) -> String {
    match facts {
        Some(facts) if facts.counts_events() => format!("{MARK}{figure}"),
        _ => figure,
    }
}

struct Remark {
    of: fn(&AnswerFacts) -> u64,
    words: fn(&AnswerFacts) -> String,
}

const REMARKS: [Remark; 9] = [
    Remark {
        of: |facts| facts.by_events,
        words: |_| {
            format!(
                "have no usage: their tokens are counted by events ({MARK}), which can each carry \
                 several or a part; give --tokenizer to count tokens."
            )
        },
    },
    Remark {
        of: |facts| facts.by_tokenizer,
        words: |_| "have no usage: their tokens are counted with the tokenizer.".to_owned(),
    },
    Remark {
        of: |facts| facts.by_limit,
        words: |_| {
            "have no usage: their tokens are taken as asked, because finish_reason is `length`."
                .to_owned()
        },
    },
    Remark {
        of: |facts| facts.more_events,
        words: |_| {
            "came in more events than usage counts tokens: gaps are between events.".to_owned()
        },
    },
    Remark {
        of: |facts| facts.in_one_piece,
        words: |_| {
            "came in one piece: the stream was held back, or not asked for. Their TTFT is the time \
             of the whole answer. Where most are such, there is no ITL and no TPOT."
                .to_owned()
        },
    },
    Remark {
        of: |facts| facts.ended_early.requests,
        words: |facts| format!("ended early: {} came.", share(&facts.ended_early)),
    },
    Remark {
        of: |facts| facts.went_on.requests,
        words: |facts| {
            let OtherLength { asked, came, .. } = facts.went_on;
            format!("are longer than asked: {came} tokens came for {asked}.")
        },
    },
    Remark {
        of: |facts| facts.prompts_cut.requests,
        words: |facts| {
            format!(
                "are to a prompt of which the server read {} (usage): it cut the prompt, or counts \
                 otherwise. Times and hits are those of what it read.",
                share(&facts.prompts_cut)
            )
        },
    },
    Remark {
        of: |facts| facts.prompts_longer.requests,
        words: |facts| {
            let OtherLength { asked, came, .. } = facts.prompts_longer;
            format!("are to a prompt longer than asked: the server read {came} tokens for {asked}.")
        },
    },
];

fn share(length: &OtherLength) -> String {
    format!("{} of {} tokens", length.came, length.asked)
}

/// One sentence each.
pub fn answer_sentences(of: &DeploymentComparison) -> Vec<String> {
    let groups = of.groups.iter();
    let groups: Vec<(&str, AnswerFacts)> =
        groups.filter_map(|group| Some((group.level.as_str(), group.answers?))).collect();
    sentences(&groups)
}

/// One sentence each.
pub(crate) fn group_sentences(of: &GroupNote) -> Vec<String> {
    let answers = of.answers.map(|facts| (of.level.as_str(), facts));
    sentences(answers.as_slice())
}

fn sentences(groups: &[(&str, AnswerFacts)]) -> Vec<String> {
    let mut all = AnswerFacts::default();
    for (_, facts) in groups {
        all.merge(facts);
    }
    let sentence = |remark: &Remark| {
        let mut levels: Vec<&str> = Vec::new();
        for (level, _) in groups.iter().filter(|(_, facts)| (remark.of)(facts) > 0) {
            if !levels.contains(level) {
                levels.push(level);
            }
        }
        let (count, total) = ((remark.of)(&all), all.answers());
        let words = (remark.words)(&all);
        (count > 0).then(|| format!("{count} of {total} answers ({}) {words}", levels.join(", ")))
    };
    REMARKS.iter().filter_map(sentence).collect()
}
