//! An endpoint, agents, and a level for them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use weir_field::{
    Agent, AgentOptions, Field, FieldLevel, OfferError, Offered, PromptOrder, SourceOrder, Token,
};
use weir_load::{LimitField, Live, LoadConfig, LoadShape, PromptForm, Sink, TlsConfig, Url};
use weir_model::{Nanos, Prompt, RequestRow, Tokens};
use weir_workload::config::{Count, Draw, Length, SharedPrefix};
use weir_workload::{ClientOptions, Salted, Shard, SourceOptions, WorkloadConfig, open};

pub(crate) const SALT: u64 = 77;
const CONTEXT: Tokens = Tokens(100_000);

/// Answers completions as streams, each after `delay`. Its threads end with the test's process.
pub(crate) fn endpoint(delay: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || converse(stream, delay));
        }
    });
    address
}

fn converse(mut stream: TcpStream, delay: Duration) {
    stream.set_nodelay(true).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    loop {
        let (mut line, mut length) = (String::new(), 0);
        loop {
            line.clear();
            match reader.read_line(&mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            if line.trim().is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').unwrap_or_default();
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let asked: serde_json::Value = serde_json::from_slice(&body).unwrap();
        std::thread::sleep(delay);
        if stream.write_all(answer(&asked).as_bytes()).is_err() {
            return;
        }
    }
}

fn answer(asked: &serde_json::Value) -> String {
    let (prompt, tokens) = (asked["prompt"].as_array().unwrap().len(), &asked["max_tokens"]);
    let event = |text: &str, finish: &str| {
        format!(
            "data: {{\"choices\":[{{\"index\":0,\"text\":\"{text}\",\"finish_reason\":{finish}}}]}}\n\n"
        )
    };
    let mut events: String = (0..tokens.as_u64().unwrap()).map(|_| event(" t", "null")).collect();
    events += &event("", "\"length\"");
    let usage = format!("{{\"prompt_tokens\":{prompt},\"completion_tokens\":{tokens}}}");
    events += "data: {\"choices\":[],\"usage\":";
    events += &usage;
    events += "}\n\n";
    events += "data: [DONE]\n\n";
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n";
    format!("{head}Content-Length: {}\r\n\r\n{events}", events.len())
}

pub(crate) fn make(prompts: &PromptOrder) -> Result<PromptForm, String> {
    match prompts {
        PromptOrder::TokenIds { vocabulary } => {
            Ok(PromptForm::TokenIds { vocabulary: *vocabulary })
        }
        _ => Err("only token ids here".to_owned()),
    }
}

pub(crate) fn options(token: Option<&Token>) -> AgentOptions {
    AgentOptions { token: token.cloned(), is_once: true, index: None, maker: make }
}

/// Listens; its thread ends when its field lets it go.
pub(crate) fn listening(token: Option<&Token>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let agent = Agent::new(options(token)).unwrap();
    std::thread::spawn(move || agent.listen(&listener));
    address
}

pub(crate) fn token() -> Token {
    Token::new("known-to-both").unwrap()
}

pub(crate) fn four_agents() -> Field {
    let addresses: Vec<String> = (0..4).map(|_| listening(Some(&token()))).collect();
    Field::dial(&addresses, Some(&token()), "a-run").unwrap()
}

pub(crate) fn shared_prefix(turns: u32) -> WorkloadConfig {
    WorkloadConfig::SharedPrefix(SharedPrefix {
        prefixes: Count::Absolute(5),
        draw: Draw::Uniform,
        prefix_tokens: 64,
        turns,
        prompt_tokens: Length::Fixed(16),
        output_tokens: Length::Fixed(4),
        think: Nanos::ZERO,
    })
}

pub(crate) fn config(endpoint: SocketAddr, load: LoadShape) -> LoadConfig {
    LoadConfig {
        endpoints: vec![Url::parse(&format!("http://{endpoint}")).unwrap()],
        model: "m".to_owned(),
        replicas: vec![endpoint.to_string()],
        client: ClientOptions::default(),
        prompts: PromptForm::TokenIds { vocabulary: 1000 },
        min_tokens: true,
        limit_field: LimitField::MaxTokens,
        digest_output: false,
        bearer: Some("S3CRET-of-the-server".to_owned()),
        headers: Vec::new(),
        tls: TlsConfig::default(),
        load,
        shard: Shard::WHOLE,
        seed: 3,
        duration: None,
        warmup: Nanos::ZERO,
        max_requests: None,
    }
}

#[derive(Default)]
pub(crate) struct Rows(pub(crate) Vec<RequestRow>);

impl Sink for Rows {
    fn row(&mut self, row: RequestRow, prompt: &Prompt) -> Result<(), String> {
        assert_eq!(prompt.digest(), row.prompt_id);
        self.0.push(row);
        Ok(())
    }
}

/// What was asked, in order of due time.
pub(crate) fn asked(rows: &[RequestRow]) -> Vec<(Nanos, u64, u32, u64)> {
    let mut asked: Vec<_> =
        rows.iter().map(|row| (row.due, row.session, row.turn, row.prompt_id)).collect();
    asked.sort_unstable();
    asked
}

fn source_options() -> SourceOptions {
    SourceOptions {
        seed: 3,
        max_model_len: CONTEXT,
        trace_speed: 1.0,
        trace_folder: std::path::PathBuf::new(),
    }
}

pub(crate) fn alone(config: &LoadConfig, workload: &WorkloadConfig) -> Vec<RequestRow> {
    let mut rows = Rows::default();
    let source = Salted::new(open(workload, &source_options()).unwrap(), Some(SALT));
    weir_load::run(config, source, &mut rows, &Live::new()).unwrap();
    rows.0
}

pub(crate) fn offer(
    field: &Field,
    config: &LoadConfig,
    workload: &WorkloadConfig,
    live: &Arc<Live>,
) -> Result<(Vec<RequestRow>, Offered), OfferError> {
    let source = open(workload, &source_options()).unwrap();
    let order = SourceOrder {
        seed: 3,
        max_model_len: CONTEXT,
        trace_speed: 1.0,
        salt: Some(SALT),
        requests: source.requests(),
    };
    let prompts = PromptOrder::TokenIds { vocabulary: 1000 };
    let level = FieldLevel { config, prompts: &prompts, workload, source: &order };
    let (mut rows, mut source) = (Rows::default(), Salted::new(source, Some(SALT)));
    let offered = field.offer(&level, &mut source, &mut rows, live)?;
    Ok((rows.0, offered))
}
