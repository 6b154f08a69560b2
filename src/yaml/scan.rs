//! What reading a text as YAML would cost, told without reading it.
//!
//! libyaml looks at all open flow collections (`[`, `{`) for each of its tokens, clears a buffer as long as the longest
//! run of blanks for each word, and goes through all `%TAG` lines for each tag: a megabyte can take minutes. So the
//! text is cut into tokens first, by the rules of libyaml's scanner and step by step like it (`scanner.c` of libyaml
//! 0.2.5): what that takes for a bracket is one here, what that takes for text is none.

use super::Limits;

/// What a text holds that matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cost {
    /// Keys, values, brackets, dashes, …
    pub(super) tokens: usize,
    /// `*name`s.
    pub(super) aliases: usize,
    /// Lines that begin with `%`.
    pub(super) directives: usize,
    /// The most flow collections that are open at once.
    pub(super) depth: usize,
    /// Those that are open at the end.
    pub(super) open: usize,
}

/// Why a text is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    /// From 1.
    pub(super) line: usize,
    pub(super) reason: &'static str,
}

/// Counts until the end, or until there is too much of something.
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

/// What may turn out to be a key, once a `:` follows on its line.
#[derive(Clone, Copy)]
struct Key {
    index: usize,
    line: usize,
    column: isize,
}

#[derive(Default)]
struct Scan<'a> {
    bytes: &'a [u8],
    /// Where it is: in bytes, in characters, the line and the column in it.
    at: usize,
    index: usize,
    line: usize,
    column: isize,
    /// How many flow collections are open.
    flow: usize,
    /// The column of the block collection that is open, and those around it.
    indent: isize,
    indents: Vec<isize>,
    /// Whether a key may begin here, and the one outside of flow collections that did. Those inside change no column.
    key_allowed: bool,
    key: Option<Key>,
    /// The longest run of blanks inside a text.
    blanks: usize,
    cost: Cost,
}

impl Scan<'_> {
    /// A byte from here on; 0 at the end. A 0 in the text ends it too: the parser refuses it.
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

    /// Whether no word goes on here.
    fn is_border(&self, ahead: usize) -> bool {
        self.byte(ahead) == 0 || self.is_blank(ahead) || self.is_break(ahead)
    }

    /// Goes on by one character.
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

    /// Goes over the next token; tells whether there was one.
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
                    // The parser ends here with an error.
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

    /// Whether `---` or `...` stands here.
    fn is_document(&self) -> bool {
        let mark = [self.byte(0), self.byte(1), self.byte(2)];
        self.column == 0 && (mark == *b"---" || mark == *b"...") && self.is_border(3)
    }

    fn document(&mut self) {
        self.close(-1);
        self.forget_key();
        self.key_allowed = false;
    }

    /// Closes the block collections that are further in than a column.
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

    /// Goes over the blanks and line breaks inside a text; tells whether a line ended.
    fn skip_blanks(&mut self) -> bool {
        let (start, line) = (self.at, self.line);
        while self.is_blank(0) || self.is_break(0) {
            self.skip();
        }
        self.blanks = self.blanks.max(self.at - start);
        self.line > line
    }

    /// A text without quotes; it goes on on further lines that are further in.
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

    /// The text behind `|` and `>`.
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
        // A comment at most.
        self.skip_line();
        self.skip();
        self.skip_indent(&mut indent);
        while self.column == indent && self.byte(0) != 0 {
            self.skip_line();
            self.skip();
            self.skip_indent(&mut indent);
        }
    }

    /// Goes over empty lines and to the text of the next one; the first one tells where the text begins.
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
