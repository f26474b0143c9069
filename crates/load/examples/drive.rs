//! Temporary: measures.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]
use weir_load::*;
use weir_model::*;
use weir_workload::*;
struct Src(u64, u32, u32);
impl SessionSource for Src {
    fn next_session(&mut self) -> Option<Session> {
        let id = self.0;
        self.0 += 1;
        let turn = Turn {
            prompt: Prompt::new([Piece::new(ContentId(id), self.1)]),
            output_tokens: Tokens(self.2),
            output: ContentId(id | 1 << 40),
            seen_tokens: Tokens(0),
            after: vec![],
            think: Nanos(0),
        };
        Some(Session { id, start: None, turns: vec![turn] })
    }
}
struct Out(std::io::BufWriter<std::fs::File>, u64, u64);
impl Sink for Out {
    fn row(&mut self, row: RequestRow) -> Result<(), String> {
        use std::io::Write;
        self.1 += 1;
        self.2 += u64::from(row.output_tokens.0);
        writeln!(
            self.0,
            "weir-{},{},{},{},{},{:?},{}",
            row.request,
            row.start.0,
            row.first_token.unwrap_or_default().0,
            row.end.0,
            row.error_bound.0,
            row.outcome,
            row.error.unwrap_or_default()
        )
        .map_err(|e| e.to_string())
    }
}
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let (streams, output, secs, core): (u32, u32, u64, usize) = (
        a[2].parse().unwrap(),
        a[3].parse().unwrap(),
        a[4].parse().unwrap(),
        a[5].parse().unwrap(),
    );
    let config = LoadConfig {
        endpoints: vec![Url::parse(&a[1]).unwrap()],
        api: Api::Completions,
        model: "mock".into(),
        stream: true,
        prompts: PromptForm::TokenIds { vocabulary: 4096 },
        answers: Answers::Canned,
        ignore_eos: true,
        min_tokens: true,
        digest_output: false,
        bearer: None,
        headers: vec![],
        body: serde_json::Map::new(),
        tls: TlsConfig::default(),
        connect_timeout: Nanos::from_secs(10),
        request_timeout: Nanos::from_secs(100),
        reuse_connections: true,
        workers: vec![Some(core)],
        load: LoadShape::Users { users: streams, ramp: Nanos(0) },
        seed: 1,
        duration: Some(Nanos::from_secs(secs)),
        warmup: Nanos(0),
        drain: Nanos::from_secs(20),
        max_requests: None,
    };
    let cpus = {
        let mut c = rustix::thread::CpuSet::new();
        c.set(core);
        c
    };
    rustix::thread::sched_setaffinity(None, &cpus).unwrap();
    let mut out = Out(std::io::BufWriter::new(std::fs::File::create(&a[6]).unwrap()), 0, 0);
    let t = std::time::Instant::now();
    let report = run(&config, Src(0, 64, output), &mut out, &Live::new()).unwrap();
    let wall = t.elapsed().as_secs_f64();
    let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let cpu = cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9;
    println!(
        "requests {} tokens {} tok/s {:.0} cpu {:.2} s cpu s/Mtok {:.3}",
        out.1,
        out.2,
        out.2 as f64 / wall,
        cpu,
        cpu / out.2 as f64 * 1e6
    );
    println!("{:#?}", report);
}
