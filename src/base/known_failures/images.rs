//! Known failures of images that a node cannot pull.

use crate::base::known_failures::Origin::State;
use crate::base::known_failures::shape::{STATE, fallback, shape};
use crate::base::known_failures::{KnownFailure, Outlook, sample};

pub(super) const TABLE: &[KnownFailure] = &[
    KnownFailure {
        id: "node-disk",
        outlook: Outlook::Unknown,
        shapes: &[
            shape(STATE, "failed to pull and unpack image \"*\": …: no space left on device"),
            shape(STATE, "FailedCreatePodSandBox: …: no space left on device"),
        ],
        samples: &[sample(
            State,
            "containerd of k3s v1.20.0, k3s-io/k3s#2754",
            "container helm: ErrImagePull: rpc error: code = Unknown desc = failed to pull and unpack image \"docker.io/rancher/klipper-helm:v0.3.2\": failed to extract layer sha256:d870250d9815ed31516d3a031055aa9a05349fe9f15a182dea54a59916ac563b: mount callback failed on /var/lib/rancher/k3s/agent/containerd/tmpmounts/containerd-mount571813358: write /var/lib/rancher/k3s/agent/containerd/tmpmounts/containerd-mount571813358/usr/bin/helm_v3: no space left on device: unknown",
        )],
        cause: "a disk of the node is full",
        fix: "df -h /var/lib/rancher  # on that node; free some space",
    },
    KnownFailure {
        id: "image-rate-limit",
        outlook: Outlook::Transient,
        shapes: &[shape(STATE, "…: 429 Too Many Requests"), shape(STATE, "toomanyrequests: ")],
        samples: &[
            sample(
                State,
                "containerd, jenkinsci/helm-charts#1586",
                "container main: ErrImagePull: failed to pull and unpack image \"docker.io/bats/bats:1.13.0\": failed to copy: httpReadSeeker: failed open: unexpected status from GET request to https://registry-1.docker.io/v2/bats/bats/manifests/sha256:ba5704b9c118b7e9f358700b8973800aaaa5bce36800ee8db375fe59fb5f4e09: 429 Too Many Requests\ntoomanyrequests: You have reached your unauthenticated pull rate limit. https://www.docker.com/increase-rate-limit",
            ),
            sample(
                State,
                "containerd, suxess-it/kubriX#1075",
                "container main: ErrImagePull: failed to pull and unpack image \"docker.io/prom/memcached-exporter:v0.15.0\": failed to copy: httpReadSeeker: failed open: unexpected status code https://registry-1.docker.io/v2/prom/memcached-exporter/manifests/sha256:bb01ad25e9fcf0630cbae9c091a7687bca7fc0c7869912d98d95a6887b9eb599: 429 Too Many Requests - Server message: toomanyrequests: You have reached your unauthenticated pull rate limit. https://www.docker.com/increase-rate-limit",
            ),
        ],
        cause: "the registry limits the rate of the node's requests",
        fix: "wait, or log the nodes in to the registry",
    },
    KnownFailure {
        id: "image-denied",
        outlook: Outlook::Unknown,
        shapes: &[
            shape(STATE, "failed to pull and unpack image \"*\": …: 403 Forbidden"),
            shape(STATE, "failed to pull and unpack image \"*\": …: 401 Unauthorized"),
            shape(STATE, "pull access denied, repository does not exist or may require authorization"),
            shape(STATE, "failed to authorize: …unexpected status*: 403 Forbidden"),
        ],
        samples: &[
            sample(
                State,
                "containerd, nloui/paperless-mcp#10",
                "container main: ErrImagePull: failed to pull and unpack image \"ghcr.io/nloui/paperless-mcp:latest\": failed to resolve reference \"ghcr.io/nloui/paperless-mcp:latest\": failed to authorize: failed to fetch anonymous token: unexpected status from GET request to https://ghcr.io/token?scope=repository%3Anloui%2Fpaperless-mcp%3Apull&service=ghcr.io: 403 Forbidden",
            ),
            sample(
                State,
                "containerd 1.7.22, containerd/containerd#11103",
                "container main: ErrImagePull: failed to pull and unpack image \"han.lanharbor.com/lan/predixy:1.0\": failed to resolve reference \"han.lanharbor.com/lan/predixy:1.0\": pull access denied, repository does not exist or may require authorization: authorization failed: no basic auth credentials",
            ),
        ],
        cause: "the registry denies the node access to the image, or the image does not exist",
        fix: "check the name of the image; make it public, or set a pull secret in the values (`imagePullSecrets`)",
    },
    KnownFailure {
        id: "image-platform",
        outlook: Outlook::Unknown,
        shapes: &[shape(STATE, "no match for platform in manifest")],
        samples: &[sample(
            State,
            "containerd, FoundationDB/fdb-kubernetes-operator#2294",
            "container manager: ErrImagePull: rpc error: code = NotFound desc = failed to pull and unpack image \"docker.io/foundationdb/fdb-kubernetes-operator:v2.6.0\": no match for platform in manifest: not found",
        )],
        cause: "the image does not exist for the architecture of the node",
        fix: "use an image for that architecture, or select other nodes in the values (`nodeSelector: {kubernetes.io/arch: amd64}`)",
    },
    KnownFailure {
        id: "image-missing",
        outlook: Outlook::Unknown,
        shapes: &[
            shape(STATE, "ErrImagePull: …failed to resolve reference \"*\": */*: not found"),
            shape(STATE, "Failed to pull image \"*\": …failed to resolve reference \"*\": */*: not found"),
            shape(STATE, "failed to pull and unpack image \"*\": */*: not found"),
            shape(STATE, "ErrImagePull: */*: not found"),
            shape(STATE, "…: manifest unknown"),
        ],
        samples: &[sample(
            State,
            "containerd, sympozium-ai/sympozium#5",
            "container apiserver: ErrImagePull: rpc error: code = NotFound desc = failed to pull and unpack image \"ghcr.io/alexsjones/sympozium/apiserver:v0.0.29\": failed to resolve reference \"ghcr.io/alexsjones/sympozium/apiserver:v0.0.29\": ghcr.io/alexsjones/sympozium/apiserver:v0.0.29: not found",
        )],
        cause: "the image or tag does not exist in the registry",
        fix: "correct the image tag in the values, or the chart version",
    },
    KnownFailure {
        id: "image-dns",
        outlook: Outlook::Unknown,
        shapes: &[
            shape(STATE, "failed to pull and unpack image \"*\": …dial tcp: lookup "),
            shape(STATE, "Failed to pull image \"*\": …dial tcp: lookup "),
        ],
        samples: &[sample(
            State,
            "containerd of k3s v1.36.3+k3s1",
            "container main: ErrImagePull: failed to pull and unpack image \"registry.lab.invalid/x/y:1\": failed to resolve reference \"registry.lab.invalid/x/y:1\": failed to do request: Head \"https://registry.lab.invalid/v2/x/y/manifests/1\": dial tcp: lookup registry.lab.invalid: Temporary failure in name resolution",
        )],
        cause: "the node cannot resolve the name of the registry",
        fix: "check the name servers of the node (/etc/resolv.conf): the cluster's DNS is not involved; and the registry's name in the values",
    },
    KnownFailure {
        id: "image-unreachable",
        outlook: Outlook::Unknown,
        shapes: &[
            shape(STATE, "failed to pull and unpack image \"*\": …: dial tcp *:*: "),
            shape(STATE, "failed to pull and unpack image \"*\": …: net/http: TLS handshake timeout"),
            shape(STATE, "failed to pull and unpack image \"*\": …proxyconnect tcp: "),
        ],
        samples: &[sample(
            State,
            "containerd of k3s v1.36.3+k3s1",
            "container main: ImagePullBackOff: Back-off pulling image \"127.0.0.1:5999/x/y:1\": ErrImagePull: failed to pull and unpack image \"127.0.0.1:5999/x/y:1\": failed to resolve reference \"127.0.0.1:5999/x/y:1\": failed to do request: Head \"https://127.0.0.1:5999/v2/x/y/manifests/1\": dial tcp 127.0.0.1:5999: connect: connection refused",
        )],
        cause: "the node cannot reach the registry",
        fix: "check the network of the node, its proxy, and the mirrors in /etc/rancher/k3s/registries.yaml",
    },
    KnownFailure {
        id: "image-certificate",
        outlook: Outlook::Unknown,
        shapes: &[shape(STATE, "failed to pull and unpack image \"*\": …: x509: ")],
        samples: &[sample(
            State,
            "containerd 2, k3s-io/k3s#11973",
            "container main: ErrImagePull: failed to pull and unpack image \"registry.example.org/x:1\": failed to resolve reference \"registry.example.org/x:1\": failed to do request: Head \"https://registry.example.org/v2/x/manifests/1\": tls: failed to verify certificate: x509: certificate signed by unknown authority",
        )],
        cause: "the node does not trust the certificate of the registry",
        fix: "add its authority to the node, or to `configs` in /etc/rancher/k3s/registries.yaml",
    },
    KnownFailure {
        id: "image-name",
        outlook: Outlook::Unknown,
        shapes: &[
            shape(STATE, "InvalidImageName"),
            shape(STATE, "InspectFailed: Failed to apply default image tag "),
        ],
        samples: &[sample(
            State,
            "kubelet of k3s v1.36.3+k3s1",
            "container main: InvalidImageName: Failed to apply default image tag \"Upper/Case:bad:x\": couldn't parse image name \"Upper/Case:bad:x\": invalid reference format: repository name (Case) must be lowercase",
        )],
        cause: "the name of the image is not valid",
        fix: "correct the image in the values",
    },
    KnownFailure {
        id: "image-policy",
        outlook: Outlook::Unknown,
        shapes: &[shape(STATE, "ErrImageNeverPull")],
        samples: &[sample(
            State,
            "kubelet of k3s v1.36.3+k3s1",
            "container main: ErrImageNeverPull: Container image \"docker.io/library/absent:1\" is not present with pull policy of Never",
        )],
        cause: "the pull policy of the pod is `Never`, and the node does not have the image",
        fix: "set `imagePullPolicy: IfNotPresent` in the values, or import the image on the node: k3s ctr images import FILE",
    },
    KnownFailure {
        id: "image",
        outlook: Outlook::Unknown,
        shapes: &[
            fallback(STATE, "container *: ErrImagePull"),
            fallback(STATE, "container *: ImagePullBackOff"),
            fallback(STATE, "Failed to pull image \"*\""),
        ],
        samples: &[sample(
            State,
            "kubelet of k3s v1.36.3+k3s1",
            "container main: ImagePullBackOff: Back-off pulling image \"registry.lab.invalid/x/y:1\"",
        )],
        cause: "the node cannot pull the image",
        fix: "kubectl -n {namespace} describe pods  # its events show why",
    },
];
