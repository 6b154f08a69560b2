//! Detects the sources of values in the text of a helmfile or values file.

/// The possible sources of values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts")]
pub(crate) struct ValueSources {
    /// Values or hooks decrypt with the user's age identities.
    pub identities: bool,
    /// Values are decrypted by helmfile, or printed by a command.
    pub secrets: bool,
    /// Templates read files whose paths are unknown before rendering.
    pub files: bool,
    /// Templates require variables.
    pub required_variables: bool,
}

impl ValueSources {
    /// Adds the sources in a helmfile.
    pub(super) fn add_helmfile(&mut self, text: &str) {
        self.add_values(text);
        let secrets = text.contains("secrets:");
        self.secrets |= secrets;
        self.identities |= secrets || (text.contains("hooks:") && text.contains("sops"));
    }

    /// Adds the sources in a values file.
    pub(super) fn add_values(&mut self, text: &str) {
        let (references, programs) = (refers_to_secrets(text), runs_commands(text));
        self.secrets |= references || programs;
        self.identities |= references || (programs && text.contains("sops"));
        self.files |= actions(text).any(|action| calls(action, &["readFile", "readDir", "readDirEntries"]));
        self.required_variables |= text.contains("requiredEnv");
    }

    /// Adds secrets in files that templates may read.
    pub(crate) fn add_secrets(&mut self) {
        (self.secrets, self.identities) = (true, true);
    }
}

/// Whether a text has references that helmfile resolves itself (vals), such as `ref+sops://…` and `ref+vault://…`.
pub(crate) fn refers_to_secrets(text: &str) -> bool {
    ["ref+", "fetchSecretValue", "expandSecretRefs"].iter().any(|word| text.contains(word))
}

/// Whether a template runs commands while rendering.
pub(super) fn runs_commands(text: &str) -> bool {
    actions(text).any(|action| calls(action, &["exec", "envExec"]))
}

/// The actions between `{{` and `}}`.
fn actions(text: &str) -> impl Iterator<Item = &str> {
    text.split("{{").skip(1).filter_map(|rest| rest.split("}}").next())
}

/// Whether a template's action calls one of these functions.
fn calls(action: &str, functions: &[&str]) -> bool {
    let comment = action.trim_start_matches('-').trim_start().starts_with("/*");
    let mut words = action.split(|c: char| !c.is_alphanumeric() && c != '_');
    !comment && words.any(|word| functions.contains(&word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_of_values_are_detected() {
        let of = |text: &str| {
            let mut sources = ValueSources::default();
            sources.add_values(text);
            sources
        };
        let secret = ValueSources { identities: true, secrets: true, ..ValueSources::default() };
        for text in [
            "a: ref+sops://x#/y",
            "a: ref+vault://x#/y",
            "{{ fetchSecretValue .Values.path }}",
            "{{ exec \"sops\" (list \"decrypt\") }}",
        ] {
            assert_eq!(of(text), secret, "{text}");
        }
        // A command that is not known to decrypt gets no identities.
        let program = ValueSources { identities: false, ..secret };
        assert_eq!(of("{{ exec \"op\" (list \"read\") }}"), program);
        let files = ValueSources { files: true, ..ValueSources::default() };
        assert_eq!(of("{{ (fromYaml (readFile \"../x.yaml\")).spec.values | toYaml }}"), files);
        let variables = ValueSources { required_variables: true, ..ValueSources::default() };
        assert_eq!(of("{{ requiredEnv \"A\" }} {{/* exec readFile */}}"), variables);
        let mut hooks = ValueSources::default();
        hooks.add_helmfile("hooks: [{events: [presync], command: sops, args: [-d, x]}]");
        assert_eq!(hooks, ValueSources { identities: true, ..ValueSources::default() });
    }
}
