//! Prompt tokens that engines counted and the cell did not send (other clients), or the reverse
//! (something else answered).
//!
//! Engines count a prompt at the end of prefill, the generator a moment later at the first token.
//! Both counts may differ by the requests at the window's edges, which are known one by one. A
//! larger surplus comes from other clients, whose load is in every figure of the cell. Where a
//! twentieth is missing, a cache or engines without metrics answered.
//! speaks.

use weir_model::{CountedTokens, Nanos, RequestRow, Window};
use weir_observe::signals::PromptTotals;
use weir_workload::ClientOptions;

use crate::live::beyond::template_tokens;

/// Requests this near to the window are kept: a scrape takes less.
const REACH: Nanos = Nanos::from_secs(30);
/// Delay of a counter after the answer: vLLM records both in one turn of its loop.
const SLACK: Nanos = Nanos::from_millis(250);
/// Share of the tokens that may be missing in the engines' count.
const UNCOUNTED_SHARE: f64 = 0.05;
/// Allowed difference where answers do not say how long prompts were.
const UNKNOWN_SHARE: f64 = 0.1;

#[derive(Debug, Clone, Copy)]
struct Outside {
    sent: Nanos,
    first: Option<Nanos>,
    tokens: u64,
}

#[derive(Debug, Default)]
pub(crate) struct EdgeRequests {
    outside: Vec<Outside>,
    /// Time and prompt tokens of first tokens in the window and near its edges.
    inside: Vec<(Nanos, u64)>,
}

impl EdgeRequests {
    /// Adds a request that the engines may have counted on the other side of an edge.
    pub(crate) fn add(&mut self, row: &RequestRow, window: Window) {
        let tokens = u64::from(row.prompt_tokens.0);
        self.put(Outside { sent: row.start, first: row.first_token, tokens }, window);
    }

    fn put(&mut self, request: Outside, window: Window) {
        let near = |first: &Nanos| {
            window.contains(*first)
                && (*first < after(window.start, REACH) || after(*first, REACH) >= window.end)
        };
        self.inside.extend(request.first.filter(near).map(|first| (first, request.tokens)));
        let is_near = match request.first {
            Some(first) if window.contains(first) => false,
            Some(first) if first < window.start => after(first, REACH) >= window.start,
            _ => request.sent < after(window.end, REACH),
        };
        if is_near {
            self.outside.push(request);
        }
    }

    /// Most tokens that late scrapes may add to the window.
    fn most(&self, ScrapedWindow { window, late }: ScrapedWindow) -> u64 {
        let slack = after(late, SLACK);
        let may_count = |of: &&Outside| match of.first {
            Some(first) if first < window.start => after(first, slack) >= window.start,
            // Sent before the scrape at the end, and not answered by then.
            Some(_) => of.sent < after(window.end, slack),
            None => true,
        };
        self.outside.iter().filter(may_count).map(|of| of.tokens).sum()
    }

    /// Tokens of the window that late scrapes may have missed.
    fn counted_outside(&self, ScrapedWindow { window, late }: ScrapedWindow) -> u64 {
        let scraped = after(window.start, after(late, SLACK));
        let may_not_count = |first: Nanos| first < scraped || after(first, SLACK) >= window.end;
        self.inside
            .iter()
            .filter(|(first, _)| may_not_count(*first))
            .map(|(_, tokens)| tokens)
            .sum()
    }
}

/// `Nanos::MAX` stands for no end.
const fn after(moment: Nanos, by: Nanos) -> Nanos {
    Nanos(moment.0.saturating_add(by.0))
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct PromptCount {
    pub(crate) counted: f64,
    /// With a first token in the window.
    pub(crate) requests: u64,
    pub(crate) sent: u64,
    pub(crate) has_usage: bool,
}

impl PromptCount {
    pub(crate) const fn of(counted: f64, asked: &PromptTotals, has_usage: bool) -> Self {
        Self { counted, requests: asked.requests, sent: asked.prompt_tokens, has_usage }
    }
}

/// The measured window, and the longest delay of a scrape at its edges.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ScrapedWindow {
    pub(crate) window: Window,
    pub(crate) late: Nanos,
}

