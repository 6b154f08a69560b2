//! Modules import only modules in lower layers. The layers are read from ARCHITECTURE.md.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests end a test by panicking, as the tests themselves do"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;

/// The maximum number of names directly below `src/`.
const MAX_NAMES: usize = 15;

static COMMENT: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"//[^\n]*").unwrap());
static USE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?m)^( *)(?:pub(?:\([^)]*\))? )?use ([^;]+);").unwrap());
static PATH: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\b(?:crate|super)(?:::\w+)+").unwrap());

/// A source file without `.rs`, such as `tools/api/away`. Its module path is the same with `::`.
type Source = String;

/// An import of an item of another file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Import {
    from: Source,
    to: Source,
}

#[test]
fn modules_import_downwards_only() {
    let sources = sources();
    let imports = imports(&sources);
    assert!(imports.len() > 500, "only {} imports were found", imports.len());
    let layers = layers();
    let names: BTreeSet<_> = sources.keys().map(|source| top(source)).collect();
    assert_eq!(layers.iter().map(String::as_str).collect::<BTreeSet<_>>(), names, "ARCHITECTURE.md, src/");
    assert!(names.len() <= MAX_NAMES, "{} names below src/: {names:?}", names.len());
    let violations = upward(&imports, &layers);
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

#[test]
fn modules_of_one_folder_have_no_cycles() {
    let imports = imports(&sources());
    let names: BTreeSet<_> = imports.iter().map(|import| top(&import.from)).collect();
    for name in names {
        let cycle = cycle(&imports, name);
        assert!(cycle.is_empty(), "cycle in src/{name}:\n{}", cycle.join("\n"));
    }
}

/// All imports of higher layers, with both files.
fn upward(imports: &BTreeSet<Import>, layers: &[String]) -> Vec<String> {
    let layer = |source: &str| layers.iter().position(|layer| layer == top(source));
    let mut found = Vec::new();
    for Import { from, to } in imports {
        // A smaller index is a higher layer.
        if top(from) != top(to) && layer(to) <= layer(from) {
            found.push(format!(
                "src/{from}.rs imports src/{to}.rs, and `{}` is below `{}`",
                top(from),
                top(to)
            ));
        }
    }
    found
}

/// The modules directly below `src/`, from the top layer to the bottom: the first column of the table in ARCHITECTURE.md.
fn layers() -> Vec<String> {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let rows = text.lines().skip_while(|line| !line.starts_with("| module |")).skip(2);
    let cell = |row: &str| row.split('|').nth(1).unwrap().trim().trim_matches('`').to_owned();
    rows.take_while(|line| line.starts_with('|'))
        .flat_map(|row| {
            cell(row)
                .split("`, `")
                .map(|name| name.trim_end_matches(".rs").trim_end_matches('/').to_owned())
                .collect::<Vec<_>>()
        })
        .collect()
}

/// The imports of a cycle among the modules of one folder. A module and its submodules count as one; the file that
/// declares the modules of the folder is ignored.
fn cycle(imports: &BTreeSet<Import>, name: &str) -> Vec<String> {
    let module = |source: &str| {
        let mut parts = source.split('/');
        (parts.next() == Some(name)).then(|| parts.next().map(ToOwned::to_owned)).flatten()
    };
    let mut arrows: BTreeMap<String, BTreeMap<String, &Import>> = BTreeMap::new();
    for import in imports {
        if let (Some(from), Some(to)) = (module(&import.from), module(&import.to))
            && from != to
        {
            arrows.entry(from).or_default().insert(to, import);
        }
    }
    let mut done = BTreeSet::new();
    for start in arrows.keys() {
        if let Some(cycle) = visit(start, &arrows, &mut Vec::new(), &mut done) {
            return cycle
                .iter()
                .map(|import| format!("src/{}.rs imports src/{}.rs", import.from, import.to))
                .collect();
        }
    }
    Vec::new()
}

/// Follows imports from a module, and returns those of the first cycle.
fn visit<'a>(
    module: &str,
    arrows: &BTreeMap<String, BTreeMap<String, &'a Import>>,
    path: &mut Vec<(String, &'a Import)>,
    done: &mut BTreeSet<String>,
) -> Option<Vec<&'a Import>> {
    if let Some(start) = path.iter().position(|(visited, _)| visited == module) {
        return Some(path[start..].iter().map(|(_, import)| *import).collect());
    }
    if done.contains(module) {
        return None;
    }
    for (to, import) in arrows.get(module).into_iter().flatten() {
        path.push((module.to_owned(), import));
        if let Some(cycle) = visit(to, arrows, path, done) {
            return Some(cycle);
        }
        path.pop();
    }
    done.insert(module.to_owned());
    None
}

