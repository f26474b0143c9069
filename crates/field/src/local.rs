//! Agents on this machine, as processes of their own.

use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::error::{AgentError, FieldError};
use crate::token::{TOKEN_VARIABLE, Token};

const LOOK: Duration = Duration::from_millis(20);
/// After they were let go.
const END: Duration = Duration::from_secs(2);

/// Dropping it ends them.
#[derive(Debug)]
pub(crate) struct LocalAgents {
    children: Vec<Child>,
}

impl LocalAgents {
    /// Until all have come up.
    pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

    /// Known to the children only.
    pub(crate) fn token(run: &str) -> Result<Token, FieldError> {
        use std::hash::{BuildHasher, RandomState};
        let chance = [RandomState::new(), RandomState::new()].map(|state| state.hash_one(run));
        Ok(Token::new(&format!("{:016x}{:016x}", chance[0], chance[1]))?)
    }

    pub(crate) fn start(
        program: &Path,
        agents: usize,
        field: SocketAddr,
        token: &Token,
    ) -> Result<Self, FieldError> {
        let mut children = Self { children: Vec::new() };
        for index in 0..agents {
            let child = Command::new(program)
                .args(["agent", "load", "--field", &format!("http://{field}")])
                .args(["--index", &index.to_string(), "--quiet"])
                .env(TOKEN_VARIABLE, token.secret())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                // Ctrl-C is the field's: it lets them go.
                .process_group(0)
                .spawn()
                .map_err(|error| AgentError::io(format!("start {}", program.display()), &error))?;
            children.children.push(child);
        }
        Ok(children)
    }

    /// Waits for those that were let go.
    pub(crate) fn end(mut self) {
        let until = Instant::now() + END;
        while Instant::now() < until && self.children.iter_mut().any(is_running) {
            std::thread::sleep(LOOK);
        }
    }
}

fn is_running(child: &mut Child) -> bool {
    matches!(child.try_wait(), Ok(None))
}

impl Drop for LocalAgents {
    fn drop(&mut self) {
        for child in &mut self.children {
            if is_running(child) {
                let _ = child.kill();
            }
            let _ = child.wait();
        }
    }
}
