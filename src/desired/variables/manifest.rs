//! Manifests of kind Secret and `ConfigMap`, as Flux reads them in `postBuild.substituteFrom`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_yaml::Value;

use super::{ACCEPTED_FILES, Invalid, Place, State, Variable, is_cipher_text};
use crate::base::yaml::{self, PRINTED};

/// Whether SOPS has encrypted a document of the text.
pub(super) fn is_encrypted(text: &str) -> bool {
    text.contains("sops")
        && yaml::documents::<Value>(text, PRINTED)
            .map_while(Result::ok)
            .any(|document| document.get("sops").is_some())
}

pub(super) fn parse(text: &str, state: State) -> Result<Vec<Variable>, Invalid> {
    let mut variables = Vec::new();
    for (index, document) in yaml::documents::<Value>(text, PRINTED).enumerate() {
        let document = document.map_err(|error| {
            // The parser's message may quote a secret.
            Invalid::new(
                None,
                format!("not valid YAML: {}", error.without_content("unknown location")),
                ACCEPTED_FILES,
            )
        })?;
        if !document.is_null() {
            add(&mut variables, &document, index, state)?;
        }
    }
    Ok(variables)
}

/// Adds the variables of a document.
fn add(variables: &mut Vec<Variable>, document: &Value, index: usize, state: State) -> Result<(), Invalid> {
    let place = |field: &str| -> Place {
        ("field", if index == 0 { field.to_owned() } else { format!("{field} of document {}", index + 1) })
    };
    let maps: &[&str] = match document.get("kind").and_then(Value::as_str) {
        Some("Secret") => &["data", "stringData"],
        Some("ConfigMap") => &["data"],
        Some(kind) if is_cipher_text(kind, state) => &["data", "stringData"],
        _ => {
            return Err(Invalid::new(
                place("kind"),
                "this is neither a Secret nor a ConfigMap",
                ACCEPTED_FILES,
            ));
        }
    };
    let is_secret = maps.len() > 1;
    for map in maps {
        let Some(found) = document.get(map).filter(|found| !found.is_null()) else { continue };
        let Some(entries) = found.as_mapping() else {
            return Err(Invalid::new(place(map), "this is not a mapping", "a mapping of names to text"));
        };
        for (key, value) in entries {
            let Some(key) = key.as_str() else {
                return Err(Invalid::new(
                    place(map),
                    "a key is not text",
                    "letters, digits and `_`, not beginning with a digit",
                ));
            };
            let place = place(&format!("{map}.{key}"));
            let Some(value) = value.as_str() else {
                return Err(Invalid::new(
                    place,
                    "the value is not text",
                    "text; put numbers, `true` and `false` in quotes",
                ));
            };
            variables.push(if is_cipher_text(value, state) {
                Variable::encrypted(key, value, place)
            } else {
                let is_base64 = *map == "data" && is_secret;
                let text = if is_base64 { decode(value, &place)? } else { value.to_owned() };
                // As `$(…)` in a shell: a block of YAML ends in a line break, which would break what a template composes.
                Variable::new(key, text.trim_end_matches(['\r', '\n']), place)
            });
        }
    }
    Ok(())
}

/// Decodes a value of `data`, which may be wrapped.
fn decode(value: &str, place: &Place) -> Result<String, Invalid> {
    let invalid =
        |reason| Invalid::new(place.clone(), reason, "text in base64; plain text belongs to `stringData`");
    let compact: String = value.split_whitespace().collect();
    let bytes = STANDARD.decode(compact).map_err(|_| invalid("the value is not base64"))?;
    String::from_utf8(bytes).map_err(|_| invalid("the decoded value is not text"))
}
