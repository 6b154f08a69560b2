//! Which values the templates of a chart read, judging by their text.
//!
//! Templates are programs: it is known what they do with a value only if they name its path. If they pass on a part of the
//! values as a whole, every key in it may matter.

use std::collections::{BTreeMap, BTreeSet};

/// The values that templates read.
#[derive(Debug, Default)]
pub(crate) struct Reads<'a> {
    /// Paths below `.Values`.
    absolute: Vec<Use<'a>>,
    /// Paths below something else: a part of the values, or anything.
    relative: Vec<Use<'a>>,
    /// String literals: `get` and `index` take keys from them.
    literals: BTreeSet<&'a str>,
}

/// A path in an action.
#[derive(Debug)]
struct Use<'a> {
    path: Vec<&'a str>,
    access: Access,
    /// Whether the value at one of its keys is passed on; which key is known only when the template runs.
    passes_children: bool,
}

/// What an action does with the value at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    /// Tests whether it is set.
    Test,
    /// Reads single keys.
    Keys,
    /// Passes it on.
    Whole,
}

impl<'a> Reads<'a> {
    /// Parses templates.
    pub(crate) fn of(templates: &'a str) -> Self {
        let mut reader = Reader::default();
        for action in actions(templates) {
            reader.action(&tokens(action));
        }
        reader.reads
    }

    /// Whether a key below `parent` may have an effect.
    pub(crate) fn may_read(&self, parent: &[String], key: &str) -> bool {
        let leads_to_it = |path: &[&str]| {
            path.len() > parent.len() && starts_with(path, parent) && path.get(parent.len()) == Some(&key)
        };
        if self.absolute.iter().any(|one| leads_to_it(&one.path)) {
            return true;
        }
        (0..=parent.len()).any(|depth| {
            let (above, below) = parent.split_at(depth);
            match most(&self.absolute, above) {
                None | Some(Access::Test) => false,
                Some(Access::Whole) => true,
                Some(Access::Keys) => self.is_reached(above, below, key),
            }
        })
    }

    /// Whether a key may have an effect if single keys of `above` are read: `above` and `below` are the path to its map.
    fn is_reached(&self, above: &[String], below: &[String], key: &str) -> bool {
        let named = self.literals.contains(key) || self.relative.iter().any(|one| one.path.contains(&key));
        let passed =
            (0..below.len()).any(|start| most(&self.relative, &below[start..]) == Some(Access::Whole));
        let child = self.absolute.iter().any(|one| {
            one.passes_children
                && one.path.len() == above.len()
                && starts_with(&one.path, above)
                && !below.is_empty()
        });
        let relative_child = self.relative.iter().filter(|one| one.passes_children).any(|one| {
            below.windows(one.path.len() + 1).any(|window| starts_with(&one.path, &window[..one.path.len()]))
        });
        named || passed || child || relative_child
    }

    /// The keys below `parent` that templates name.
    pub(crate) fn keys<'b>(&'b self, parent: &'b [String]) -> impl Iterator<Item = &'a str> + 'b {
        let below = self.absolute.iter().filter(|one| starts_with(&one.path, parent));
        below.filter_map(|one| one.path.get(parent.len()).copied())
    }
}

/// The strongest access to a path.
fn most(uses: &[Use<'_>], path: &[String]) -> Option<Access> {
    let exact = uses.iter().filter(|one| one.path.len() == path.len() && starts_with(&one.path, path));
    exact.map(|one| one.access).max_by_key(|access| *access as u8)
}

fn starts_with(path: &[&str], start: &[String]) -> bool {
    path.len() >= start.len() && path.iter().zip(start).all(|(one, other)| one == other)
}

/// An open block.
#[derive(Default)]
struct Block {
    /// The block, from 1, that defines the dot in it: itself, or one around it; 0 for none.
    dot_of: usize,
    /// What the dot refers to, if it is a part of the values.
    dot: Vec<Place>,
}

/// The index of a use.
#[derive(Clone, Copy)]
struct Place {
    /// Whether it is in `absolute`.
    absolute: bool,
    index: usize,
    /// Whether it refers to one of its keys.
    child: bool,
}

#[derive(Default)]
struct Reader<'a> {
    reads: Reads<'a>,
    blocks: Vec<Block>,
    variables: BTreeMap<&'a str, Vec<Place>>,
}

