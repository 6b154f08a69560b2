//! Known failures of the Git repository that Flux syncs.

use crate::base::known_failures::Origin::Flux;
use crate::base::known_failures::shape::{FLUX, shape};
use crate::base::known_failures::{KnownFailure, Outlook, sample};

pub(super) const TABLE: &[KnownFailure] = &[
    KnownFailure {
        id: "git-secret-missing",
        outlook: Outlook::Unknown,
        shapes: &[
            shape(
                FLUX,
                "GitRepository *: AuthenticationFailed: failed to get secret '*': secrets \"*\" not found",
            ),
            shape(FLUX, "GitRepository *: AuthenticationFailed: …secrets \"*\" not found"),
        ],
        samples: &[sample(
            Flux,
            "source-controller 1.7.4",
            "GitRepository flux-system/flux-system: AuthenticationFailed: failed to get secret 'flux-system/deploy-key': secrets \"deploy-key\" not found",
        )],
        cause: "the Secret with the credentials of Flux does not exist",
        fix: "add it to bootstrap/*.sops.yaml, as a Secret in flux-system with the name in `instance.sync.pullSecret`, then retry",
    },
    KnownFailure {
        id: "git-secret-keys",
        outlook: Outlook::Unknown,
        shapes: &[
            shape(FLUX, "GitRepository *: AuthenticationFailed: failed to configure authentication options"),
            shape(FLUX, "invalid 'ssh' auth option: "),
            shape(FLUX, "invalid 'https' auth option: "),
            shape(FLUX, "invalid '*' auth option: '*' requires "),
        ],
        samples: &[sample(
            Flux,
            "source-controller, fluxcd/flux2-kustomize-helm-example#56",
            "GitRepository flux-system/flux-system: AuthenticationFailed: invalid 'ssh' auth option: 'identity' is required",
        )],
        cause: "the Secret with the credentials of Flux has no keys for this kind of URL",
        fix: "store `identity` and `known_hosts` in it for ssh://, `username` and `password` (or `bearerToken`) for https://",
    },
    KnownFailure {
        id: "git-host-key",
        outlook: Outlook::Unknown,
        shapes: &[shape(FLUX, "knownhosts: key mismatch"), shape(FLUX, "knownhosts: key is unknown")],
        samples: &[sample(
            Flux,
            "source-controller 1.0.0-rc.1, fluxcd/flux2#3774",
            "GitRepository flux-system/flux-system: GitOperationFailed: failed to checkout and determine revision: unable to clone 'ssh://git@github.com/myrepo': ssh: handshake failed: knownhosts: key mismatch",
        )],
        cause: "`known_hosts` in the Secret of Flux does not have the key of the Git server",
        fix: "put the output of `ssh-keyscan HOST` into `known_hosts` of that Secret, after comparing it with what the server publishes, then retry",
    },
    KnownFailure {
        id: "git-denied",
        outlook: Outlook::Unknown,
        shapes: &[shape(FLUX, "ssh: unable to authenticate, attempted methods [")],
        samples: &[sample(
            Flux,
            "source-controller, fluxcd/flux2#826",
            "GitRepository flux-system/flux-system: GitOperationFailed: failed to checkout and determine revision: unable to clone 'ssh://git@github.com/squaremo/flux-example': ssh: handshake failed: ssh: unable to authenticate, attempted methods [none publickey], no supported methods remain",
        )],
        cause: "the Git server rejects the key of Flux",
        fix: "add the deploy key to bootstrap/*.sops.yaml as a Secret in flux-system, name it in FLUX_GIT_PULL_SECRET, then retry",
    },
    KnownFailure {
        id: "git-login",
        outlook: Outlook::Unknown,
        shapes: &[
            shape(FLUX, "unable to clone 'http*': authentication required"),
            shape(FLUX, "unable to list remote for 'http*': authentication required"),
            shape(FLUX, "unable to clone 'http*': invalid credentials"),
        ],
        samples: &[sample(
            Flux,
            "source-controller, fluxcd/flux2#3301",
            "GitRepository flux-system/flux-system: GitOperationFailed: failed to checkout and determine revision: unable to clone 'https://github.com/13567436138/mygit4.git': authentication required",
        )],
        cause: "the Git server requires a login for this URL: the repository is private, or does not exist",
        fix: "correct `instance.sync.url`, or add a Secret with `username` and `password` (a token) to bootstrap/*.sops.yaml and name it in `instance.sync.pullSecret`",
    },
    KnownFailure {
        // 403 of the server: the credentials are accepted (go-git, `plumbing/transport/http`).
        id: "git-forbidden",
        outlook: Outlook::Unknown,
        shapes: &[
            shape(FLUX, "unable to list remote for '*': authorization failed"),
            shape(FLUX, "unable to clone '*': authorization failed"),
        ],
        samples: &[sample(
            Flux,
            "source-controller 1.8.5, fluxcd/flux2#4861",
            "GitRepository flux-system/flux-system: GitOperationFailed: failed to checkout and determine revision: unable to list remote for 'https://gitlab.example.org/me/home.git': authorization failed",
        )],
        cause: "the Git server accepts the credentials of Flux, but they may not read this repository",
        fix: "give the token or user of Flux read access to the repository",
    },
    KnownFailure {
        id: "git-repository",
        outlook: Outlook::Unknown,
        shapes: &[
            shape(FLUX, "unable to clone '*': repository not found"),
            shape(FLUX, "unable to list remote for '*': repository not found"),
        ],
        samples: &[sample(
            Flux,
            "source-controller 1.8.5, fluxcd/flux2#4861",
            "GitRepository flux-system/flux-system: GitOperationFailed: failed to checkout and determine revision: unable to list remote for 'https://gitlab.example.org/me/home.git': repository not found",
        )],
        cause: "the Git server has no such repository, or does not show it to Flux",
        fix: "correct `instance.sync.url` in the values of flux-instance, or give Flux credentials that may read it",
    },
    KnownFailure {
        // The server has sent its references, and this is not among them (fluxcd/pkg, `gogit/clone.go` of gogit 0.41).
        id: "git-branch",
        outlook: Outlook::Permanent,
        shapes: &[
            shape(FLUX, "unable to clone '*': couldn't find remote ref \"*\""),
            shape(FLUX, "unable to resolve ref '*' to a specific commit"),
            shape(FLUX, "unable to resolve commit object for '*': object not found"),
            shape(FLUX, "no match found for semver: "),
        ],
        samples: &[
            sample(
                Flux,
                "flux 2.0.0, fluxcd/flux2#4338",
                "GitRepository flux-system/flux-system: GitOperationFailed: failed to checkout and determine revision: unable to clone 'https://gitlab.com/me/home.git': couldn't find remote ref \"refs/heads/master\"",
            ),
            sample(
                Flux,
                "source-controller 1.7.3",
                "GitRepository flux-system/flux-system: GitOperationFailed: failed to checkout and determine revision: unable to resolve ref 'refs/heads/nowhere' to a specific commit",
            ),
            sample(
                Flux,
                "source-controller 1.7.3",
                "GitRepository flux-system/commit: GitOperationFailed: failed to checkout and determine revision: unable to resolve commit object for '0123456789012345678901234567890123456789': object not found",
            ),
            sample(
                Flux,
                "source-controller 1.7.3",
                "GitRepository flux-system/semver: GitOperationFailed: failed to checkout and determine revision: no match found for semver: 9.x",
            ),
        ],
        cause: "the Git repository has no such branch, tag or commit",
        fix: "correct `instance.sync.ref` in the values of flux-instance, or push the branch",
    },
    KnownFailure {
        id: "git-gone",
        outlook: Outlook::Unknown,
        shapes: &[
            shape(FLUX, "unable to clone '*': …dial tcp"),
            shape(FLUX, "unable to list remote for '*': …dial tcp"),
            shape(FLUX, "unable to clone '*': ssh: handshake failed: read tcp *: "),
            shape(FLUX, "unable to clone '*': context deadline exceeded"),
        ],
        samples: &[
            sample(
                Flux,
                "source-controller 1.7, fluxcd/source-controller#1992",
                "GitRepository flux-system/flux-system: GitOperationFailed: failed to checkout and determine revision: unable to clone 'ssh://git@github.com/xxx/yyys': ssh: handshake failed: read tcp 11.11.1.11:45906->140.82.121.4:22: read: connection timed out",
            ),
            sample(
                Flux,
                "source-controller 1.7.4",
                "GitRepository flux-system/flux-system: GitOperationFailed: failed to checkout and determine revision: unable to list remote for 'https://git.example.org/home.git': Get \"https://git.example.org/home.git/info/refs?service=git-upload-pack\": dial tcp 10.0.0.3:443: connect: connection refused",
            ),
        ],
        cause: "pods cannot reach the Git server",
        fix: "check the host in `instance.sync.url`, and the DNS and network of the pods; if a firewall blocks port 22, use https://",
    },
];
