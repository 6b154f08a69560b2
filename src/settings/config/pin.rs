//! Writes the cluster pin into a configuration file and keeps everything else in it.

use std::fs::Permissions;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::{Config, Text, Uid, Word, is_absent, parse, text, wrong_name};
use crate::base::finding::{Finding, Severity};

/// The URL of this project; empty before it is published.
const REPOSITORY: &str = env!("CARGO_PKG_REPOSITORY");

/// The result of pinning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pinned {
    /// The file was created.
    Created,
    /// The pin was added or replaced.
    Changed,
    /// The file already pins this cluster.
    Unchanged,
}

/// Writes the cluster's UID into the configuration file atomically.
///
/// # Errors
///
/// The file has problems, cannot be written, or has to be edited by hand.
pub(crate) fn pin(path: &Path, uid: &str) -> Result<Pinned, Vec<Finding>> {
    let uid = Uid::parse::<serde::de::value::Error>(uid).map_err(|accepted| {
        let finding = Finding::error("config", "Cluster UID has an unknown format");
        vec![finding.with("found", super::without_long_words(uid)).with("accepted", accepted)]
    })?;
    let failed = |error| {
        let finding =
            Finding::error("config", "Configuration cannot be written").with("file", path.display());
        vec![finding.with("reason", error).fix(by_hand(&uid))]
    };
    if is_absent(path) {
        return match wrong_name(path) {
            Some(found) => Err(vec![Finding { severity: Severity::Error, ..found }]),
            None => write(path, &new(&uid)).map(|()| Pinned::Created).map_err(failed),
        };
    }
    let old = text(path).map_err(|problem| vec![problem])?;
    let (config, problems) = parse(path, &old);
    if !problems.is_empty() {
        return Err(problems);
    }
    if config.cluster.uid.as_ref().is_some_and(|Text(pinned)| *pinned == uid) {
        return Ok(Pinned::Unchanged);
    }
    let edited = edited(&old, &config, &uid.0);
    let mut desired = config;
    desired.cluster.uid = Some(Text(uid.clone()));
    let edited = Some(edited).filter(|text| parse(path, text) == (desired, Vec::new())).ok_or_else(|| {
        let finding = Finding::error("config", "Configuration has to be edited by hand");
        vec![finding.with("file", path.display()).fix(by_hand(&uid))]
    })?;
    write(path, &edited).map(|()| Pinned::Changed).map_err(failed)
}

fn by_hand(Uid(uid): &Uid) -> String {
    format!("cluster:\n  uid: {uid}")
}

