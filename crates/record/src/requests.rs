//! `requests.parquet`: one row per request of the cell.

use std::path::Path;

use weir_model::{ChoiceHits, Nanos, Outcome, RequestRow, TierKind, Tokens};

use crate::error::RecordError;
use crate::lists::TimeLists;
use crate::table::{TableReader, TableWriter, table};

table! {
    /// The columns of `requests.parquet`. Times count from the start of the cell.
    RequestTable of RequestRow, columns RequestColumn;
    lists |row| row.chunk_gaps.len();
    push |table, row| {
        table.request.push(row.request);
        table.session.push(row.session);
        table.turn.push(row.turn);
        table.prompt_id.push(row.prompt_id);
        table.replica.push(row.replica);
        table.due.push(row.due);
        table.start.push(row.start);
        table.connected.push(row.connected);
        table.first_byte.push(row.first_byte);
        table.first_token.push(row.first_token);
        table.end.push(row.end);
        table.prompt_tokens.push(row.prompt_tokens);
        table.output_tokens.push(row.output_tokens);
        table.seen_tokens.push(row.seen_tokens);
        table.cached_gpu_tokens.push(row.cached_tokens[TierKind::Gpu.index()]);
        table.cached_host_tokens.push(row.cached_tokens[TierKind::Host.index()]);
        table.cached_disk_tokens.push(row.cached_tokens[TierKind::Disk.index()]);
        table.cached_remote_tokens.push(row.cached_tokens[TierKind::Remote.index()]);
        table.preemptions.push(row.preemptions);
        table.first_step.push(row.first_step);
        table.chunk_gaps.push(&row.chunk_gaps);
        table.events_per_read.push(row.events_per_read);
        table.outcome.push(row.outcome);
        table.error.push(row.error.clone());
        table.output_digest.push(row.output_digest);
        table.error_bound.push(row.error_bound);
        table.routed_hit_tokens.push(row.hits.map(|hits| hits.routed));
        table.uniform_hit_tokens.push(row.hits.map(|hits| hits.uniform));
        table.best_hit_tokens.push(row.hits.map(|hits| hits.best));
        table.shard.push(row.shard);
    };
    row |table, i| {
        let mut cached_tokens = [Tokens::ZERO; 4];
        cached_tokens[TierKind::Gpu.index()] = table.cached_gpu_tokens[i];
        cached_tokens[TierKind::Host.index()] = table.cached_host_tokens[i];
        cached_tokens[TierKind::Disk.index()] = table.cached_disk_tokens[i];
        cached_tokens[TierKind::Remote.index()] = table.cached_remote_tokens[i];
        let (uniform, best) = (table.uniform_hit_tokens[i], table.best_hit_tokens[i]);
        let hits = table.routed_hit_tokens[i].zip(uniform.zip(best));
        RequestRow {
            request: table.request[i],
            session: table.session[i],
            turn: table.turn[i],
            prompt_id: table.prompt_id[i],
            replica: table.replica[i],
            due: table.due[i],
            start: table.start[i],
            connected: table.connected[i],
            first_byte: table.first_byte[i],
            first_token: table.first_token[i],
            end: table.end[i],
            prompt_tokens: table.prompt_tokens[i],
            output_tokens: table.output_tokens[i],
            seen_tokens: table.seen_tokens[i],
            cached_tokens,
            preemptions: table.preemptions[i],
            first_step: table.first_step[i],
            chunk_gaps: table.chunk_gaps.get(i).unwrap_or_default().to_vec(),
            events_per_read: table.events_per_read[i],
            outcome: table.outcome[i],
            error: table.error[i].clone(),
            output_digest: table.output_digest[i],
            error_bound: table.error_bound[i],
            hits: hits.map(|(routed, (uniform, best))| ChoiceHits { routed, uniform, best }),
            shard: table.shard[i],
        }
    };
    Request request: Vec<u64>, "request", "id", Delta,
        "The request: unique in the cell, in order of issue";
    Session session: Vec<u64>, "session", "id", Delta,
        "The session it belongs to";
    Turn turn: Vec<u32>, "turn", "index", Delta,
        "Its place in the session, from 0";
    PromptId prompt_id: Vec<u64>, "prompt_id", "digest", Plain,
        "Digest of the prompt: equal prompts have equal ids";
    Replica replica: Vec<Option<u16>>, "replica", "index", Delta,
        "The replica that served it; null where the answer does not name it";
    Due due: Vec<Nanos>, "due_ns", "ns", Delta,
        "When it should have been sent (open loop) or was allowed to be (closed loop)";
    Start start: Vec<Nanos>, "start_ns", "ns", Delta,
        "When it was sent";
    Connected connected: Vec<Option<Nanos>>, "connected_ns", "ns", Delta,
        "When the connection was there; live targets";
    FirstByte first_byte: Vec<Option<Nanos>>, "first_byte_ns", "ns", Delta,
        "When the first byte of the body came; live targets";
    FirstToken first_token: Vec<Option<Nanos>>, "first_token_ns", "ns", Delta,
        "When the first token came";
    End end: Vec<Nanos>, "end_ns", "ns", Delta,
        "When the last token came, or the request was given up";
    PromptTokens prompt_tokens: Vec<Tokens>, "prompt_tokens", "tokens", Delta,
        "Length of the prompt";
    OutputTokens output_tokens: Vec<Tokens>, "output_tokens", "tokens", Delta,
        "Tokens that came";
    SeenTokens seen_tokens: Vec<Tokens>, "seen_tokens", "tokens", Delta,
        "Leading prompt tokens that a cache without limits would hold";
    CachedGpuTokens cached_gpu_tokens: Vec<Tokens>, "cached_gpu_tokens", "tokens", Delta,
        "Prompt tokens served by the GPU's prefix cache";
    CachedHostTokens cached_host_tokens: Vec<Tokens>, "cached_host_tokens", "tokens", Delta,
        "Prompt tokens served from host memory";
    CachedDiskTokens cached_disk_tokens: Vec<Tokens>, "cached_disk_tokens", "tokens", Delta,
        "Prompt tokens served from disk";
    CachedRemoteTokens cached_remote_tokens: Vec<Tokens>, "cached_remote_tokens", "tokens", Delta,
        "Prompt tokens served from a remote store";
    Preemptions preemptions: Vec<u16>, "preemptions", "count", Delta,
        "Times it was preempted and recomputed";
    FirstStep first_step: Vec<u64>, "first_step", "index", Delta,
        "Simulated: the pass of its replica that gave the first token (`step` of steps.parquet)";
    ChunkGaps chunk_gaps: TimeLists, "chunk_gaps_ns", "ns", Delta,
        "Live: time between stream events that brought output, from the first token on";
    EventsPerRead events_per_read: Vec<Option<f32>>, "events_per_read", "count", Plain,
        "Mean number of stream events per read of the socket; live targets";
    Outcome outcome: Vec<Outcome>, "outcome", "`done`, `unfinished`, `failed`", Dictionary,
        "How it ended";
    Error error: Vec<Option<String>>, "error", "text", Dictionary,
        "Cause, for failed requests";
    OutputDigest output_digest: Vec<Option<u64>>, "output_digest", "digest", Plain,
        "Digest of the output tokens, where they are real";
    ErrorBound error_bound: Vec<Nanos>, "error_bound_ns", "ns", Delta,
        "Bound of the error of the row's times; 0 in simulation";
    RoutedHitTokens routed_hit_tokens: Vec<Option<Tokens>>, "routed_hit_tokens", "tokens", Delta,
        "With several replicas: prompt tokens that the chosen one held when it was sent";
    UniformHitTokens uniform_hit_tokens: Vec<Option<f32>>, "uniform_hit_tokens", "tokens", Plain,
        "The same, averaged over all replicas: the expectation of a uniform choice";
    BestHitTokens best_hit_tokens: Vec<Option<Tokens>>, "best_hit_tokens", "tokens", Delta,
        "The same, of the best replica";
    Shard shard: Vec<Option<u16>>, "shard", "index", Delta,
        "The process that sent it, where several generated the load";
}

/// Rows outside of a cell: those of one shard, on their way to the cell.
pub struct RequestFile(TableWriter<RequestTable>);

impl RequestFile {
    /// Replaces the file, with the first rows.
    pub fn create(path: &Path) -> Self {
        Self(TableWriter::new(path.to_owned()))
    }

    pub fn push(&mut self, row: &RequestRow) -> Result<(), RecordError> {
        self.0.push(row)
    }

    pub fn close(self) -> Result<(), RecordError> {
        self.0.close().map(drop)
    }

    /// In the order of pushing, decoded a few thousand at a time.
    pub fn read(
        path: &Path,
    ) -> Result<impl Iterator<Item = Result<RequestRow, RecordError>> + use<>, RecordError> {
        Ok(TableReader::open(path.to_owned())?.into_rows::<RequestTable>())
    }
}
