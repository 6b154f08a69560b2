//! The Taskfile for users, with the real `task`: if a file is missing, it stops before it starts k3s-boot.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::fixture::tools;
use super::support::bin_dir;

const HELMFILE: &str = "bootstrap/helmfile.d/01-apps.yaml";

/// A repository with the shipped bootstrap and the Taskfile, without a kubeconfig.
struct Repository {
    folder: tempfile::TempDir,
}

struct Done {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Repository {
    fn new() -> Self {
        let repository = Self { folder: tempfile::tempdir().unwrap() };
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        for file in ["Taskfile.yaml", "bootstrap/helmfile.d/00-crds.yaml", HELMFILE] {
            repository.write(file, &std::fs::read_to_string(root.join(file)).unwrap());
        }
        std::fs::create_dir(repository.path(".git")).unwrap();
        repository
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// `task bootstrap:apps` with these arguments after `--`, in a folder of the repository.
    fn task(&self, cwd: &str, kubeconfig: Option<&str>, args: &[&str]) -> Done {
        self.task_with(&[bin_dir().to_owned()], cwd, kubeconfig, args)
    }

    fn task_with(&self, path: &[PathBuf], cwd: &str, kubeconfig: Option<&str>, args: &[&str]) -> Done {
        let system = ["/usr/bin", "/bin"].map(PathBuf::from);
        let mut command = Command::new(tools().task());
        command
            .args(["bootstrap:apps", "--"])
            .args(args)
            .current_dir(self.path(cwd))
            .env_clear()
            .env("HOME", self.folder.path())
            .env("PATH", std::env::join_paths(path.iter().chain(&system)).unwrap());
        if let Some(kubeconfig) = kubeconfig {
            command.env("KUBECONFIG", kubeconfig);
        }
        let output = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Done { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Done {
    /// Checks that k3s-boot was not started, for this reason.
    #[track_caller]
    fn assert_not_started(&self, message: &str) {
        assert_eq!((self.code, self.stdout.as_str()), (Some(201), ""), "{}", self.stderr);
        assert!(self.stderr.starts_with(&format!("task: {message}")), "{}", self.stderr);
        assert!(
            self.stderr.contains("precondition not met") && !self.stderr.contains("k3s-boot apps --list\n")
        );
    }

    /// Checks that k3s-boot printed its stages.
    #[track_caller]
    fn assert_started(&self) {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        assert!(self.stdout.contains("apps\n  kube-system/cilium\n"), "{}", self.stdout);
    }
}

#[test]
fn task_needs_a_kubeconfig_and_a_helmfile() {
    let repository = Repository::new();
    let list = ["--list"];
    let root = repository.folder.path().display();

    repository
        .task("", None, &list)
        .assert_not_started(&format!("no kubeconfig file: {root}/kubeconfig does not exist; "));
    repository
        .task("", Some("a:/none/b"), &list)
        .assert_not_started("no kubeconfig file: a:/none/b does not exist; ");
    repository.write("my cluster/config", "");
    let file = repository.path("my cluster/config").display().to_string();
    for kubeconfig in [file.clone(), format!("/none:{file}"), format!("{file}:/none")] {
        repository.task("", Some(&kubeconfig), &list).assert_started();
    }
    repository.task("my cluster", Some("config"), &list).assert_started();
    repository.task("", None, &["--list", "--kubeconfig", &file]).assert_started();
    repository.write("kubeconfig", "");
    repository.task("", None, &list).assert_started();

    let nowhere = repository.task_with(&[], "", None, &list);
    nowhere.assert_not_started("k3s-boot is not on PATH");

    // Any helmfile that k3s-boot finds is enough.
    let text = std::fs::read_to_string(repository.path(HELMFILE)).unwrap();
    std::fs::remove_dir_all(repository.path("bootstrap")).unwrap();
    let message = format!("no bootstrap helmfile: `k3s-boot apps --list` fails in {root}, ");
    repository.task("", None, &list).assert_not_started(&message);
    repository.write("bootstrap/helmfile/apps.yaml", &text);
    repository.write("bootstrap/helmfile/crds.yaml", "releases: []\n");
    repository.task("", None, &list).assert_started();
}
