//! One command, its output line by line.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use super::stage::StageCommand;

const QUOTED: usize = 4;

#[derive(Debug)]
pub(super) struct Failed {
    /// Exit code or signal, or why it did not start.
    pub(super) ended: String,
    pub(super) last: String,
}

/// Output goes to the log and line by line to `line`; standard output to the step's own file,
/// where it has one.
///
/// The lock's file is the child's input: the lock is held until the child ends, even if this
/// process is killed.
pub(super) fn run(
    step: &StageCommand,
    log: &mut File,
    lock: &File,
    line: &mut dyn FnMut(&str),
) -> io::Result<Result<(), Failed>> {
    let [program, args @ ..] = step.words.as_slice() else { return Ok(Ok(())) };
    writeln!(log, "$ {}", step.shown())?;
    let (output, writer) = io::pipe()?;
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::from(lock.try_clone()?));
    match &step.into {
        Some(file) => command.stdout(File::create(Path::new(file))?).stderr(writer),
        None => command.stdout(writer.try_clone()?).stderr(writer),
    };
    // `PYTHONPATH` of another project, or pip options, would change what is installed.
    command.env_remove("PYTHONPATH").env_remove("PYTHONHOME").env_remove("PIP_TARGET");
    command.env_remove("PIP_USER").env_remove("PIP_REQUIRE_VIRTUALENV");
    command.envs(step.environment.iter().copied());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            return Ok(Err(Failed { ended: error.to_string(), last: "it did not start".into() }));
        }
    };
    // It holds writing ends of the pipe: the reader would never see its end.
    drop(command);
    let last = follow(output, log, line);
    let status = child.wait()?;
    let last = last?;
    if status.success() {
        return Ok(Ok(()));
    }
    let last = last.into_iter().collect::<Vec<_>>().join(" / ");
    let last = if last.is_empty() { "it said nothing".to_owned() } else { last };
    Ok(Err(Failed { ended: status.to_string(), last }))
}

fn follow(
    output: impl Read,
    log: &mut File,
    line: &mut dyn FnMut(&str),
) -> io::Result<VecDeque<String>> {
    let mut output = BufReader::new(output);
    let mut last = VecDeque::new();
    let mut bytes = Vec::new();
    let mut kept = Ok(());
    while output.read_until(b'\n', &mut bytes)? > 0 {
        // Reading goes on without a log: the child would block.
        kept = kept.and_then(|()| log.write_all(&bytes));
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim_end();
        line(text);
        if !text.trim().is_empty() && !text.starts_with("[notice]") {
            last.push_back(text.trim().to_owned());
        }
        if last.len() > QUOTED {
            last.pop_front();
        }
        bytes.clear();
    }
    kept.map(|()| last)
}
