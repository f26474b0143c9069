use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use weir_field::{Agent, AgentError, Field, FieldError, OfferError, Token};
use weir_load::{Live, LoadShape};
use weir_model::{Nanos, ShardCause};
use weir_workload::Arrivals;

use crate::bed::*;

fn refusal(result: Result<Field, FieldError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn agents_are_refused_by_name_before_a_load() {
    let own = token();
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let there = listening(Some(&own));
    let why = refusal(Field::dial(&[there.clone(), gone.clone()], Some(&own), "r"));
    assert!(why.starts_with(&format!("agent {gone}: ")), "{why}");
    let other = Token::new("another").unwrap();
    let agent = listening(Some(&own));
    let one = std::slice::from_ref(&agent);
    let why = refusal(Field::dial(one, Some(&other), "r"));
    let expected = format!("agent {agent} refuses: the agent token is missing or another");
    assert_eq!(why, expected);
    assert_eq!(refusal(Field::dial(one, None, "r")), expected);
    let kept = Field::dial(one, Some(&own), "r").unwrap();
    let why = refusal(Field::dial(one, Some(&own), "other"));
    assert!(why.ends_with("it works for another run until that ends"), "{why}");
    drop(kept);
    let why = refusal(Field::dial(&[agent.clone(), agent.clone()], Some(&own), "r"));
    assert!(why.contains("it is given twice"), "{why}");
}

#[test]
fn an_agent_without_a_token_stays_on_its_machine() {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let agent = Agent::new(options(None)).unwrap();
    let error = agent.listen(&listener).unwrap_err();
    assert!(matches!(error, AgentError::Open { .. }), "{error}");
}

/// Answers everything with one body.
fn impostor(body: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let length = body.len();
            let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}");
        }
    });
    address
}

#[test]
fn another_version_is_refused() {
    let agent =
        impostor(r#"{"version":"0.0.9","protocol":1,"id":"x","host":"elsewhere","index":null}"#);
    let why = refusal(Field::dial(&[agent], None, "r"));
    assert!(why.contains("is version 0.0.9, and this is "), "{why}");
}

#[test]
fn loads_that_cannot_be_divided_are_refused_by_name() {
    let field = four_agents();
    let live = Arc::new(Live::new());
    let endpoint = endpoint(Duration::ZERO);
    let few = config(endpoint, LoadShape::Users { users: 3, ramp: Nanos::ZERO });
    let why = offer(&field, &few, &shared_prefix(1), &live).unwrap_err().to_string();
    assert!(why.starts_with("3 users cannot be divided among 4 agents"), "{why}");
    let mut limited = config(endpoint, LoadShape::Open(Arrivals::Poisson { rate: 10.0 }));
    limited.max_requests = Some(10);
    let why = offer(&field, &limited, &shared_prefix(2), &live).unwrap_err().to_string();
    assert!(why.starts_with("a limit of 10 requests cannot be divided"), "{why}");
}

/// A network between field and agent that can be cut.
struct Network {
    address: String,
    is_cut: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Network {
    fn before(agent: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let is_cut = Arc::new(AtomicBool::new(false));
        let open = Arc::new(Mutex::new(Vec::new()));
        let (cut, kept, agent) = (is_cut.clone(), open.clone(), agent.to_owned());
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                if cut.load(Ordering::SeqCst) {
                    continue;
                }
                let Ok(far) = TcpStream::connect(&agent) else { continue };
                let pairs = [(&near, &far), (&far, &near)];
                for (from, to) in pairs {
                    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    std::thread::spawn(move || {
                        let _ = std::io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Both);
                    });
                }
                kept.lock().unwrap().extend([near, far]);
            }
        });
        Self { address, is_cut, open }
    }

    fn cut(&self) {
        self.is_cut.store(true, Ordering::SeqCst);
        self.drop_connections();
    }

    fn drop_connections(&self) {
        for stream in self.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn running(live: &Live) {
    let until = Instant::now() + Duration::from_secs(30);
    while live.snapshot().done == 0 {
        assert!(Instant::now() < until, "the load never began");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_cut_network_fails_the_level_with_its_shard_and_one_that_comes_back_does_not() {
    let (first, second) = (listening(Some(&token())), listening(Some(&token())));
    let network = Network::before(&second);
    let addresses = [first, network.address.clone()];
    let field = Field::dial(&addresses, Some(&token()), "a-run").unwrap();
    let endpoint = endpoint(Duration::from_millis(1));
    let mut config = config(endpoint, LoadShape::Open(Arrivals::Constant { rate: 200.0 }));
    config.duration = Some(Nanos::from_secs(2));
    for is_for_good in [false, true] {
        let live = Arc::new(Live::new());
        let cutter = live.clone();
        let result = std::thread::scope(|scope| {
            let network = &network;
            scope.spawn(move || {
                running(&cutter);
                if is_for_good { network.cut() } else { network.drop_connections() }
            });
            offer(&field, &config, &shared_prefix(1), &live)
        });
        if !is_for_good {
            let (rows, _) = result.unwrap();
            assert!(rows.len() >= 400, "{}", rows.len());
            continue;
        }
        let OfferError::Shard(failure) = result.unwrap_err() else { panic!("another failure") };
        assert_eq!((failure.shard, failure.of), (1, 2));
        assert_eq!(failure.agent, addresses[1]);
        assert!(matches!(failure.cause, ShardCause::Lost { .. }), "{failure}");
    }
}

#[test]
fn what_an_agent_cannot_do_fails_the_level_in_its_words() {
    let field = four_agents();
    let mut config =
        config("127.0.0.1:9".parse().unwrap(), LoadShape::Open(Arrivals::Poisson { rate: 10.0 }));
    config.client.workers = 0;
    let result = offer(&field, &config, &shared_prefix(1), &Arc::new(Live::new()));
    let OfferError::Shard(failure) = result.unwrap_err() else { panic!("another failure") };
    let why = "no worker is given: at least one thread must send".to_owned();
    assert_eq!(failure.cause, ShardCause::Refused(why));
    // The field and its agents serve the next level.
    config.client.workers = 1;
    config.endpoints =
        vec![weir_http::Url::parse(&format!("http://{}", endpoint(Duration::ZERO))).unwrap()];
    config.max_requests = Some(8);
    let (rows, _) = offer(&field, &config, &shared_prefix(1), &Arc::new(Live::new())).unwrap();
    assert_eq!(rows.len(), 8);
}

#[test]
fn a_stopped_load_ends_at_once() {
    let field = four_agents();
    let endpoint = endpoint(Duration::from_millis(1));
    let mut config = config(endpoint, LoadShape::Users { users: 4, ramp: Nanos::ZERO });
    config.duration = Some(Nanos::from_secs(600));
    let live = Arc::new(Live::new());
    let stopper = live.clone();
    let stop = std::thread::spawn(move || {
        running(&stopper);
        stopper.abort();
    });
    let result = offer(&field, &config, &shared_prefix(1), &live);
    assert!(matches!(result.unwrap_err(), OfferError::Stopped));
    stop.join().unwrap();
}
