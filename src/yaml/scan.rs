//! Estimates the cost of parsing a text as YAML without parsing it.
//!
//! libyaml visits all open flow collections (`[`, `{`) for each token, clears a buffer as long as the longest run of blanks
//! for each word, and searches all `%TAG` lines for each tag: a megabyte can take minutes. So the text is tokenized first,
//! by the same rules as in libyaml's scanner (`scanner.c` of libyaml 0.2.5), to count the same brackets.

use super::Limits;

/// The cost of a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cost {
    /// Keys, values, brackets, dashes, …
    pub(super) tokens: usize,
    /// `*name`s.
    pub(super) aliases: usize,
    /// Lines that begin with `%`.
    pub(super) directives: usize,
    /// The maximum number of open flow collections.
    pub(super) depth: usize,
    /// The number of open flow collections at the end.
    pub(super) open: usize,
}

/// Why a text is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    /// From 1.
    pub(super) line: usize,
    pub(super) reason: &'static str,
}

/// Counts until the end, or until a limit is exceeded.
pub(super) fn cost(text: &str, limits: &Limits) -> Result<Cost, Refused> {
    let mut scan = Scan { bytes: text.as_bytes(), indent: -1, key_allowed: true, ..Scan::default() };
    while scan.token() {
        let Cost { tokens, directives, depth, .. } = scan.cost;
        let reason = if depth > limits.depth {
            "nested too deeply"
        } else if tokens > limits.tokens {
            "too many keys and values"
        } else if directives > limits.directives {
            "too many `%` directives"
        } else if scan.blanks > limits.blanks {
            "too many consecutive blanks"
        } else {
            continue;
        };
        return Err(Refused { line: scan.line + 1, reason });
    }
    scan.cost.open = scan.flow;
    Ok(scan.cost)
}

/// A possible key: it is one if a `:` follows on its line.
#[derive(Clone, Copy)]
struct Key {
    index: usize,
    line: usize,
    column: isize,
}

#[derive(Default)]
struct Scan<'a> {
    bytes: &'a [u8],
    /// The position: in bytes, in characters, and as line and column.
    at: usize,
    index: usize,
    line: usize,
    column: isize,
    /// The number of open flow collections.
    flow: usize,
    /// The column of the open block collection, and of those around it.
    indent: isize,
    indents: Vec<isize>,
    /// Whether a key may begin here, and the possible key outside of flow collections. Keys inside change no indentation.
    key_allowed: bool,
    key: Option<Key>,
    /// The longest run of blanks inside a text.
    blanks: usize,
    cost: Cost,
}

