//! The table of known failures of Helm, the API server and Flux, special ones before general ones; `table_pods` follows it.

use crate::base::known_failures::Known;

pub(super) const TABLE: &[Known] = &[
    // What helm and the API server say.
    Known {
        id: "coredns-bundled",
        words: &[&["invalid ownership metadata", "coredns", "kube-system"]],
        cause: "k3s' own CoreDNS has the name already",
        fix: "add `coredns` to `disable` in /etc/rancher/k3s/config.yaml on all servers and restart k3s there; or keep it: \
              k3s-boot apps --skip-release {release}",
    },
    Known {
        id: "ownership",
        words: &[&["invalid ownership metadata"]],
        cause: "the object is there already, and does not belong to this release",
        fix: "k3s-boot check  # tells whose it is; delete it, or hand it over: k3s-boot apps --release {release} --force --take {release}",
    },
    Known {
        id: "service-address",
        words: &[&["provided ip is already allocated"]],
        cause: "another Service has the address already",
        fix: "kubectl get services --all-namespaces  # delete that Service, or change `clusterIP` in the values",
    },
    Known {
        id: "immutable",
        words: &[&["field is immutable"]],
        cause: "the field cannot be changed of an object that exists, and the chart wants another value",
        fix: "delete the named object, and run it again: helm makes it anew; but not a CRD or a claim, with which all goes \
              that is in it",
    },
    Known {
        id: "crd-missing",
        words: &[
            &["no matches for kind"],
            &["ensure crds are installed first"],
            &["requires monitoring.coreos.com/v1 crds"],
        ],
        cause: "the cluster does not know that kind: its CRD is not installed",
        fix: "install the CRDs in 00-crds.yaml, or switch off what uses them in the values (such as `serviceMonitor`)",
    },
    Known {
        id: "locked",
        words: &[&["another operation (install/upgrade/rollback) is in progress"]],
        cause: "an earlier operation on the release has not ended, or was killed",
        fix: "if no other run is at work, `k3s-boot recover` unlocks it",
    },
    Known {
        id: "startupapicheck",
        words: &[
            &["failed post-install", "startupapicheck"],
            &["startupapicheck", "crashloopbackoff"],
            &["startupapicheck", "ended with exit code 1 "],
        ],
        cause: "cert-manager's webhook did not answer in time: its pods, the DNS or the network are not ready",
        fix: "kubectl -n {namespace} get pods  # and run it again when they are ready",
    },
    Known {
        id: "webhook",
        words: &[
            &["failed calling webhook"],
            &["failed to call webhook"],
            &["no endpoints available for service"],
        ],
        cause: "the API server asks a webhook whose pods are not ready or cannot be reached",
        fix: "run it again when the webhook's pods are ready; delete its webhook configuration if nothing of it is left",
    },
    Known {
        id: "values-schema",
        words: &[&["values don't meet the specifications of the schema"]],
        cause: "a value is not what the chart's schema allows",
        fix: "correct the value that is named; `helm show values CHART` tells what there is",
    },
    Known {
        id: "template",
        words: &[
            &["execution error at ("],
            &["template: ", "executing "],
            // Helm 4 has no `template:` in front.
            &["executing \"", "\" at <"],
            &["parse error at ("],
            &["yaml parse error on "],
        ],
        cause: "a template of the chart does not work with these values",
        fix: "set or correct the value that the message names",
    },
    Known {
        id: "quota-unset",
        words: &[&["failed quota", "must specify"]],
        cause: "a ResourceQuota of the namespace wants requests or limits that the pod does not have",
        fix: "set what the message names below `resources` in the values, or defaults for all with a LimitRange in {namespace}",
    },
    Known {
        id: "limit-range",
        words: &[&["minimum", "usage per"], &["maximum", "usage per"], &["max limit to request ratio per"]],
        cause: "a LimitRange of the namespace forbids what the pod asks for",
        fix: "kubectl -n {namespace} describe limitrange  # change that, or `resources` in the values",
    },
    Known {
        id: "quota",
        words: &[&["exceeded quota"]],
        cause: "a ResourceQuota of the namespace is used up",
        fix: "kubectl -n {namespace} describe resourcequota  # raise it",
    },
    Known {
        id: "pod-security",
        words: &[&["violates podsecurity"]],
        cause: "the namespace's PodSecurity level forbids what the pod needs",
        fix: "kubectl label --overwrite namespace {namespace} pod-security.kubernetes.io/enforce=privileged  # from then \
              on every pod of {namespace} may take over its node: right for a network plugin only; else correct \
              `securityContext` in the values, or give the release a namespace of its own",
    },
    Known {
        id: "refused",
        words: &[
            &["admission webhook", "denied the request"],
            &["validatingadmissionpolicy", "denied request"],
        ],
        cause: "a policy of the cluster forbids the object",
        fix: "change what the message names in the values, or the policy",
    },
    Known {
        id: "terminating",
        words: &[&["because it is being terminated"]],
        cause: "the namespace is being deleted",
        fix: "wait until it is gone, and run it again; `kubectl get namespace {namespace} -o yaml` tells what it waits for",
    },
    Known {
        id: "record-too-large",
        words: &[&["too long", "sh.helm.release"], &["request entity too large"]],
        cause: "the chart and its manifest are larger than a Secret may be, so helm cannot store the release",
        fix: "use a smaller chart, or split it",
    },
    Known {
        id: "node-disk",
        words: &[
            &["errimagepull", "no space left on device"],
            &["failed to pull image", "no space left on device"],
            &["failedcreatepodsandbox", "no space left on device"],
        ],
        cause: "a disk of its node is full",
        fix: "df -h /var/lib/rancher  # on that node; make room there",
    },
    Known {
        id: "disk-full",
        words: &[&["no space left on device"]],
        cause: "a disk of this machine is full",
        fix: "df -h /tmp ~  # make room, or set TMPDIR",
    },
    Known {
        id: "etcd",
        // The last: Helm 4 tries such a request again by itself, with nothing in it (helm 4.2.4).
        words: &[
            &["etcdserver: leader changed"],
            &["etcdserver: request timed out"],
            &["request declared a content-length", "but only wrote 0 bytes"],
        ],
        cause: "etcd has just lost its leader, or its disk is too slow",
        fix: "run it again",
    },
    Known {
        id: "conflict",
        words: &[&["conflict with", "using", ": ."], &["apply failed with", "conflicts with \""]],
        cause: "somebody else has set fields that the chart sets",
        fix: "k3s-boot apps --fix-drift {release}  # puts them back",
    },
    Known {
        id: "raced",
        words: &[&["the object has been modified", "apply your changes to the latest version"]],
        cause: "somebody else has written the object at the same moment",
        fix: "run it again",
    },
    Known {
        id: "logged-out",
        words: &[&["asked for the client to provide credentials"], &["you must be logged in to the server"]],
        cause: "the kubeconfig is that of another cluster, or of one that was installed anew",
        fix: "copy /etc/rancher/k3s/k3s.yaml from a server again",
    },
    Known {
        id: "api-certificate",
        words: &[
            &["kubernetes cluster unreachable", "x509:", "certificate signed by unknown authority"],
            &["kubernetes cluster unreachable", "x509:", "certificate is valid for"],
            &["kubernetes cluster unreachable", "x509:", "doesn't contain any ip sans"],
        ],
        cause: "the kubeconfig is that of another cluster, or its address is none that the API server's certificate names",
        fix: "copy /etc/rancher/k3s/k3s.yaml from a server again; a further address goes into `tls-san` in \
              /etc/rancher/k3s/config.yaml on all servers",
    },
    Known {
        id: "api-busy",
        words: &[
            &["the server has received too many requests"],
            &["the server is currently unable to handle the request"],
        ],
        cause: "the API server, or a part of it, has more to do than it can",
        fix: "kubectl get apiservices  # all must be Available; then run it again",
    },
    Known {
        id: "killed",
        words: &[&["signal: killed"], &["signal: 9 (sigkill)"]],
        cause: "the system has killed a program, mostly for want of memory",
        fix: "dmesg | tail  # and run it again with more memory",
    },
    // What Flux says.
    Known {
        id: "flux-pair",
        words: &[&["doc is missing path", "/spec/versions/"]],
        cause: "flux-operator is older than the Flux that it shall install",
        fix: "pin `instance.distribution.artifact` in the values to flux-operator's own version, or move both charts together",
    },
    Known {
        id: "git-denied",
        words: &[
            &["unable to authenticate"],
            &["unable to clone", "authentication required"],
            &["unable to clone", "invalid credentials"],
            &["failed to get secret", "gitrepository"],
        ],
        cause: "the Git server refuses the key or password that Flux has, or Flux has none",
        fix: "put the deploy key into bootstrap/*.sops.yaml as a Secret of flux-system, name it in FLUX_GIT_PULL_SECRET, and run it again",
    },
    Known {
        id: "git-gone",
        words: &[&["unable to clone"], &["unable to list remote"]],
        cause: "Flux cannot read the Git repository: its address or branch is wrong, or the server cannot be reached from pods",
        fix: "check `instance.sync.url` and `instance.sync.ref` in the values of flux-instance, and the DNS and network of pods",
    },
    Known {
        id: "age-key-missing",
        words: &[
            &["secrets \"sops-age\" not found"],
            &["failed to get decryption secret"],
            &["cannot get", "decryption secret"],
        ],
        cause: "Flux wants the age key, and the cluster has none",
        fix: "put the key that this repository is encrypted for into age.key, and run it again",
    },
    Known {
        id: "age-key-wrong",
        words: &[
            &["decryption failed"],
            &["failed to decrypt"],
            &["cannot get sops data key"],
            &["failed to import", "decryption secret"],
        ],
        cause: "the age key that Flux has is none that the file is encrypted for",
        fix: "put the age key that this repository is encrypted for into age.key and run it again with --rotate-age-key",
    },
];
