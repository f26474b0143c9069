//! One order under way in an agent.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use weir_load::{Live, Sink, run_shard};
use weir_model::{Prompt, RequestRow};
use weir_record::RequestFile;
use weir_workload::{Salted, Shard};

use crate::group::GroupCounts;
use crate::message::{AgentReport, AgentState};
use crate::order::{PromptMaker, ShardOrder, digest_file};

const ROWS: &str = "rows.parquet";

/// Shared by the thread that sends and those that answer the field.
#[derive(Debug)]
pub(crate) struct ShardRun {
    pub(crate) digest: String,
    pub(crate) shard: Shard,
    pub(crate) live: Live,
    folder: PathBuf,
    /// When the start was agreed.
    before: Mutex<Option<GroupCounts>>,
    end: Mutex<Option<Result<AgentReport, String>>>,
}

impl ShardRun {
    /// On a thread of its own. `folder` gets the rows.
    pub(crate) fn begin(
        order: ShardOrder,
        folder: PathBuf,
        path: impl Fn(&str) -> PathBuf + Send + 'static,
        maker: PromptMaker,
    ) -> std::io::Result<Arc<Self>> {
        let run = Arc::new(Self {
            digest: order.level.digest(),
            shard: order.shard,
            live: Live::held(),
            folder,
            before: Mutex::default(),
            end: Mutex::default(),
        });
        let own = Arc::clone(&run);
        std::thread::Builder::new().name("shard".to_owned()).spawn(move || {
            let end = own.generate(order, path, maker);
            *own.end.lock() = Some(end);
        })?;
        Ok(run)
    }

    fn generate(
        &self,
        order: ShardOrder,
        path: impl Fn(&str) -> PathBuf,
        maker: PromptMaker,
    ) -> Result<AgentReport, String> {
        let load = order.prepare(path, maker)?;
        let file = self.rows_path();
        let said = |error: weir_record::RecordError| error.to_string();
        let mut rows =
            Rows { file: RequestFile::create(&file), count: 0, shard: self.shard.index as u16 };
        let mut source = Salted::new(load.source, load.salt);
        let report = run_shard(&load.config, &mut source, &mut rows, &self.live);
        let before = self.before.lock().take().unwrap_or_default();
        let group = GroupCounts::now().since(&before);
        let report = report.map_err(|error| error.to_string())?;
        if let Some(error) = source.source().error() {
            return Err(error.to_string());
        }
        rows.file.close().map_err(said)?;
        let (bytes, sha256) = digest_file(&file).map_err(|error| error.to_string())?;
        let counts = self.live.counts();
        Ok(AgentReport { load: report, counts, rows: rows.count, bytes, sha256, group })
    }

    pub(crate) fn rows_path(&self) -> PathBuf {
        self.folder.join(ROWS)
    }

    /// False if it is not ready.
    pub(crate) fn start(&self, monotonic_ns: u64) -> bool {
        *self.before.lock() = Some(GroupCounts::now());
        self.live.begin_at(monotonic_ns)
    }

    pub(crate) fn state(&self) -> AgentState {
        match &*self.end.lock() {
            Some(Ok(_)) => AgentState::Done,
            Some(Err(_)) => AgentState::Failed,
            None if self.live.has_begun() => AgentState::Running,
            None if self.live.is_ready() => AgentState::Ready,
            None => AgentState::Preparing,
        }
    }

    pub(crate) fn problem(&self) -> Option<String> {
        self.end.lock().as_ref()?.as_ref().err().cloned()
    }

    pub(crate) fn report(&self) -> Option<AgentReport> {
        self.end.lock().as_ref()?.as_ref().ok().cloned()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.end.lock().is_some()
    }
}

struct Rows {
    file: RequestFile,
    count: u64,
    shard: u16,
}

impl Sink for Rows {
    fn row(&mut self, row: RequestRow, _prompt: &Prompt) -> Result<(), String> {
        self.count += 1;
        let row = RequestRow { shard: Some(self.shard), ..row };
        self.file.push(&row).map_err(|error| error.to_string())
    }
}
