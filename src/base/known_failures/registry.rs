//! Known failures of fetching charts.

use crate::base::known_failures::Origin::Chart;
use crate::base::known_failures::shape::{CHART, fallback, shape};
use crate::base::known_failures::{KnownFailure, Outlook, sample};

pub(super) const TABLE: &[KnownFailure] = &[
    KnownFailure {
        id: "rate-limit",
        outlook: Outlook::Transient,
        shapes: &[
            shape(CHART, "response status code 429: "),
            shape(CHART, "unexpected status code *: 429 Too Many Requests"),
            shape(CHART, "toomanyrequests: "),
        ],
        samples: &[
            sample(
                Chart,
                "helm 4.2.4",
                "failed to perform \"FetchReference\" on source: GET \"https://ghcr.io/v2/x/manifests/1\": response status code 429: Too Many Requests",
            ),
            sample(
                Chart,
                "helm 3, docker/docs#21908",
                "INSTALLATION FAILED: failed to copy: httpReadSeeker: failed open: unexpected status code https://registry-1.docker.io/v2/bitnamicharts/drupal/manifests/sha256:9538e0c4fd55aa75d75f6846bc99b1ecddad3a4ffbb7cbf8d0fc8578a5c2b02f: 429 Too Many Requests - Server message: toomanyrequests: You have reached your pull rate limit. You may increase the limit by authenticating and upgrading: https://www.docker.com/increase-rate-limit",
            ),
        ],
        cause: "rate limited by the registry",
        fix: "wait, or log in to the registry",
    },
    KnownFailure {
        id: "clock",
        outlook: Outlook::Unknown,
        shapes: &[shape(CHART, "x509: certificate has expired or is not yet valid: ")],
        samples: &[sample(
            Chart,
            "helm 4.2.4",
            "failed to perform \"FetchReference\" on source: Get \"https://ghcr.io/v2/x/manifests/1\": tls: failed to verify certificate: x509: certificate has expired or is not yet valid: current time 2020-01-01T00:00:00Z is before 2026-11-24T00:00:00Z",
        )],
        cause: "the certificate of the registry has expired, or the clock of this machine is wrong",
        fix: "date  # on this machine",
    },
    KnownFailure {
        id: "certificate",
        outlook: Outlook::Unknown,
        shapes: &[fallback(CHART, "x509: ")],
        samples: &[sample(
            Chart,
            "helm 4.2.4",
            "failed to perform \"FetchReference\" on source: Get \"https://ghcr.io/v2/x/manifests/1\": tls: failed to verify certificate: x509: certificate signed by unknown authority",
        )],
        cause: "the certificate does not match the server, or its issuer is not trusted here",
        fix: "check the address, the proxy, and SSL_CERT_FILE",
    },
    KnownFailure {
        id: "credential-helper",
        outlook: Outlook::Unknown,
        shapes: &[
            shape(CHART, "exec: \"docker-credential-*\": executable file not found in $PATH"),
            shape(CHART, "error getting credentials - err: "),
            shape(CHART, "GET \"*\": error fetching password during initialization"),
            shape(CHART, "GET \"*\": pass store is uninitialized"),
        ],
        samples: &[
            sample(
                Chart,
                "helm 4.2.4",
                "failed to perform \"FetchReference\" on source: GET \"http://127.0.0.1:7001/v2/a/x/manifests/1.2.3\": exec: \"docker-credential-desktop\": executable file not found in $PATH",
            ),
            sample(
                Chart,
                "helm 4.2.4",
                "failed to perform \"FetchReference\" on source: GET \"http://127.0.0.1:7002/v2/a/x/manifests/1.2.3\": failed to resolve credential: exec: \"docker-credential-ecr-login\": executable file not found in $PATH",
            ),
            sample(
                Chart,
                "helm 4.2.4 with docker-credential-pass",
                "failed to perform \"FetchReference\" on source: GET \"https://127.0.0.1:18443/v2/deny403/y/manifests/1.0.0\": error fetching password during initialization: exit status 2: gpg: decryption failed: No secret key",
            ),
            sample(
                Chart,
                "helm 4.2.4 with docker-credential-pass",
                "failed to perform \"FetchReference\" on source: GET \"https://127.0.0.1:18443/v2/deny403/y/manifests/1.0.0\": pass store is uninitialized",
            ),
        ],
        cause: "the credential helper of the Docker configuration is missing or fails",
        fix: "install or repair the helper, or remove `credsStore` and `credHelpers` from ~/.docker/config.json",
    },
    KnownFailure {
        id: "login-broken",
        outlook: Outlook::Unknown,
        shapes: &[shape(CHART, "failed to decode auth field: ")],
        samples: &[sample(
            Chart,
            "helm 4.2.4; k3s-boot withholds the login",
            "failed to perform \"FetchReference\" on source: GET \"http://127.0.0.1:7001/v2/a/x/manifests/1.2.3\": failed to decode auth field: (withheld)",
        )],
        cause: "the stored login of the registry cannot be read",
        fix: "helm registry logout HOST; docker logout HOST",
    },
    KnownFailure {
        id: "login-missing",
        outlook: Outlook::Unknown,
        shapes: &[shape(CHART, "basic credential not found")],
        samples: &[sample(
            Chart,
            "helm 4.2.4",
            "failed to perform \"FetchReference\" on source: GET \"http://127.0.0.1:7002/v2/a/x/manifests/1.2.3\": basic credential not found",
        )],
        cause: "the registry requires a login, and none is stored",
        fix: "helm registry login HOST",
    },
    KnownFailure {
        id: "chart-gone",
        outlook: Outlook::Unknown,
        shapes: &[
            shape(CHART, "failed to perform \"FetchReference\" on source: */*: not found"),
            shape(CHART, "*.*/*:*: not found"),
            shape(CHART, "…manifest unknown"),
            shape(CHART, "chart \"*\" matching * not found in * index."),
            shape(CHART, "chart \"*\" version \"*\" not found in "),
            shape(CHART, "chart \"*\" not found in "),
        ],
        samples: &[
            sample(
                Chart,
                "helm 4.2.4",
                "failed to perform \"FetchReference\" on source: quay.io/cilium/charts/cilium:1.18.99: not found",
            ),
            sample(Chart, "helm 3.21.4", "ghcr.io/coredns/charts/coredns:1.45.999: not found"),
        ],
        cause: "the chart or version does not exist in the registry",
        fix: "correct `chart` or `version` of {release} in the helmfile",
    },
    KnownFailure {
        id: "repository-wrong",
        outlook: Outlook::Unknown,
        shapes: &[shape(
            CHART,
            "looks like \"*\" is not a valid chart repository or cannot be reached: failed to fetch * : 404 Not Found",
        )],
        samples: &[sample(
            Chart,
            "helm 4.2.4",
            "looks like \"http://127.0.0.1:18081/e404\" is not a valid chart repository or cannot be reached: failed to fetch http://127.0.0.1:18081/e404/index.yaml : 404 Not Found",
        )],
        cause: "there is no chart repository at this address",
        fix: "correct `url` under `repositories` in the helmfile",
    },
    KnownFailure {
        id: "registry-denied",
        outlook: Outlook::Unknown,
        shapes: &[
            shape(CHART, "response status code 401: "),
            shape(CHART, "response status code 403: "),
            shape(CHART, "unexpected status code 403: "),
            shape(
                CHART,
                "failed to authorize: failed to fetch oauth token: unexpected status: 403 Forbidden",
            ),
        ],
        samples: &[
            sample(
                Chart,
                "helm 3.19, nginx/nginx-gateway-fabric#4282",
                "GET \"https://ghcr.io/v2/nginx/charts/nginx-gateway-fabric/tags/list\": GET \"https://ghcr.io/token?scope=repository%3Anginx%2Fcharts%2Fnginx-gateway-fabric%3Apull&service=ghcr.io\": response status code 403: denied: denied",
            ),
            sample(
                Chart,
                "helm 3, deliveryhero/helm-charts#773",
                "GET \"https://ghcr.io/v2/deliveryhero/helm-charts/node-local-dns/tags/list\": GET \"https://ghcr.io/token?scope=repository%3Adeliveryhero%2Fhelm-charts%2Fnode-local-dns%3Apull&service=ghcr.io\": unexpected status code 403: denied: denied",
            ),
        ],
        cause: "the registry denies access: the chart does not exist, is private, or a stored login is rejected",
        fix: "helm registry logout HOST; docker logout HOST  # for a public chart; for a private one: helm registry login HOST; if there is no such chart, correct its address",
    },
    KnownFailure {
        id: "registry-down",
        outlook: Outlook::Transient,
        shapes: &[
            shape(CHART, "response status code 500: "),
            shape(CHART, "response status code 502: "),
            shape(CHART, "response status code 503: "),
            shape(CHART, "response status code 504: "),
            shape(CHART, "failed to fetch * : 50"),
        ],
        samples: &[
            sample(
                Chart,
                "helm 4.2.4",
                "failed to perform \"FetchReference\" on source: GET \"https://ghcr.io/v2/x/manifests/1\": response status code 503: Service Unavailable",
            ),
            sample(
                Chart,
                "helm 4.2.4",
                "looks like \"http://127.0.0.1:18081/e503\" is not a valid chart repository or cannot be reached: failed to fetch http://127.0.0.1:18081/e503/index.yaml : 503 Service Unavailable",
            ),
        ],
        cause: "the registry returned 5xx",
        fix: "retry later",
    },
    KnownFailure {
        id: "proxy-login",
        outlook: Outlook::Unknown,
        shapes: &[shape(CHART, "* \"http*\": Proxy Authentication Required")],
        samples: &[sample(
            Chart,
            "helm 4.2.4",
            "failed to perform \"FetchReference\" on source: Get \"https://ghcr.io/v2/a/x/manifests/1.2.3\": Proxy Authentication Required",
        )],
        cause: "the proxy requires a login",
        fix: "export HTTPS_PROXY=http://USER:PASSWORD@PROXY:PORT, or add HOST to NO_PROXY",
    },
    KnownFailure {
        id: "proxy",
        outlook: Outlook::Unknown,
        // The text after the URL is that of the answer to CONNECT (Go, `net/http/transport.go`).
        shapes: &[
            shape(CHART, "proxyconnect tcp: "),
            shape(CHART, "* \"http*\": Bad Gateway"),
            shape(CHART, "* \"http*\": Bad Request"),
            shape(CHART, "* \"http*\": Forbidden"),
            shape(CHART, "* \"http*\": Gateway Timeout"),
            shape(CHART, "* \"http*\": Method Not Allowed"),
            shape(CHART, "* \"http*\": Service Unavailable"),
            shape(CHART, "* \"http*\": Unauthorized"),
        ],
        samples: &[
            sample(
                Chart,
                "helm 4.2.4 and 3.21.4",
                "failed to perform \"FetchReference\" on source: Get \"https://quay.io/v2/cilium/charts/cilium/manifests/9.9.9\": proxyconnect tcp: dial tcp 127.0.0.1:9: connect: connection refused",
            ),
            sample(
                Chart,
                "helm 4.2.4 and 3.21.4",
                "failed to perform \"FetchReference\" on source: Get \"https://nohost.invalid/v2/foo/bar/manifests/1.0.0\": Forbidden",
            ),
            sample(
                Chart,
                "helm 4.2.4",
                "looks like \"https://helm.cilium.io\" is not a valid chart repository or cannot be reached: Get \"https://helm.cilium.io/index.yaml\": Forbidden",
            ),
        ],
        cause: "the proxy refuses the connection or cannot be reached",
        fix: "correct HTTPS_PROXY, or add HOST to NO_PROXY",
    },
    KnownFailure {
        id: "registry-name",
        outlook: Outlook::Transient,
        shapes: &[shape(CHART, "dial tcp: lookup *: no such host")],
        samples: &[
            sample(
                Chart,
                "helm 4.2.4",
                "failed to perform \"FetchReference\" on source: Get \"https://ghcr.invalid/v2/x/y/manifests/1.2.3\": dial tcp: lookup ghcr.invalid on 127.0.0.53:53: no such host",
            ),
            sample(
                Chart,
                "helm 4.2.4",
                "looks like \"http://nohost.invalid\" is not a valid chart repository or cannot be reached: Get \"http://nohost.invalid/index.yaml\": dial tcp: lookup nohost.invalid on 10.255.255.53:53: no such host",
            ),
        ],
        cause: "this machine cannot resolve the name of the registry",
        fix: "check the network and DNS of this machine, and its proxy (HTTPS_PROXY)",
    },
    KnownFailure {
        id: "registry-gone",
        outlook: Outlook::Transient,
        shapes: &[
            fallback(CHART, "dial tcp *:"),
            fallback(CHART, "dial tcp: lookup "),
            shape(CHART, "read tcp *: "),
            shape(CHART, "EOF"),
            shape(CHART, "unexpected EOF"),
            shape(CHART, "net/http: TLS handshake timeout"),
            shape(CHART, "net/http: timeout awaiting response headers"),
            shape(CHART, "context deadline exceeded"),
        ],
        samples: &[
            sample(
                Chart,
                "helm 3.21.4",
                "failed to do request: Head \"https://ghcr.io/v2/x/manifests/1\": read tcp 127.0.0.1:1->127.0.0.1:2: read: connection reset by peer",
            ),
            sample(
                Chart,
                "helm 4.2.4",
                "failed to perform \"FetchReference\" on source: Get \"https://127.0.0.1:1/v2/foo/bar/manifests/1.0.0\": dial tcp 127.0.0.1:1: connect: connection refused",
            ),
        ],
        cause: "the registry cannot be reached or does not respond in time",
        fix: "check the network of this machine, and its proxy (HTTPS_PROXY)",
    },
    KnownFailure {
        id: "registry-portal",
        outlook: Outlook::Unknown,
        shapes: &[shape(
            CHART,
            "manifest does not contain minimum number of descriptors (2), descriptors found: 0",
        )],
        samples: &[sample(
            Chart,
            "helm 4.2.4",
            "manifest does not contain minimum number of descriptors (2), descriptors found: 0",
        )],
        cause: "what answers is not a registry with this chart: a login page, a proxy, or an image of the same name",
        fix: "check the address of the chart, and open it in a browser on this machine",
    },
];
