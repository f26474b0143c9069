//! Folders that cannot be written, and disks that run full.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use insta::assert_snapshot;

use crate::binary::{Answer, WEIR, weir};
use crate::folder::{assert_same, complete_cells, files, with_small};

/// A user without rights; the superuser may write everywhere.
const NOBODY: u32 = 65534;

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn weir_without_rights(folder: &Path, args: &[&str]) -> Answer {
    // A copy that any user can reach: the build's folder may be closed. By `cp`, because children
    // of other tests inherit a file open for writing, and such a file cannot be executed.
    let copy = folder.join("weir");
    if !copy.exists() {
        assert!(Command::new("cp").arg(WEIR).arg(&copy).status().unwrap().success());
    }
    let mut command = Command::new(&copy);
    command.args(args).current_dir(folder).stdin(Stdio::null());
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    let output = command.output().expect("the binary starts");
    Answer {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

#[test]
fn an_unwritable_folder_is_the_environments_fault() {
    let folder = with_small();
    set_mode(folder.path(), 0o755);
    let closed = folder.path().join("closed");
    fs::create_dir(&closed).unwrap();
    weir(folder.path(), &["run", "small.yaml", "--out", "run", "--quiet"]).done();
    let before = files(&folder.path().join("run"));
    let call = |args: &[&str]| weir_without_rights(folder.path(), args).refusal(3, folder.path());
    for path in [&closed, &folder.path().join("run"), &folder.path().join("run/lock")] {
        set_mode(path, if path.is_dir() { 0o555 } else { 0o444 });
    }
    let new = call(&["run", "small.yaml", "--out", "closed/run"]);
    assert_snapshot!(new, @"weir: closed/run: cannot create the folder: Permission denied (os error 13); make it accessible to this user, or pick another `--out`");
    let into = call(&["run", "small.yaml", "--out", "closed"]);
    assert_snapshot!(into, @"weir: closed/lock: cannot lock: Permission denied (os error 13); make it accessible to this user, or pick another `--out`");
    let resumed = call(&["run", "--resume", "run"]);
    assert_snapshot!(resumed, @"weir: run/lock: cannot lock: Permission denied (os error 13); make it accessible to this user, or pick another `--out`");
    assert_eq!(fs::read_dir(&closed).unwrap().count(), 0);
    assert_same(&before, &files(&folder.path().join("run")));
    for path in [&closed, &folder.path().join("run")] {
        // An ordinary user must be able to remove the temporary folder.
        set_mode(path, 0o755);
    }
}

#[test]
fn a_path_through_a_file_is_the_users_mistake() {
    let folder = with_small();
    let before = files(folder.path());
    let args = ["run", "small.yaml", "--out", "small.yaml/run"];
    assert_snapshot!(weir(folder.path(), &args).refusal(2, folder.path()), @"weir: small.yaml/run: cannot list the folder: Not a directory (os error 20); pick another path: a part of this one is not a folder or not a valid name");
    assert_same(&before, &files(folder.path()));
}

/// True where a disk can be mounted: in a mount namespace, which ends with its last process.
///
/// Without namespaces the test is skipped, also under CI. Without the program, CI fails.
fn can_mount() -> bool {
    let tried = Command::new("unshare")
        .args([
            "--user",
            "--map-root-user",
            "--mount",
            "--",
            "mount",
            "-t",
            "tmpfs",
            "none",
            "/mnt",
        ])
        .output();
    let why = match tried {
        Ok(output) if output.status.success() => return true,
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => {
            assert!(
                std::env::var_os("CI").is_none(),
                "CI has no `unshare` ({error}); install util-linux"
            );
            error.to_string()
        }
    };
    println!("SKIPPED: a full disk: no file system can be mounted here: {why}");
    false
}

/// A tmpfs of this size is mounted at `disk` below the folder.
fn with_disk(folder: &Path, size: &str, script: &str) {
    fs::create_dir(folder.join("disk")).unwrap();
    let script = format!("set -e\nmount -t tmpfs -o size={size} none disk\n{script}");
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "--", "sh", "-c", &script])
        .env("WEIR", WEIR)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .expect("unshare starts");
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the script failed:\n{words}");
}

fn text(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap().trim_end().to_owned()
}

#[test]
fn a_disk_that_runs_full_keeps_finished_cells_and_a_resume_finishes_the_rest() {
    if !can_mount() {
        return;
    }
    let folder = with_small();
    let many = "--set load.users=[1,2,3,4,5,6,7,8] --set repeats=2";
    weir(
        folder.path(),
        &[
            &["run", "small.yaml", "--quiet", "--out", "whole"],
            &many.split(' ').collect::<Vec<_>>()[..],
        ]
        .concat(),
    )
    .done();
    let script = format!(
        "code=0
        $WEIR run small.yaml {many} --quiet --jobs 1 --out disk/run > out 2> err || code=$?
        echo $code > code
        cp -r disk/run full
        mount -o remount,size=64m disk
        $WEIR run --resume disk/run > resumed-out 2> resumed-err
        cp -r disk/run resumed"
    );
    with_disk(folder.path(), "400k", &script);
    assert_eq!(text(folder.path(), "code"), "3", "{}", text(folder.path(), "err"));
    assert_eq!(text(folder.path(), "out"), "");
    let err = text(folder.path(), "err");
    assert!(!err.contains('\n'), "{err}");
    insta::with_settings!({ filters => [
        (r"(native|no)-offload/c\d/\d", "[cell]"),
        (r"(cannot) (write|create|create the folder):", "$1 [write]:"),
        (r"disk/run/cells/\S+:", "disk/run/cells/[path]:"),
    ] }, {
        assert_snapshot!(err, @"weir: cell Qwen--Qwen3-8B/2x-l40s/[cell]: disk/run/cells/[path]: cannot [write]: No space left on device (os error 28); free space there and run it again; `--resume` continues a run that had begun");
    });

    let full = folder.path().join("full");
    let kept = complete_cells(&full);
    assert!(!kept.is_empty() && kept.len() < 32, "{kept:?}");
    let resumed = text(folder.path(), "resumed-err");
    let words = format!("kept {} finished cells, ran {}", kept.len(), 32 - kept.len());
    assert!(resumed.contains(&words), "{resumed}");
    let analysis = |run: &str| files(&folder.path().join(run).join("analysis"));
    assert_same(&analysis("whole"), &analysis("resumed"));
}

#[test]
fn a_disk_too_full_to_start_on_is_left_as_it_was() {
    if !can_mount() {
        return;
    }
    let folder = with_small();
    // Two pages: the lock and the experiment fit, the plan does not.
    let script = "code=0
        $WEIR run small.yaml --out disk/run > out 2> err || code=$?
        echo $code > code
        ls -A disk > left
        mount -o remount,size=64m disk
        $WEIR run small.yaml --out disk/run > again-out 2> again-err";
    with_disk(folder.path(), "8k", script);
    assert_eq!(text(folder.path(), "code"), "3", "{}", text(folder.path(), "err"));
    assert_snapshot!(text(folder.path(), "err"), @"weir: disk/run/plan.json: cannot write: No space left on device (os error 28); free space there and run it again; `--resume` continues a run that had begun");
    assert_eq!(text(folder.path(), "left"), "", "something was left behind");
    assert!(text(folder.path(), "again-out").ends_with("Report: disk/run/report/report.html"));
}
