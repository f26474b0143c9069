//! The run folder of a field, fetched to another machine.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use weir_http::request::Method;
use weir_http::url::Url;

use crate::channel::{CallBody, Channel, ChannelLine, Silent};
use crate::desk::{RunFile, RunPhase, RunState};
use crate::error::FieldError;
use crate::message::path;
use crate::order::digest_file;
use crate::token::Token;

/// Of one request for a file.
const PART_BYTES: u64 = 8 << 20;
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_secs(1);
/// Of a file that is being fetched.
const TEMPORARY: &str = ".part-";
/// Written last, in this order: a folder without the last is no run, one without the other no cell.
const LAST: [&str; 2] = ["cell.json", "environment.json"];

/// A field whose run somebody else waits for.
#[derive(Debug)]
pub struct RunFetch {
    name: String,
    channel: Channel,
}

impl RunFetch {
    /// `url` is the field's, perhaps through a forwarded port.
    pub fn new(url: &Url, token: Option<&Token>) -> Self {
        let (name, run) = (url.to_string(), "outside".to_owned());
        Self { name, channel: Channel::new(ChannelLine::Dial, url.clone(), token.cloned(), run) }
    }

    fn unreachable(&self, silent: Silent) -> FieldError {
        FieldError::Unreachable { agent: self.name.clone(), problem: silent.problem }
    }

    fn refused(&self, problem: String) -> FieldError {
        FieldError::Refused { agent: self.name.clone(), problem }
    }

    fn get<T: serde::de::DeserializeOwned>(&mut self, path: &str) -> Result<T, FieldError> {
        let answer = self.channel.get(path, PATIENCE).map_err(|silent| self.unreachable(silent))?;
        answer.read().map_err(|problem| self.refused(problem))
    }

    /// Waits for the end of the run; `seen` gets each state.
    pub fn wait(
        &mut self,
        seen: &mut dyn FnMut(&RunState),
        stopped: &dyn Fn() -> bool,
    ) -> Result<RunState, FieldError> {
        loop {
            let state: RunState = self.get(path::RUN)?;
            seen(&state);
            if state.phase != RunPhase::Running {
                return Ok(state);
            }
            if stopped() {
                return Err(FieldError::Stopped);
            }
            std::thread::sleep(LOOK);
        }
    }

    /// What the folder does not have yet; the number of fetched files.
    pub fn files(&mut self, out: &Path) -> Result<usize, FieldError> {
        let mut files: Vec<RunFile> = self.get(path::RUN_FILES)?;
        let rank = |file: &RunFile| {
            let name = Path::new(&file.path).file_name().unwrap_or_default().to_owned();
            LAST.iter().position(|last| name == *last).map_or(0, |at| at + 1)
        };
        files.sort_by_key(rank);
        let mut fetched = 0;
        for file in &files {
            let to = below(out, &file.path).ok_or_else(|| {
                self.refused(format!("the path {:?} leads out of the folder", file.path))
            })?;
            if is_there(&to, file) {
                continue;
            }
            self.file(file, &to)?;
            fetched += 1;
        }
        Ok(fetched)
    }

    /// Goes on where an earlier transfer broke.
    fn file(&mut self, file: &RunFile, to: &Path) -> Result<(), FieldError> {
        let kept = |error: std::io::Error| FieldError::File {
            path: to.to_owned(),
            problem: error.to_string(),
        };
        let name = to.file_name().unwrap_or_default().to_string_lossy();
        let part = to.with_file_name(format!("{TEMPORARY}{name}"));
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder).map_err(kept)?;
        }
        let mut out = OpenOptions::new().create(true).append(true).open(&part).map_err(kept)?;
        let mut have = out.metadata().map_err(kept)?.len();
        if have > file.bytes {
            out.set_len(0).map_err(kept)?;
            have = 0;
        }
        while have < file.bytes {
            let last = (have + PART_BYTES).min(file.bytes) - 1;
            let range = [("Range", format!("bytes={have}-{last}"))];
            let target = format!("{}{}", path::RUN_FILE, file.sha256);
            let answer = self
                .channel
                .call(Method::Get, &target, &range, CallBody::None, PATIENCE)
                .map_err(|silent| self.unreachable(silent))?;
            if !answer.is_good() || answer.body.len() as u64 != last - have + 1 {
                return Err(self.refused(answer.words()));
            }
            out.write_all(&answer.body).map_err(kept)?;
            have = last + 1;
        }
        out.sync_data().map_err(kept)?;
        if !is_there(&part, file) {
            fs::remove_file(&part).map_err(kept)?;
            return Err(self.refused(format!("{} came with another SHA-256", file.path)));
        }
        fs::rename(&part, to).map_err(kept)
    }

    /// The field may end.
    pub fn leave(mut self) -> Result<(), FieldError> {
        self.channel
            .post(path::LEAVE, &(), PATIENCE)
            .map(drop)
            .map_err(|silent| self.unreachable(silent))
    }
}

