//! What a killed Weir leaves.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use rustix::fs::{FlockOperation, flock};
use weir_deploy::leftovers::{Cleared, Remains, Scratch, Whose, clear};
use weir_deploy::process::{Owner, Process};

use crate::fixture::{has_python, is_alive, pids, python, shell, until, until_said};
use crate::processes::{Files, MAPPER};

const GRACE: Duration = Duration::from_millis(500);

/// One test at a time: each would find another's remains.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock()
}

fn shm(name: &str) -> PathBuf {
    Path::new("/dev/shm").join(name)
}

/// The machine may have remains of other runs.
fn of_run(cleared: &[Cleared], run: &str) -> Vec<Remains> {
    cleared
        .iter()
        .filter(|one| one.run.as_deref() == Some(run))
        .map(|one| one.what.clone())
        .collect()
}

fn dead_owner(run: &str) -> Owner {
    // The same process id with another start time: it is gone.
    let ours = Owner::this_process(run).unwrap();
    Owner { started: ours.started + 1, ..ours }
}

/// The Weir that is killed: started by the test below, else without effect.
#[test]
fn as_a_weir() {
    let Some(folder) = std::env::var_os("WEIR_TEST_FOLDER").map(PathBuf::from) else { return };
    let owner = Owner::this_process("killed-1").unwrap();
    let mut scratch = Scratch::new(&owner).unwrap();
    let disk = scratch.beside(&folder.join("disk")).unwrap();
    fs::write(disk.join("block"), "bytes").unwrap();
    fs::write(scratch.path().join("file"), "bytes").unwrap();
    // A name in LMCache's form.
    let named = format!("lmcache_l1_pool_{}lmcache", owner.shared_memory_prefix());
    fs::write(shm(&named), "bytes").unwrap();
    let script = "
(setsid sh -c 'trap \"\" TERM; echo pid $$; sleep 1000; sleep 1000' &)
env -i sleep 1000 & echo pid $!
while [ $(grep -c ^pid $LOG) -lt 2 ]; do sleep 0.02; done
echo up; wait";
    let mut family = shell(scratch.path(), "family", script);
    family.log = folder.join("family.log");
    family.env.insert("LOG".to_owned(), family.log.display().to_string());
    let mut mapper = python(scratch.path(), "mapper", MAPPER);
    mapper.log = folder.join("mapper.log");
    mapper.env.insert("FILES".to_owned(), std::env::var("WEIR_TEST_FILES").unwrap());
    let mut parts = [&family, &mapper].map(|recipe| Process::start(recipe, &owner).unwrap());
    for part in &mut parts {
        until_said(part, "up");
    }
    let own: Vec<String> = parts.iter().map(|part| format!("pid {}\n", part.pid())).collect();
    let said = format!("{}{named}\n{}\n", own.concat(), scratch.path().display());
    fs::write(folder.join("up.part"), said).unwrap();
    fs::rename(folder.join("up.part"), folder.join("up")).unwrap();
    std::thread::sleep(Duration::from_mins(10));
}

fn weir(folder: &Path, files: &str) -> Child {
    let elsewhere = folder.join("temporary");
    fs::create_dir(&elsewhere).unwrap();
    let weir = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "leftovers::as_a_weir", "--nocapture"])
        .env("WEIR_TEST_FOLDER", folder)
        .env("WEIR_TEST_FILES", files)
        .env("TMPDIR", elsewhere)
        .stdout(File::create(folder.join("weir.log")).unwrap())
        .spawn()
        .unwrap();
    until("the Weir is up", || folder.join("up").exists());
    weir
}

