use std::io::Write as _;
use std::path::Path;

use tempfile::TempDir;
use weir_model::{Nanos, Tokens};
use weir_workload::config::{TimeUnit, TraceFile};
use weir_workload::trace::reading::{Basis, TraceLayout, TraceReading};
use weir_workload::{Session, WorkloadConfig, open};

use crate::{options, take, workload};

/// Qwen-Bailian's fields; `timestamp` in seconds.
fn bailian(timestamp: &str, input: usize, ids: &[usize]) -> String {
    format!(
        "{{\"chat_id\": 7, \"parent_chat_id\": -1, \"timestamp\": {timestamp}, \"input_length\": \
         {input}, \"output_length\": 8, \"type\": \"text\", \"turn\": 1, \"hash_ids\": {ids:?}}}\n"
    )
}

/// Mooncake's fields only.
fn mooncake(timestamp: &str, input: usize, ids: &[usize]) -> String {
    format!(
        "{{\"timestamp\": {timestamp}, \"input_length\": {input}, \"output_length\": 8, \
         \"hash_ids\": {ids:?}}}\n"
    )
}

fn file(more: &str) -> TraceFile {
    match workload(&format!("trace: {{format: mooncake, path: t{more}}}")) {
        WorkloadConfig::Trace(file) => file,
        other => panic!("{other:?}"),
    }
}

fn folder(bytes: &[u8]) -> TempDir {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("t"), bytes).unwrap();
    folder
}

/// `more` are further keys of the experiment file.
fn read(text: &str, more: &str) -> Result<TraceReading, String> {
    let folder = folder(text.as_bytes());
    let reading = TraceReading::of(&file(more), folder.path(), true);
    let found = reading.map_err(|error| without(&error.to_string(), folder.path()))?;
    Ok(found.expect("a Mooncake trace has a reading"))
}

fn without(message: &str, folder: &Path) -> String {
    message.replace(folder.to_str().unwrap(), "FOLDER")
}

fn sessions(bytes: &[u8], section: &str) -> Result<Vec<Session>, String> {
    let folder = folder(bytes);
    let options =
        weir_workload::SourceOptions { trace_folder: folder.path().to_owned(), ..options(1) };
    let source = open(&workload(section), &options);
    let mut source = source.map_err(|error| without(&error.to_string(), folder.path()))?;
    let found = take(&mut source, usize::MAX);
    assert_eq!(source.error(), None);
    Ok(found)
}

/// 20 requests of 640 tokens, 5 s apart, that share the first 16-token block: 19 x 16 = 304 of
/// 12,800 tokens can be reused.
fn sixteens(row: impl Fn(&str, usize, &[usize]) -> String) -> String {
    let ids = |request: usize| -> Vec<usize> {
        std::iter::once(0).chain((1..40).map(|block| request * 39 + block)).collect()
    };
    (0..20).map(|n| row(&format!("{}.0", n * 5), 640, &ids(n))).collect()
}

#[test]
fn a_qwen_bailian_trace_has_blocks_of_16_and_seconds() {
    let text = sixteens(bailian);
    let found = read(&text, "").unwrap();
    // ceil(640 / b) is 40 for 16 alone: 15 gives 43, 17 gives 38.
    assert_eq!((found.block_tokens, found.block_basis), (16, Basis::OnlyFit));
    let published = Basis::Published(TraceLayout::QwenBailian);
    assert_eq!((found.time_unit, found.unit_basis), (TimeUnit::S, published));
    assert_eq!((found.requests, found.span), (20, Some(Nanos::from_secs(95))));
    let sessions = sessions(text.as_bytes(), "trace: {format: mooncake, path: t}").unwrap();
    let seen: u32 = sessions.iter().map(|session| session.turns[0].seen_tokens.get()).sum();
    let asked: u32 = sessions.iter().map(|s| s.turns[0].prompt.tokens().get()).sum();
    assert_eq!((seen, asked), (304, 12_800));
    assert_eq!(sessions[19].start, Some(Nanos::from_secs(95)));
}

