//! One cluster for all tests of this process. It ends with the process, however that ends.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use weir_kubernetes::{Cluster, ClusterAccess, Manifest};

/// What the script exits with where this machine lacks something, and where Kubernetes is not
/// built.
const ABSENT: i32 = 77;
const UNBUILT: i32 = 78;

pub(crate) struct RealCluster {
    kubeconfig: PathBuf,
    state: PathBuf,
    kubectl: PathBuf,
    /// The process whose network it is.
    target: String,
    /// It ends the cluster when its standard input is closed, which this process holds.
    _script: Child,
}

/// None: why is said, and fails in CI if Kubernetes is built.
pub(crate) fn real_cluster(test: &str) -> Option<&'static RealCluster> {
    static SHARED: OnceLock<Result<RealCluster, (bool, String)>> = OnceLock::new();
    match SHARED.get_or_init(start) {
        Ok(cluster) => Some(cluster),
        Err((must_be, why)) => {
            assert!(!must_be || std::env::var_os("CI").is_none(), "{test}: {why}");
            println!("SKIPPED {test}: {why}");
            None
        }
    }
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/peers/kubernetes")
}

fn start() -> Result<RealCluster, (bool, String)> {
    if std::env::var_os("WEIR_TEST_FULL").is_none_or(|value| value != "1") {
        return Err((false, "long; run make test-full".to_owned()));
    }
    let state = std::env::temp_dir().join(format!("weir-kubernetes-api-{}", std::process::id()));
    let mut said = tempfile::tempfile().unwrap();
    // The pods run this test program, which then does what a variable says.
    let image = format!("weir.local/it:1={}", std::env::current_exe().unwrap().display());
    let mut child = Command::new(script())
        .args(["up", "--hold", "--image", &image, "--state"])
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
        return Err((code == Some(ABSENT), said.trim().replace('\n', "; ")));
    }
    let value = |name: &str| {
        let set = lines.iter().find_map(|line| line.strip_prefix("export ")?.strip_prefix(name));
        set.unwrap_or_else(|| panic!("no {name} in {lines:?}")).replace('\\', "")
    };
    let enter = value("ENTER=");
    let mut words = enter.split(' ').skip_while(|word| *word != "--target");
    Ok(RealCluster {
        kubeconfig: value("KUBECONFIG=").into(),
        state,
        kubectl: Path::new(value("PATH=").split(':').next().unwrap()).join("kubectl"),
        target: words.nth(1).unwrap().to_owned(),
        _script: child,
    })
}

fn whole(file: &mut File) -> String {
    let mut text = String::new();
    file.rewind().unwrap();
    file.read_to_string(&mut text).unwrap();
    text
}

impl RealCluster {
    /// A namespace of the test's own, as the cluster's administrator. The calling thread moves into
    /// the cluster's network, and so do the threads that it starts.
    pub(crate) fn enter(&self, namespace: &str) -> Cluster {
        let network = File::open(format!("/proc/{}/ns/net", self.target)).unwrap();
        let kind = Some(LinkNameSpaceType::Network);
        move_into_link_name_space(std::os::fd::AsFd::as_fd(&network), kind).unwrap();
        Self::connect(self.kubeconfig.clone(), namespace)
    }

    /// As a user without rights, but for those that a test gives.
    pub(crate) fn user(&self, name: &str, namespace: &str) -> Cluster {
        let made = Command::new(script())
            .args(["user", name, "--state"])
            .arg(&self.state)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let path = String::from_utf8(made.stdout).unwrap();
        Self::connect(path.trim().into(), namespace)
    }

    /// Another field manager applies an object. The calling thread is in the cluster's network.
    pub(crate) fn apply_as(&self, manager: &str, namespace: &str, manifest: &Manifest) {
        let mut child = Command::new(&self.kubectl)
            .args(["apply", "--server-side", "--force-conflicts", "-f", "-", "-n", namespace])
            .args(["--field-manager", manager])
            .env("KUBECONFIG", &self.kubeconfig)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(manifest.yaml().as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
    }

    /// What it prints, as the administrator. The calling thread is in the cluster's network.
    pub(crate) fn kubectl(&self, args: &[&str]) -> String {
        let output = Command::new(&self.kubectl)
            .args(args)
            .env("KUBECONFIG", &self.kubeconfig)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn authority(&self) -> PathBuf {
        self.state.join("certificates/ca.crt")
    }

    fn connect(kubeconfig: PathBuf, namespace: &str) -> Cluster {
        let access = ClusterAccess {
            kubeconfig: Some(kubeconfig),
            namespace: namespace.to_owned(),
            ..Default::default()
        };
        Cluster::connect(&access).unwrap()
    }
}
