use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::JoinHandle;

use parking_lot::Mutex;
use weir_load::{
    LimitField, Live, LoadConfig, LoadReport, LoadShape, PromptForm, Sink, TlsConfig, Url, run,
};
use weir_model::{ContentId, Nanos, Piece, Prompt, RequestRow, Tokens};
use weir_workload::{ClientOptions, Session, SessionSource, Shard, Turn};

#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// Requests before this one.
    pub(crate) number: usize,
    /// Connections before this request's.
    pub(crate) connection: usize,
    pub(crate) head: String,
    pub(crate) body: serde_json::Value,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub(crate) fn max_tokens(&self) -> usize {
        self.body["max_tokens"].as_u64().unwrap() as usize
    }

    pub(crate) fn prompt_ids(&self) -> Vec<u32> {
        serde_json::from_value(self.body["prompt"].clone()).unwrap()
    }
}

/// One thread per connection. The script answers each request; returning false closes the
/// connection.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) seen: Arc<Mutex<Vec<Asked>>>,
    over: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start(
        script: impl Fn(&Asked, &mut TcpStream) -> bool + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let over = Arc::new(AtomicBool::new(false));
        let script = Arc::new(script);
        let (log, stop) = (seen.clone(), over.clone());
        let acceptor = std::thread::spawn(move || {
            let mut threads = Vec::new();
            for (connection, stream) in listener.incoming().enumerate() {
                if stop.load(SeqCst) {
                    break;
                }
                let (script, log) = (script.clone(), log.clone());
                threads.push(std::thread::spawn(move || {
                    converse(stream.unwrap(), connection, &log, &*script);
                }));
            }
            for thread in threads {
                thread.join().unwrap();
            }
        });
        Self { address, seen, over, acceptor: Some(acceptor) }
    }

    pub(crate) fn seen(&self) -> Vec<Asked> {
        self.seen.lock().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.over.store(true, SeqCst);
        let _ = TcpStream::connect(self.address);
        let result = self.acceptor.take().unwrap().join();
        if !std::thread::panicking() {
            result.unwrap();
        }
    }
}

fn converse(
    mut stream: TcpStream,
    connection: usize,
    log: &Mutex<Vec<Asked>>,
    script: &(impl Fn(&Asked, &mut TcpStream) -> bool + ?Sized),
) {
    stream.set_nodelay(true).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    loop {
        let mut head = String::new();
        loop {
            let before = head.len();
            match reader.read_line(&mut head) {
                Ok(0) | Err(_) => return,
                Ok(_) if &head[before..] == "\r\n" => break,
                Ok(_) => {}
            }
        }
        let mut asked = Asked { number: 0, connection, head, body: serde_json::Value::Null };
        let length = asked.header("content-length").unwrap().parse().unwrap();
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        asked.body = serde_json::from_slice(&body).unwrap();
        {
            let mut log = log.lock();
            asked.number = log.len();
            log.push(asked.clone());
        }
        if !script(&asked, &mut stream) {
            return;
        }
    }
}

pub(crate) const STREAM: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

pub(crate) fn chunk(data: &str) -> String {
    format!("{:x}\r\n{data}\r\n", data.len())
}

pub(crate) const LAST_CHUNK: &str = "0\r\n\r\n";

pub(crate) fn token(text: &str) -> String {
    format!(
        "data: {{\"id\":\"x\",\"choices\":[{{\"index\":0,\"text\":\"{text}\",\
         \"finish_reason\":null}}]}}\n\n"
    )
}

pub(crate) fn usage(prompt: usize, output: usize) -> String {
    format!(
        "data: {{\"choices\":[],\"usage\":{{\"prompt_tokens\":{prompt},\
         \"completion_tokens\":{output},\
         \"prompt_tokens_details\":{{\"cached_tokens\":{}}}}}}}\n\n",
        prompt / 2
    )
}

pub(crate) const FINISH: &str =
    "data: {\"choices\":[{\"index\":0,\"text\":\"\",\"finish_reason\":\"length\"}]}\n\n";
pub(crate) const DONE: &str = "data: [DONE]\n\n";

pub(crate) fn events(asked: &Asked) -> Vec<String> {
    let tokens = asked.max_tokens();
    let mut events: Vec<String> = (0..tokens).map(|n| token(&format!(" t{n}"))).collect();
    events.push(FINISH.to_owned());
    events.push(usage(asked.body["prompt"].as_array().map_or(7, Vec::len), tokens));
    events.push(DONE.to_owned());
    events
}