#[test]
fn a_unit_that_nothing_shows_is_asked_for() {
    // The fields are Mooncake's, the blocks are not.
    let text = sixteens(mooncake);
    let asks = "does not say in which unit its timestamps are: ";
    let remedy = "; write `workload.trace.time_unit: s` (or ms, us, ns; `--trace-time-unit` on the \
                  command line)";
    let unknown = |why: &str| format!("the trace `FOLDER/t` {asks}{why}{remedy}");
    let whole = text.replace(".0,", ",");
    assert_eq!(
        read(&whole, "").unwrap_err(),
        unknown("its blocks have 16 tokens and not Mooncake's 512")
    );
    // The blocks are Mooncake's, the times are not.
    let fractions = mooncake("0.0", 1024, &[1, 2]) + &mooncake("1.5", 512, &[1]);
    let why = "Mooncake's times are whole milliseconds, and these are fractions";
    assert_eq!(read(&fractions, ", block_tokens: 512").unwrap_err(), unknown(why));
    // One more field.
    let more = mooncake("0", 512, &[1]).replace("\"hash_ids\"", "\"priority\": 3, \"hash_ids\"")
        + &mooncake("9", 512, &[1]);
    let why = "it has fields beyond Mooncake's (priority)";
    assert_eq!(read(&more, ", block_tokens: 512").unwrap_err(), unknown(why));
    for (unit, span) in [("s", 9_000_000_000), ("ms", 9_000_000), ("us", 9_000), ("ns", 9)] {
        let found = read(&more, &format!(", block_tokens: 512, time_unit: {unit}")).unwrap();
        assert_eq!((found.unit_basis, found.span), (Basis::Given, Some(Nanos(span))), "{unit}");
    }
    // A load that does not replay the times needs no unit, nor do requests that all come at once.
    let folder = folder(whole.as_bytes());
    let untimed = TraceReading::of(&file(""), folder.path(), false).unwrap().unwrap();
    assert_eq!((untimed.unit_basis, untimed.span), (Basis::Unused, None));
    let once = read(&text.replace("timestamp\": ", "timestamp\": 7e5, \"x\": "), "").unwrap();
    assert_eq!((once.unit_basis, once.span), (Basis::AllAtOnce, Some(Nanos::ZERO)));
}

#[test]
fn a_block_size_that_more_than_one_number_fits_is_asked_for() {
    // ceil(100 / b) = 1 and ceil(200 / b) = 2: any from 100 to 199.
    let text = mooncake("0", 100, &[1]) + &mooncake("1", 200, &[1, 2]);
    assert_eq!(
        read(&text, "").unwrap_err(),
        "the trace `FOLDER/t` does not say how many tokens a hash id stands for: blocks of 100 to \
         199 tokens fit its 2 requests; write `workload.trace.block_tokens` \
         (`--trace-block-tokens` on the command line)"
    );
    let given = read(&text, ", block_tokens: 128, time_unit: s").unwrap();
    assert_eq!((given.block_tokens, given.block_basis), (128, Basis::Given));
    assert_eq!(
        read(&text, ", block_tokens: 64, time_unit: s").unwrap_err(),
        "`FOLDER/t`, line 1: has 1 hash_ids, but input_length 100 is 2 blocks of 64 tokens; write \
         another `workload.trace.block_tokens`, or leave it out to have it found"
    );
    // Mooncake's own size is among those that fit, and the file has exactly its fields.
    let text = mooncake("0", 600, &[1, 2]) + &mooncake("1", 512, &[1]);
    let found = read(&text, "").unwrap();
    let published = Basis::Published(TraceLayout::Mooncake);
    assert_eq!((found.block_tokens, found.block_basis), (512, published));
    assert_eq!((found.time_unit, found.unit_basis), (TimeUnit::Ms, published));
}

#[test]
fn rows_that_contradict_each_other_are_named() {
    let text = mooncake("0", 640, &[0; 40]) + &mooncake("1", 640, &[0, 1]);
    assert_eq!(
        read(&text, "").unwrap_err(),
        "`FOLDER/t`, line 2: has 2 hash_ids for input_length 640, but the lines before it have \
         blocks of 16 tokens"
    );
    // Ids of whole blocks only: 2 for 47 tokens of blocks of 16.
    let text = mooncake("0", 640, &[0; 40]) + &mooncake("1", 47, &[0, 1]);
    assert!(read(&text, "").unwrap_err().contains("line 2: has 2 hash_ids for input_length 47"));
    let text = mooncake("0", 3, &[0, 1, 2, 3]);
    assert!(read(&text, "").unwrap_err().ends_with("input_length 3, which no block size gives"));
}

