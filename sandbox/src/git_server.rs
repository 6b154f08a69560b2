//! The Git server of the sandbox: `git http-backend` on a repository whose only branch follows the Git folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result};

use crate::git_folder::{GIT_REF, GIT_URL};
use crate::http::header;
use crate::process::{run, run_with_input};

/// The host and the path of [`GIT_URL`].
pub(crate) fn host_and_path() -> (&'static str, &'static str) {
    GIT_URL.trim_start_matches("https://").split_once('/').unwrap_or((GIT_URL, ""))
}

/// A Git server with one repository.
#[derive(Debug)]
pub(crate) struct GitServer {
    /// The folder with the repositories.
    root: PathBuf,
    work_tree: PathBuf,
    /// Held while the content of the folder is committed.
    committing: Mutex<()>,
    /// The HTTP status with which all requests are refused.
    refused: Mutex<Option<u16>>,
}

impl GitServer {
    /// Creates the repository in the folder `root`. Its content is that of the folder `work_tree`.
    pub(crate) fn new(root: &Path, work_tree: &Path) -> Result<Self> {
        let server = Self {
            root: root.to_owned(),
            work_tree: work_tree.to_owned(),
            committing: Mutex::default(),
            refused: Mutex::default(),
        };
        fs::create_dir_all(root)?;
        let branch = GIT_REF.trim_start_matches("refs/heads/");
        let mut init = server.git();
        // A repository that is to be bare must not have a work tree at first.
        init.args(["init", "--quiet", "--bare", "--initial-branch", branch]).env_remove("GIT_WORK_TREE");
        run(&mut init)?;
        Ok(server)
    }

    /// Refuses all requests with this HTTP status; `None` allows them again.
    pub(crate) fn refuse(&self, status: Option<u16>) {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = status;
    }

    /// The answer to a request.
    pub(crate) fn answer(&self, head: &str, body: &[u8]) -> Result<Vec<u8>> {
        if let Some(status) = *self.refused.lock().unwrap_or_else(PoisonError::into_inner) {
            let login = if status == 401 { "WWW-Authenticate: Basic realm=\"Git\"\r\n" } else { "" };
            return Ok(format!("HTTP/1.1 {status} Refused\r\n{login}Content-Length: 0\r\n\r\n").into_bytes());
        }
        let mut words = head.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        if path.ends_with("/info/refs") {
            self.commit()?;
        }
        let mut backend = self.git();
        backend
            .arg("http-backend")
            .env_remove("GIT_DIR")
            .env_remove("GIT_WORK_TREE")
            .envs([("GIT_HTTP_EXPORT_ALL", "1"), ("REMOTE_ADDR", "127.0.0.1"), ("REQUEST_METHOD", method)])
            .envs([("PATH_INFO", path), ("QUERY_STRING", query)])
            .env("GIT_PROJECT_ROOT", &self.root)
            .env("CONTENT_LENGTH", body.len().to_string());
        for (name, variable) in [
            ("content-type", "CONTENT_TYPE"),
            ("content-encoding", "HTTP_CONTENT_ENCODING"),
            ("git-protocol", "HTTP_GIT_PROTOCOL"),
        ] {
            if let Some(value) = header(head, name) {
                backend.env(variable, value);
            }
        }
        http_of_cgi(&run_with_input(&mut backend, body)?.stdout)
    }

    /// Commits what has changed in the folder since the last commit.
    fn commit(&self) -> Result<()> {
        let _guard = self.committing.lock().unwrap_or_else(PoisonError::into_inner);
        run(self.git().args(["add", "--all"]))?;
        let is_first =
            self.git().args(["rev-parse", "--quiet", "--verify", "HEAD"]).output()?.stdout.is_empty();
        if is_first || !run(self.git().args(["status", "--porcelain"]))?.stdout.is_empty() {
            run(self.git().args(["commit", "--quiet", "--allow-empty", "--message", "Change the folder"]))?;
        }
        Ok(())
    }

    /// `git` on the repository, without the user's configuration.
    fn git(&self) -> Command {
        let mut command = Command::new("git");
        command
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .envs([("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_CONFIG_NOSYSTEM", "1")])
            .envs([("GIT_AUTHOR_NAME", "sandbox"), ("GIT_AUTHOR_EMAIL", "sandbox@sandbox.test")])
            .envs([("GIT_COMMITTER_NAME", "sandbox"), ("GIT_COMMITTER_EMAIL", "sandbox@sandbox.test")])
            .env("GIT_DIR", self.root.join(host_and_path().1))
            .env("GIT_WORK_TREE", &self.work_tree)
            .current_dir(&self.work_tree);
        command
    }
}

/// The HTTP answer of a CGI program's output: the status is one of its headers.
fn http_of_cgi(output: &[u8]) -> Result<Vec<u8>> {
    let end = output.windows(4).position(|window| window == b"\r\n\r\n").context("the answer has no head")?;
    let (head, body) = (std::str::from_utf8(&output[..end])?, &output[end + 4..]);
    let (status, headers): (Vec<_>, Vec<_>) = head.lines().partition(|line| line.starts_with("Status: "));
    let status = status.first().map_or("200 OK", |line| &line["Status: ".len()..]);
    let length = format!("Content-Length: {}", body.len());
    let headers: Vec<_> = headers.into_iter().filter(|line| !line.starts_with("Content-Length: ")).collect();
    let head = [&[&*format!("HTTP/1.1 {status}"), &length], &headers[..], &["", ""]].concat().join("\r\n");
    Ok([head.as_bytes(), body].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(server: &GitServer, path: &str) -> String {
        let answer = server.answer(&format!("GET {path} HTTP/1.1\r\n\r\n"), b"").unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    #[test]
    fn refs_follow_the_folder_until_the_server_refuses() {
        let folder = tempfile::tempdir().unwrap();
        let work_tree = folder.path().join("work");
        fs::create_dir(&work_tree).unwrap();
        let server = GitServer::new(&folder.path().join("served"), &work_tree).unwrap();
        let refs = "/home.git/info/refs?service=git-upload-pack";
        let first = get(&server, refs);
        assert!(first.starts_with("HTTP/1.1 200 OK\r\nContent-Length: "), "{first}");
        assert!(first.contains(&format!(" {GIT_REF}\n")), "{first}");
        assert_eq!(get(&server, refs), first);
        fs::write(work_tree.join("file"), "new").unwrap();
        assert_ne!(get(&server, refs), first);
        assert!(get(&server, "/other.git/info/refs?service=git-upload-pack").starts_with("HTTP/1.1 404"));
        server.refuse(Some(401));
        assert!(get(&server, refs).starts_with("HTTP/1.1 401 "));
        server.refuse(None);
        assert!(get(&server, refs).starts_with("HTTP/1.1 200 "));
    }
}
