//! `cargo sandbox pictures`: draws runs on a terminal for the README and the book.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use nix::pty::{OpenptyResult, Winsize, openpty};
use vt100::{Color, Parser, Screen};

use crate::cluster::Options;
use crate::fixture::Fixture;
use crate::nodes::CILIUM_NODE_ARGS;
use crate::tools::Tools;

/// The size of the terminal in characters. Longer lines wrap.
const COLUMNS: u16 = 132;
const ROWS: u16 = 120;
/// The size of a character in pixels.
const WIDTH: f64 = 7.2;
const HEIGHT: f64 = 16.0;
const MARGIN: f64 = 12.0;
const FOREGROUND: &str = "#d0d0d0";
const BACKGROUND: &str = "#1c1c1c";

/// Runs k3s-boot on a fresh cluster and draws the terminal, as it is at the end of each command, in files of this folder.
pub(crate) fn pictures(tools: &Tools, program: &Path, folder: &Path) -> Result<()> {
    let fixture =
        Fixture::start(tools, program, Options { name: "picture".to_owned(), ..Options::default() })?;
    let draw = |name: &str, screen: &Screen| {
        let file = folder.join(name).with_extension("svg");
        fs::write(&file, svg(screen, if name == "check" { "k3s" } else { "" }))
            .with_context(|| format!("cannot write `{}`", file.display()))
    };
    let written = fixture.checkout.folder().join("home");
    fs::create_dir(&written)?;
    let mut init = fixture.command("init");
    init.args(["--git-url", "https://github.com/me/home.git"]).current_dir(&written);
    draw("init", shown(init, 0)?.screen())?;

    // With flannel and kube-proxy, and with two replicas of Cilium's operator.
    let set_args = |args: &[&str]| -> Result<()> {
        let args = format!("k3s.io/node-args={}", serde_json::to_string(args)?);
        fixture.sandbox.kubectl(&["annotate", "--overwrite", "node", "node-1", &args]).map(drop)
    };
    set_args(&["server", "--disable", "coredns,servicelb,traefik"])?;
    let values = "bootstrap/templates/values.yaml.gotmpl";
    fixture.checkout.change(values, &[("replicas: 1", "replicas: 2".to_owned())])?;
    draw("check", shown(fixture.command("check"), 1)?.screen())?;
    set_args(&CILIUM_NODE_ARGS)?;
    fixture.checkout.ship(&fixture.sandbox)?;

    draw("run", shown(fixture.command("apps"), 0)?.screen())?;
    draw("status", shown(fixture.command("status"), 0)?.screen())
}

/// The terminal after a command, which must end with this exit code.
fn shown(mut command: Command, code: i32) -> Result<Parser> {
    let window = Winsize { ws_row: ROWS, ws_col: COLUMNS, ws_xpixel: 0, ws_ypixel: 0 };
    let OpenptyResult { master, slave } = openpty(Some(&window), None)?;
    command.env("TERM", "xterm-256color").env_remove("NO_COLOR").env_remove("GITHUB_ACTIONS");
    let end = || slave.try_clone().map(Stdio::from);
    let mut child =
        command.stdin(end()?).stdout(end()?).stderr(end()?).spawn().context("cannot run `k3s-boot`")?;
    drop((command, slave));
    let mut shown = Vec::new();
    // Reading from a terminal that is closed on the other side ends with an error.
    _ = File::from(master).read_to_end(&mut shown);
    let status = child.wait()?;
    let mut terminal = Parser::new(ROWS, COLUMNS, 0);
    terminal.process(&shown);
    ensure!(status.code() == Some(code), "the run ended with {status}:\n{}", terminal.screen().contents());
    Ok(terminal)
}

/// Draws the screen from the first row that starts with `from` down to the last used row.
fn svg(screen: &Screen, from: &str) -> String {
    let used = screen.rows(0, COLUMNS).collect::<Vec<_>>();
    let end = used.iter().rposition(|row| !row.trim().is_empty()).map_or(0, |last| last + 1);
    let start = used.iter().position(|row| row.starts_with(from)).unwrap_or_default();
    let rows = end.saturating_sub(start);
    let (width, height) = (
        f64::from(COLUMNS) * WIDTH + 2.0 * MARGIN,
        f64::from(u16::try_from(rows).unwrap_or(ROWS)) * HEIGHT + 2.0 * MARGIN,
    );
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"ui-monospace, Menlo, Consolas, monospace\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" rx=\"6\" fill=\"{BACKGROUND}\"/>\n"
    );
    for (y, row) in (start..end).enumerate() {
        let (y, row) = (u16::try_from(y).unwrap_or(ROWS), u16::try_from(row).unwrap_or(ROWS));
        let y = MARGIN + (f64::from(y) + 0.8) * HEIGHT;
        _ = write!(svg, "<text x=\"{MARGIN}\" y=\"{y}\" xml:space=\"preserve\">");
        let mut look = None;
        let written = used.get(usize::from(row)).map_or(0, |row| row.trim_end().chars().count());
        for column in 0..u16::try_from(written).unwrap_or(COLUMNS) {
            let Some(cell) = screen.cell(row, column) else { continue };
            let new = (colour(cell.fgcolor()), cell.bold());
            if look.as_ref() != Some(&new) {
                svg.push_str(if look.is_some() { "</tspan>" } else { "" });
                let weight = if new.1 { " font-weight=\"bold\"" } else { "" };
                _ = write!(svg, "<tspan fill=\"{}\"{weight}>", new.0);
                look = Some(new);
            }
            match cell.contents() {
                "" => svg.push(' '),
                "&" => svg.push_str("&amp;"),
                "<" => svg.push_str("&lt;"),
                other => svg.push_str(other),
            }
        }
        svg.push_str(if look.is_some() { "</tspan></text>\n" } else { "</text>\n" });
    }
    svg.push_str("</svg>\n");
    svg
}

/// One of the 256 colours of xterm: a cube with six steps in each direction, then greys.
fn colour(colour: Color) -> String {
    match colour {
        Color::Idx(index @ 16..=231) => {
            let step = |value: u8| if value == 0 { 0 } else { 55 + 40 * value };
            let index = index - 16;
            format!("#{:02x}{:02x}{:02x}", step(index / 36), step(index / 6 % 6), step(index % 6))
        }
        Color::Idx(index @ 232..) => {
            // The keys of log lines are nearly as dark as the background.
            let grey = (8 + 10 * (index - 232)).max(110);
            format!("#{grey:02x}{grey:02x}{grey:02x}")
        }
        _ => FOREGROUND.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{colour, svg};

    #[test]
    fn a_screen_becomes_a_picture() {
        let mut terminal = vt100::Parser::new(super::ROWS, super::COLUMNS, 0);
        terminal.process(b"\x1b[1m\x1b[38;5;87mINFO\x1b[0m a<b & c\r\nlast");
        let svg = svg(terminal.screen(), "");
        assert!(svg.contains("<tspan fill=\"#5fffff\" font-weight=\"bold\">INFO</tspan>"), "{svg}");
        assert!(svg.contains(" a&lt;b &amp; c"), "{svg}");
        assert_eq!(svg.matches("<text").count(), 2);
        let cut = super::svg(terminal.screen(), "la");
        assert!(cut.contains(">last</tspan>") && !cut.contains("INFO"), "{cut}");
        assert_eq!(colour(vt100::Color::Idx(232)), "#6e6e6e");
    }
}
