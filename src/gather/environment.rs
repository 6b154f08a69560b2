//! Reads the variables for templates, and marks the releases whose values contain secret ones.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use futures_util::future::join_all;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::builds::Build;
use super::files::Files;
use crate::base::error::Error;
use crate::base::files::{LARGEST, text};
use crate::base::finding::{Finding, Findings};
use crate::base::redact::Redactor;
use crate::desired::repository::is_encrypted_name;
use crate::desired::variables::{Format, State, Variable, parse, unusable};
use crate::desired::{STAND_IN, encrypted, sops_config};
use crate::settings::Settings;
use crate::tools::Toolbox;
use crate::tools::template_env::TemplateVariable;

/// Secrets shorter than this are only recognized as a whole value: they are part of many words.
const MIN_PART: usize = 8;

/// The shortest secret that can be recognized; there are few shorter ones.
const MIN_LENGTH: usize = 3;

/// A variable and where it was found.
struct Found {
    variable: Variable,
    /// The file as the user names it, relative to the root.
    file: PathBuf,
    is_secret: bool,
    /// Whether it takes precedence over one of the same name that was found before.
    overrides: bool,
}

/// Gives the variables of the configuration to the templates, and returns the problems of their files. A value that is not
/// decrypted gets a placeholder.
pub(super) async fn read(
    tools: &Toolbox,
    settings: &Settings,
    files: &Files,
    redactor: &Redactor,
) -> Result<Vec<Finding>, Error> {
    let mut problems = Findings::default();
    let mut found = literals(settings);
    let paths = settings.environment_files.iter().chain(&settings.env_files);
    let reading = paths.map(|path| read_file(tools, settings, files, path, redactor));
    for read in join_all(reading).await {
        let (variables, problem) = read?;
        found.extend(variables);
        problems.0.extend(problem);
    }
    let mut variables: BTreeMap<String, TemplateVariable> = BTreeMap::new();
    let mut origins: BTreeMap<&str, &Found> = BTreeMap::new();
    for one in &found {
        if let Some(before) = origins.insert(&one.variable.name, one)
            && !one.overrides
            && is_conflict(&before.variable, &one.variable)
        {
            problems.0.push(conflict(before, one));
        }
        let Variable { name, value, .. } = &one.variable;
        let is_stand_in = one.variable.is_encrypted;
        let value = if is_stand_in { SecretString::from(STAND_IN) } else { value.clone() };
        let is_secret = one.is_secret || variables.get(name).is_some_and(|before| before.is_secret);
        let variable = TemplateVariable { name: name.clone(), value, is_secret, is_stand_in };
        variables.insert(name.clone(), variable);
    }
    let overridden = tools.variables.configure(variables, redactor);
    if !overridden.is_empty() {
        tracing::info!(
            envs = %overridden.join(" "),
            "Exported environment variables override those of k3s-boot.yaml"
        );
    }
    Ok(problems.0)
}

/// The variables that the configuration itself holds.
fn literals(settings: &Settings) -> Vec<Found> {
    let file = settings.relative(&settings.config_file).to_owned();
    let literals = settings.environment_variables.iter();
    let found = literals.map(|(name, value)| Found {
        variable: Variable::new(name, value, ("field", format!("environment.variables.{name}"))),
        file: file.clone(),
        is_secret: false,
        overrides: false,
    });
    found.collect()
}

/// The variables of a file, and its problem. If the file cannot be decrypted, its variables are known by name.
async fn read_file(
    tools: &Toolbox,
    settings: &Settings,
    files: &Files,
    path: &Path,
    redactor: &Redactor,
) -> Result<(Vec<Found>, Option<Finding>), Error> {
    let is_named = settings.env_files.iter().any(|file| file == path);
    let file = settings.relative(path).to_owned();
    let found = |variables: Vec<Variable>, is_secret: &dyn Fn(&str) -> bool| {
        let found = variables.into_iter().map(|variable| {
            let is_secret = is_secret(&variable.name);
            Found { variable, file: file.clone(), is_secret, overrides: is_named }
        });
        found.collect()
    };
    let format = match Format::new(path) {
        Ok(format) => format,
        // As docker's `--env-file`. A mounted Secret has no extension.
        Err(_) if is_named => Format::Dotenv,
        Err(problem) => return Ok((Vec::new(), Some(problem))),
    };
    let text = match text(path, LARGEST) {
        Ok(text) => text,
        Err(error) => {
            let finding = unusable(path).with("reason", error);
            let fix = if is_named {
                "correct the path of --env-file"
            } else {
                "correct the path in `environment.files` of k3s-boot.yaml; it is relative to the root of the repository"
            };
            return Ok((Vec::new(), Some(finding.fix(fix))));
        }
    };
    if !format.is_encrypted(&text) {
        if let Some(problem) = unencrypted(settings, files, path, &text) {
            return Ok((Vec::new(), Some(problem)));
        }
        return Ok(match parse(path, format, &text, State::Plain) {
            Ok(variables) => (found(variables, &|_| false), None),
            Err(problem) => (Vec::new(), Some(problem)),
        });
    }
    let encrypted = match parse(path, format, &text, State::Encrypted) {
        Ok(variables) => variables,
        Err(problem) => return Ok((Vec::new(), Some(problem))),
    };
    let names: Vec<_> = encrypted.iter().filter(|one| one.is_encrypted).map(|one| one.name.clone()).collect();
    let is_secret = |name: &str| names.iter().any(|known| known == name);
    let has_sops = files.programs.iter().any(|program| program.name == "sops" && program.path.is_some());
    if settings.offline || !has_sops {
        return Ok((found(encrypted, &is_secret), None));
    }
    let decrypted = match tools.sops_decrypt(path).await? {
        Ok(decrypted) => decrypted,
        Err(problem) => return Ok((found(encrypted, &is_secret), Some(problem))),
    };
    Ok(match parse(path, format, decrypted.expose_secret(), State::Decrypted) {
        Ok(variables) => {
            let secret = variables.iter().filter(|variable| is_secret(&variable.name));
            redactor.add(secret.map(|variable| variable.value.expose_secret()));
            (found(variables, &is_secret), None)
        }
        Err(problem) => (found(encrypted, &is_secret), Some(problem)),
    })
}

