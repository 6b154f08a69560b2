//! Known failures in the last lines that a container printed: they say more than its state.

use crate::base::known_failures::Origin::Log;
use crate::base::known_failures::shape::{LOG, shape};
use crate::base::known_failures::{KnownFailure, Outlook, sample};

pub(super) const TABLE: &[KnownFailure] = &[
    KnownFailure {
        id: "dns-loop",
        outlook: Outlook::Unknown,
        shapes: &[shape(LOG, "…plugin/loop: Loop (* -> *) detected for zone \"")],
        samples: &[sample(
            Log,
            "CoreDNS, coredns/coredns#2087",
            "[FATAL] plugin/loop: Loop (127.0.0.1:60292 -> :53) detected for zone \".\", see https://coredns.io/plugins/loop#troubleshooting. Query: \"HINFO 5578201896000263180.6097644536601687215.\"",
        )],
        cause: "/etc/resolv.conf of the node names the node itself, so CoreDNS forwards queries to itself",
        fix: "set `resolv-conf: /run/systemd/resolve/resolv.conf` in the k3s configuration of the node and restart k3s, or name the servers in `servers[].plugins` (`forward . ADDRESS`) in the values of coredns",
    },
    KnownFailure {
        id: "cilium-device",
        outlook: Outlook::Unknown,
        shapes: &[shape(
            LOG,
            "…unable to determine direct routing device. Use --direct-routing-device to specify it",
        )],
        samples: &[sample(
            Log,
            "Cilium 1.17.4, linode/cluster-api-provider-linode#771",
            "level=fatal msg=\"failed to start: daemon creation failed: unable to determine direct routing device. Use --direct-routing-device to specify it\\nfailed to stop: unable to find controller ipcache-inject-labels\" subsys=daemon",
        )],
        cause: "Cilium does not find the network interface of the node",
        fix: "set `devices` in the values of cilium to the interface of the node (such as `devices: [eth0]`)",
    },
    KnownFailure {
        id: "cilium-kernel",
        outlook: Outlook::Unknown,
        shapes: &[shape(LOG, "…Error while creating daemon\" error=\"protocol not supported\"")],
        samples: &[sample(
            Log,
            "Cilium 1.12, cilium/cilium#20735",
            "level=fatal msg=\"Error while creating daemon\" error=\"protocol not supported\" subsys=daemon",
        )],
        cause: "a module that Cilium needs, such as vxlan, is missing from the kernel of the node",
        fix: "install the kernel modules of the distribution (Ubuntu on a Raspberry Pi: linux-modules-extra-raspi) and restart the node",
    },
    KnownFailure {
        id: "inotify",
        outlook: Outlook::Unknown,
        shapes: &[
            shape(LOG, "failed to create fsnotify watcher: too many open files"),
            shape(LOG, "failed to new ca-cert watcher: too many open files"),
        ],
        samples: &[
            sample(
                Log,
                "kubelet, derailed/k9s#1399",
                "failed to create fsnotify watcher: too many open files",
            ),
            sample(Log, "k0sproject/k0s#8113", "panic: failed to new ca-cert watcher: too many open files"),
        ],
        cause: "the node has no inotify instances left",
        fix: "raise `fs.inotify.max_user_instances` on the node (such as 8192), in /etc/sysctl.d and with `sysctl --system`",
    },
    KnownFailure {
        id: "wrong-architecture",
        outlook: Outlook::Unknown,
        shapes: &[
            shape(LOG, "exec *: exec format error"),
            shape(LOG, "exec user process caused: exec format error"),
        ],
        samples: &[sample(
            Log,
            "containerd, rancher/rancher#32340",
            "standard_init_linux.go:219: exec user process caused: exec format error",
        )],
        cause: "the image is for another CPU architecture than that of the node",
        fix: "use an image for that architecture, or select other nodes in the values (`nodeSelector: {kubernetes.io/arch: amd64}`)",
    },
];
