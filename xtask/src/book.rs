//! The documentation as a book, and the links in it.

use std::io::{Write as _, stdin, stdout};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::program::{print_progress, python_programs, run, workspace};

// renovate: datasource=crate depName=mdbook
const MDBOOK_VERSION: &str = "0.5.4";

/// Builds the book and returns its folder.
///
/// # Errors
///
/// If mdBook cannot be installed or fails.
pub(crate) fn build() -> Result<PathBuf> {
    let folder = workspace().join("target/book");
    // The program that runs, not one that is built for each book.
    let links = format!("'{}' repository-links", std::env::current_exe()?.display());
    run(Command::new(mdbook()?)
        .arg("build")
        .env("MDBOOK_PREPROCESSOR__REPOSITORY_LINKS__COMMAND", links)
        .current_dir(workspace()))?;
    Ok(folder)
}

/// Checks the links in the book, in its sources and in the other pages of the repository, without the internet.
///
/// # Errors
///
/// If a page cannot be built or a file or an anchor does not exist.
pub(crate) fn check_links() -> Result<()> {
    let book = build()?;
    for page in pages(&workspace().join("docs"))? {
        let name = page.file_stem().unwrap_or_default();
        let is_built = book.join(name).with_extension("html").is_file();
        ensure!(
            is_built || name == "README" || name == "SUMMARY",
            "`{}` is missing from docs/SUMMARY.md",
            page.display()
        );
    }
    let mut lychee = Command::new(python_programs()?.join("lychee"));
    // The page for unknown addresses is for the root of a server.
    lychee.args(["--offline", "--include-fragments", "--no-progress", "--exclude-path", "404.html"]);
    lychee.args(pages(&workspace())?);
    run(lychee.arg("docs").arg(book).current_dir(workspace()))
}

/// The Markdown files of a folder.
fn pages(folder: &Path) -> Result<Vec<PathBuf>> {
    let files: Vec<_> = std::fs::read_dir(folder)?.collect::<Result<_, _>>()?;
    let files = files.iter().map(std::fs::DirEntry::path);
    Ok(files.filter(|file| file.extension().is_some_and(|extension| extension == "md")).collect())
}

/// mdBook, without what only `mdbook serve` needs.
fn mdbook() -> Result<PathBuf> {
    let root = workspace().join("target/mdbook").join(MDBOOK_VERSION);
    let program = root.join("bin/mdbook");
    if !program.is_file() {
        print_progress(&format!("installing mdBook {MDBOOK_VERSION}"));
        // Without optimization, it is built in less than half the time.
        let options = "install --quiet --locked --debug --no-default-features --features search mdbook";
        run(Command::new("cargo")
            .args(options.split(' '))
            .args(["--version", MDBOOK_VERSION, "--root"])
            .arg(&root)
            .current_dir(workspace()))?;
    }
    Ok(program)
}

/// A preprocessor of mdBook: links to files outside `docs/` lead to the repository on GitHub, or to the file if this is not a
/// run of GitHub Actions.
///
/// # Errors
///
/// If stdin does not hold a book.
pub(crate) fn link_to_repository() -> Result<()> {
    let variable = |name| std::env::var(name).ok();
    let target = match (variable("GITHUB_SERVER_URL"), variable("GITHUB_REPOSITORY")) {
        (Some(server), Some(repository)) => format!("{server}/{repository}/blob/main"),
        _ => format!("file://{}", workspace().display()),
    };
    let mut input: Vec<Value> = serde_json::from_reader(stdin()).context("stdin is not a book of mdBook")?;
    ensure!(input.len() == 2, "mdBook passes its context and the book");
    let book = input.pop();
    let book = book.map(|book| replaced(book, &target)).unwrap_or_default();
    serde_json::to_writer(stdout(), &book)?;
    Ok(stdout().flush()?)
}

/// The book with other targets of links in its chapters.
fn replaced(value: Value, target: &str) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().map(|(name, value)| {
                let value = match value {
                    Value::String(text) if name == "content" => {
                        Value::String(text.replace("](../", &format!("]({target}/")))
                    }
                    value => replaced(value, target),
                };
                (name, value)
            });
            Value::Object(fields.collect())
        }
        Value::Array(values) => values.into_iter().map(|value| replaced(value, target)).collect(),
        value => value,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::replaced;

    #[test]
    fn links_out_of_the_book_lead_to_the_repository() {
        let chapter =
            |content| json!({"items": [{"Chapter": {"name": "](../", "content": content, "sub_items": []}}]});
        let book = chapter("[a](../a/b.md#c) [b](b.md)");
        assert_eq!(replaced(book, "https://x"), chapter("[a](https://x/a/b.md#c) [b](b.md)"));
    }
}
