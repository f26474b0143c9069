use std::path::{Path, PathBuf};

use tempfile::TempDir;
use weir_model::{Nanos, Tokens};
use weir_workload::config::{OverContext, TraceFile, TraceFormat};
use weir_workload::trace::{TraceRules, TraceSource, mooncake};
use weir_workload::{Session, SessionSource, Source, SourceOptions, WorkloadError, open};

use crate::{options, take, workload};

struct Folder(TempDir);

impl Folder {
    fn with(text: &str) -> Self {
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("trace"), text).unwrap();
        Self(folder)
    }

    fn open(&self, more: &str, context: u32) -> Result<Source, WorkloadError> {
        let config = workload(&format!("trace: {{path: trace, {more}}}"));
        let options = SourceOptions {
            max_model_len: Tokens(context),
            trace_folder: self.0.path().to_owned(),
            ..options(1)
        };
        open(&config, &options)
    }

    fn error(&self, more: &str) -> String {
        let message = self.open(more, 40_960).unwrap_err().to_string();
        message.replace(self.0.path().to_str().unwrap(), "FOLDER")
    }
}

fn mooncake_line(timestamp: f64, input: u32, output: u32, ids: &[u64]) -> String {
    format!(
        "{{\"timestamp\": {timestamp}, \"input_length\": {input}, \"output_length\": {output}, \
         \"hash_ids\": {ids:?}}}\n"
    )
}

#[test]
fn a_mooncake_request_is_its_blocks() {
    let text = mooncake_line(27_000.0, 1100, 7, &[4, 5, 9])
        + "\n"
        + &mooncake_line(30_500.5, 512, 0, &[4]);
    let folder = Folder::with(&text);
    let mut source = folder.open("format: mooncake, time_unit: ms", 40_960).unwrap();
    let sessions = take(&mut source, 10);
    assert_eq!(sessions.len(), 2);
    let pieces = sessions[0].turns[0].prompt.pieces();
    let lengths: Vec<u32> = pieces.iter().map(|piece| piece.len).collect();
    assert_eq!(lengths, [512, 512, 76], "the last block is cut");
    assert_eq!(pieces[2].content, mooncake::block_content(9));
    assert_eq!(
        mooncake::block_content(9).0,
        4942519727890102810,
        "pinned: traces are comparable across versions"
    );
    assert_eq!((sessions[0].id, sessions[0].start), (0, Some(Nanos::ZERO)));
    assert_eq!((sessions[1].id, sessions[1].start), (1, Some(Nanos(3_500_500_000))));
    let second = &sessions[1].turns[0];
    assert_eq!((second.seen_tokens, second.output_tokens), (Tokens(512), Tokens(1)));
    assert_ne!(sessions[0].turns[0].output, second.output);
    let Source::Trace(trace) = &source else { panic!("a trace") };
    assert_eq!((trace.counts().read, trace.counts().raised), (2, 1));
    assert_eq!(trace.counts(), trace.total());
}

#[test]
fn equal_hash_ids_are_equal_blocks_of_any_size() {
    let text = mooncake_line(0.0, 1536, 1, &[1, 2, 3])
        + &mooncake_line(0.0, 1300, 1, &[1, 2, 3])
        + &mooncake_line(0.0, 1536, 1, &[1, 7, 3]);
    let folder = Folder::with(&text);
    let read = |seed: u64| -> Vec<Vec<u32>> {
        let file = TraceFile {
            format: TraceFormat::Mooncake,
            path: "trace".to_owned(),
            block_tokens: None,
            time_unit: None,
            limit: None,
            over_context: OverContext::Reject,
        };
        let rules = TraceRules { seed, max_model_len: Tokens(4096), speed: 1.0 };
        let mut source = TraceSource::open(&file, folder.0.path(), rules).unwrap();
        let ids = |s: &Session| s.turns[0].prompt.token_ids(151_936).collect();
        take(&mut source, 3).iter().map(ids).collect()
    };
    let [whole, cut, other] = &read(1)[..] else { panic!("three requests") };
    assert_eq!(&read(2)[0], whole, "content does not depend on the seed");
    for block in [16, 32, 64, 128, 256, 512] {
        let blocks = |tokens: &[u32]| tokens.chunks(block).map(<[u32]>::to_vec).collect::<Vec<_>>();
        let (whole, cut, other) = (blocks(whole), blocks(cut), blocks(other));
        let full = 1300 / block;
        assert_eq!(whole[..full], cut[..full], "{block}");
        let per_id = 512 / block;
        assert_eq!(whole[..per_id], other[..per_id], "{block}");
        assert_ne!(whole[per_id], other[per_id], "{block}");
        assert_eq!(whole[2 * per_id..], other[2 * per_id..], "{block}");
    }
}

