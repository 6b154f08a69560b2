//! Placeholders in the syntax of Flux's variable substitution (`fluxcd/pkg/envsubst`), which is that of shells.

/// A placeholder in a text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Placeholder {
    pub name: String,
    /// The whole placeholder, such as `${NAME:=default}`.
    pub text: String,
    /// Whether it is more than a name. `expandenv` replaces such a placeholder by nothing.
    pub has_operator: bool,
    /// The default, if it has one.
    pub default: Option<String>,
}

/// The characters after a name that begin an operator.
const OPERATORS: [char; 10] = [':', '-', '=', '+', '?', '/', '#', '%', '^', ','];

/// The operators that set a default.
const DEFAULTS: [&str; 4] = [":=", ":-", "=", "-"];

/// The placeholders of a text, each with the text before it; then the rest of the text. `$${NAME}` is escaped.
pub(crate) fn split(text: &str) -> (Vec<(&str, Placeholder)>, &str) {
    let mut found = Vec::new();
    let (mut from, mut at) = (0, 0);
    while let Some(start) = text[at..].find("${").map(|offset| at + offset) {
        at = start + 2;
        if text[..start].ends_with('$') {
            continue;
        }
        let Some(placeholder) = first(&text[at..]) else { continue };
        found.push((&text[from..start], placeholder.clone()));
        at = start + placeholder.text.len();
        from = at;
    }
    (found, &text[from..])
}

/// The placeholder whose name begins here.
fn first(text: &str) -> Option<Placeholder> {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    let (name, tail) = text.split_at(end);
    if !name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        return None;
    }
    let operator = &tail[..tail.find('}')?];
    if !operator.is_empty() && !operator.starts_with(OPERATORS) {
        return None;
    }
    let default = DEFAULTS.iter().find_map(|sign| operator.strip_prefix(sign));
    Some(Placeholder {
        name: name.to_owned(),
        text: format!("${{{name}{operator}}}"),
        has_operator: !operator.is_empty(),
        default: default.map(ToOwned::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_found() {
        let found = |text: &str| {
            let (found, rest) = split(text);
            let found = found.iter().map(|(before, one)| format!("{before}|{}|{:?}|", one.name, one.default));
            format!("{}{rest}", found.collect::<String>())
        };
        for (text, expected) in [
            ("a.${B}.c", "a.|B|None|.c"),
            ("${A}${B:=x}", "|A|None||B|Some(\"x\")|"),
            ("${A:-}/${A-y}/${A=z}", "|A|Some(\"\")|/|A|Some(\"y\")|/|A|Some(\"z\")|"),
            ("${A^^}${A/b/c}${A:0:2}", "|A|None||A|None||A|None|"),
            ("$${A}${B}", "$${A}|B|None|"),
            ("${}${1}${A${B}", "${}${1}${A|B|None|"),
            ("$A ${A b} ${A", "$A ${A b} ${A"),
        ] {
            assert_eq!(found(text), expected, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text: String, near in crate::base::mutate::text(&["a.${SECRET_DOMAIN:=x}.$${VAR} ${} ${1} ${VAR ä${A^^}"])) {
            for text in [text, near] {
                let (found, rest) = split(&text);
                let joined: String = found.iter().flat_map(|(before, one)| [*before, one.text.as_str()]).collect();
                assert_eq!(joined + rest, text);
            }
        }
    }
}
