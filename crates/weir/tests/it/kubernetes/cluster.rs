//! One cluster for all tests of this process. It ends with the process, however that ends.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::binary::WEIR;

/// What `scripts/peers/kubernetes` exits with where this machine lacks something, and where its
/// programs are not built.
const ABSENT: i32 = 77;
const UNBUILT: i32 = 78;

pub(crate) struct Cluster {
    pub(crate) kubeconfig: PathBuf,
    /// The command, with arguments, that runs what follows in the cluster's network.
    enter: Vec<String>,
    kubectl: PathBuf,
    /// It ends the cluster when its standard input is closed, which this process holds.
    _script: Child,
}

/// What the tests of a process share: a cluster, or why there is none.
enum Shared {
    Up(Cluster),
    /// Whether it is the cache that lacks something, and what.
    Absent(bool, String),
}

/// The cluster, started by the first who asks. None where this machine cannot have one, which is
/// said, and fails in CI if the programs are built.
pub(crate) fn cluster(test: &str) -> Option<&'static Cluster> {
    static SHARED: OnceLock<Shared> = OnceLock::new();
    match SHARED.get_or_init(start) {
        Shared::Up(cluster) => Some(cluster),
        Shared::Absent(unbuilt, why) => {
            let is_ci = std::env::var_os("CI").is_some();
            assert!(*unbuilt || !is_ci, "{test}: {why}");
            println!("SKIPPED {test}: {why}");
            None
        }
    }
}

fn start() -> Shared {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/peers/kubernetes");
    let state = std::env::temp_dir().join(format!("weir-kubernetes-{}", std::process::id()));
    let mut said = tempfile::tempfile().unwrap();
    let mut child = Command::new(script)
        .args(["up", "--hold", "--weir", WEIR, "--state"])
        .arg(&state)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(said.try_clone().unwrap())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let lines: Vec<String> =
        out.lines().map(Result::unwrap).take_while(|line| line != "ready").collect();
    if lines.is_empty() {
        let code = child.wait().unwrap().code();
        let said = whole(&mut said);
        assert!(matches!(code, Some(ABSENT | UNBUILT)), "no cluster:\n{said}");
        return Shared::Absent(code == Some(UNBUILT), said.trim().replace('\n', "; "));
    }
    Shared::Up(Cluster::told(&lines, child))
}

fn whole(file: &mut File) -> String {
    let mut text = String::new();
    file.rewind().unwrap();
    file.read_to_string(&mut text).unwrap();
    text
}

impl Cluster {
    /// By what `scripts/peers/kubernetes env` prints.
    fn told(lines: &[String], script: Child) -> Self {
        let value = |name: &str| {
            let set =
                lines.iter().find_map(|line| line.strip_prefix("export ")?.strip_prefix(name));
            set.unwrap_or_else(|| panic!("no {name} in {lines:?}")).replace('\\', "")
        };
        let programs = value("PATH=");
        Self {
            kubeconfig: value("KUBECONFIG=").into(),
            enter: value("ENTER=").split(' ').map(str::to_owned).collect(),
            kubectl: Path::new(programs.split(':').next().unwrap()).join("kubectl"),
            _script: script,
        }
    }

    /// A program in the cluster's network, as its administrator. Files and processes are the
    /// machine's.
    pub(crate) fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(&self.enter[0]);
        command.args(&self.enter[1..]).arg(program.as_ref()).env("KUBECONFIG", &self.kubeconfig);
        command
    }

    /// What it prints.
    #[track_caller]
    pub(crate) fn kubectl(&self, args: &[&str]) -> String {
        let output = self.command(&self.kubectl).args(args).output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kubectl {}: {err}", args.join(" "));
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    pub(crate) fn apply(&self, objects: &str) {
        let mut command = self.command(&self.kubectl);
        command.args(["apply", "--server-side", "-f", "-"]).stdin(Stdio::piped());
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(objects.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Calls from a thread in the cluster's network: its sockets reach pods and Services.
    pub(crate) fn inside<T: Send>(&self, call: impl FnOnce() -> T + Send) -> T {
        let target = self.enter.iter().position(|word| word == "--target").unwrap();
        let network = File::open(format!("/proc/{}/ns/net", self.enter[target + 1])).unwrap();
        std::thread::scope(|scope| {
            let there = move || {
                let kind = Some(LinkNameSpaceType::Network);
                move_into_link_name_space(std::os::fd::AsFd::as_fd(&network), kind).unwrap();
                call()
            };
            scope.spawn(there).join().unwrap()
        })
    }
}