#[test]
fn speed_scales_times() {
    let folder = Folder::with(&(mooncake_line(5.0, 9, 1, &[1]) + &mooncake_line(6.0, 9, 1, &[1])));
    let at = |speed: f64| {
        let options = SourceOptions {
            trace_speed: speed,
            trace_folder: folder.0.path().to_owned(),
            ..options(0)
        };
        let mut source = open(&workload("trace: {format: mooncake, path: trace}"), &options)?;
        Ok::<_, WorkloadError>(take(&mut source, 2)[1].start.unwrap())
    };
    assert_eq!(at(1.0), Ok(Nanos::from_millis(1)));
    assert_eq!(at(4.0), Ok(Nanos::from_micros(250)));
    assert_eq!(at(0.5), Ok(Nanos::from_millis(2)));
    assert_eq!(
        at(0.0).unwrap_err().to_string(),
        "`load.trace.speed` is 0; it must be a number above 0 (1 plays in real time)"
    );
}

#[test]
fn requests_beyond_the_context_are_refused_cut_or_left_out() {
    let text = mooncake_line(0.0, 900, 100, &[1, 2])
        + &mooncake_line(1.0, 1000, 100, &[1, 2])
        + &mooncake_line(2.0, 500, 100, &[1]);
    let folder = Folder::with(&text);
    let lengths = |more: &str| {
        let mut source = folder.open(more, 1000).unwrap();
        let tokens = |s: &Session| (s.turns[0].prompt.tokens().get(), s.turns[0].seen_tokens.get());
        let found: Vec<(u32, u32)> = take(&mut source, 9).iter().map(tokens).collect();
        (found, source.skipped(), source.truncated())
    };
    assert_eq!(lengths("format: mooncake, over_context: skip"), (vec![(900, 0), (500, 500)], 1, 0));
    assert_eq!(
        lengths("format: mooncake, over_context: truncate"),
        (vec![(900, 0), (900, 900), (500, 500)], 0, 1)
    );
    assert_eq!(lengths("format: mooncake, limit: 1"), (vec![(900, 0)], 0, 0));
    let message = |result: Result<Source, WorkloadError>| {
        result.unwrap_err().to_string().replace(folder.0.path().to_str().unwrap(), "FOLDER")
    };
    assert_eq!(
        message(folder.open("format: mooncake", 1000)),
        "`FOLDER/trace`, line 2: 1000 prompt and 100 output tokens exceed the model's context of \
         1000; write `over_context: skip` or `over_context: truncate` to go on without or with a \
         shorter prompt"
    );
    assert_eq!(
        message(folder.open("format: mooncake, over_context: truncate", 100)),
        "`FOLDER/trace`, line 1: asks for 100 output tokens, which leave no room for a prompt in \
         the model's context of 100; write `over_context: skip`"
    );
    assert_eq!(
        message(folder.open("format: mooncake, over_context: skip", 100)),
        "none of the 3 requests of the trace `FOLDER/trace` fits the model's context of 100"
    );
}