#[test]
fn all_that_a_killed_weir_left_is_cleared_and_what_is_of_a_living_one_stays() {
    if !has_python("all_that_a_killed_weir_left_is_cleared_and_what_is_of_a_living_one_stays") {
        return;
    }
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let (own, before) = (shm(&format!("t-{}-a", std::process::id())), {
        let path = shm(&format!("t-{}-b", std::process::id()));
        fs::write(&path, [0; 4096]).unwrap();
        path
    });
    let _files = Files(vec![own.clone(), before.clone()]);
    let living = living();
    let mut weir = weir(folder.path(), &format!("{}:{}", own.display(), before.display()));
    let up = fs::read_to_string(folder.path().join("up")).unwrap();
    let mut lines = up.lines().filter(|line| !line.starts_with("pid "));
    let named = shm(lines.next().unwrap());
    let scratch = PathBuf::from(lines.next().unwrap());
    let disk = folder.path().join("disk").join(scratch.file_name().unwrap());
    weir.kill().unwrap();
    weir.wait().unwrap();
    let mut left = pids(&folder.path().join("up"));
    left.extend(pids(&folder.path().join("family.log")));
    assert_eq!(left.len(), 4);
    assert!(left.iter().all(|pid| is_alive(*pid)), "they outlive it: {left:?}");
    assert!([&own, &named, &scratch, &disk].iter().all(|path| path.exists()));

    let cleared = clear(&Whose::DeadOwners, GRACE).unwrap();

    assert!(left.iter().all(|pid| !is_alive(*pid)), "{left:?}");
    let gone = of_run(&cleared, "killed-1");
    for pid in &left {
        let is_it =
            |one: &&Remains| matches!(one, Remains::Process { pid: gone, .. } if gone == pid);
        assert_eq!(gone.iter().filter(is_it).count(), 1, "{pid} in {gone:#?}");
    }
    for path in [&own, &named] {
        assert!(!path.exists() && gone.contains(&Remains::SharedMemory(path.clone())), "{gone:#?}");
    }
    for path in [&scratch, &disk] {
        assert!(!path.exists() && gone.contains(&Remains::Folder(path.clone())), "{gone:#?}");
    }
    assert!(before.exists(), "it was there before the Weir: it is the user's");
    living.stays(&cleared);
    let again = clear(&Whose::DeadOwners, GRACE).unwrap();
    assert!(of_run(&again, "killed-1").is_empty(), "{again:?}");
}

struct Living {
    scratch: Scratch,
    disk: PathBuf,
    named: Files,
    process: Process,
    _folder: tempfile::TempDir,
}

fn living() -> Living {
    let owner = Owner::this_process("living-1").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut scratch = Scratch::new(&owner).unwrap();
    let disk = scratch.beside(folder.path()).unwrap();
    let named = shm(&format!("{}lmcache", owner.shared_memory_prefix()));
    fs::write(&named, "bytes").unwrap();
    let recipe = shell(folder.path(), "living", "echo up; sleep 1000");
    let mut process = Process::start(&recipe, &owner).unwrap();
    until_said(&mut process, "up");
    Living { scratch, disk, named: Files(vec![named]), process, _folder: folder }
}

impl Living {
    fn stays(&self, cleared: &[Cleared]) {
        assert!(of_run(cleared, "living-1").is_empty(), "{cleared:?}");
        self.process.check().unwrap();
        let paths = [self.scratch.path(), &self.disk, &self.named.0[0]];
        assert!(paths.iter().all(|path| path.exists()), "{paths:?}");
    }
}

#[test]
fn a_run_is_cleared_by_its_id_though_its_owner_lives() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let start = |run: &str| {
        let mut recipe = shell(folder.path(), run, "echo up; sleep 1000");
        recipe.log = folder.path().join(format!("{run}.log"));
        let mut process = Process::start(&recipe, &Owner::this_process(run).unwrap()).unwrap();
        until_said(&mut process, "up");
        process
    };
    let (one, other) = (start("named-1"), start("named-10"));
    let scratch = Scratch::new(&Owner::this_process("named-1").unwrap()).unwrap();
    let cleared = clear(&Whose::Run("named-1".to_owned()), GRACE).unwrap();
    assert!(one.ended().is_some() && !scratch.path().exists());
    other.check().unwrap();
    let words: Vec<String> = cleared.iter().map(ToString::to_string).collect();
    // A shell may replace itself or have a child.
    assert!(words.len() >= 2, "{words:?}");
    assert!(words.iter().all(|words| words.ends_with(" of run named-1")), "{words:?}");
    assert!(words[0].starts_with(&format!("process {} (", one.pid())), "{words:?}");
    let folder = format!("folder {} of run named-1", scratch.path().display());
    assert_eq!(words.last(), Some(&folder));
}

