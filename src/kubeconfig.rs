//! Which cluster is meant: the kubeconfig files, merged as kubectl merges them.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::check::Finding;

/// The cluster that is meant; empty when none is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// The kubeconfig files that exist.
    pub files: Vec<PathBuf>,
    /// The context.
    pub context: String,
    /// The API server's address.
    pub server: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct File {
    #[serde(default)]
    current_context: Option<String>,
    #[serde(default)]
    contexts: Option<Vec<NamedContext>>,
    #[serde(default)]
    clusters: Option<Vec<NamedCluster>>,
}

#[derive(Deserialize)]
struct NamedContext {
    name: String,
    #[serde(default)]
    context: Context,
}

#[derive(Default, Deserialize)]
struct Context {
    #[serde(default)]
    cluster: String,
}

#[derive(Deserialize)]
struct NamedCluster {
    name: String,
    #[serde(default)]
    cluster: Cluster,
}

#[derive(Default, Deserialize)]
struct Cluster {
    #[serde(default)]
    server: String,
}

/// Reads the files and finds the context. Also gives the files of the list that do not exist, when others do:
/// kubectl skips those, and so do we.
///
/// # Errors
///
/// No file exists (kubectl would then silently use `localhost:8080`), one cannot be read, or the context is not in
/// any of them.
pub fn load(files: &[PathBuf], context: Option<&str>) -> Result<(Target, Vec<PathBuf>), Finding> {
    let (present, missing): (Vec<_>, Vec<_>) = files.iter().cloned().partition(|file| file.exists());
    if present.is_empty() {
        let names: Vec<_> = missing.iter().map(|file| file.display().to_string()).collect();
        return Err(Finding::error("kubeconfig", "Kubeconfig file not found")
            .with("file", names.join(":"))
            .fix("copy /etc/rancher/k3s/k3s.yaml from a server node, put that node's address in it, and name the copy in KUBECONFIG"));
    }
    let parsed = present.iter().map(|file| read(file)).collect::<Result<Vec<_>, _>>()?;
    let (context, server) = choose(&parsed, context).map_err(|mut problem| {
        let names: Vec<_> = present.iter().map(|file| file.display().to_string()).collect();
        // First, for what mends it comes last.
        problem.pairs.insert(0, ("file", names.join(":")));
        problem
    })?;
    Ok((Target { files: present, context, server }, missing))
}

fn read(path: &Path) -> Result<File, Finding> {
    let problem = |reason: String| {
        Finding::error("kubeconfig", "Kubeconfig file cannot be read")
            .with("file", path.display())
            .with("reason", reason)
    };
    let text = std::fs::read_to_string(path).map_err(|error| problem(error.to_string()))?;
    // The parser's own message may quote a value, and this file holds keys.
    serde_yaml::from_str(&text).map_err(|error| {
        problem(match error.location() {
            Some(place) => format!("not a kubeconfig: see line {}, column {}", place.line(), place.column()),
            None => "not a kubeconfig".to_owned(),
        })
    })
}

/// The first file that has a thing wins.
fn choose(files: &[File], wanted: Option<&str>) -> Result<(String, String), Finding> {
    let current =
        || files.iter().find_map(|file| file.current_context.as_deref().filter(|name| !name.is_empty()));
    let name = wanted.or_else(current).ok_or_else(|| {
        Finding::error("kubeconfig", "Kubeconfig has no current context")
            .fix("name one with --context, or run `kubectl config use-context NAME`")
    })?;
    let contexts = || files.iter().flat_map(|file| file.contexts.iter().flatten());
    let context = contexts().find(|context| context.name == name).ok_or_else(|| {
        let known: Vec<_> = contexts().map(|context| context.name.as_str()).collect();
        Finding::error("kubeconfig", "Kubeconfig does not have the context")
            .with("context", name)
            .with("known", known.join(" "))
    })?;
    let server = files
        .iter()
        .flat_map(|file| file.clusters.iter().flatten())
        .find(|cluster| cluster.name == context.context.cluster)
        .map(|cluster| cluster.cluster.server.clone())
        .filter(|server| !server.is_empty())
        .ok_or_else(|| {
            Finding::error("kubeconfig", "Kubeconfig context leads to no server")
                .with("context", name)
                .with("cluster", &context.context.cluster)
        })?;
    Ok((name.to_owned(), server))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(current: &str, name: &str, server: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: {current}\n\
             contexts:\n- name: {name}\n  context: {{cluster: {name}, user: {name}}}\n\
             clusters:\n- name: {name}\n  cluster: {{server: \"{server}\"}}\n"
        )
    }

    #[test]
    fn the_first_file_wins_and_missing_ones_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("a"), config("default", "default", "https://a:6443")).unwrap();
        std::fs::write(path("b"), config("other", "default", "https://b:6443")).unwrap();
        let files = [path("gone"), path("a"), path("b")];
        let (target, missing) = load(&files, None).unwrap();
        assert_eq!(target.context, "default");
        assert_eq!(target.server, "https://a:6443");
        assert_eq!(target.files, [path("a"), path("b")]);
        assert_eq!(missing, [path("gone")]);
    }

    #[test]
    fn problems_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        let cases = [
            ("contexts: []\n", None, "Kubeconfig has no current context"),
            ("current-context: x\n", None, "Kubeconfig does not have the context"),
            (&config("c", "c", "https://c"), Some("d"), "Kubeconfig does not have the context"),
            (&config("c", "c", ""), None, "Kubeconfig context leads to no server"),
            ("a: [\n", None, "Kubeconfig file cannot be read"),
            ("contexts: 3\n", None, "Kubeconfig file cannot be read"),
        ];
        for (text, context, expected) in cases {
            std::fs::write(&path, text).unwrap();
            assert_eq!(load(std::slice::from_ref(&path), context).unwrap_err().message, expected, "{text}");
        }
        assert_eq!(
            load(&[folder.path().join("gone")], None).unwrap_err().message,
            "Kubeconfig file not found"
        );
    }

    #[test]
    fn no_content_of_the_file_stands_in_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        std::fs::write(&path, "contexts: CANARY-SECRET\n").unwrap();
        let finding = load(std::slice::from_ref(&path), None).unwrap_err();
        assert!(!format!("{finding:?}").contains("CANARY-SECRET"));
    }
}