/// All imports between files of `src/`, including tests.
fn imports(sources: &BTreeMap<Source, String>) -> BTreeSet<Import> {
    let mut imports = BTreeSet::new();
    for (from, text) in sources {
        for path in paths(from, text) {
            let to = (1..=path.len())
                .rev()
                .map(|length| path[..length].join("/"))
                .find(|path| sources.contains_key(path));
            imports.extend(to.filter(|to| to != from).map(|to| Import { from: from.clone(), to }));
        }
    }
    imports
}

/// The paths of this crate in a file, without `crate`.
fn paths(source: &str, text: &str) -> Vec<Vec<String>> {
    let text = COMMENT.replace_all(text, "");
    let mut found = Vec::new();
    for import in USE.captures_iter(&text) {
        for path in expand(&import[2]) {
            found.push((import[1].is_empty(), path));
        }
    }
    for path in PATH.find_iter(&USE.replace_all(&text, "")) {
        found.push((false, path.as_str().to_owned()));
    }
    found.into_iter().filter_map(|(is_outside, path)| resolve(source, is_outside, &path)).collect()
}

/// A path from the root of the crate. In an inner module, which only tests have, `super` is the file itself.
fn resolve(source: &str, is_outside: bool, path: &str) -> Option<Vec<String>> {
    let mut parts = path.split("::").map(str::trim).peekable();
    let mut module: Vec<_> = source.split('/').map(ToOwned::to_owned).collect();
    match *parts.peek()? {
        "crate" => module.clear(),
        "super" if is_outside => _ = module.pop(),
        "self" | "super" => {}
        _ => return None,
    }
    parts.next();
    while parts.next_if_eq(&"super").is_some() {
        module.pop();
    }
    module.extend(parts.take_while(|part| *part != "self").map(ToOwned::to_owned));
    Some(module)
}

/// The single paths of `a::{b, c::{self, d}}`.
fn expand(tree: &str) -> Vec<String> {
    let Some((prefix, rest)) = tree.split_once('{') else {
        return vec![tree.split(" as ").next().unwrap().trim().to_owned()];
    };
    let inner = rest.rsplit_once('}').unwrap().0;
    let mut depth = 0;
    let parts = inner.split(|character: char| {
        depth += i32::from(character == '{') - i32::from(character == '}');
        character == ',' && depth == 0
    });
    let parts = parts.map(str::trim).filter(|part| !part.is_empty());
    parts.flat_map(|part| expand(&format!("{}{part}", prefix.trim()))).collect()
}

/// All files below `src/`, with their texts.
fn sources() -> BTreeMap<Source, String> {
    let src = root().join("src");
    let mut folders = vec![src.clone()];
    let mut sources = BTreeMap::new();
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(&src).unwrap().with_extension("");
                sources.insert(name.to_str().unwrap().to_owned(), fs::read_to_string(&path).unwrap());
            }
        }
    }
    sources
}

fn top(source: &str) -> &str {
    source.split('/').next().unwrap()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

#[test]
fn what_points_upwards_and_what_goes_round_is_found() {
    let import = |from: &str, to: &str| Import { from: from.to_owned(), to: to.to_owned() };
    let layers = ["run", "plan", "base"].map(ToOwned::to_owned);
    let down = BTreeSet::from([import("run/sync", "plan"), import("plan", "base/url")]);
    assert_eq!(upward(&down, &layers), Vec::<String>::new());
    let up = BTreeSet::from([import("plan/releases", "run/sync")]);
    assert_eq!(
        upward(&up, &layers),
        ["src/plan/releases.rs imports src/run/sync.rs, and `plan` is below `run`"]
    );
    let round = BTreeSet::from([
        import("run/sync", "run/watch"),
        import("run/watch/pods", "run/lock"),
        import("run/lock", "run/sync"),
        import("run/lock", "run"),
    ]);
    assert_eq!(cycle(&round, "run").len(), 3);
    assert_eq!(cycle(&down, "run"), Vec::<String>::new());
}

#[test]
fn paths_are_read_as_rust_reads_them() {
    let text = "use crate::{a::{self, B}, c};\nuse super::d::E as F;\n// use crate::no;\nfn f() { crate::g::h(); }\n\
        mod tests {\n    use super::*;\n    use super::super::i;\n}\n";
    let found: Vec<_> = paths("x/y", text).into_iter().map(|path| path.join("/")).collect();
    assert_eq!(found, ["a", "a/B", "c", "x/d/E", "x/y/*", "x/i", "g/h"]);
}