/// Functions that read single keys.
const ACCESSORS: [&str; 6] = ["get", "hasKey", "index", "dig", "pluck", "keys"];

/// Functions and keywords that do not pass on values.
const HARMLESS: [&str; 24] = [
    "and", "or", "not", "eq", "ne", "lt", "le", "gt", "ge", "len", "empty", "default", "coalesce", "kindIs",
    "kindOf", "typeIs", "ternary", "required", "true", "false", "nil", "if", "with", "else",
];

impl<'a> Reader<'a> {
    fn action(&mut self, tokens: &[Token<'a>]) {
        let words = || {
            tokens.iter().filter_map(|token| if let Token::Word(word) = token { Some(*word) } else { None })
        };
        let keyword = match tokens.first() {
            Some(Token::Word(word)) => *word,
            _ => "",
        };
        if keyword == "end" {
            self.blocks.pop();
            return;
        }
        let accesses = words().any(|word| ACCESSORS.contains(&word));
        let passes = words().any(|word| !ACCESSORS.contains(&word) && !HARMLESS.contains(&word));
        let assigns = tokens.iter().position(|token| *token == Token::Assign);
        let is_test = words().any(|word| word == "if") && matches!(keyword, "if" | "else");
        let access = if is_test && !accesses && !passes {
            Access::Test
        } else if (is_test || accesses || words().any(|word| word == "with") || assigns.is_some()) && !passes
        {
            Access::Keys
        } else {
            Access::Whole
        };
        let mut places = self.uses(tokens, assigns, access);
        for place in &mut places {
            place.child = accesses;
        }
        if let Some(at) = assigns {
            for token in &tokens[..at] {
                if let Token::Path { variable: Some(name), .. } = token {
                    self.variables.entry(name).or_default().extend(&places);
                }
            }
        }
        match keyword {
            "if" => self.blocks.push(Block { dot_of: self.dot_of(), dot: Vec::new() }),
            "with" => self.blocks.push(Block { dot_of: self.blocks.len() + 1, dot: places }),
            "range" | "define" | "block" => {
                self.blocks.push(Block { dot_of: self.blocks.len() + 1, dot: Vec::new() });
            }
            "else" => self.blocks.last_mut().into_iter().for_each(|block| block.dot.extend(&places)),
            _ => {}
        }
    }

    /// Records the paths of an action and returns their indexes.
    fn uses(&mut self, tokens: &[Token<'a>], assigns: Option<usize>, access: Access) -> Vec<Place> {
        let mut places = Vec::new();
        for (index, token) in tokens.iter().enumerate() {
            match token {
                Token::Literal(text) => {
                    self.reads.literals.insert(text);
                }
                Token::Path { variable, path } if path.is_empty() => {
                    let assigned = assigns.is_some_and(|at| index < at);
                    // It is passed on, or gets another name by which it may be.
                    if access != Access::Test && !assigned {
                        self.pass_on(*variable);
                    }
                }
                Token::Path { path, .. } => {
                    let values = path.iter().position(|part| *part == "Values");
                    let (list, path) = match values {
                        Some(at) => (&mut self.reads.absolute, path[at + 1..].to_vec()),
                        None => (&mut self.reads.relative, path.clone()),
                    };
                    places.push(Place { absolute: values.is_some(), index: list.len(), child: false });
                    list.push(Use { path, access, passes_children: false });
                }
                Token::Word(_) | Token::Assign => {}
            }
        }
        places
    }

    /// The block, from 1, that defines the dot here.
    fn dot_of(&self) -> usize {
        self.blocks.last().map_or(0, |block| block.dot_of)
    }

    /// Records that the value of a variable or of the dot is passed on. It is then removed: once is enough.
    fn pass_on(&mut self, variable: Option<&'a str>) {
        let places = match variable {
            Some(name) => self.variables.get_mut(name),
            None => self.dot_of().checked_sub(1).and_then(|at| Some(&mut self.blocks.get_mut(at)?.dot)),
        };
        for Place { absolute, index, child } in places.map(std::mem::take).unwrap_or_default() {
            let list = if absolute { &mut self.reads.absolute } else { &mut self.reads.relative };
            if let Some(one) = list.get_mut(index) {
                if child {
                    one.passes_children = true;
                } else {
                    one.access = Access::Whole;
                }
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Token<'a> {
    /// `.a.b`, `$x.a`, `$x`, `.`; `$` alone is not a variable: it always refers to everything.
    Path {
        variable: Option<&'a str>,
        path: Vec<&'a str>,
    },
    Literal(&'a str),
    Word(&'a str),
    Assign,
}

/// The maximum number of unterminated actions: the end of each is searched in the whole text.
const MAX_UNTERMINATED: usize = 64;

/// The contents of all actions, without comments.
fn actions(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = text;
    let mut unterminated = 0;
    while let Some(start) = rest.find("{{") {
        let inside = &rest[start + 2..];
        let is_comment = inside.trim_start_matches('-').trim_start().starts_with("/*");
        let end = if is_comment { inside.find("*/") } else { end_of_action(inside) };
        if let Some(end) = end.filter(|_| !is_comment) {
            found.push(&inside[..end]);
        }
        // Without an end it is not an action, but other text.
        unterminated += usize::from(end.is_none());
        if unterminated > MAX_UNTERMINATED {
            // Too many reads are better than too few.
            found.push(inside);
            break;
        }
        rest = &inside[end.unwrap_or(0)..];
    }
    found
}

/// The position of `}}` outside of quotes.
fn end_of_action(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (index, c) in text.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some('"') if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            None if c == '"' || c == '`' => quote = Some(c),
            None if c == '}' && text[index..].starts_with("}}") => return Some(index),
            _ => {}
        }
    }
    None
}

fn is_part(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn tokens(action: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = action;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        rest = match c {
            '"' | '`' => {
                let end = after.find(c).unwrap_or(after.len());
                tokens.push(Token::Literal(&after[..end]));
                after.get(end + 1..).unwrap_or_default()
            }
            '$' => {
                let end = after.find(|c| !is_part(c)).unwrap_or(after.len());
                let (name, after) = after.split_at(end);
                let (path, after) = path(after);
                if !name.is_empty() || !path.is_empty() {
                    tokens.push(Token::Path { variable: Some(name).filter(|name| !name.is_empty()), path });
                }
                after
            }
            '.' => {
                let (path, after) = path(rest);
                let skip = if path.is_empty() { &after[1..] } else { after };
                tokens.push(Token::Path { variable: None, path });
                skip
            }
            '=' => {
                tokens.push(Token::Assign);
                after
            }
            c if is_part(c) => {
                let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
                let (word, after) = rest.split_at(end);
                // Numbers are not functions.
                if !c.is_ascii_digit() {
                    tokens.push(Token::Word(word));
                }
                after
            }
            _ => after,
        };
    }
    tokens
}

/// The parts of `.a.b`, and what follows.
fn path(mut rest: &str) -> (Vec<&str>, &str) {
    let mut parts = Vec::new();
    while let Some(after) = rest.strip_prefix('.') {
        let end = after.find(|c| !is_part(c)).unwrap_or(after.len());
        if end == 0 {
            break;
        }
        let (part, after) = after.split_at(end);
        parts.push(part);
        rest = after;
    }
    (parts, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may_read(templates: &str, path: &str) -> bool {
        let parts: Vec<_> = path.split('.').map(ToOwned::to_owned).collect();
        let (key, parent) = parts.split_last().unwrap();
        Reads::of(templates).may_read(parent, key)
    }

    #[test]
    fn named_and_passed_values_are_read() {
        let read = [
            ("{{ .Values.a.b }}", "a.b"),
            ("{{- if $.Values.a.b.c -}}", "a.b"),
            ("{{ .root.Values.a.b | quote }}", "a.b"),
            ("{{ toYaml .Values.a | nindent 4 }}", "a.x"),
            ("{{ toYaml .Values.a }}", "a.deep.x"),
            ("{{ include \"f\" .Values.a }}", "a.x"),
            ("{{ range $k, $v := .Values.a }}{{ end }}", "a.x"),
            ("{{ with .Values.a }}{{ .x }}{{ end }}", "a.x"),
            ("{{ with .Values.a }}{{ toYaml . }}{{ end }}", "a.x"),
            ("{{ with .Values.a }}{{ if .b }}x{{ end }}{{ toYaml . }}{{ end }}", "a.x"),
            ("{{ with .Values.a }}{{ toYaml .b }}{{ end }}", "a.b.x"),
            ("{{ $c := .Values.a }}{{ $c.x }}", "a.x"),
            ("{{ $c := .Values.a }}{{ toYaml $c }}", "a.x"),
            ("{{ get .Values.a \"x\" }}", "a.x"),
            ("{{ if hasKey .Values \"x\" }}", "x"),
            ("{{ dig \"x\" \"y\" 1 .Values.a }}", "a.x"),
            ("{{ tpl (toYaml .Values) . }}", "x"),
            ("{{ (.Values.a).x }}", "a.x"),
            ("{{ with get .Values $name }}{{ toYaml . }}{{ end }}", "a.x"),
            ("{{ with .Values.a }}{{ with get .b $name }}{{ toYaml . }}{{ end }}{{ end }}", "a.b.c.x"),
        ];
        for (templates, path) in read {
            assert!(may_read(templates, path), "{templates} {path}");
        }
    }

    #[test]
    fn other_values_are_not_read() {
        let unread = [
            ("{{ .Values.a.b }}", "a.c"),
            ("{{ .Values.a.b }}", "b"),
            ("{{ .Values.ab }}", "a"),
            ("{{ .Values.a.bc }}", "a.b"),
            ("{{/* .Values.a.x */}}", "a.x"),
            (".Values.a.x", "a.x"),
            ("{{ if .Values.a }}{{ .Values.a.b }}{{ end }}", "a.x"),
            ("{{ with .Values.a }}{{ .b }}{{ end }}", "a.x"),
            ("{{ with .Values.a }}{{ with .b }}{{ . }}{{ end }}{{ end }}", "a.x"),
            ("{{ with .Values.a }}{{ end }}{{ toYaml . }}", "a.x"),
            ("{{ $c := .Values.a }}{{ $c.b }}", "a.x"),
            ("{{ toYaml .Values.b }}", "a.x"),
            ("{{ get .Values.a \"b\" }}", "a.x"),
            ("{{ with get .Values.a $name }}{{ . }}{{ end }}", "a.x"),
            ("{{ \"}} .Values.a.x\" }}", "a.x"),
        ];
        for (templates, path) in unread {
            assert!(!may_read(templates, path), "{templates} {path}");
        }
        let named = Reads::of("{{ .Values.a.b }}{{ .Values.a.c.d }}{{ .Values.e }}");
        assert_eq!(named.keys(&["a".to_owned()]).collect::<Vec<_>>(), ["b", "c"]);
    }

    #[test]
    fn long_templates_take_linear_time() {
        let many = 100_000;
        let long = [
            "{{ \"".repeat(many),
            "{{/*".repeat(many),
            "{{ if .a }}".repeat(many) + &"{{ . }}".repeat(many),
            "{{ $a := .b }}".repeat(many) + &"{{ $a }}".repeat(many),
            format!("{{{{ with {} }}}}{}", ".a ".repeat(many), "{{ . }}".repeat(many)),
        ];
        for text in long {
            let start = std::time::Instant::now();
            _ = may_read(&text, "a.b");
            let took = start.elapsed();
            assert!(took < std::time::Duration::from_secs(10), "{}: {took:?}", &text[..16]);
        }
        let odd = "{{ \"".repeat(MAX_UNTERMINATED + 1);
        assert!(may_read(&format!("{odd}{{{{ .Values.a.b }}}}"), "a.b"));
    }

    proptest::proptest! {
        #[test]
        fn no_template_makes_it_panic(text: String, inside in "[-.$a-c=\"`(){}| ü\\\\]*", near in crate::base::mutate::text(&[
            "{{- define \"x.y\" -}}{{/* .Values.a */}}{{ $c := .Values.a | default (dict \"b\" 1) }}{{ toYaml $c.b | nindent 4 }}{{- end }}\n",
            "{{ with get .Values.a $name }}{{ if and .b (not $.Values.a.c) }}{{ . }}{{ else if `x` }}{{ tpl (toYaml .) $ }}{{ end }}{{ end }}\n",
            "{{ range $k, $v := .Values.a }}{{ $k }}: {{ index $v.b 0 }}{{ end }}{{ include \"x.y\" .root.Values }}\n",
        ])) {
            _ = may_read(&near, "a.b");
            _ = may_read(&text, "a.b");
            _ = may_read(&format!("{{{{{inside}}}}}{{{{{inside}"), "a.b");
        }
    }
}