#[test]
fn malformed_mooncake_lines_are_named() {
    let good = mooncake_line(3.0, 9, 1, &[1]);
    let error = |line: &str| Folder::with(&format!("{good}{line}\n")).error("format: mooncake");
    let needs = "each line must be a JSON object with timestamp, input_length, output_length and \
                 hash_ids";
    let cases = [
        ("TIMESTAMP,x", format!("is not a Mooncake request: expected value (column 1); {needs}")),
        (
            r#"{"timestamp": 4, "input_length": 9, "output_length": 1}"#,
            format!("is not a Mooncake request: missing field `hash_ids` (column 55); {needs}"),
        ),
        (
            r#"{"timestamp": 4, "input_length": -9, "output_length": 1, "hash_ids": []}"#,
            format!(
                "is not a Mooncake request: invalid value: integer `-9`, expected u32 (column 35); \
                 {needs}"
            ),
        ),
        (
            r#"{"timestamp": 4, "input_length": 1025, "output_length": 1, "hash_ids": []}"#,
            "has 0 hash_ids for input_length 1025, which no block size gives".to_owned(),
        ),
        (
            r#"{"timestamp": 4, "timestamp": 5, "input_length": 9}"#,
            format!(
                "is not a Mooncake request: the key `timestamp` stands twice (column 31); {needs}"
            ),
        ),
        (
            r#"{"timestamp": 4, "input_length": 0, "output_length": 1, "hash_ids": []}"#,
            "has input_length 0; a request must ask something".to_owned(),
        ),
        (
            r#"{"timestamp": 4, "input_length": 1, "output_length": 4000000000, "hash_ids": [1]}"#,
            "has 1 input and 4000000000 output tokens, together more than 67108864".to_owned(),
        ),
        (
            r#"{"timestamp": 2, "input_length": 1, "output_length": 1, "hash_ids": [1]}"#,
            "is earlier than the line before it; sort the trace by its timestamps".to_owned(),
        ),
    ];
    for (line, expected) in cases {
        let found = error(line);
        assert!(found.starts_with("`FOLDER/trace`, line 2: "), "{found}");
        assert!(found.ends_with(&expected), "{found}\nis not: {expected}");
        assert!(!found.contains('\n'));
    }
    let far = r#"{"timestamp": 1e300, "input_length": 1, "output_length": 1, "hash_ids": [1]}"#;
    let found = Folder::with(&format!("{good}{far}\n")).error("format: mooncake, time_unit: ms");
    assert_eq!(found, "`FOLDER/trace`, line 2: has the timestamp 1e300, out of range");
}

#[test]
fn absent_and_empty_files_are_named() {
    assert_eq!(
        Folder::with("\n\n").error("format: mooncake"),
        "the trace `FOLDER/trace` holds no requests: check `workload.trace.path` and \
         `workload.trace.format`"
    );
    assert_eq!(
        Folder::with("").error("format: azure2023"),
        Folder::with("").error("format: mooncake")
    );
    let folder = Folder::with("");
    std::fs::remove_file(folder.0.path().join("trace")).unwrap();
    assert_eq!(
        folder.error("format: mooncake"),
        "cannot open the trace `FOLDER/trace`: No such file or directory (os error 2); get a \
         Mooncake trace, for example conversation_trace.jsonl in FAST25-release/traces of \
         https://github.com/kvcache-ai/Mooncake, and point to it with \
         `--set workload.trace.path=FILE`"
    );
    assert!(folder.error("format: azure2023").contains("AzurePublicDataset"));
    let inside = Folder::with("");
    std::fs::remove_file(inside.0.path().join("trace")).unwrap();
    std::fs::create_dir(inside.0.path().join("trace")).unwrap();
    assert!(inside.error("format: mooncake").contains("line 1: cannot read the trace"));
    assert!(inside.error("format: azure2023").contains("cannot read the trace"));
}

#[test]
fn a_file_that_changes_ends_the_source_with_an_error() {
    let lines: String = (0..5000).map(|i| mooncake_line(f64::from(i), 600, 1, &[1, 2])).collect();
    let folder = Folder::with(&lines);
    let mut source = folder.open("format: mooncake", 40_960).unwrap();
    assert_eq!(take(&mut source, 10).len(), 10);
    let garbage = "x".repeat(lines.len());
    std::fs::write(folder.0.path().join("trace"), garbage).unwrap();
    assert!(take(&mut source, 5000).len() < 4990);
    let error = source.error().map(ToString::to_string).unwrap_or_default();
    assert!(error.contains("is not a Mooncake request"), "{error}");
    assert_eq!(source.next_session(), None);
}

#[test]
fn an_azure_request_is_content_of_its_own() {
    let text = "TIMESTAMP,ContextTokens,GeneratedTokens\r\n\
                2023-11-16 23:59:59.9799600,4808,10\r\n\
                2023-11-17 00:00:00.0319600,4808,0";
    let folder = Folder::with(text);
    let sessions = take(&mut folder.open("format: azure2023", 40_960).unwrap(), 9);
    assert_eq!(sessions[0].start, Some(Nanos::ZERO));
    assert_eq!(sessions[1].start, Some(Nanos::from_millis(52)));
    let (first, second) = (&sessions[0].turns[0], &sessions[1].turns[0]);
    assert_eq!((first.prompt.tokens(), first.output_tokens), (Tokens(4808), Tokens(10)));
    assert_eq!((second.seen_tokens, second.output_tokens), (Tokens(0), Tokens(1)));
    assert_ne!(first.prompt, second.prompt);
}