pub(crate) fn whole(asked: &Asked) -> String {
    format!("{STREAM}{}{LAST_CHUNK}", chunk(&events(asked).concat()))
}

/// Answers well and at once.
pub(crate) fn answer(asked: &Asked, stream: &mut TcpStream) -> bool {
    stream.write_all(whole(asked).as_bytes()).is_ok()
}

/// A fixed list of sessions.
pub(crate) struct Given(pub(crate) std::vec::IntoIter<Session>);

impl SessionSource for Given {
    fn next_session(&mut self) -> Option<Session> {
        self.0.next()
    }
    fn is_finite(&self) -> bool {
        true
    }
}

pub(crate) fn piece(content: u64, len: u32) -> Piece {
    Piece::new(ContentId(content), len)
}

pub(crate) fn turn(pieces: &[Piece], output: Piece, after: &[u32], think: Nanos) -> Turn {
    Turn {
        prompt: Prompt::new(pieces.iter().copied()),
        output_tokens: Tokens(output.len),
        output: output.content,
        seen_tokens: Tokens::ZERO,
        after: after.to_vec(),
        think,
    }
}

/// Sessions of one turn: 8 prompt tokens, `output` answer tokens.
pub(crate) fn single_turns(count: u64, output: u32) -> Given {
    let sessions: Vec<Session> = (0..count)
        .map(|id| {
            let turn = turn(&[piece(id, 8)], piece(1 << 32 | id, output), &[], Nanos::ZERO);
            Session { id, start: None, turns: vec![turn] }
        })
        .collect();
    Given(sessions.into_iter())
}

pub(crate) fn config(address: SocketAddr) -> LoadConfig {
    LoadConfig {
        endpoints: vec![Url::parse(&format!("http://{address}")).unwrap()],
        model: "test-model".to_owned(),
        replicas: vec![address.to_string()],
        client: ClientOptions {
            request_timeout: Nanos::from_secs(30),
            drain: Nanos::from_secs(30),
            ..ClientOptions::default()
        },
        prompts: PromptForm::TokenIds { vocabulary: 1000 },
        min_tokens: true,
        limit_field: LimitField::MaxTokens,
        digest_output: false,
        bearer: None,
        headers: Vec::new(),
        tls: TlsConfig::default(),
        load: LoadShape::Users { users: 1, ramp: Nanos::ZERO },
        shard: Shard::WHOLE,
        seed: 1,
        duration: None,
        warmup: Nanos::ZERO,
        max_requests: None,
    }
}

#[derive(Default)]
pub(crate) struct Rows(pub(crate) Vec<RequestRow>);

impl Sink for Rows {
    fn row(&mut self, row: RequestRow, _prompt: &Prompt) -> Result<(), String> {
        self.0.push(row);
        Ok(())
    }
}

/// Rows are in order of request.
pub(crate) fn play(
    config: &LoadConfig,
    source: impl SessionSource + Send,
) -> (Vec<RequestRow>, LoadReport) {
    let mut rows = Rows::default();
    let report = run(config, source, &mut rows, &Live::new()).unwrap();
    rows.0.sort_by_key(|row| row.request);
    for row in &rows.0 {
        check(row);
    }
    (rows.0, report)
}

fn check(row: &RequestRow) {
    assert!(row.due <= row.start, "{row:?}");
    assert!(row.start <= row.end, "{row:?}");
    if let Some(first) = row.first_token {
        assert!(row.start <= first && first <= row.end, "{row:?}");
        assert!(row.first_byte.is_some_and(|byte| byte <= first), "{row:?}");
        let gaps: Nanos = row.chunk_gaps.iter().copied().sum();
        assert!(first + gaps <= row.end, "{row:?}");
    } else {
        assert!(row.chunk_gaps.is_empty(), "{row:?}");
    }
    assert_eq!(row.error.is_some(), row.outcome == weir_model::Outcome::Failed, "{row:?}");
    if let Some(error) = &row.error {
        assert!(!error.contains('\n') && error.len() < 700, "{error}");
    }
}

/// Counts requests in flight, and their maximum.
#[derive(Default)]
pub(crate) struct Gauge {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Gauge {
    pub(crate) fn enter(&self) {
        let now = self.now.fetch_add(1, SeqCst) + 1;
        self.most.fetch_max(now, SeqCst);
    }

    pub(crate) fn leave(&self) {
        self.now.fetch_sub(1, SeqCst);
    }

    pub(crate) fn most(&self) -> usize {
        self.most.load(SeqCst)
    }
}
