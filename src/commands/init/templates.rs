//! The files of a new repository, from the templates in `templates/` and the shipped `bootstrap/`.

use std::path::{Path, PathBuf};

use include_dir::{Dir, include_dir};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior};

use super::choices::{Choices, Pins};
use crate::base::release_id::ReleaseId;

static REPOSITORY: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/templates");
static BOOTSTRAP: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/bootstrap");
const TASKFILE: &str = include_str!("../../../Taskfile.yaml");

/// The folder of a release of the templates.
const CILIUM: &str = "kubernetes/apps/kube-system/cilium";
const COREDNS: &str = "kubernetes/apps/kube-system/coredns";
const KUBE_SYSTEM: &str = "kubernetes/apps/kube-system";
const AGENT: &str = "k3s/agent.yaml";

/// A file to write, with its path in the repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct File {
    pub path: PathBuf,
    pub text: String,
}

/// The files of `--layout helmfile`: the shipped helmfiles, and the Taskfile.
pub(super) fn bootstrap() -> Vec<File> {
    let mut files = Vec::new();
    walk(&BOOTSTRAP, &mut |path, text| {
        files.push(File { path: Path::new("bootstrap").join(path), text: text.to_owned() });
    });
    files.push(taskfile());
    files
}

/// All files of a repository, except the age key and the deploy key.
///
/// # Errors
///
/// A template is invalid.
pub(super) fn repository(choices: &Choices) -> Result<Vec<File>, minijinja::Error> {
    let environment = environment()?;
    let mut templates = Vec::new();
    walk(&REPOSITORY, &mut |path, text| templates.push((path.to_owned(), text)));
    let mut files = Vec::new();
    for (path, text) in templates {
        if is_written(&path, choices) {
            let text = environment.render_named_str(&path.to_string_lossy(), text, Serde(choices))?;
            files.push(File { text: choices.with_installed_version(&path, text), path });
        }
    }
    files.push(taskfile());
    Ok(files)
}

/// The versions of the charts in the templates.
pub(super) fn pins() -> Pins {
    let mut pins = Pins::new();
    walk(&REPOSITORY, &mut |path, text| {
        let names: Vec<_> = path.iter().filter_map(|name| name.to_str()).collect();
        if let ["kubernetes", "apps", namespace, name, "app", "ocirepository.yaml"] = names[..]
            && let Some(tag) = text.lines().find_map(|line| line.trim().strip_prefix("tag: "))
        {
            pins.insert(ReleaseId::new(namespace, name), tag.to_owned());
        }
    });
    pins
}

fn taskfile() -> File {
    File { path: "Taskfile.yaml".into(), text: TASKFILE.to_owned() }
}

fn is_written(path: &Path, choices: &Choices) -> bool {
    let (cilium, coredns) = (choices.cilium, choices.coredns);
    if path.starts_with(CILIUM) {
        cilium
    } else if path.starts_with(COREDNS) {
        coredns
    } else if path.starts_with(KUBE_SYSTEM) {
        cilium || coredns
    } else if path == Path::new(AGENT) {
        choices.agents > 0
    } else {
        true
    }
}

/// The delimiters of the templates: helmfile, task and mise use those of Jinja themselves.
fn environment() -> Result<Environment<'static>, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_syntax(
        SyntaxConfig::builder()
            .block_delimiters("[%", "%]")
            .variable_delimiters("[[", "]]")
            .comment_delimiters("[#", "#]")
            .keep_trailing_newline(true)
            .build()?,
    );
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    Ok(environment)
}

fn walk<'a>(folder: &'a Dir<'a>, found: &mut impl FnMut(&'a Path, &'a str)) {
    for file in folder.files() {
        if let Some(text) = file.contents_utf8() {
            found(file.path(), text);
        }
    }
    for folder in folder.dirs() {
        walk(folder, found);
    }
}