fn is_there(path: &Path, file: &RunFile) -> bool {
    digest_file(path).is_ok_and(|found| found == (file.bytes, file.sha256.clone()))
}

/// None for a path that leads elsewhere.
fn below(folder: &Path, path: &str) -> Option<PathBuf> {
    let path = Path::new(path);
    let is_plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    is_plain.then(|| folder.join(path))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::Arc;

    use super::*;
    use crate::desk::Desk;
    use crate::lobby::Lobby;

    const CELL: &str = "cells/m/endpoint/a/c1/0";

    fn write(folder: &Path, name: &str, bytes: &[u8]) {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// A run with one complete cell and one under way.
    fn run() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let large: Vec<u8> = (0..2 * PART_BYTES + 77).map(|at| (at % 251) as u8).collect();
        write(folder.path(), "environment.json", b"{}");
        write(folder.path(), "lock", b"1");
        write(folder.path(), &format!("{CELL}/requests.parquet"), &large);
        write(folder.path(), &format!("{CELL}/logs/engine.log"), b"");
        write(folder.path(), &format!("{CELL}/cell.json"), b"{}");
        write(folder.path(), "cells/m/endpoint/a/c2/0/requests.parquet", b"half");
        folder
    }

    fn served(folder: &Path, token: &Token) -> (Arc<Lobby>, Arc<Desk>, Url) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let desk = Arc::new(Desk::new(folder, 2));
        let lobby = Lobby::open(listener, 1, Some(token.clone()), Some(desk.clone())).unwrap();
        (lobby, desk, url)
    }

    #[test]
    fn a_run_is_fetched_whole_and_goes_on_where_it_broke() {
        let (there, here) = (run(), tempfile::tempdir().unwrap());
        let token = Token::new("known").unwrap();
        let (lobby, desk, url) = served(there.path(), &token);
        let mut fetch = RunFetch::new(&url, Some(&token));
        let (waiter, ended) = (Arc::clone(&desk), there.path().to_owned());
        let end = std::thread::spawn(move || {
            write(&ended, "analysis/summary.json", b"[]");
            waiter.end(None);
        });
        let mut seen = Vec::new();
        let state = fetch.wait(&mut |state| seen.push(state.done), &|| false).unwrap();
        end.join().unwrap();
        assert_eq!((state.phase, state.cells, state.done), (RunPhase::Done, 2, 1));
        assert_eq!(seen.last(), Some(&1));
        // A transfer broke in the second part.
        let name = format!("{CELL}/requests.parquet");
        let bytes = fs::read(there.path().join(&name)).unwrap();
        let part = format!("{CELL}/{TEMPORARY}requests.parquet");
        write(here.path(), &part, &bytes[..(PART_BYTES + 5) as usize]);
        assert_eq!(fetch.files(here.path()).unwrap(), 5);
        assert_eq!(fs::read(here.path().join(&name)).unwrap(), bytes);
        assert!(!here.path().join(&part).exists());
        assert!(here.path().join(format!("{CELL}/logs/engine.log")).is_file());
        assert!(!here.path().join("cells/m/endpoint/a/c2").exists(), "not complete");
        assert!(!here.path().join("lock").exists());
        assert_eq!(fetch.files(here.path()).unwrap(), 0, "all is there");
        fetch.leave().unwrap();
        assert!(desk.wait_left(Duration::ZERO, &|| false));
        lobby.close();
    }

    #[test]
    fn a_broken_part_is_not_kept_and_strangers_get_nothing() {
        let (there, here) = (run(), tempfile::tempdir().unwrap());
        let token = Token::new("known").unwrap();
        let (lobby, _desk, url) = served(there.path(), &token);
        let part = format!("{CELL}/{TEMPORARY}requests.parquet");
        write(here.path(), &part, b"something else");
        let mut fetch = RunFetch::new(&url, Some(&token));
        let why = fetch.files(here.path()).unwrap_err().to_string();
        assert!(why.ends_with("requests.parquet came with another SHA-256"), "{why}");
        assert!(!here.path().join("environment.json").exists(), "no run yet");
        fetch.files(here.path()).unwrap();
        let mut stranger = RunFetch::new(&url, None);
        let why = stranger.files(here.path()).unwrap_err().to_string();
        assert!(why.ends_with("the agent token is missing or another"), "{why}");
        lobby.close();
    }

    #[test]
    fn paths_stay_below_the_folder() {
        let folder = Path::new("/run");
        assert_eq!(below(folder, "cells/a/cell.json"), Some(folder.join("cells/a/cell.json")));
        for path in ["../x", "/etc/passwd", "cells/../../x", "./x"] {
            assert_eq!(below(folder, path), None, "{path}");
        }
    }
}
