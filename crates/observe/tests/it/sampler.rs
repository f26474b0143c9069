use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use weir_model::Nanos;
use weir_observe::{
    Gap, HostProbe, SampleSource, Sampler, SamplerConfig, SamplerError, SamplerEvent, Scraper,
    Selection, SourceSample, UtcClock,
};

use crate::exporter::{Act, Exporter, text};
use crate::snapshot;

/// Reached only when something hangs.
const PATIENCE: Duration = Duration::from_secs(20);

fn next(receiver: &Receiver<SamplerEvent>) -> SamplerEvent {
    receiver.recv_timeout(PATIENCE).expect("an observation")
}

fn next_gap(receiver: &Receiver<SamplerEvent>, source: &str) -> Gap {
    loop {
        match next(receiver) {
            SamplerEvent::Gap(gap) if gap.source.contains(source) => return gap,
            _ => {}
        }
    }
}

fn every(millis: u64) -> SamplerConfig {
    let interval = Nanos::from_millis(millis);
    SamplerConfig { interval, budget: Nanos::from_secs(10), waiting: 4096 }
}

fn scraper(exporter: &Exporter) -> Box<dyn SampleSource> {
    Box::new(Scraper::new(&exporter.url(), "/metrics", Selection::all()))
}

#[test]
fn endpoints_and_the_machine_are_sampled_beside_each_other() {
    let exporter = Exporter::start(vec![text("vllm:prompt_tokens_total 1\n")]);
    let clock = UtcClock::anchored();
    let begin = clock.now();
    let sources: Vec<Box<dyn SampleSource>> =
        vec![scraper(&exporter), Box::new(HostProbe::open(&[]))];
    let (sampler, receiver) = Sampler::start(sources, every(20), clock).unwrap();
    let (mut metrics, mut host) = (Vec::new(), 0);
    while metrics.len() < 3 || host < 3 {
        match next(&receiver) {
            SamplerEvent::Sample(SourceSample::Metrics(taken)) => metrics.push(taken),
            SamplerEvent::Sample(SourceSample::Host(_)) => host += 1,
            SamplerEvent::Sample(SourceSample::Store(_)) => panic!("no store is sampled"),
            SamplerEvent::Gap(gap) => assert!(gap.missed > 0),
        }
    }
    assert_eq!(sampler.stop(), []);
    assert!(metrics.windows(2).all(|pair| pair[0].at < pair[1].at));
    // Due times are absolute: the third is at least two intervals after the first was due.
    assert!(metrics[2].at.since(begin).unwrap() >= Nanos::from_millis(40));
    let rows = SourceSample::Metrics(metrics[0].clone()).rows(begin);
    assert_eq!((rows.len(), rows[0].value), (1, 1.0));
    // Nothing is sampled after the end.
    let asked = exporter.requests().len();
    assert!(receiver.iter().count() < 10_000, "the channel ends with the sampler");
    assert_eq!(exporter.requests().len(), asked);
}

#[test]
fn a_failing_source_gives_gaps_and_then_samples_again() {
    let exporter = Exporter::start(vec![Act::Status(503, "starting"), text("x 1\n")]);
    let (sampler, receiver) =
        Sampler::start(vec![scraper(&exporter)], every(10), UtcClock::anchored()).unwrap();
    let SamplerEvent::Gap(gap) = next(&receiver) else { panic!("the first sample failed") };
    assert_eq!(gap.missed, 1);
    assert!(gap.cause.contains("503") && gap.source.ends_with("/metrics"), "{gap:?}");
    while !matches!(next(&receiver), SamplerEvent::Sample(_)) {}
    // A restarted engine: the sampler goes on, and the difference reports it.
    exporter.act(vec![text("x 0\n")]);
    loop {
        if let SamplerEvent::Sample(SourceSample::Metrics(taken)) = next(&receiver)
            && taken.gauge_sum("x", &[]) == Some(0.0)
        {
            break;
        }
    }
    sampler.stop();
}