/// The text of a new file. Its first line points editors to the schema.
fn new(uid: &Uid) -> String {
    let keys = if REPOSITORY.is_empty() {
        "Configuration of k3s-boot; its docs/k3s-boot.schema.json describes the keys.".to_owned()
    } else {
        format!("yaml-language-server: $schema={REPOSITORY}/raw/main/docs/k3s-boot.schema.json")
    };
    format!("# {keys}\n{}\n", by_hand(uid))
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    // Keep links.
    let path = if is_absent(path) { path.to_owned() } else { path.canonicalize()? };
    let folder = path.parent().unwrap_or(&path);
    // The umask applies, as for any new file.
    let mode = Permissions::from_mode(0o666);
    let mut file = tempfile::Builder::new().prefix(".k3s-boot-").permissions(mode).tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    if let Ok(old) = path.metadata() {
        file.as_file().set_permissions(old.permissions())?;
    }
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

/// The text with the pin: in place of the old one, below an empty `cluster:`, or at the end. The caller
/// parses the result: it is wrong for texts in another style.
fn edited(old: &str, config: &Config, uid: &str) -> String {
    let newline = if old.contains("\r\n") { "\r\n" } else { "\n" };
    if let Some(Text(Uid(pinned))) = &config.cluster.uid {
        let at = old.to_ascii_lowercase().find(pinned).unwrap_or(old.len());
        let end = (at + pinned.len()).min(old.len());
        return format!("{}{uid}{}", &old[..at], &old[end..]);
    }
    let mut lines: Vec<_> = old.split_inclusive('\n').map(ToOwned::to_owned).collect();
    let is_empty = |line: &String| {
        let rest = line.trim_start_matches('\u{feff}').strip_prefix("cluster:").map(str::trim);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('#'))
    };
    if let Some(last) = lines.last_mut().filter(|last| !last.ends_with('\n')) {
        last.push_str(newline);
    }
    match lines.iter().position(is_empty) {
        Some(cluster) => lines.insert(cluster + 1, format!("  uid: {uid}{newline}")),
        None => lines.push(format!("cluster:{newline}  uid: {uid}{newline}")),
    }
    lines.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "0a1b2c3d-0000-4000-8000-00000000000a";
    const B: &str = "0a1b2c3d-0000-4000-8000-00000000000b";

    /// The text after pinning, with `@A` and `@B` for the UIDs.
    fn pinned(text: &str) -> Result<String, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("k3s-boot.yaml");
        std::fs::write(&path, text.replace("@A", A).replace("@B", B)).unwrap();
        let result = pin(&path, B);
        let files = std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(files, 1, "nothing is left");
        let text = std::fs::read_to_string(&path).unwrap().replace(A, "@A").replace(B, "@B");
        result.map(|_| text).map_err(|problems| problems[0].summary.clone())
    }

    #[test]
    fn only_the_pin_changes() {
        let cases = [
            // There is a UID.
            ("cluster:\n  uid: @A # ours\nnodes: 3\n", "cluster:\n  uid: @B # ours\nnodes: 3\n"),
            ("# ä\ncluster: {uid: @A}\n", "# ä\ncluster: {uid: @B}\n"),
            ("cluster: { uid: \"@A\" }\n", "cluster: { uid: \"@B\" }\n"),
            ("cluster:\r\n  uid: '@A'\r\nnodes: 3\r\n", "cluster:\r\n  uid: '@B'\r\nnodes: 3\r\n"),
            ("{\"cluster\":{\"uid\":\"@A\"},\"nodes\":3}", "{\"cluster\":{\"uid\":\"@B\"},\"nodes\":3}"),
            ("cluster:\n  uid:\n    @A", "cluster:\n  uid:\n    @B"),
            ("cluster:\n  uid: @B\n", "cluster:\n  uid: @B\n"),
            ("\u{feff}cluster:\n  uid: @A\n", "\u{feff}cluster:\n  uid: @B\n"),
            // The key has no value.
            ("cluster:\n  uid: # ours\n", ""),
            ("cluster:\n  uid: ~\n", ""),
            ("cluster: {uid: }\n", ""),
            // The block is empty.
            ("nodes: 3\ncluster:\n", "nodes: 3\ncluster:\n  uid: @B\n"),
            ("cluster: # ours\n  # uid: x\nnodes: 3\n", "cluster: # ours\n  uid: @B\n  # uid: x\nnodes: 3\n"),
            ("cluster:", "cluster:\n  uid: @B\n"),
            ("cluster:\r\nnodes: 3\r\n", "cluster:\r\n  uid: @B\r\nnodes: 3\r\n"),
            ("  cluster:\n  nodes: 3\n", ""),
            ("cluster: {}\n", ""),
            ("cluster: null\nnodes: 3\n", ""),
            ("{cluster: , nodes: 3}\n", ""),
            ("cluster: &c {}\n", ""),
            // There is no block.
            ("", "cluster:\n  uid: @B\n"),
            ("---\n", "---\ncluster:\n  uid: @B\n"),
            ("# only comments\n\n", "# only comments\n\ncluster:\n  uid: @B\n"),
            ("# only comments", "# only comments\ncluster:\n  uid: @B\n"),
            ("# three\r\nnodes: 3", "# three\r\nnodes: 3\r\ncluster:\r\n  uid: @B\r\n"),
            ("  nodes: 3\n", ""),
            ("namespaces:\n- a\n# - b\n", "namespaces:\n- a\n# - b\ncluster:\n  uid: @B\n"),
            ("{nodes: 3}\n", ""),
            ("{}\n", ""),
            // The position is not clear.
            ("nodes: 3\n...\n", ""),
            ("cluster: {uid: &x @A}\n", "cluster: {uid: &x @B}\n"),
            ("~\n", ""),
        ];
        for (old, new) in cases {
            let expected = if new.is_empty() {
                Err("Configuration has to be edited by hand".to_owned())
            } else {
                Ok(new.to_owned())
            };
            assert_eq!(pinned(old), expected, "{old:?}");
        }
    }

    #[test]
    fn invalid_files_are_not_changed() {
        assert_eq!(pinned("nodes: [\n"), Err("Configuration is invalid".to_owned()));
        assert_eq!(pinned("node: 3\n"), Err("Configuration is invalid".to_owned()));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("k3s-boot.yaml");
        assert_eq!(pin(&path, "../x").unwrap_err()[0].summary, "Cluster UID has an unknown format");
        std::fs::write(folder.path().join("k3s-boot.yml"), "nodes: 3\n").unwrap();
        let problems = pin(&path, A).unwrap_err();
        assert_eq!(problems[0].summary, "Configuration file has the wrong name and is ignored");
        assert!(!path.exists());
        let problems = pin(&folder.path().join("nowhere/k3s-boot.yaml"), A).unwrap_err();
        assert_eq!(problems[0].summary, "Configuration cannot be written");
        assert!(problems[0].fix.as_ref().unwrap().contains(A));
    }

    #[test]
    fn a_file_is_created_and_links_and_modes_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().join("real.yaml");
        assert_eq!(pin(&real, &A.to_uppercase()), Ok(Pinned::Created));
        let text = std::fs::read_to_string(&real).unwrap();
        assert!(text.starts_with("# ") && text.contains("k3s-boot.schema.json"), "{text}");
        assert!(text.ends_with(&format!("\ncluster:\n  uid: {A}\n")), "{text}");
        assert_eq!(pin(&real, A), Ok(Pinned::Unchanged));
        std::fs::set_permissions(&real, Permissions::from_mode(0o640)).unwrap();
        let link = folder.path().join("k3s-boot.yaml");
        std::os::unix::fs::symlink("real.yaml", &link).unwrap();
        assert_eq!(pin(&link, B), Ok(Pinned::Changed));
        assert!(link.is_symlink());
        assert_eq!(real.metadata().unwrap().permissions().mode() & 0o777, 0o640);
        assert!(std::fs::read_to_string(&real).unwrap().ends_with(&format!("  uid: {B}\n")));
    }

    proptest::proptest! {
        #[test]
        fn no_file_that_people_write_makes_it_panic(text in crate::base::mutate::text(&[
            "# mine\ncluster:\n  uid: 7f0c1b2a-0000-4000-8000-00000000abcd # old\nnodes: 3\n", "cluster:\n", "{cluster: {uid: ~}, nodes: 3}\n",
            "nodes: 3\r\ncluster: null\r\n",
        ])) {
            if let Ok(new) = pinned(&text) {
                let (config, problems) = parse(Path::new("/x"), &new.replace("@B", B));
                proptest::prop_assert_eq!(problems, Vec::new());
                proptest::prop_assert_eq!(config.cluster.uid, Some(Text(Uid(B.to_owned()))));
            }
        }

        #[test]
        fn it_never_panics_and_never_breaks_a_file(text in "(cluster|uid|nodes|: |\\{|\\}|\n|  |~|#|3|,|\r\n|ä|-|'|\"|&a |\\*a)*") {
            if let Ok(new) = pinned(&text) {
                let (config, problems) = parse(Path::new("/x"), &new.replace("@B", B));
                proptest::prop_assert_eq!(problems, Vec::new());
                proptest::prop_assert_eq!(config.cluster.uid, Some(Text(Uid(B.to_owned()))));
            }
        }
    }
}
