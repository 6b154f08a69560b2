//! The variables that only templates see: helmfile gets them, no other tool.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use secrecy::{ExposeSecret as _, SecretString};

use crate::base::env::Env;
use crate::base::redact::Redactor;
use crate::process::Invocation;
use crate::tools::child_env;

/// A variable for templates. Has no `Debug`: it may be secret.
pub(crate) struct TemplateVariable {
    pub name: String,
    pub value: SecretString,
    /// Whether it comes from an encrypted file.
    pub is_secret: bool,
    /// Whether the value is a placeholder for one that is only known encrypted.
    pub is_stand_in: bool,
}

/// The variables for templates: those of the user's environment, which take precedence, and those of the configuration.
#[derive(Default)]
pub(crate) struct TemplateEnv {
    user: Env,
    configured: RefCell<BTreeMap<String, TemplateVariable>>,
    /// The overridden variables that were reported.
    reported: RefCell<BTreeSet<String>>,
}

impl TemplateEnv {
    pub(crate) fn new(user: Env) -> Self {
        Self { user, ..Self::default() }
    }

    /// Replaces the variables of the configuration. A variable of an encrypted file is secret even if the user has set it to
    /// another value. Returns the names of those that the user has set to another value, each once.
    pub(crate) fn configure(
        &self,
        variables: BTreeMap<String, TemplateVariable>,
        redactor: &Redactor,
    ) -> Vec<String> {
        let mut overridden = Vec::new();
        for variable in variables.values() {
            let value = variable.value.expose_secret();
            if !variable.is_stand_in {
                let secret = if variable.is_secret {
                    Some(value)
                } else {
                    child_env::secret(variable.name.as_ref(), value)
                };
                redactor.add(secret);
            }
            if let Some(used) = self.user.get(&variable.name) {
                redactor.add(used.to_str().filter(|_| variable.is_secret));
                let is_other = !variable.is_stand_in && used != value;
                if is_other && self.reported.borrow_mut().insert(variable.name.clone()) {
                    overridden.push(variable.name.clone());
                }
            }
        }
        *self.configured.borrow_mut() = variables;
        overridden
    }

    /// Adds the variables of the configuration to those of a tool.
    pub(super) fn add_to(&self, invocation: Invocation) -> Invocation {
        let configured = self.configured.borrow();
        let unset = configured.values().filter(|variable| self.user.get(&variable.name).is_none());
        unset.fold(invocation, |invocation, variable| {
            invocation.env(&variable.name, variable.value.expose_secret())
        })
    }

    /// The names of all variables that templates find a value for.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        let configured = self.configured.borrow();
        let configured = configured.values().filter(|one| !one.value.expose_secret().is_empty());
        let user = self.user.iter().filter(|(_, value)| !value.is_empty());
        let user = user.filter_map(|(name, _)| name.to_str().map(ToOwned::to_owned));
        user.chain(configured.map(|one| one.name.clone())).collect()
    }

    /// The names of the variables of the configuration.
    pub(crate) fn configured(&self) -> BTreeSet<String> {
        self.configured.borrow().keys().cloned().collect()
    }

    /// The names of variables whose value is a placeholder.
    pub(crate) fn stand_ins(&self) -> Vec<String> {
        let configured = self.configured.borrow();
        let stand_ins =
            configured.values().filter(|one| one.is_stand_in && self.user.get(&one.name).is_none());
        stand_ins.map(|one| one.name.clone()).collect()
    }

    /// The values of the encrypted files that templates get.
    pub(crate) fn secrets(&self) -> Vec<SecretString> {
        let configured = self.configured.borrow();
        let secret = configured.values().filter(|one| one.is_secret && !one.is_stand_in);
        let used = secret.map(|one| match self.user.text(&one.name) {
            Some(value) => SecretString::from(value),
            None => one.value.clone(),
        });
        used.filter(|value| !value.expose_secret().is_empty()).collect()
    }

    /// The values that are not secret.
    pub(crate) fn public_values(&self) -> Vec<String> {
        let configured = self.configured.borrow();
        let secret: BTreeSet<_> =
            configured.values().filter(|one| one.is_secret).map(|one| one.name.as_str()).collect();
        let user = child_env::public_values(&self.user).filter(|(name, _)| !secret.contains(name));
        let literal = configured.values().filter(|one| !one.is_secret).filter_map(|one| {
            let value = one.value.expose_secret();
            child_env::secret(one.name.as_ref(), value).is_none().then_some(value)
        });
        let values = user.map(|(_, value)| value).chain(literal);
        values.filter(|value| !value.is_empty()).map(ToOwned::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(name: &str, value: &str, is_secret: bool) -> (String, TemplateVariable) {
        let value = SecretString::from(value);
        (name.to_owned(), TemplateVariable { name: name.to_owned(), value, is_secret, is_stand_in: false })
    }

    fn passed(env: &TemplateEnv) -> Vec<(String, String)> {
        let invocation = env.add_to(Invocation::new("helmfile", "/bin/helmfile", [""; 0]));
        let text = |text: &std::ffi::OsStr| text.to_string_lossy().into_owned();
        invocation.env.iter().map(|(name, value)| (text(name), text(value.as_ref().unwrap()))).collect()
    }

    #[test]
    fn exported_variables_take_precedence() {
        let env = TemplateEnv::new(Env::from_vars(
            [("SAME", "same"), ("OTHER", "CANARY-exported"), ("EMPTY", ""), ("HOST", "node-1")],
            "/".into(),
        ));
        let redactor = Redactor::default();
        let variables = [
            variable("SAME", "same", false),
            variable("OTHER", "CANARY-in-a-file", true),
            variable("EMPTY", "used", false),
            variable("NEW", "new", false),
            variable("API_TOKEN", "CANARY-token", false),
        ];
        assert_eq!(env.configure(variables.into(), &redactor), ["OTHER"]);
        let expected = [("API_TOKEN", "CANARY-token"), ("EMPTY", "used"), ("NEW", "new")];
        let found = passed(&env);
        assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        // What is encrypted in a file is secret, wherever the value comes from.
        let secrets: Vec<_> = env.secrets().iter().map(|one| one.expose_secret().to_owned()).collect();
        assert_eq!(secrets, ["CANARY-exported"]);
        for secret in ["CANARY-exported", "CANARY-in-a-file", "CANARY-token"] {
            assert_eq!(redactor.apply(secret), "[redacted]");
        }
        let mut public = env.public_values();
        public.sort_unstable();
        assert_eq!(public, ["new", "node-1", "same", "same", "used"]);
        let names: Vec<_> = env.names().into_iter().collect();
        assert_eq!(names, ["API_TOKEN", "EMPTY", "HOST", "NEW", "OTHER", "SAME"]);
    }
}