pub(crate) fn tokens(
    count: PromptCount,
    edges: &EdgeRequests,
    scraped: ScrapedWindow,
    client: &ClientOptions,
) -> Option<CountedTokens> {
    let answers = |key| client.body.get(key).and_then(serde_json::Value::as_u64).unwrap_or(1);
    if answers("n") > 1 || answers("best_of") > 1 {
        // Engines count a prompt once per answer.
        return None;
    }
    let uncounted = (UNCOUNTED_SHARE * count.sent as f64) as u64;
    let mut most = count.sent + edges.most(scraped);
    let mut least = count.sent - uncounted;
    if !count.has_usage {
        let unknown = (UNKNOWN_SHARE * count.sent as f64) as u64;
        most += unknown + count.requests * template_tokens(client);
        least -= unknown;
    }
    let least = least.saturating_sub(edges.counted_outside(scraped));
    Some(CountedTokens { counted: count.counted as u64, sent: count.sent, most, least })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Window = Window { start: Nanos::from_secs(4), end: Nanos::from_secs(12) };

    const fn scraped(late: Nanos) -> ScrapedWindow {
        ScrapedWindow { window: WINDOW, late }
    }

    /// Times in tenths of a second.
    fn request(sent: u64, first: Option<u64>, tokens: u64) -> Outside {
        let time = |tenths| Nanos(tenths * 100_000_000);
        Outside { sent: time(sent), first: first.map(time), tokens }
    }

    fn edges() -> EdgeRequests {
        let mut edges = EdgeRequests::default();
        let requests = [
            request(10, Some(20), 1_000), // long before
            request(20, Some(39), 1_040), // a moment before
            request(50, Some(60), 1_040), // inside
            request(119, Some(140), 1_040),
            request(125, Some(135), 1_000), // sent when all was scraped
            request(100, None, 1_040),
        ];
        for request in requests {
            edges.put(request, WINDOW);
        }
        edges
    }

    fn judged(counted: f64, client: &ClientOptions) -> Option<CountedTokens> {
        let count = PromptCount { counted, requests: 2, sent: 2_128, has_usage: true };
        tokens(count, &edges(), scraped(Nanos::ZERO), client)
    }

    #[test]
    fn requests_at_the_edges_explain_no_more_than_themselves() {
        let client = ClientOptions::default();
        let most = CountedTokens { counted: 5_248, sent: 2_128, most: 5_248, least: 2_022 };
        assert_eq!(judged(2_128.0 + 3.0 * 1_040.0, &client), Some(most));
        assert!(!most.are_foreign());
        let beyond = CountedTokens { counted: 5_249, ..most };
        assert_eq!(judged(5_249.0, &client), Some(beyond));
        assert!(beyond.are_foreign());
    }

    #[test]
    fn a_late_scrape_has_more_requests_at_its_edge() {
        assert_eq!(edges().most(scraped(Nanos::ZERO)), 3 * 1_040);
        assert_eq!(edges().most(scraped(Nanos::from_secs(2))), 3 * 1_040 + 2_000);
    }

    #[test]
    fn prompts_that_no_engine_counted_were_answered_by_something_else() {
        let mut edges = edges();
        let judged = |edges: &EdgeRequests, counted, late| {
            let count = PromptCount { counted, requests: 4, sent: 4_000, has_usage: true };
            tokens(count, edges, scraped(late), &ClientOptions::default()).unwrap()
        };
        assert!(judged(&edges, 3_799.0, Nanos::ZERO).are_missing());
        assert!(!judged(&edges, 3_800.0, Nanos::ZERO).are_missing());
        edges.put(request(35, Some(41), 1_000), WINDOW);
        edges.put(request(80, Some(119), 1_000), WINDOW);
        assert_eq!(judged(&edges, 0.0, Nanos::ZERO).least, 1_800);
        // A scrape in the seventh second counts the token of the sixth before.
        assert_eq!(judged(&edges, 0.0, Nanos::from_secs(3)).least, 760);
    }

    #[test]
    fn several_answers_per_prompt_are_not_judged() {
        let mut client = ClientOptions::default();
        client.body.insert("n".to_owned(), 2.into());
        assert_eq!(judged(1e9, &client), None);
    }

    #[test]
    fn where_no_answer_says_how_long_its_prompt_was_counts_may_differ() {
        let count = PromptCount { counted: 1_100.0, requests: 1, sent: 1_000, has_usage: false };
        let none = EdgeRequests::default();
        let client = ClientOptions::default();
        let seen = |count| tokens(count, &none, scraped(Nanos::ZERO), &client);
        let most = CountedTokens { counted: 1_100, sent: 1_000, most: 1_100, least: 850 };
        assert_eq!(seen(count), Some(most));
        let said = PromptCount { has_usage: true, ..count };
        assert_eq!(seen(said), Some(CountedTokens { most: 1_000, least: 950, ..most }));
    }
}