impl Scan<'_> {
    /// A byte from here on; 0 at the end. A 0 in the text ends it too: the parser rejects it.
    fn byte(&self, ahead: usize) -> u8 {
        self.bytes.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn is_break(&self, ahead: usize) -> bool {
        match self.byte(ahead) {
            b'\n' | b'\r' => true,
            0xc2 => self.byte(ahead + 1) == 0x85,
            0xe2 => self.byte(ahead + 1) == 0x80 && matches!(self.byte(ahead + 2), 0xa8 | 0xa9),
            _ => false,
        }
    }

    fn is_blank(&self, ahead: usize) -> bool {
        matches!(self.byte(ahead), b' ' | b'\t')
    }

    /// Whether a word ends here.
    fn is_border(&self, ahead: usize) -> bool {
        self.byte(ahead) == 0 || self.is_blank(ahead) || self.is_break(ahead)
    }

    /// Skips one character.
    fn skip(&mut self) {
        let length = match self.byte(0) {
            0 if self.at >= self.bytes.len() => return,
            0..=0x7f => 1,
            0x80..=0xdf => 2,
            0xe0..=0xef => 3,
            _ => 4,
        };
        if self.is_break(0) {
            self.line += 1;
            self.column = 0;
        } else {
            self.column += 1;
        }
        self.at += length;
        self.index += 1;
    }

    fn skip_many(&mut self, count: usize) {
        (0..count).for_each(|_| self.skip());
    }

    fn skip_line(&mut self) {
        while self.byte(0) != 0 && !self.is_break(0) {
            self.skip();
        }
    }

    /// Skips the next token; returns whether there was one.
    fn token(&mut self) -> bool {
        self.skip_to_token();
        if self.key.is_some_and(|key| key.line < self.line || key.index + 1024 < self.index) {
            self.key = None;
        }
        self.close(self.column);
        let first = self.byte(0);
        if first == 0 {
            return false;
        }
        self.cost.tokens += 1;
        let ends = self.is_border(1);
        match first {
            b'%' if self.column == 0 => {
                self.document();
                self.cost.directives += 1;
                self.skip_line();
            }
            _ if self.is_document() => {
                self.document();
                self.skip_many(3);
            }
            b'[' | b'{' => self.open_flow(),
            b']' | b'}' => {
                self.forget_key();
                self.flow = self.flow.saturating_sub(1);
                self.key_allowed = false;
                self.skip();
            }
            b',' => {
                self.forget_key();
                self.key_allowed = true;
                self.skip();
            }
            b'-' if ends => self.block(true),
            b'?' if ends || self.flow > 0 => self.block(self.flow == 0),
            b':' if ends || self.flow > 0 => self.value(),
            b'*' | b'&' => {
                self.cost.aliases += usize::from(first == b'*');
                self.name();
            }
            b'!' => self.tag(),
            b'|' | b'>' if self.flow == 0 => {
                self.forget_key();
                self.key_allowed = true;
                self.block_text();
            }
            b'\'' | b'"' => {
                self.keep_key();
                self.key_allowed = false;
                self.quoted(first);
            }
            _ => {
                self.keep_key();
                self.key_allowed = false;
                let before = self.at;
                self.plain();
                if self.at == before {
                    // The parser fails here.
                    self.skip();
                }
            }
        }
        true
    }

    fn skip_to_token(&mut self) {
        loop {
            if self.column == 0 && self.bytes[self.at.min(self.bytes.len())..].starts_with(b"\xef\xbb\xbf") {
                self.skip();
            }
            while self.byte(0) == b' ' || (self.byte(0) == b'\t' && (self.flow > 0 || !self.key_allowed)) {
                self.skip();
            }
            if self.byte(0) == b'#' {
                self.skip_line();
            }
            if !self.is_break(0) {
                return;
            }
            self.skip();
            if self.flow == 0 {
                self.key_allowed = true;
            }
        }
    }

    /// Whether there is a `---` or `...` here.
    fn is_document(&self) -> bool {
        let mark = [self.byte(0), self.byte(1), self.byte(2)];
        self.column == 0 && (mark == *b"---" || mark == *b"...") && self.is_border(3)
    }

    fn document(&mut self) {
        self.close(-1);
        self.forget_key();
        self.key_allowed = false;
    }

    /// Closes the block collections with a larger indentation.
    fn close(&mut self, column: isize) {
        while self.flow == 0 && self.indent > column {
            self.indent = self.indents.pop().unwrap_or(-1);
        }
    }

    /// Opens a block collection at a column, unless it is open already.
    fn open(&mut self, column: isize) {
        if self.flow == 0 && self.indent < column {
            self.indents.push(self.indent);
            self.indent = column;
        }
    }

    fn open_flow(&mut self) {
        self.keep_key();
        self.flow += 1;
        self.cost.depth = self.cost.depth.max(self.flow);
        self.key_allowed = true;
        self.skip();
    }

    fn block(&mut self, key_allowed: bool) {
        self.open(self.column);
        self.forget_key();
        self.key_allowed = key_allowed;
        self.skip();
    }

    fn value(&mut self) {
        if let Some(key) = self.key.take_if(|_| self.flow == 0) {
            self.open(key.column);
            self.key_allowed = false;
        } else {
            self.open(self.column);
            self.key_allowed = self.flow == 0;
        }
        self.skip();
    }

    fn keep_key(&mut self) {
        if self.key_allowed && self.flow == 0 {
            self.key = Some(Key { index: self.index, line: self.line, column: self.column });
        }
    }

    fn forget_key(&mut self) {
        if self.flow == 0 {
            self.key = None;
        }
    }

    /// `&name` and `*name`.
    fn name(&mut self) {
        self.keep_key();
        self.key_allowed = false;
        self.skip();
        while is_word(self.byte(0)) {
            self.skip();
        }
    }

    /// `!tag`, `!handle!tag` and `!<tag>`.
    fn tag(&mut self) {
        self.keep_key();
        self.key_allowed = false;
        self.skip();
        let verbatim = self.byte(0) == b'<';
        if verbatim {
            self.skip();
        }
        while is_word(self.byte(0))
            || b";/?:@&=+$.%!~*'()".contains(&self.byte(0))
            || (verbatim && b",[]".contains(&self.byte(0)))
        {
            self.skip();
        }
        if verbatim && self.byte(0) == b'>' {
            self.skip();
        }
    }

    fn quoted(&mut self, quote: u8) {
        self.skip();
        loop {
            self.skip_blanks();
            match self.byte(0) {
                0 => return,
                b'\\' if quote == b'"' => self.skip_many(2),
                byte if byte == quote => {
                    self.skip();
                    if quote == b'"' || self.byte(0) != quote {
                        return;
                    }
                    self.skip();
                }
                _ => self.skip(),
            }
        }
    }

    /// Skips the blanks and line breaks inside a text; returns whether a line ended.
    fn skip_blanks(&mut self) -> bool {
        let (start, line) = (self.at, self.line);
        while self.is_blank(0) || self.is_break(0) {
            self.skip();
        }
        self.blanks = self.blanks.max(self.at - start);
        self.line > line
    }

    /// Text without quotes; it continues on lines with a larger indentation.
    fn plain(&mut self) {
        let indent = self.indent + 1;
        let mut broken = false;
        loop {
            if self.is_document() || self.byte(0) == b'#' {
                break;
            }
            while !self.is_border(0) {
                let flow_mark = self.flow > 0 && b",[]{}".contains(&self.byte(0));
                if flow_mark || (self.byte(0) == b':' && self.is_border(1)) {
                    break;
                }
                broken = false;
                self.skip();
            }
            if !self.is_blank(0) && !self.is_break(0) {
                break;
            }
            broken |= self.skip_blanks();
            if self.flow == 0 && self.column < indent {
                break;
            }
        }
        self.key_allowed |= broken;
    }

    /// The text after `|` and `>`.
    fn block_text(&mut self) {
        self.skip();
        let mut indent = 0;
        for _ in 0..2 {
            match self.byte(0) {
                b'+' | b'-' => self.skip(),
                digit @ b'1'..=b'9' if indent == 0 => {
                    indent = self.indent.max(0) + isize::from(digit - b'0');
                    self.skip();
                }
                _ => {}
            }
        }
        // There can only be a comment.
        self.skip_line();
        self.skip();
        self.skip_indent(&mut indent);
        while self.column == indent && self.byte(0) != 0 {
            self.skip_line();
            self.skip();
            self.skip_indent(&mut indent);
        }
    }

    /// Skips empty lines and the indentation of the next one; the first one sets the indentation of the text.
    fn skip_indent(&mut self, indent: &mut isize) {
        let mut deepest = 0;
        let start = self.at;
        loop {
            while (*indent == 0 || self.column < *indent) && self.byte(0) == b' ' {
                self.skip();
            }
            deepest = deepest.max(self.column);
            if !self.is_break(0) {
                break;
            }
            self.skip();
        }
        self.blanks = self.blanks.max(self.at - start);
        if *indent == 0 {
            *indent = deepest.max(self.indent + 1).max(1);
        }
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}