#[test]
fn folders_of_dead_owners_go_unless_somebody_holds_them() {
    let _alone = alone();
    let owner = dead_owner("dead-1");
    let mut scratch = Scratch::new(&owner).unwrap();
    let folder = scratch.path().to_path_buf();
    // Its owner lives in a container with other process ids.
    clear(&Whose::DeadOwners, GRACE).unwrap();
    assert!(folder.exists());
    let parent = tempfile::tempdir().unwrap();
    let beside = scratch.beside(parent.path()).unwrap();
    // The lock is released as after its death.
    let held = File::open(folder.join("held")).unwrap();
    assert!(flock(&held, FlockOperation::NonBlockingLockExclusive).is_err());
    std::mem::forget(scratch);
    release(&folder.join("held"));
    let cleared = of_run(&clear(&Whose::DeadOwners, GRACE).unwrap(), "dead-1");
    assert_eq!(cleared, [Remains::Folder(beside.clone()), Remains::Folder(folder.clone())]);
    assert!(!folder.exists() && !beside.exists());
}

fn release(path: &Path) {
    fs::remove_file(path).unwrap();
    fs::write(path, "").unwrap();
}

fn child_of(pid: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

#[test]
fn processes_in_a_container_stay_whatever_their_marks_say() {
    let _alone = alone();
    let owner = dead_owner("container-1");
    let mut outside = Command::new("unshare")
        .args(["--user", "--map-root-user", "--pid", "--fork", "sleep", "1000"])
        .env("WEIR_RUN", &owner.run)
        .env("WEIR_OWNER", format!("{}:{}", owner.pid, owner.started))
        .spawn()
        .unwrap();
    let mut ended = false;
    until("it has a process inside, or cannot", || {
        ended = outside.try_wait().unwrap().is_some();
        let is_up = |pid| {
            fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(b"sleep"))
        };
        ended || child_of(outside.id()).is_some_and(is_up)
    });
    if ended {
        println!(
            "SKIPPED processes_in_a_container_stay_whatever_their_marks_say: no user namespaces"
        );
        return;
    }
    let inside = child_of(outside.id()).unwrap();
    let cleared = of_run(&clear(&Whose::DeadOwners, GRACE).unwrap(), "container-1");
    let stayed = is_alive(inside);
    let pid = rustix::process::Pid::from_raw(i32::try_from(inside).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    outside.wait().unwrap();
    assert!(stayed, "its owner's number is of another space");
    assert_eq!(cleared.len(), 1, "the one outside: {cleared:?}");
}

#[test]
fn a_sign_that_names_another_folder_removes_nothing() {
    let _alone = alone();
    let owner = dead_owner("dead-2");
    let scratch = Scratch::new(&owner).unwrap();
    let folder = scratch.path().to_path_buf();
    let precious = tempfile::tempdir().unwrap();
    fs::write(folder.join("beside"), precious.path().as_os_str().as_encoded_bytes()).unwrap();
    std::mem::forget(scratch);
    release(&folder.join("held"));
    let cleared = of_run(&clear(&Whose::DeadOwners, GRACE).unwrap(), "dead-2");
    assert_eq!(cleared, [Remains::Folder(folder)]);
    assert!(precious.path().exists());
}

#[test]
fn a_scratch_folder_is_fresh_private_and_goes_with_its_owner() {
    let owner = Owner::this_process("fresh-1").unwrap();
    let scratch = Scratch::new(&owner).unwrap();
    let path = scratch.path().to_path_buf();
    fs::write(path.join("file"), "of a cell before").unwrap();
    std::mem::forget(scratch);
    let mut scratch = Scratch::new(&owner).unwrap();
    assert_eq!(scratch.path(), path);
    assert!(!path.join("file").exists());
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o700, "what is cached are prompts");
    let parent = tempfile::tempdir().unwrap();
    let beside = scratch.beside(&parent.path().join("deeper")).unwrap();
    assert_eq!(beside.file_name(), path.file_name());
    drop(scratch);
    assert!(!path.exists() && !beside.exists() && parent.path().join("deeper").exists());
}