/// The finding for a file that is named as encrypted, and is plain text.
fn unencrypted(settings: &Settings, files: &Files, path: &Path, text: &str) -> Option<Finding> {
    let config = crate::base::files::text(&settings.root.join(".sops.yaml"), LARGEST).ok();
    let recipients = files.age_key.as_ref().map_or(&[][..], |(key, _)| &key.public);
    let encrypt = || sops_config::encrypt_command(settings.relative(path), config.as_deref(), recipients);
    if is_encrypted_name(path) {
        return encrypted::check_encrypted(path, text, &encrypt()).err();
    }
    path.to_string_lossy().ends_with(".sops.env").then(|| {
        if let Some(from_git) = encrypted::FromGit::of(text) {
            return from_git.finding("sops", path);
        }
        // dotenv files have no `data`: SOPS encrypts all their values.
        let encrypt = encrypt().replace(" --encrypted-regex '^(data|stringData)$'", "");
        Finding::error("sops", "Encrypted file is plain text")
            .with("file", path.display())
            .fix(format!("{encrypt}  # and change its secrets if it was ever pushed"))
    })
}

/// Whether two values of a variable differ. It is unknown as long as one of them is encrypted.
fn is_conflict(before: &Variable, after: &Variable) -> bool {
    let is_known = !before.is_encrypted && !after.is_encrypted;
    is_known && before.value.expose_secret() != after.value.expose_secret()
}

fn conflict(before: &Found, after: &Found) -> Finding {
    let place = |Found { file, variable: Variable { place: (key, place), .. }, .. }: &Found| {
        format!("{}, {key} {place}", file.display())
    };
    Finding::error("environment", "Variable has two different values")
        .with("variable", &after.variable.name)
        .with("first", place(before))
        .with("second", place(after))
        .fix("remove one of them, or one of the files from `environment.files` of k3s-boot.yaml")
}

/// Marks the releases whose values contain a secret variable. [`super::secret_values`] finds those that contain it changed.
pub(super) fn mark(builds: &mut [Build], tools: &Toolbox) {
    let secrets = tools.variables.secrets();
    let secrets: Vec<_> = secrets.iter().map(ExposeSecret::expose_secret).collect();
    if secrets.is_empty() {
        return;
    }
    for release in builds.iter_mut().flat_map(|build| &mut build.helmfile.releases) {
        release.has_secret_values |= contains(&release.merged(), &secrets);
    }
}

fn contains(value: &Value, secrets: &[&str]) -> bool {
    let holds = |text: &str| {
        secrets.iter().any(|secret| {
            let is_whole = secret.len() >= MIN_LENGTH && text.trim() == secret.trim();
            is_whole || (secret.len() >= MIN_PART && text.contains(secret))
        })
    };
    match value {
        Value::Object(map) => map.iter().any(|(key, value)| holds(key) || contains(value, secrets)),
        Value::Array(items) => items.iter().any(|item| contains(item, secrets)),
        Value::String(text) => holds(text),
        // A template may print a number without quotes, and YAML drops zeros at its start.
        Value::Number(number) => secrets
            .iter()
            .any(|secret| secret.len() >= MIN_LENGTH && secret.trim().parse().ok() == number.as_f64()),
        Value::Null | Value::Bool(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secret_is_recognized_in_values() {
        let secrets = ["correct horse", "1234", "0042", "x"];
        for value in [
            json!({"a": [{"b": "https://correct horse/"}]}),
            json!({"pin": 1234}),
            json!({"pin": 42}),
            json!("1234"),
            json!({"1234": 1}),
        ] {
            assert!(contains(&value, &secrets), "{value}");
        }
        for value in [json!({"a": "correct"}), json!("12345"), json!("x"), json!({"a": null, "b": true})] {
            assert!(!contains(&value, &secrets), "{value}");
        }
    }
}