#[test]
fn times_in_quotes_and_beyond_53_bits_are_exact() {
    // Nanoseconds of 2025, as some writers put them: 100 ns apart, which a double cannot represent.
    let text = mooncake("\"1753780607550317897\"", 512, &[1])
        + &mooncake("1753780607550317997", 512, &[1]);
    let found = read(&text, ", time_unit: ns").unwrap();
    assert_eq!(found.span, Some(Nanos(100)));
    let error = read(&mooncake("\"soon\"", 512, &[1]), "").unwrap_err();
    assert!(error.contains("invalid value: string \"soon\", expected a number"), "{error}");
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

#[test]
fn packed_traces_are_read_by_what_they_are() {
    let text = mooncake("0", 600, &[1, 2]) + &mooncake("1", 512, &[1]);
    let section = "trace: {format: mooncake, path: t}";
    let plain = sessions(text.as_bytes(), section).unwrap();
    assert_eq!(plain.len(), 2);
    let marked = ["\u{feff}", &text.replace('\n', "\r\n")].concat();
    let split = text.find('\n').unwrap() + 1;
    // Two members, as `cat a.gz b.gz` makes them.
    let members = [gzip(&text.as_bytes()[..split]), gzip(&text.as_bytes()[split..])].concat();
    let zst = zstd::encode_all(marked.as_bytes(), 1).unwrap();
    // A skippable frame of 3 bytes before the data.
    let skipped = [b"\x50\x2a\x4d\x18\x03\0\0\0abc".to_vec(), zst.clone()].concat();
    for (name, bytes) in [
        ("mark and CRLF", marked.clone().into_bytes()),
        ("gzip", gzip(marked.as_bytes())),
        ("two members", members),
        ("zstd", zst),
        ("skippable frame", skipped),
    ] {
        assert_eq!(sessions(&bytes, section).as_ref(), Ok(&plain), "{name}");
    }
    let csv = "\u{feff}TIMESTAMP,ContextTokens,GeneratedTokens\r\n2023-11-16 18:17:03,10,1\r\n";
    let azure = sessions(&gzip(csv.as_bytes()), "trace: {format: azure2023, path: t}").unwrap();
    assert_eq!(azure[0].turns[0].prompt.tokens(), Tokens(10));
}

#[test]
fn containers_that_are_not_read_and_broken_ones_are_named() {
    let section = "trace: {format: mooncake, path: t}";
    let mut tar = vec![0; 300];
    tar[257..262].copy_from_slice(b"ustar");
    let cases = [
        (b"PK\x03\x04rest".to_vec(), "is a ZIP archive: unpack it"),
        (b"PAR1rest".to_vec(), "is a Parquet file: write its rows as JSON lines or CSV"),
        (b"\xff\xfe{\0".to_vec(), "is UTF-16 text: convert it to UTF-8"),
        (
            b"BZh91AY".to_vec(),
            "is compressed with bzip2: decompress it, or compress it with gzip or zstd",
        ),
        (gzip(&tar), "is a tar archive: unpack it"),
    ];
    for (bytes, expected) in cases {
        let found = sessions(&bytes, section).unwrap_err();
        assert_eq!(found, format!("the trace `FOLDER/t` {expected}"));
    }
    let long: String = (0..12_000).map(|n| mooncake(&n.to_string(), 512, &[n])).collect();
    let zst = zstd::encode_all(long.as_bytes(), 1).unwrap();
    for whole in [gzip(long.as_bytes()), zst] {
        let found = sessions(&whole[..whole.len() / 2], section).unwrap_err();
        assert!(found.contains("cannot read the trace: "), "{found}");
        assert!(!found.contains("line 1:"), "{found}");
    }
}

#[test]
fn a_refusal_names_the_dialect() {
    let supported = "supported: Mooncake and Qwen-Bailian JSON lines (`format: mooncake`) and \
                     Azure CSV (`format: azure2023`)";
    let turns = "{\"session_id\": \"a\", \"timestamp\": 0, \"input_length\": 512, \
                 \"output_length\": 1, \"hash_ids\": [1]}\n\
                 {\"session_id\": \"a\", \"delay\": 20, \"input_length\": 512, \
                 \"output_length\": 1, \"hash_ids\": [1]}\n";
    let cases = [
        (turns, "an AIPerf trace (session_id, delay)"),
        (
            "{\"timestamp\": 0, \"input_length\": 9, \"output_length\": 1}\n",
            "a trace of lengths only (input_length without hash_ids)",
        ),
        (
            "{\n  \"id\": \"c\",\n  \"block_size\": 64,\n  \"hash_id_scope\": \"local\",\n  \
             \"requests\": [{\"t\": 0.0, \"in\": 9,",
            "a kv-cache-tester (WEKA) trace (requests, hash_id_scope)",
        ),
        (
            "[\n  {\"id\": \"x\", \"conversations\": [{\"from\": \"human\", \"value\": \"hi",
            "a ShareGPT file (conversations)",
        ),
        (
            "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n5,GPT-4,4,1,5,x\n",
            "a BurstGPT trace (Request tokens, Response tokens)",
        ),
        ("{\"trace_id\": \"1\", \"spans\": []}\n", "an OpenTelemetry trace (trace_id, spans)"),
    ];
    for (text, expected) in cases {
        for format in ["mooncake", "azure2023"] {
            let section = format!("trace: {{format: {format}, path: t}}");
            assert_eq!(
                sessions(&gzip(text.as_bytes()), &section).unwrap_err(),
                format!("`FOLDER/t`, line 1: this is {expected}; {supported}"),
                "{format}"
            );
        }
    }
    let csv = b"TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03,10,1\n";
    assert!(
        sessions(csv, "trace: {format: mooncake, path: t}")
            .unwrap_err()
            .ends_with("; write `format: azure2023`")
    );
    let text = mooncake("0", 9, &[1]);
    assert!(
        sessions(text.as_bytes(), "trace: {format: azure2023, path: t}")
            .unwrap_err()
            .ends_with("; write `format: mooncake`")
    );
}
