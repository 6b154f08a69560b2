//! dotenv files: `NAME=value` in each line, as Docker Compose and direnv read them, but without references to other variables.

use secrecy::ExposeSecret as _;

use super::{Invalid, State, Variable, is_cipher_text};

/// How the names of SOPS' own entries begin (`stores.SopsPrefix` of sops 3.13).
pub(super) const METADATA: &str = "sops_";

const ACCEPTED: &str = "`NAME=value`, `NAME=\"value\"` or `NAME='value'` in one line, comments after `#`";

pub(super) fn parse(text: &str, state: State) -> Result<Vec<Variable>, Invalid> {
    let mut variables = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let place = ("line", (index + 1).to_string());
        let line = line.strip_prefix("export ").unwrap_or(line);
        let Some((name, value)) = line.split_once('=') else {
            return Err(Invalid::new(place, "there is no `=`", ACCEPTED));
        };
        let name = name.trim();
        if state == State::Encrypted && name.starts_with(METADATA) {
            continue;
        }
        let value = value.trim();
        if is_cipher_text(value, state) {
            variables.push(Variable::encrypted(name, value, place));
        } else {
            let value =
                unquoted(value, state).map_err(|reason| Invalid::new(place.clone(), reason, ACCEPTED))?;
            variables.push(Variable::new(name, &value, place));
        }
    }
    duplicates(&variables)?;
    Ok(variables)
}

/// Names that a file sets twice: which value counts differs between programs.
fn duplicates(variables: &[Variable]) -> Result<(), Invalid> {
    for (index, variable) in variables.iter().enumerate() {
        let before = variables.iter().take(index).find(|before| {
            let is_known = !before.is_encrypted && !variable.is_encrypted;
            is_known
                && before.name == variable.name
                && before.value.expose_secret() != variable.value.expose_secret()
        });
        if let Some(Variable { name, place: (_, line), .. }) = before {
            let reason = format!("line {line} sets `{name}` to another value");
            return Err(Invalid::new(variable.place.clone(), reason, "each variable once"));
        }
    }
    Ok(())
}

/// The value without its quotes, escapes and comment.
fn unquoted(value: &str, state: State) -> Result<String, &'static str> {
    let mut characters = value.chars();
    match characters.next() {
        Some('\'') => {
            let (text, rest) =
                characters.as_str().split_once('\'').ok_or("the quote is not closed in this line")?;
            ends_there(rest)?;
            Ok(text.to_owned())
        }
        Some('"') => {
            let mut text = String::new();
            loop {
                match characters.next() {
                    None => return Err("the quote is not closed in this line"),
                    Some('"') => break,
                    Some('\\') => text.push_str(&escaped(characters.next())),
                    Some(other) => text.push(other),
                }
            }
            ends_there(characters.as_str())?;
            Ok(text)
        }
        _ => {
            let end = value.find(" #").or_else(|| value.starts_with('#').then_some(0)).unwrap_or(value.len());
            let text = value[..end].trim_end();
            // sops writes a line break as `\n` (`stores/dotenv/store.go` of sops 3.13).
            Ok(if state == State::Decrypted { text.replace("\\n", "\n") } else { text.to_owned() })
        }
    }
}

fn escaped(character: Option<char>) -> String {
    match character {
        Some('n') => "\n".to_owned(),
        Some('r') => "\r".to_owned(),
        Some('t') => "\t".to_owned(),
        Some(character @ ('"' | '\\' | '$' | '`')) => character.to_string(),
        Some(other) => format!("\\{other}"),
        None => "\\".to_owned(),
    }
}

fn ends_there(rest: &str) -> Result<(), &'static str> {
    let rest = rest.trim();
    if rest.is_empty() || rest.starts_with('#') {
        Ok(())
    } else {
        Err("there is text after the closing quote")
    }
}