#[test]
fn malformed_azure_lines_are_named() {
    let header = "TIMESTAMP,ContextTokens,GeneratedTokens\n";
    let error = |text: &str| Folder::with(text).error("format: azure2023");
    let row = |row: &str| error(&format!("{header}2023-11-16 18:17:03.97,10,1\n{row}\n"));
    let cases = [
        (
            error("TIMESTAMP,ContextTokens\n"),
            "line 1: has the columns `TIMESTAMP,ContextTokens` instead of \
             `TIMESTAMP,ContextTokens,GeneratedTokens`",
        ),
        (
            row("2023-11-16 18:17:04"),
            "line 3: has 1 columns instead of TIMESTAMP,ContextTokens,GeneratedTokens",
        ),
        (
            row("16/11/2023 18:17,10,1"),
            "line 3: has the TIMESTAMP `16/11/2023 18:17`; write for example 2023-11-16 \
             18:17:03.9799600",
        ),
        (
            row("2023-11-16 18:17:04,ten,1"),
            "line 3: has ContextTokens `ten`, which is not a number of tokens",
        ),
        (
            row("2023-11-16 18:17:04,10,-1"),
            "line 3: has GeneratedTokens `-1`, which is not a number of tokens",
        ),
        (
            row("2023-11-16 18:17:04,0,1"),
            "line 3: has ContextTokens 0; a request must ask something",
        ),
        (
            row("2023-11-16 18:17:02,10,1"),
            "line 3: is earlier than the line before it; sort the trace by its timestamps",
        ),
    ];
    for (found, expected) in cases {
        assert_eq!(found, format!("`FOLDER/trace`, {expected}"));
    }
}

/// Below `$WEIR_TRACES`, or in a `traces` folder in or beside the workspace.
fn published(file: &str) -> Option<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let named = std::env::var_os("WEIR_TRACES").map(PathBuf::from);
    let near = ["traces", "../traces"].map(|near| workspace.join(near));
    let found = named.into_iter().chain(near).map(|folder| folder.join(file)).find(|f| f.is_file());
    if found.is_none() {
        let in_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
        assert!(!in_ci, "no {file}, and CI must have it: set WEIR_TRACES to its folder");
        eprintln!("SKIPPED: no {file}; put it into traces/ or set WEIR_TRACES to its folder");
    }
    found
}

fn open_published(format: &str, path: &Path, over: &str, context: u32) -> Source {
    let yaml =
        format!("trace: {{format: {format}, path: {}, over_context: {over}}}", path.display());
    let options = SourceOptions { max_model_len: Tokens(context), ..options(1) };
    open(&workload(&yaml), &options).unwrap()
}

/// Facts about the published file, counted by other means.
#[test]
fn the_mooncake_conversation_trace_has_its_known_reuse() {
    let Some(path) = published("mooncake/conversation_trace.jsonl") else {
        return;
    };
    let mut source = open_published("mooncake", &path, "reject", 200_000);
    let (mut blocks, mut hits, mut sessions) = (0u64, 0u64, 0);
    let mut last = Nanos::ZERO;
    while let Some(session) = source.next_session() {
        let turn = &session.turns[0];
        blocks += u64::from(turn.prompt.tokens().get().div_ceil(512));
        hits += u64::from(turn.seen_tokens.get().div_ceil(512));
        sessions += 1;
        last = session.start.unwrap();
    }
    assert_eq!(sessions, 12_031);
    let rate = hits as f64 / blocks as f64;
    assert!((rate - 0.366_412).abs() < 1e-6, "{rate}");
    assert!((3500.0..3600.0).contains(&last.as_secs_f64()), "{last}");

    let mut source = open_published("mooncake", &path, "skip", 40_960);
    assert_eq!(take(&mut source, usize::MAX).len(), 12_031 - 574);
    assert_eq!((source.skipped(), source.truncated()), (574, 0));
    let mut source = open_published("mooncake", &path, "truncate", 40_960);
    assert_eq!(take(&mut source, usize::MAX).len(), 12_031);
    assert_eq!((source.skipped(), source.truncated()), (0, 574));
}

#[test]
fn the_azure_traces_are_read_to_their_end() {
    for (file, requests) in [("code", 8819), ("conv", 19_366)] {
        let name = format!("azure2023/AzureLLMInferenceTrace_{file}.csv");
        let Some(path) = published(&name) else { return };
        let sessions = take(&mut open_published("azure2023", &path, "reject", 40_960), usize::MAX);
        assert_eq!(sessions.len(), requests);
        assert!(sessions.iter().all(|session| session.turns[0].seen_tokens == Tokens(0)));
        assert!(sessions.is_sorted_by_key(|session| session.start));
    }
}
