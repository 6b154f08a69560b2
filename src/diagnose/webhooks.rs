//! Whose webhook it is that the API server cannot ask: it names the webhook, and not the object that has it.

use std::time::Duration;

use serde::Deserialize;

use crate::error::Error;
use crate::observed::inventory::Meta;
use crate::tools::Toolbox;

/// How long looking may take: the failure itself is known already.
const LONGEST: Duration = Duration::from_secs(5);

/// The kinds that have webhooks, and where they are.
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

/// The object behind the webhook of which the API server says that calling it failed, such as
/// `ValidatingWebhookConfiguration cert-manager-webhook`, or both where each kind has one of the name; none where it cannot
/// be found.
pub async fn behind(tools: &Toolbox, words: &str) -> Option<String> {
    tokio::time::timeout(LONGEST, find(tools, failed(words)?)).await.ok().flatten()
}

async fn find(tools: &Toolbox, name: &str) -> Option<String> {
    let mut objects = Vec::new();
    for (kind, path) in KINDS {
        let found: Result<Vec<Configuration>, Error> = tools.api_list(path).await;
        let found = found.ok().and_then(|all| of(all, name));
        objects.extend(found.map(|name| format!("{kind} {name}")));
    }
    Some(objects.join(", ")).filter(|objects| !objects.is_empty())
}

/// The same error; where the API server could not call a webhook, with the object behind that in its reason.
pub async fn named(tools: &Toolbox, mut error: Error) -> Error {
    if let Error::Api { reason, .. } | Error::Tool { reason, .. } = &mut error
        && let Some(object) = behind(tools, reason).await
    {
        reason.push_str("; the webhook is configured in ");
        reason.push_str(&object);
    }
    error
}

/// The webhook's name in the API server's words (Kubernetes 1.36, `pkg/admission/plugin/webhook/errors`).
fn failed(words: &str) -> Option<&str> {
    let (_, rest) = words.split_once("failed calling webhook \"")?;
    rest.split_once('"').map(|(name, _)| name)
}

fn of(all: Vec<Configuration>, webhook: &str) -> Option<String> {
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
        assert_eq!(failed(words), Some("b.example.org"));
        assert_eq!(failed("no endpoints available for service \"x\""), None);
        let all = |name: &str| {
            serde_json::from_value::<Vec<Configuration>>(serde_json::json!([
                {"metadata": {"name": "one"}, "webhooks": [{"name": "a.example.org"}]},
                {"metadata": {"name": "two"}},
                {"metadata": {"name": "three"}, "webhooks": [{"name": "c"}, {"name": name}]},
            ]))
            .unwrap()
        };
        assert_eq!(of(all("b.example.org"), "b.example.org").unwrap(), "three");
        assert_eq!(of(all("d.example.org"), "b.example.org"), None);
    }
}
