//! Failures of the API server, of programs and of Flux during a run.

use std::time::Duration;

use super::{RECOVERS, expect, fault};
use crate::faults::Fault;
use crate::faults::injection::{Injection, When};
use crate::faults::verdict::Plain;
use crate::restart::Restart;
use crate::webhook::WebhookBehavior;

pub(super) const FAULTS: &[Fault] = &[
    // The API server and this machine.
    Fault {
        when: When::Release("kube-system", "cilium"),
        ..fault(
            "api-unavailable",
            "k3s restarts during the run; no API server for 25 s",
            &[Injection::ApiRestart(Restart::SLOW)],
            expect(0, "kube-system/cilium", &["the API server became unavailable"], ""),
            Plain::Fails("https://127.0.0.1:"),
        )
    },
    Fault {
        when: When::Release("kube-system", "cilium"),
        ..fault(
            "api-frozen",
            "API server does not answer for 20 s during the run",
            &[Injection::ApiFrozen(Duration::from_secs(20))],
            expect(0, "/leases/k3s-boot", &["was not answered within"], ""),
            Plain::Succeeds("https://127.0.0.1:"),
        )
    },
    fault(
        "api-slow",
        "API server takes 2 s to create a workload",
        &[
            Injection::Namespace("cert-manager"),
            Injection::AdmissionDenied(
                "cert-manager",
                &["deployments", "serviceaccounts", "services"],
                WebhookBehavior { denied: 0, status: 200, message: "", delay: Duration::from_secs(2) },
            ),
        ],
        expect(0, "cert-manager/cert-manager", &["Waiting for release"], ""),
        Plain::Succeeds("cert-manager"),
    ),
    fault(
        "etcd-leader",
        "etcd elects a new leader",
        &[
            Injection::Namespace("cert-manager"),
            Injection::AdmissionDenied(
                "cert-manager",
                &["deployments"],
                WebhookBehavior {
                    denied: 1,
                    status: 500,
                    message: "etcdserver: leader changed",
                    delay: Duration::ZERO,
                },
            ),
        ],
        expect(0, "cert-manager/cert-manager", &["etcd lost its leader, or its disk is too slow"], ""),
        Plain::Fails("cert-manager"),
    ),
    Fault {
        when: When::Release("kube-system", "cilium"),
        ..fault(
            "helm-killed",
            "helm is killed",
            &[Injection::Killed("helm", "upgrade")],
            expect(0, "kube-system/cilium", &["signal: killed"], ""),
            Plain::Fails("cilium"),
        )
    },
    Fault {
        when: When::Release("kube-system", "cilium"),
        ..fault(
            "kubectl-killed",
            "kubectl is killed",
            &[Injection::Killed("kubectl", "proxy")],
            RECOVERS,
            Plain::NotApplicable,
        )
    },
    fault(
        "disk-full",
        "disk for temporary files is full",
        &[Injection::FullDisk("8k")],
        expect(1, "tmp", &["a disk of this machine is full"], "set TMPDIR"),
        Plain::Fails("no space left on device"),
    ),
    // Flux.
    fault(
        "flux-stalled",
        "FluxInstance is Stalled",
        &[Injection::Stalled(
            "build failed: add operation does not apply: doc is missing path: \"/spec/versions/1/schema\": missing value",
        )],
        expect(
            5,
            "FluxInstance",
            &["doc is missing path", "flux-operator is older than the Flux version that it installs"],
            "pin `instance.distribution.artifact`",
        ),
        Plain::MayFail("FluxInstance/flux-system/flux"),
    ),
    Fault {
        args: &["--timeout", "90s"],
        ..fault(
            "git-auth",
            "Git server rejects the credentials",
            &[Injection::GitDenied(401)],
            expect(
                6,
                "GitRepository flux-system/flux-system",
                &["the Git server requires a login for this URL"],
                "instance.sync.pullSecret",
            ),
            Plain::Blind,
        )
    },
    Fault {
        next: &["--rotate-age-key"],
        ..fault(
            "decryption",
            "Flux cannot decrypt the repository",
            &[Injection::WrongAgeKey],
            expect(5, "Kustomization flux-system/", &["decrypt"], "--rotate-age-key"),
            Plain::Blind,
        )
    },
];
