//! Small processes to watch and to end.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use weir_deploy::process::{Process, ProcessError, Recipe};

/// For steps that take milliseconds on an idle machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// A shell script as a part of an arm.
pub(crate) fn shell(folder: &Path, name: &str, script: &str) -> Recipe {
    Recipe {
        name: name.to_owned(),
        program: "/bin/sh".into(),
        args: vec!["-c".to_owned(), script.to_owned()],
        env: BTreeMap::new(),
        secrets: Vec::new(),
        withheld: std::collections::BTreeSet::new(),
        folder: folder.to_path_buf(),
        log: folder.join(format!("{name}.log")),
        cores: None,
    }
}

pub(crate) fn python(folder: &Path, name: &str, script: &str) -> Recipe {
    Recipe { program: "python3".into(), ..shell(folder, name, script) }
}

/// Without it the test is skipped, and fails in CI.
pub(crate) fn has_python(test: &str) -> bool {
    let mut command = Command::new("python3");
    command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    let has = command.status().is_ok_and(|status| status.success());
    if !has {
        assert!(std::env::var_os("CI").is_none(), "{test}: install python3");
        println!("SKIPPED {test}: install python3");
    }
    has
}

pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub(crate) fn until_said(process: &mut Process, line: &str) {
    let log = process.log().to_path_buf();
    let deadline = Instant::now() + PATIENCE;
    let has = || {
        let text = fs::read_to_string(&log).unwrap_or_default();
        Ok::<_, ProcessError>(text.lines().any(|said| said == line))
    };
    process.wait_ready(deadline, Duration::from_millis(10), has).unwrap();
}

/// Neither gone nor a zombie.
pub(crate) fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

/// The numbers behind `pid ` in a log.
pub(crate) fn pids(log: &Path) -> Vec<u32> {
    let text = fs::read_to_string(log).unwrap_or_default();
    text.lines().filter_map(|line| line.strip_prefix("pid ")?.trim().parse().ok()).collect()
}