#[test]
fn a_silent_source_delays_nobody_and_says_what_it_missed() {
    let silent = Exporter::start(vec![Act::Silence]);
    let lively = Exporter::start(vec![text("x 1\n")]);
    let sources = vec![scraper(&silent), scraper(&lively)];
    let config = SamplerConfig { budget: Nanos::from_millis(150), ..every(20) };
    let (sampler, receiver) = Sampler::start(sources, config, UtcClock::anchored()).unwrap();
    lively.wait_for(8);
    let quiet = silent.url().authority();
    let timed_out = next_gap(&receiver, &quiet);
    assert_eq!(timed_out.missed, 1, "{timed_out:?}");
    // A budget of 150 ms passes six due times at 20 ms; the one after is served.
    let missed = next_gap(&receiver, &quiet);
    assert!(missed.missed >= 6, "{missed:?}");
    assert!(missed.cause.contains("the sample before it ended"), "{missed:?}");
    assert_eq!(missed.due, timed_out.due.after(Nanos::from_millis(20)));
    let begin = Instant::now();
    sampler.stop();
    assert!(begin.elapsed() < Duration::from_secs(5), "no longer than the budget, and then some");
}

/// Reports each call.
struct Told {
    calls: Sender<()>,
}

impl SampleSource for Told {
    fn name(&self) -> &'static str {
        "told"
    }

    fn sample(&mut self, _: &UtcClock, _: Duration) -> Result<SourceSample, String> {
        let _ = self.calls.send(());
        Ok(SourceSample::Metrics(snapshot("x 1\n", 1)))
    }
}

#[test]
fn a_receiver_that_sleeps_costs_samples_and_never_time() {
    let (calls, called) = channel();
    let config = SamplerConfig { waiting: 2, ..every(1) };
    let sources: Vec<Box<dyn SampleSource>> = vec![Box::new(Told { calls })];
    let (sampler, receiver) = Sampler::start(sources, config, UtcClock::anchored()).unwrap();
    // Without a receiver the source is still sampled.
    for _ in 0..10 {
        called.recv_timeout(PATIENCE).expect("sampling does not wait for the receiver");
    }
    let lost = sampler.stop();
    let [gap] = lost.as_slice() else { panic!("{lost:?}") };
    assert_eq!(gap.source, "told");
    assert!(gap.missed >= 7, "{gap:?}");
    assert_eq!(receiver.iter().count(), 2);
}

#[test]
fn what_was_lost_is_said_as_soon_as_there_is_room() {
    let (calls, called) = channel();
    let config = SamplerConfig { waiting: 2, ..every(1) };
    let sources: Vec<Box<dyn SampleSource>> = vec![Box::new(Told { calls })];
    let (sampler, receiver) = Sampler::start(sources, config, UtcClock::anchored()).unwrap();
    for _ in 0..10 {
        called.recv_timeout(PATIENCE).expect("sampling goes on");
    }
    // A loaded machine may add smaller gaps before it.
    while next_gap(&receiver, "told").missed < 7 {}
    sampler.stop();
}

#[test]
fn dropping_a_sampler_or_its_receiver_ends_well() {
    let (calls, called) = channel();
    let sources: Vec<Box<dyn SampleSource>> = vec![Box::new(Told { calls })];
    let (sampler, receiver) = Sampler::start(sources, every(1), UtcClock::anchored()).unwrap();
    drop(receiver);
    called.recv_timeout(PATIENCE).unwrap();
    drop(sampler);
    assert!(called.iter().count() < 10_000);
    let config = SamplerConfig { interval: Nanos::ZERO, ..SamplerConfig::default() };
    let refused = Sampler::start(Vec::new(), config, UtcClock::anchored());
    assert!(matches!(refused, Err(SamplerError::NoInterval)));
}

#[test]
fn stopping_does_not_wait_for_the_next_due_time() {
    let exporter = Exporter::start(vec![text("x 1\n")]);
    let config = SamplerConfig { interval: Nanos::from_secs(3600), ..SamplerConfig::default() };
    let (sampler, receiver) =
        Sampler::start(vec![scraper(&exporter)], config, UtcClock::anchored()).unwrap();
    assert!(matches!(next(&receiver), SamplerEvent::Sample(_)), "the first one comes at once");
    let begin = Instant::now();
    sampler.stop();
    assert!(begin.elapsed() < Duration::from_secs(5));
}
