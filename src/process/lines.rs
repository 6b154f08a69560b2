//! Splits the output of a tool into lines.

/// The maximum length of a line, so that an endless one does not fill the memory.
const MAX_LINE: usize = 64 * 1024;

/// The maximum length of a prompt.
const MAX_PROMPT: usize = 200;

/// Collects bytes and returns whole lines: lossy UTF-8, without colours; of a line that was overwritten with carriage returns,
/// only the last part.
#[derive(Default)]
pub(super) struct LineSplitter {
    pending: Vec<u8>,
    /// How much of it was shown as a prompt.
    shown: usize,
}

impl LineSplitter {
    /// Takes the next bytes; calls `on_line` for every completed line.
    pub(super) fn push(&mut self, bytes: &[u8], mut on_line: impl FnMut(&str)) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ended) = match piece.split_last() {
                Some((b'\n', text)) => (text, true),
                _ => (piece, false),
            };
            let room = MAX_LINE.saturating_sub(self.pending.len());
            self.pending.extend_from_slice(&text[..text.len().min(room)]);
            if ended {
                on_line(&clean(&self.pending));
                self.pending.clear();
                self.shown = 0;
            }
        }
    }

    /// The unfinished line, if it looks like a prompt that has not been shown.
    pub(super) fn prompt(&self) -> Option<String> {
        if self.pending.len() == self.shown || self.pending.len() > MAX_PROMPT {
            return None;
        }
        let text: String = clean(&self.pending).chars().filter(|c| !c.is_control()).collect();
        text.trim_end().ends_with([':', '?', '>', ')', ']']).then_some(text)
    }

    /// Called when the prompt was shown.
    pub(super) fn prompt_shown(&mut self) {
        self.shown = self.pending.len();
    }
}

fn clean(line: &[u8]) -> String {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let last = line.rsplit(|byte| *byte == b'\r').next().unwrap_or_default();
    strip_ansi(&String::from_utf8_lossy(last))
}

/// Removes escape sequences: `ESC [ … letter` (colours, cursor) and `ESC ] … BEL` (titles, links).
fn strip_ansi(text: &str) -> String {
    if !text.contains('\u{1b}') {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\u{1b}' {
            out.push(character);
            continue;
        }
        match characters.next() {
            Some('[') => _ = characters.find(|c| ('\u{40}'..='\u{7e}').contains(c)),
            Some(']') => _ = characters.find(|c| *c == '\u{7}' || *c == '\\'),
            _ => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(chunks: &[&[u8]]) -> Vec<String> {
        let mut splitter = LineSplitter::default();
        let mut lines = Vec::new();
        for chunk in chunks {
            splitter.push(chunk, |line| lines.push(line.to_owned()));
        }
        lines
    }

    #[test]
    fn cuts_cleans_and_caps() {
        let cases: &[(&[&[u8]], &[&str])] = &[
            (&[b"one\ntwo\n"], &["one", "two"]),
            (&[b"on", b"e\nt", b"wo\n"], &["one", "two"]),
            (&[b"crlf\r\n"], &["crlf"]),
            (&[b"10%\r50%\r100%\n"], &["100%"]),
            (&[b"\x1b[1m\x1b[38;5;87mINFO\x1b[0m done\n"], &["INFO done"]),
            (&[b"\x1b]8;;http://x\x07link\n"], &["link"]),
            (&[b"bad \xff byte\n"], &["bad \u{fffd} byte"]),
            (&[b"no end"], &[]),
        ];
        for (chunks, expected) in cases {
            assert_eq!(lines(chunks), *expected, "{chunks:?}");
        }
        let long = [vec![b'x'; MAX_LINE + 10], b"\n".to_vec()].concat();
        assert_eq!(lines(&[&long])[0].len(), MAX_LINE);
    }

    #[test]
    fn only_a_prompt_is_shown_before_its_line_ends() {
        let cases: &[(&str, Option<&str>)] = &[
            ("Master password: ", Some("Master password: ")),
            ("warning\n\x1b[1mContinue?\x1b[0m [y/N] ", Some("Continue? [y/N] ")),
            ("CANARY-SECRET", None),
            ("Password:\n", None),
            ("", None),
        ];
        for (text, expected) in cases {
            let mut splitter = LineSplitter::default();
            splitter.push(text.as_bytes(), |_| {});
            assert_eq!(splitter.prompt().as_deref(), *expected, "{text}");
            splitter.prompt_shown();
            assert_eq!(splitter.prompt(), None, "it is shown once");
        }
    }

    proptest! {
        #[test]
        fn chunk_borders_do_not_matter(bytes: Vec<u8>, at: prop::sample::Index) {
            let bytes = [bytes, b"\n".to_vec()].concat();
            let (left, right) = bytes.split_at(at.index(bytes.len()));
            prop_assert_eq!(lines(&[left, right]), lines(&[&bytes]));
        }
    }
}
