//! Charts that cannot be rendered or downloaded.

use std::time::Duration;

use super::{CILIUM, HELMFILE, RECOVERS, expect, fault};
use crate::faults::Fault;
use crate::faults::injection::Injection;
use crate::faults::verdict::Plain;

const CHART: &str = "=\"oci://";

pub(super) const FAULTS: &[Fault] = &[
    // Values and versions.
    fault(
        "schema",
        "value violates the schema of the chart",
        &[Injection::Values(&[("crds:\n  enabled: true\n", "crds:\n  enabled: true\nreplicaCount: many\n")])],
        expect(
            1,
            "cert-manager/cert-manager",
            &["a value violates the schema of the chart", "/replicaCount"],
            "correct the value that the message names",
        ),
        Plain::Fails("/replicaCount"),
    ),
    fault(
        "schema-key",
        "values key is not in the schema of the chart",
        &[Injection::Values(&[("crds:\n  enabled: true\n", "crds:\n  enabled: true\n  when: often\n")])],
        expect(1, "cert-manager/cert-manager", &["Chart rejects a values key", "crds.when"], "remove it"),
        Plain::Fails("cert-manager"),
    ),
    fault(
        "template",
        "template error in a chart",
        &[Injection::Values(&[(
            CILIUM,
            "rollOutCiliumPods: true\nhubble: {enabled: true, relay: {enabled: false}, ui: {enabled: true}}\n",
        )])],
        expect(
            1,
            "kube-system/cilium",
            &["a template of the chart fails with these values", "hubble.relay.enabled"],
            "set or correct the value that the message names",
        ),
        Plain::Fails("hubble.relay.enabled"),
    ),
    fault(
        "chart-missing",
        "chart version does not exist",
        &[Injection::File(HELMFILE, &[("version: 1.45.0\n", "version: 1.45.999\n")])],
        expect(
            1,
            "chart=\"oci://ghcr.io/coredns/charts/coredns\" version=\"1.45.999\"",
            &["the chart or version does not exist in the registry"],
            "correct `chart` or `version`",
        ),
        Plain::Fails("coredns:1.45.999"),
    ),
    // The registry.
    fault(
        "registry-401",
        "registry answers 401",
        &[Injection::RegistryAnswers(401, None)],
        expect(1, CHART, &["the registry denies access"], "logout"),
        Plain::Fails("oci://"),
    ),
    fault(
        "registry-403",
        "registry answers 403",
        &[Injection::RegistryAnswers(403, None)],
        expect(1, CHART, &["the registry denies access"], "logout"),
        Plain::Fails("oci://"),
    ),
    fault(
        "registry-429",
        "registry answers 429",
        &[Injection::RegistryAnswers(429, None)],
        expect(1, CHART, &["rate limited by the registry"], "wait, or log in to the registry"),
        Plain::Fails("oci://"),
    ),
    fault(
        "registry-503",
        "registry answers 503",
        &[Injection::RegistryAnswers(503, None)],
        expect(1, CHART, &["the registry returned 5xx"], "retry later"),
        Plain::Fails("oci://"),
    ),
    fault(
        "registry-503-thrice",
        "registry answers 503 three times",
        &[Injection::RegistryAnswers(503, Some(3))],
        RECOVERS,
        Plain::Succeeds("oci://"),
    ),
    fault(
        "registry-slow",
        "registry answers after 5 s",
        &[Injection::RegistrySlow(Duration::from_secs(5))],
        expect(0, "charts", &["Waiting"], ""),
        Plain::Succeeds("oci://"),
    ),
    fault(
        "registry-reset",
        "registry resets connections",
        &[Injection::RegistryResets],
        expect(1, CHART, &["the registry cannot be reached or does not respond in time"], "HTTPS_PROXY"),
        Plain::Fails("oci://"),
    ),
    fault(
        "registry-certificate",
        "registry has an untrusted certificate",
        &[Injection::RegistryUntrustedCertificate],
        expect(1, CHART, &["the certificate does not match the server"], "SSL_CERT_FILE"),
        Plain::Fails("oci://"),
    ),
    fault(
        "clock",
        "certificate is not valid yet (clock skew)",
        &[Injection::RegistryFutureCertificate],
        expect(1, CHART, &["the certificate of the registry has expired"], "date"),
        Plain::Fails("oci://"),
    ),
];
