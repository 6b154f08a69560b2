//! The report in a file, for what runs k3s-boot: complete, or not there at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::base::files;

/// Where a container leaves its last message, unless its pod says otherwise.
const TERMINATION_LOG: &str = "/dev/termination-log";

/// What the kubelet keeps of a termination message, in bytes. Of a longer one it keeps the end (Kubernetes 1.36,
/// `MaxContainerTerminationMessageLength` in `pkg/kubelet/container/runtime.go`, `pkg/util/tail`), which is no JSON.
const TERMINATION_MESSAGE: usize = 4096;

/// The shortest text that is shortened to fit a termination message, in bytes.
const SHORT_TEXT: usize = 64;

/// The file of `--report`.
#[derive(Debug)]
pub(crate) struct ReportFile {
    path: PathBuf,
    /// Whether it is written in place: a mounted file, a device or a link cannot be replaced.
    in_place: bool,
}

impl ReportFile {
    /// Removes the report of an earlier run, which would look like that of this run if it were killed.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub(crate) fn prepare(path: &Path) -> io::Result<Self> {
        let in_place = match fs::symlink_metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => false,
            Err(error) => return Err(error),
            Ok(found) if found.is_dir() => return Err(ErrorKind::IsADirectory.into()),
            // The folder of a mounted file is often read-only.
            Ok(found) => !found.is_file() || fs::remove_file(path).is_err(),
        };
        let file = Self { path: path.to_owned(), in_place };
        if in_place {
            file.open()?;
        } else {
            let folder = path.parent().unwrap_or(path);
            access(folder, AccessFlags::W_OK | AccessFlags::X_OK)?;
        }
        Ok(file)
    }

    /// Writes the report.
    ///
    /// # Errors
    ///
    /// The file cannot be written. Then it is empty or does not exist.
    pub(crate) fn write(&self, report: &impl Serialize) -> io::Result<()> {
        let text = if self.path == Path::new(TERMINATION_LOG) {
            shortened(serde_json::to_value(report)?, TERMINATION_MESSAGE).to_string()
        } else {
            serde_json::to_string_pretty(report)? + "\n"
        };
        if !self.in_place {
            return files::write_whole(&self.path, text.as_bytes());
        }
        let mut file = self.open()?;
        let written = file.write_all(text.as_bytes());
        if written.is_err() {
            // Half a report is worse than none. A device has no length.
            _ = file.set_len(0);
        }
        written
    }

    fn open(&self) -> io::Result<File> {
        OpenOptions::new().write(true).truncate(true).open(&self.path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Leaves out lists, the longest first, and then shortens the longest texts, until the report fits. `omitted` names the lists.
fn shortened(mut report: Value, limit: usize) -> Value {
    while report.to_string().len() > limit {
        let Some(fields) = report.as_object_mut() else { break };
        if !omit_longest_list(fields) && !shorten_longest_text(&mut report) {
            break;
        }
    }
    report
}

fn omit_longest_list(fields: &mut Map<String, Value>) -> bool {
    let lists = fields.iter().filter(|(name, value)| value.is_array() && *name != "omitted");
    let longest = lists.max_by_key(|(_, list)| list.to_string().len()).map(|(name, _)| name.clone());
    let Some(name) = longest else { return false };
    fields.remove(&name);
    if let Value::Array(omitted) = fields.entry("omitted").or_insert_with(|| Value::Array(Vec::new())) {
        omitted.push(name.into());
    }
    true
}

fn shorten_longest_text(report: &mut Value) -> bool {
    let Some(text) = texts(report).into_iter().max_by_key(|text| text.len()) else { return false };
    if text.len() < SHORT_TEXT {
        return false;
    }
    text.truncate(text.floor_char_boundary(text.len() / 2));
    text.push('…');
    true
}

fn texts(value: &mut Value) -> Vec<&mut String> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(items) => items.iter_mut().flat_map(texts).collect(),
        Value::Object(fields) => fields.iter_mut().flat_map(|(_, value)| texts(value)).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use serde_json::json;

    use super::*;

    #[test]
    fn an_earlier_report_is_gone_before_the_run() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.json");
        fs::write(&path, "old").unwrap();
        let file = ReportFile::prepare(&path).unwrap();
        assert!(!path.exists());
        file.write(&json!({"exit_code": 6})).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\n  \"exit_code\": 6\n}\n");
    }

    #[test]
    fn a_link_stays_and_its_file_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("report.json"), folder.path().join("link"));
        fs::write(&path, "a longer old report").unwrap();
        symlink(&path, &link).unwrap();
        let file = ReportFile::prepare(&link).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "");
        file.write(&json!({})).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "{}\n");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        ReportFile::prepare(Path::new("/dev/null")).unwrap().write(&json!({})).unwrap();
    }

    #[test]
    fn what_cannot_be_written_is_an_error_before_the_run() {
        let folder = tempfile::tempdir().unwrap();
        let error = |path: &Path| ReportFile::prepare(path).unwrap_err().to_string();
        assert_eq!(error(folder.path()), "is a directory");
        fs::write(folder.path().join("file"), "").unwrap();
        assert_eq!(error(&folder.path().join("file/report")), "Not a directory (os error 20)");
        assert_eq!(error(&folder.path().join("no/report")), "No such file or directory (os error 2)");
        // A full disk.
        let full = ReportFile::prepare(Path::new("/dev/full")).unwrap().write(&json!({})).unwrap_err();
        assert_eq!(full.kind(), ErrorKind::StorageFull);
    }

    #[test]
    fn a_termination_message_is_json_that_fits() {
        let releases: Vec<_> = (0..200).map(|number| json!({"name": format!("release-{number}")})).collect();
        let stages = json!([{"name": "preflight"}]);
        let failure = json!({"cause": "ü".repeat(4000), "fix": "x"});
        let report = json!({"exit_code": 5, "releases": releases, "stages": stages, "failure": failure});
        let short = shortened(report.clone(), TERMINATION_MESSAGE);
        assert!(short.to_string().len() <= TERMINATION_MESSAGE, "{short}");
        assert_eq!(short["omitted"], json!(["releases", "stages"]));
        assert_eq!((&short["exit_code"], &short["failure"]["fix"]), (&json!(5), &json!("x")));
        assert!(short["failure"]["cause"].as_str().unwrap().ends_with("ü…"));
        assert_eq!(shortened(report.clone(), 1 << 20), report, "what fits stays as it is");
        assert_eq!(shortened(json!({"a": 1}), 1), json!({"a": 1}), "it ends");
    }
}
