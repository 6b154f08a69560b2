//! Finds the configuration of a webhook that the API server cannot call: its error names only the webhook.

use std::time::Duration;

use serde::Deserialize;

use crate::base::error::Error;
use crate::observed::inventory::Meta;
use crate::tools::Toolbox;

/// The timeout for the search: the failure itself is already known.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The kinds that configure webhooks, and their API paths.
const KINDS: [(&str, &str); 2] = [
    (
        "ValidatingWebhookConfiguration",
        "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
    ),
    ("MutatingWebhookConfiguration", "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"),
];

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Configuration {
    metadata: Meta,
    webhooks: Vec<Webhook>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Webhook {
    name: String,
}

/// The object that configures the webhook in an error message, such as `ValidatingWebhookConfiguration
/// cert-manager-webhook`; both if each kind has one of that name; none if it cannot be found.
pub(crate) async fn find_configuration(tools: &Toolbox, words: &str) -> Option<String> {
    tokio::time::timeout(TIMEOUT, find(tools, webhook_name(words)?)).await.ok().flatten()
}

async fn find(tools: &Toolbox, name: &str) -> Option<String> {
    let mut objects = Vec::new();
    for (kind, path) in KINDS {
        let found: Result<Vec<Configuration>, Error> = tools.api_list(path).await;
        let found = found.ok().and_then(|all| configuration_of(all, name));
        objects.extend(found.map(|name| format!("{kind} {name}")));
    }
    Some(objects.join(", ")).filter(|objects| !objects.is_empty())
}

/// Adds the object that configures the webhook to the error, if the API server could not call one.
pub(crate) async fn with_configuration(tools: &Toolbox, mut error: Error) -> Error {
    if let Error::Api { reason, .. } | Error::Tool { reason, .. } = &mut error
        && let Some(object) = find_configuration(tools, reason).await
    {
        reason.push_str("; the webhook is configured in ");
        reason.push_str(&object);
    }
    error
}

/// The name of the webhook in the error of the API server (Kubernetes 1.36, `pkg/admission/plugin/webhook/errors`).
fn webhook_name(words: &str) -> Option<&str> {
    let (_, rest) = words.split_once("failed calling webhook \"")?;
    rest.split_once('"').map(|(name, _)| name)
}

fn configuration_of(all: Vec<Configuration>, webhook: &str) -> Option<String> {
    let has = |one: &Configuration| one.webhooks.iter().any(|one| one.name == webhook);
    all.into_iter().find(has).map(|one| one.metadata.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_webhook_is_found() {
        let words = "Internal error occurred: failed calling webhook \"b.example.org\": failed to call webhook: Post \
                     \"https://x.y.svc:443/?timeout=10s\": dial tcp 10.43.0.9:443: connect: connection refused";
        assert_eq!(webhook_name(words), Some("b.example.org"));
        assert_eq!(webhook_name("no endpoints available for service \"x\""), None);
        let all = |name: &str| {
            serde_json::from_value::<Vec<Configuration>>(serde_json::json!([
                {"metadata": {"name": "one"}, "webhooks": [{"name": "a.example.org"}]},
                {"metadata": {"name": "two"}},
                {"metadata": {"name": "three"}, "webhooks": [{"name": "c"}, {"name": name}]},
            ]))
            .unwrap()
        };
        assert_eq!(configuration_of(all("b.example.org"), "b.example.org").unwrap(), "three");
        assert_eq!(configuration_of(all("d.example.org"), "b.example.org"), None);
    }
}
