//! The programs and files that the sandbox is made of, and how each of them is built.

use std::path::Path;

/// The version that `kube-apiserver` and the kubelet of every node report.
pub const KUBERNETES_VERSION: &str = "v1.36.3+k3s1";

/// Programs or files of one version, in one folder of the cache.
pub(super) struct Tool {
    pub(super) name: &'static str,
    pub(super) version: &'static str,
    pub(super) files: &'static [&'static str],
    /// Arguments that make the first of `files` print its version, and the expected part of the output.
    pub(super) probe: Option<(&'static [&'static str], &'static str)>,
    pub(super) source: Source,
    pub(super) used_by: UsedBy,
}

/// Which commands need a tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UsedBy {
    /// Every command that starts a cluster.
    Clusters,
    /// Tests only.
    Tests,
}

pub(super) enum Source {
    /// `go build` of packages in the module `sandbox/go/FOLDER`.
    ///
    /// Tools of one module share the versions of their dependencies, so that Go compiles each dependency once. The modules
    /// agree on the versions of all other dependencies for the same reason.
    Module {
        folder: &'static str,
        packages: &'static [&'static str],
        /// Build tags, separated by commas.
        tags: &'static str,
        ldflags: &'static str,
    },
    /// `go install` of a package with the dependencies of its own module.
    Install { package: &'static str, ldflags: &'static str },
    /// YAML files from folders of a module.
    Files { module: &'static str, folders: &'static [&'static str] },
}

pub(super) const HELM: Tool = Tool {
    name: "helm",
    version: "4.2.4",
    files: &["helm"],
    probe: Some((&["version", "--short"], "v4.2.4")),
    source: Source::Module {
        folder: "kubernetes",
        packages: &["helm.sh/helm/v4/cmd/helm"],
        tags: "",
        ldflags: "-X helm.sh/helm/v4/internal/version.version=v4.2.4",
    },
    used_by: UsedBy::Clusters,
};

pub(super) const KUBERNETES: Tool = Tool {
    name: "kubernetes",
    version: "1.36.3",
    files: &["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "etcd"],
    probe: Some((&["--version"], KUBERNETES_VERSION)),
    source: Source::Module {
        folder: "kubernetes",
        packages: &[
            "go.etcd.io/etcd/server/v3",
            "k8s.io/kubernetes/cmd/kube-apiserver",
            "k8s.io/kubernetes/cmd/kube-controller-manager",
            "k8s.io/kubernetes/cmd/kube-scheduler",
            "k8s.io/kubernetes/cmd/kubectl",
        ],
        tags: "",
        // Charts read the server's version; `+k3s1` marks it as k3s.
        ldflags: "-X k8s.io/component-base/version.gitVersion=v1.36.3+k3s1 \
                  -X k8s.io/component-base/version.gitMajor=1 \
                  -X k8s.io/component-base/version.gitMinor=36 \
                  -X k8s.io/component-base/version.gitTreeState=clean",
    },
    used_by: UsedBy::Clusters,
};

pub(super) const KWOK: Tool = Tool {
    name: "kwok",
    version: "0.8.0",
    files: &["kwok"],
    probe: Some((&["--version"], "v0.8.0")),
    source: Source::Module {
        folder: "kubernetes",
        packages: &["sigs.k8s.io/kwok/cmd/kwok"],
        tags: "",
        ldflags: "",
    },
    used_by: UsedBy::Clusters,
};

pub(super) const SOPS: Tool = Tool {
    name: "sops",
    version: "3.13.2",
    files: &["sops"],
    probe: Some((&["--disable-version-check", "--version"], "sops 3.13.2")),
    source: Source::Module {
        folder: "helmfile",
        packages: &["github.com/getsops/sops/v3/cmd/sops"],
        tags: "",
        ldflags: "",
    },
    used_by: UsedBy::Clusters,
};

pub(super) const AGE: Tool = Tool {
    name: "age",
    version: "1.3.1",
    files: &["age", "age-keygen"],
    probe: Some((&["--version"], "v1.3.1")),
    source: Source::Module {
        folder: "helmfile",
        packages: &["filippo.io/age/cmd/age", "filippo.io/age/cmd/age-keygen"],
        tags: "",
        ldflags: "-X main.Version=v1.3.1",
    },
    used_by: UsedBy::Clusters,
};

pub(super) const REGISTRY: Tool = Tool {
    name: "registry",
    version: "3.1.1",
    files: &["registry"],
    // Only builds from its own Makefile know their version.
    probe: None,
    source: Source::Module { folder: "helmfile", packages: &["./registry"], tags: "", ldflags: "" },
    used_by: UsedBy::Clusters,
};

pub(super) const HELMFILE: Tool = Tool {
    name: "helmfile",
    version: "1.7.4",
    files: &["helmfile"],
    probe: Some((&["version", "-o", "short"], "1.7.4")),
    source: Source::Module {
        folder: "helmfile",
        packages: &["github.com/helmfile/helmfile"],
        // Of the secret stores that `ref+STORE://` can name, only SOPS: the others bring the SDKs of twenty vendors.
        tags: "custom_providers,sops",
        ldflags: "-X go.szostok.io/version.version=v1.7.4",
    },
    used_by: UsedBy::Clusters,
};

pub(super) const KUSTOMIZE_CONTROLLER: Tool = Tool {
    name: "kustomize-controller",
    version: "1.7.3",
    files: &["kustomize-controller"],
    probe: None,
    source: Source::Module {
        folder: "flux",
        packages: &["github.com/fluxcd/kustomize-controller"],
        tags: "",
        ldflags: "",
    },
    used_by: UsedBy::Clusters,
};

pub(super) const SOURCE_CONTROLLER: Tool = Tool {
    name: "source-controller",
    version: "1.7.3",
    files: &["source-controller"],
    probe: None,
    source: Source::Module {
        folder: "flux",
        packages: &["github.com/fluxcd/source-controller"],
        tags: "",
        ldflags: "",
    },
    used_by: UsedBy::Clusters,
};

pub(super) const TASK: Tool = Tool {
    name: "task",
    version: "3.53.1",
    files: &["task"],
    probe: Some((&["--version"], "3.53.1")),
    source: Source::Install { package: "github.com/go-task/task/v3/cmd/task@v3.53.1", ldflags: "" },
    used_by: UsedBy::Tests,
};

/// The Helm controller that is part of k3s.
pub(super) const HELM_CONTROLLER: Tool = Tool {
    name: "k3s-helm-controller",
    version: "0.17.9",
    files: &["helm-controller"],
    probe: None,
    source: Source::Install { package: "github.com/k3s-io/helm-controller@v0.17.9", ldflags: "" },
    used_by: UsedBy::Tests,
};

/// The other supported major version of Helm.
pub(super) const HELM_3: Tool = Tool {
    name: "helm",
    version: "3.21.4",
    files: &["helm"],
    probe: Some((&["version", "--short"], "v3.21.4")),
    source: Source::Install {
        package: "helm.sh/helm/v3/cmd/helm@v3.21.4",
        ldflags: "-X helm.sh/helm/v3/internal/version.version=v3.21.4",
    },
    used_by: UsedBy::Tests,
};

pub(super) const KWOK_STAGES: Tool = Tool {
    name: "kwok-stages",
    version: "0.8.0",
    files: &["pod-ready.yaml", "pod-complete.yaml", "pod-delete.yaml", "kwok.x-k8s.io_stages.yaml"],
    probe: None,
    source: Source::Files {
        module: "sigs.k8s.io/kwok@v0.8.0",
        folders: &["kustomize/stage/pod/fast", "kustomize/crd/bases"],
    },
    used_by: UsedBy::Clusters,
};

pub(super) const KUSTOMIZE_CRDS: Tool = Tool {
    name: "kustomize-controller-crds",
    version: "1.7.3",
    files: &["kustomize.toolkit.fluxcd.io_kustomizations.yaml"],
    probe: None,
    source: Source::Files {
        module: "github.com/fluxcd/kustomize-controller@v1.7.3",
        folders: &["config/crd/bases"],
    },
    used_by: UsedBy::Clusters,
};

pub(super) const SOURCE_CRDS: Tool = Tool {
    name: "source-controller-crds",
    version: "1.7.3",
    files: &[
        "source.toolkit.fluxcd.io_buckets.yaml",
        "source.toolkit.fluxcd.io_externalartifacts.yaml",
        "source.toolkit.fluxcd.io_gitrepositories.yaml",
        "source.toolkit.fluxcd.io_helmcharts.yaml",
        "source.toolkit.fluxcd.io_helmrepositories.yaml",
        "source.toolkit.fluxcd.io_ocirepositories.yaml",
    ],
    probe: None,
    source: Source::Files {
        module: "github.com/fluxcd/source-controller@v1.7.3",
        folders: &["config/crd/bases"],
    },
    used_by: UsedBy::Clusters,
};

/// All tools, in the order in which they are built: the largest first, so that its downloads overlap with other work.
pub(super) const ALL: [&Tool; 15] = [
    &HELM,
    &KUBERNETES,
    &KWOK,
    &SOPS,
    &AGE,
    &REGISTRY,
    &HELMFILE,
    &KUSTOMIZE_CONTROLLER,
    &SOURCE_CONTROLLER,
    &KWOK_STAGES,
    &KUSTOMIZE_CRDS,
    &SOURCE_CRDS,
    &TASK,
    &HELM_3,
    &HELM_CONTROLLER,
];

impl Tool {
    pub(super) fn same_as(&self, other: &Self) -> bool {
        self.name == other.name && self.version == other.version
    }

    /// The name of its folder in the cache.
    pub(super) fn folder(&self) -> String {
        format!("{}-{}", self.name, self.version)
    }

    pub(super) fn is_in(&self, folder: &Path) -> bool {
        self.files.iter().all(|file| folder.join(file).is_file())
    }
}
