module completions {

  def "nu-complete k3s-boot log_level" [] {
    [ "debug" "info" "warn" "error" ]
  }

  def "nu-complete k3s-boot log_format" [] {
    [ "text" "json" ]
  }

  def "nu-complete k3s-boot color" [] {
    [ "auto" "always" "never" ]
  }

  def "nu-complete k3s-boot output" [] {
    [ "text" "json" ]
  }

  # Bootstrap a fresh k3s cluster until Flux syncs its Git repository
  export extern k3s-boot [
    --kubeconfig: path        # Kubeconfig file [env: KUBECONFIG, which may be a list]
    --in-cluster              # Bootstrap the cluster in which k3s-boot runs as a pod, with the service account of the pod
    --context: string         # Kubeconfig context [default: the current context]
    --root: path              # Root of the repository [env: ROOT_DIR] [default: the Git top level]
    --config: path            # Configuration file [default: ROOT/k3s-boot.yaml, if it exists]
    --log-level: string@"nu-complete k3s-boot log_level" # Minimum log level [env: LOG_LEVEL] [default: info]
    --verbose(-v)             # Show the output of all tools: short for `--log-level debug`
    --log-format: string@"nu-complete k3s-boot log_format" # Format of log lines
    --color: string@"nu-complete k3s-boot color" # When to color the output
    --output(-o): string@"nu-complete k3s-boot output" # Format of the report on stdout; with `json`, the log goes to stderr
    --help(-h)                # Print help (see more with '--help')
    --version(-V)             # Print version
  ]

  def "nu-complete k3s-boot apps skip_check" [] {
    [ "versions" "releases" "helm-features" "chart-version" "mirror" "flux-pair" "placeholders" "values-keys" "cilium-values" "cert-manager-crds" "flux-sync" "flux-patches" "flux-decryption" "parity" "namespaces" "old-script" "age-key-mode" "age-key-git" "age-key-flux" "sops-plain" "sops-recipients" "sops-rules" "flux-pull-secret" "kubeconfig-cert" "api-ready" "distribution" "kube-version" "rights" "clock" "k3s-flannel" "k3s-network-policy" "k3s-kube-proxy" "k3s-coredns" "k3s-servers" "k3s-bundled" "coredns-bundled" "bundled-adopted" "nodes" "nodes-ready" "taints" "replicas" "pod-cidr" "coredns-values" "api-port" "service-network" "cluster-dns" "dns-address" "api-host" "api-host-cert" "api-host-roles" "crds" "renders" "ownership" "flux-owned" "newer" "drift" "flux-state" ]
  }

  def "nu-complete k3s-boot apps only" [] {
    [ "nodes" "namespaces" "secrets" "manifests" "crds" "apps" "verify" ]
  }

  def "nu-complete k3s-boot apps from" [] {
    [ "nodes" "namespaces" "secrets" "manifests" "crds" "apps" "verify" ]
  }

  def "nu-complete k3s-boot apps skip" [] {
    [ "nodes" "namespaces" "secrets" "manifests" "crds" "apps" "verify" ]
  }

  def "nu-complete k3s-boot apps log_level" [] {
    [ "debug" "info" "warn" "error" ]
  }

  def "nu-complete k3s-boot apps log_format" [] {
    [ "text" "json" ]
  }

  def "nu-complete k3s-boot apps color" [] {
    [ "auto" "always" "never" ]
  }

  def "nu-complete k3s-boot apps output" [] {
    [ "text" "json" ]
  }

  # Bootstrap the cluster: preflight, nodes, namespaces, secrets, manifests, CRDs, apps, verify, summary
  export extern "k3s-boot apps" [
    --nodes: string           # Number of nodes to expect; they do not have to be Ready [default: 1]
    --timeout: string         # Timeout for the whole run [default: 30m]
    --request-timeout: string # Timeout for each request to the API server [default: 10s]
    --age-key: path           # Age key to store in the cluster as `flux-system/sops-age`; `-` reads it from stdin, `env:NAME` from an environment variable [default: ROOT/age.key]
    --env-file: path          # File with variables for templates, which take precedence over those of k3s-boot.yaml (repeatable)
    --chart-mirror: string    # Fetch charts of a registry from a mirror, such as `ghcr.io=https://registry.example.org/ghcr.io` (repeatable)
    --chart-pulls: string     # Number of charts to fetch at the same time [default: all]
    --allow-hooks             # Allow helmfiles with `exec` or `prepare` hooks, which run commands while rendering
    --skip-check: string@"nu-complete k3s-boot apps skip_check" # Skip a check; docs/checks.md lists all checks
    --strict                  # Treat warnings as errors
    --report: path            # Write the JSON report to a file too, completely or not at all; /dev/termination-log gets one of 4096 bytes at most
    --release-timeout: string # Timeout for each release, unless the helmfile sets a shorter one [default: 15m]
    --nodes-timeout: string   # Timeout for nodes to register [default: 10m]
    --verify-timeout: string  # Timeout for Flux to sync the repository [default: 10m]
    --fail-fast               # Stop at the first unschedulable pod, failed image pull or crash loop
    --wait-lock: string       # How long to wait for another run to finish; 15s is the minimum [default: 15s]
    --yes(-y)                 # Answer yes to all questions, except whether this is the right cluster: use --cluster
    --dry-run                 # Show what would change, like `k3s-boot diff`, and exit
    --list                    # List the stages and their releases without contacting the cluster, and exit
    --only: string@"nu-complete k3s-boot apps only" # Run only this stage (repeatable)
    --from: string@"nu-complete k3s-boot apps from" # Start with this stage
    --skip: string@"nu-complete k3s-boot apps skip" # Skip this stage (repeatable)
    --release: string         # Sync only this release (NAME or NAMESPACE/NAME, repeatable) and those of its `needs` that are not installed
    --skip-release: string    # Skip this release; releases that need it are still synced
    --force                   # Sync releases even if they are up to date; releases managed by Flux or k3s stay untouched
    --adopt: string           # Take over this release, which is managed by Flux or k3s
    --downgrade: string       # Allow this release to be downgraded to the version in the helmfile
    --fix-drift: string       # Revert manual changes to this release
    --uninstall: string       # Uninstall this release, for which the helmfile sets `installed: false`
    --rotate-age-key          # Replace the age key in the cluster, even if its identities are not in the key file
    --cluster: string         # UID of the kube-system namespace of the target cluster, if nothing else identifies it
    --moved-from: string      # Former URL of this repository: accept clusters that were bootstrapped or are synced from it (repeatable)
    --kubeconfig: path        # Kubeconfig file [env: KUBECONFIG, which may be a list]
    --in-cluster              # Bootstrap the cluster in which k3s-boot runs as a pod, with the service account of the pod
    --context: string         # Kubeconfig context [default: the current context]
    --root: path              # Root of the repository [env: ROOT_DIR] [default: the Git top level]
    --config: path            # Configuration file [default: ROOT/k3s-boot.yaml, if it exists]
    --log-level: string@"nu-complete k3s-boot apps log_level" # Minimum log level [env: LOG_LEVEL] [default: info]
    --verbose(-v)             # Show the output of all tools: short for `--log-level debug`
    --log-format: string@"nu-complete k3s-boot apps log_format" # Format of log lines
    --color: string@"nu-complete k3s-boot apps color" # When to color the output
    --output(-o): string@"nu-complete k3s-boot apps output" # Format of the report on stdout; with `json`, the log goes to stderr
    --help(-h)                # Print help (see more with '--help')
  ]

  def "nu-complete k3s-boot check skip_check" [] {
    [ "versions" "releases" "helm-features" "chart-version" "mirror" "flux-pair" "placeholders" "values-keys" "cilium-values" "cert-manager-crds" "flux-sync" "flux-patches" "flux-decryption" "parity" "namespaces" "old-script" "age-key-mode" "age-key-git" "age-key-flux" "sops-plain" "sops-recipients" "sops-rules" "flux-pull-secret" "kubeconfig-cert" "api-ready" "distribution" "kube-version" "rights" "clock" "k3s-flannel" "k3s-network-policy" "k3s-kube-proxy" "k3s-coredns" "k3s-servers" "k3s-bundled" "coredns-bundled" "bundled-adopted" "nodes" "nodes-ready" "taints" "replicas" "pod-cidr" "coredns-values" "api-port" "service-network" "cluster-dns" "dns-address" "api-host" "api-host-cert" "api-host-roles" "crds" "renders" "ownership" "flux-owned" "newer" "drift" "flux-state" ]
  }

  def "nu-complete k3s-boot check explain" [] {
    [ "config" "env" "environment" "programs" "versions" "helmfile" "hooks" "releases" "helm-features" "charts" "chart-version" "chart-login" "mirror" "flux-pair" "placeholders" "values-keys" "cilium-values" "cert-manager-crds" "flux-sync" "flux-patches" "flux-decryption" "manifests" "parity" "namespaces" "old-script" "age-key" "age-key-mode" "age-key-git" "age-key-flux" "sops" "secrets-commands" "sops-plain" "sops-recipients" "sops-rules" "flux-pull-secret" "kubeconfig" "kubeconfig-cert" "api" "cluster-identity" "api-ready" "distribution" "kube-version" "rights" "clock" "k3s-flannel" "k3s-network-policy" "k3s-kube-proxy" "k3s-coredns" "k3s-servers" "k3s-bundled" "coredns-bundled" "bundled-adopted" "nodes" "nodes-ready" "taints" "replicas" "pod-cidr" "coredns-values" "api-port" "service-network" "cluster-dns" "dns-address" "api-host" "api-host-cert" "api-host-roles" "crds" "renders" "pending" "ownership" "flux-owned" "newer" "drift" "flux-state" "plan" ]
  }

  def "nu-complete k3s-boot check log_level" [] {
    [ "debug" "info" "warn" "error" ]
  }

  def "nu-complete k3s-boot check log_format" [] {
    [ "text" "json" ]
  }

  def "nu-complete k3s-boot check color" [] {
    [ "auto" "always" "never" ]
  }

  def "nu-complete k3s-boot check output" [] {
    [ "text" "json" ]
  }

  # Report everything that would make a bootstrap fail, with fixes
  export extern "k3s-boot check" [
    --nodes: string           # Number of nodes to expect; they do not have to be Ready [default: 1]
    --timeout: string         # Timeout for the whole run [default: 30m]
    --request-timeout: string # Timeout for each request to the API server [default: 10s]
    --age-key: path           # Age key to store in the cluster as `flux-system/sops-age`; `-` reads it from stdin, `env:NAME` from an environment variable [default: ROOT/age.key]
    --env-file: path          # File with variables for templates, which take precedence over those of k3s-boot.yaml (repeatable)
    --chart-mirror: string    # Fetch charts of a registry from a mirror, such as `ghcr.io=https://registry.example.org/ghcr.io` (repeatable)
    --chart-pulls: string     # Number of charts to fetch at the same time [default: all]
    --allow-hooks             # Allow helmfiles with `exec` or `prepare` hooks, which run commands while rendering
    --skip-check: string@"nu-complete k3s-boot check skip_check" # Skip a check; docs/checks.md lists all checks
    --strict                  # Treat warnings as errors
    --report: path            # Write the JSON report to a file too, completely or not at all; /dev/termination-log gets one of 4096 bytes at most
    --offline                 # Run only checks that need neither a cluster nor the network, for example in CI
    --pin                     # Write the UID of the cluster to k3s-boot.yaml, so that this repository bootstraps no other cluster
    --yes(-y)                 # With --pin, replace the UID of another cluster
    --list                    # List all checks and exit
    --explain: string@"nu-complete k3s-boot check explain" # Explain a check and exit
    --kubeconfig: path        # Kubeconfig file [env: KUBECONFIG, which may be a list]
    --in-cluster              # Bootstrap the cluster in which k3s-boot runs as a pod, with the service account of the pod
    --context: string         # Kubeconfig context [default: the current context]
    --root: path              # Root of the repository [env: ROOT_DIR] [default: the Git top level]
    --config: path            # Configuration file [default: ROOT/k3s-boot.yaml, if it exists]
    --log-level: string@"nu-complete k3s-boot check log_level" # Minimum log level [env: LOG_LEVEL] [default: info]
    --verbose(-v)             # Show the output of all tools: short for `--log-level debug`
    --log-format: string@"nu-complete k3s-boot check log_format" # Format of log lines
    --color: string@"nu-complete k3s-boot check color" # When to color the output
    --output(-o): string@"nu-complete k3s-boot check output" # Format of the report on stdout; with `json`, the log goes to stderr
    --help(-h)                # Print help (see more with '--help')
  ]

  def "nu-complete k3s-boot diff skip_check" [] {
    [ "versions" "releases" "helm-features" "chart-version" "mirror" "flux-pair" "placeholders" "values-keys" "cilium-values" "cert-manager-crds" "flux-sync" "flux-patches" "flux-decryption" "parity" "namespaces" "old-script" "age-key-mode" "age-key-git" "age-key-flux" "sops-plain" "sops-recipients" "sops-rules" "flux-pull-secret" "kubeconfig-cert" "api-ready" "distribution" "kube-version" "rights" "clock" "k3s-flannel" "k3s-network-policy" "k3s-kube-proxy" "k3s-coredns" "k3s-servers" "k3s-bundled" "coredns-bundled" "bundled-adopted" "nodes" "nodes-ready" "taints" "replicas" "pod-cidr" "coredns-values" "api-port" "service-network" "cluster-dns" "dns-address" "api-host" "api-host-cert" "api-host-roles" "crds" "renders" "ownership" "flux-owned" "newer" "drift" "flux-state" ]
  }

  def "nu-complete k3s-boot diff log_level" [] {
    [ "debug" "info" "warn" "error" ]
  }

  def "nu-complete k3s-boot diff log_format" [] {
    [ "text" "json" ]
  }

  def "nu-complete k3s-boot diff color" [] {
    [ "auto" "always" "never" ]
  }

  def "nu-complete k3s-boot diff output" [] {
    [ "text" "json" ]
  }

  # Show what `apps` would change: namespaces, names of secrets, releases with versions and values
  export extern "k3s-boot diff" [
    --nodes: string           # Number of nodes to expect; they do not have to be Ready [default: 1]
    --timeout: string         # Timeout for the whole run [default: 30m]
    --request-timeout: string # Timeout for each request to the API server [default: 10s]
    --age-key: path           # Age key to store in the cluster as `flux-system/sops-age`; `-` reads it from stdin, `env:NAME` from an environment variable [default: ROOT/age.key]
    --env-file: path          # File with variables for templates, which take precedence over those of k3s-boot.yaml (repeatable)
    --chart-mirror: string    # Fetch charts of a registry from a mirror, such as `ghcr.io=https://registry.example.org/ghcr.io` (repeatable)
    --chart-pulls: string     # Number of charts to fetch at the same time [default: all]
    --allow-hooks             # Allow helmfiles with `exec` or `prepare` hooks, which run commands while rendering
    --skip-check: string@"nu-complete k3s-boot diff skip_check" # Skip a check; docs/checks.md lists all checks
    --strict                  # Treat warnings as errors
    --report: path            # Write the JSON report to a file too, completely or not at all; /dev/termination-log gets one of 4096 bytes at most
    --manifests               # Also compare every object of the releases
    --exit-code               # Exit with code 7 if anything would change
    --release: string         # Sync only this release (NAME or NAMESPACE/NAME, repeatable) and those of its `needs` that are not installed
    --skip-release: string    # Skip this release; releases that need it are still synced
    --force                   # Sync releases even if they are up to date; releases managed by Flux or k3s stay untouched
    --adopt: string           # Take over this release, which is managed by Flux or k3s
    --downgrade: string       # Allow this release to be downgraded to the version in the helmfile
    --fix-drift: string       # Revert manual changes to this release
    --uninstall: string       # Uninstall this release, for which the helmfile sets `installed: false`
    --rotate-age-key          # Replace the age key in the cluster, even if its identities are not in the key file
    --cluster: string         # UID of the kube-system namespace of the target cluster, if nothing else identifies it
    --moved-from: string      # Former URL of this repository: accept clusters that were bootstrapped or are synced from it (repeatable)
    --kubeconfig: path        # Kubeconfig file [env: KUBECONFIG, which may be a list]
    --in-cluster              # Bootstrap the cluster in which k3s-boot runs as a pod, with the service account of the pod
    --context: string         # Kubeconfig context [default: the current context]
    --root: path              # Root of the repository [env: ROOT_DIR] [default: the Git top level]
    --config: path            # Configuration file [default: ROOT/k3s-boot.yaml, if it exists]
    --log-level: string@"nu-complete k3s-boot diff log_level" # Minimum log level [env: LOG_LEVEL] [default: info]
    --verbose(-v)             # Show the output of all tools: short for `--log-level debug`
    --log-format: string@"nu-complete k3s-boot diff log_format" # Format of log lines
    --color: string@"nu-complete k3s-boot diff color" # When to color the output
    --output(-o): string@"nu-complete k3s-boot diff output" # Format of the report on stdout; with `json`, the log goes to stderr
    --help(-h)                # Print help (see more with '--help')
  ]

  def "nu-complete k3s-boot status log_level" [] {
    [ "debug" "info" "warn" "error" ]
  }

  def "nu-complete k3s-boot status log_format" [] {
    [ "text" "json" ]
  }

  def "nu-complete k3s-boot status color" [] {
    [ "auto" "always" "never" ]
  }

  def "nu-complete k3s-boot status output" [] {
    [ "text" "json" ]
  }

  # Show the state of nodes, releases and Flux
  export extern "k3s-boot status" [
    --watch                   # Refresh every two seconds until interrupted; with `-o json`, print a line for each change
    --kubeconfig: path        # Kubeconfig file [env: KUBECONFIG, which may be a list]
    --in-cluster              # Bootstrap the cluster in which k3s-boot runs as a pod, with the service account of the pod
    --context: string         # Kubeconfig context [default: the current context]
    --root: path              # Root of the repository [env: ROOT_DIR] [default: the Git top level]
    --config: path            # Configuration file [default: ROOT/k3s-boot.yaml, if it exists]
    --log-level: string@"nu-complete k3s-boot status log_level" # Minimum log level [env: LOG_LEVEL] [default: info]
    --verbose(-v)             # Show the output of all tools: short for `--log-level debug`
    --log-format: string@"nu-complete k3s-boot status log_format" # Format of log lines
    --color: string@"nu-complete k3s-boot status color" # When to color the output
    --output(-o): string@"nu-complete k3s-boot status output" # Format of the report on stdout; with `json`, the log goes to stderr
    --help(-h)                # Print help (see more with '--help')
  ]

  def "nu-complete k3s-boot recover log_level" [] {
    [ "debug" "info" "warn" "error" ]
  }

  def "nu-complete k3s-boot recover log_format" [] {
    [ "text" "json" ]
  }

  def "nu-complete k3s-boot recover color" [] {
    [ "auto" "always" "never" ]
  }

  def "nu-complete k3s-boot recover output" [] {
    [ "text" "json" ]
  }

  # Recover Helm releases stuck in `pending-*`
  export extern "k3s-boot recover" [
    --force                   # Also recover releases whose operation may still be running because its timeout has not passed
    --cluster: string         # UID of the kube-system namespace of the target cluster
    --wait-lock: string       # How long to wait for another run to finish; 15s is the minimum [default: 15s]
    --yes(-y)                 # Recover without asking for confirmation
    --report: path            # Write the JSON report to a file too, completely or not at all; /dev/termination-log gets one of 4096 bytes at most
    --kubeconfig: path        # Kubeconfig file [env: KUBECONFIG, which may be a list]
    --in-cluster              # Bootstrap the cluster in which k3s-boot runs as a pod, with the service account of the pod
    --context: string         # Kubeconfig context [default: the current context]
    --root: path              # Root of the repository [env: ROOT_DIR] [default: the Git top level]
    --config: path            # Configuration file [default: ROOT/k3s-boot.yaml, if it exists]
    --log-level: string@"nu-complete k3s-boot recover log_level" # Minimum log level [env: LOG_LEVEL] [default: info]
    --verbose(-v)             # Show the output of all tools: short for `--log-level debug`
    --log-format: string@"nu-complete k3s-boot recover log_format" # Format of log lines
    --color: string@"nu-complete k3s-boot recover color" # When to color the output
    --output(-o): string@"nu-complete k3s-boot recover output" # Format of the report on stdout; with `json`, the log goes to stderr
    --help(-h)                # Print help (see more with '--help')
    ...releases: string       # Releases to recover, as NAME or NAMESPACE/NAME [default: all that are stuck]
  ]

  def "nu-complete k3s-boot init layout" [] {
    [ "flux" "helmfile" ]
  }

  def "nu-complete k3s-boot init cni" [] {
    [ "cilium" "flannel" ]
  }

  def "nu-complete k3s-boot init dns" [] {
    [ "coredns" "k3s" ]
  }

  def "nu-complete k3s-boot init log_level" [] {
    [ "debug" "info" "warn" "error" ]
  }

  def "nu-complete k3s-boot init log_format" [] {
    [ "text" "json" ]
  }

  def "nu-complete k3s-boot init color" [] {
    [ "auto" "always" "never" ]
  }

  def "nu-complete k3s-boot init output" [] {
    [ "text" "json" ]
  }

  # Write a repository for this cluster: helmfiles, Flux objects, encryption and tasks
  export extern "k3s-boot init" [
    --layout: string@"nu-complete k3s-boot init layout" # What to write
    --dry-run                 # List what would be written, and write nothing
    --offline                 # Do not read the cluster
    --nodes: string           # Number of nodes, with agents [default: those of the cluster]
    --agents: string          # How many of the nodes are agents [default: those of the cluster]
    --api-host: string        # Address of the API server for Cilium [default: 127.0.0.1, where k3s answers on every node]
    --cni: string@"nu-complete k3s-boot init cni" # CNI plugin [default: that of the cluster, or cilium]
    --dns: string@"nu-complete k3s-boot init dns" # DNS server [default: that of the cluster, or coredns]
    --cluster-cidr: string    # Networks of pods, one for each IP family [default: those of the cluster, or of k3s]
    --service-cidr: string    # Networks of Services, one for each IP family [default: those of the cluster, or of k3s]
    --git-url: string         # URL of the Git repository that Flux syncs [default: the remote `origin`]
    --git-branch: string      # Branch that Flux syncs [default: the current branch, or main]
    --deploy-key              # Create a deploy key for a private repository, encrypted with SOPS
    --kubeconfig: path        # Kubeconfig file [env: KUBECONFIG, which may be a list]
    --in-cluster              # Bootstrap the cluster in which k3s-boot runs as a pod, with the service account of the pod
    --context: string         # Kubeconfig context [default: the current context]
    --root: path              # Root of the repository [env: ROOT_DIR] [default: the Git top level]
    --config: path            # Configuration file [default: ROOT/k3s-boot.yaml, if it exists]
    --log-level: string@"nu-complete k3s-boot init log_level" # Minimum log level [env: LOG_LEVEL] [default: info]
    --verbose(-v)             # Show the output of all tools: short for `--log-level debug`
    --log-format: string@"nu-complete k3s-boot init log_format" # Format of log lines
    --color: string@"nu-complete k3s-boot init color" # When to color the output
    --output(-o): string@"nu-complete k3s-boot init output" # Format of the report on stdout; with `json`, the log goes to stderr
    --help(-h)                # Print help (see more with '--help')
    dir?: path                # Folder to write to [default: the Git top level, or the working folder]
  ]

  def "nu-complete k3s-boot version log_level" [] {
    [ "debug" "info" "warn" "error" ]
  }

  def "nu-complete k3s-boot version log_format" [] {
    [ "text" "json" ]
  }

  def "nu-complete k3s-boot version color" [] {
    [ "auto" "always" "never" ]
  }

  def "nu-complete k3s-boot version output" [] {
    [ "text" "json" ]
  }

  # Show the versions of k3s-boot and of the programs that it runs, and which versions it supports
  export extern "k3s-boot version" [
    --kubeconfig: path        # Kubeconfig file [env: KUBECONFIG, which may be a list]
    --in-cluster              # Bootstrap the cluster in which k3s-boot runs as a pod, with the service account of the pod
    --context: string         # Kubeconfig context [default: the current context]
    --root: path              # Root of the repository [env: ROOT_DIR] [default: the Git top level]
    --config: path            # Configuration file [default: ROOT/k3s-boot.yaml, if it exists]
    --log-level: string@"nu-complete k3s-boot version log_level" # Minimum log level [env: LOG_LEVEL] [default: info]
    --verbose(-v)             # Show the output of all tools: short for `--log-level debug`
    --log-format: string@"nu-complete k3s-boot version log_format" # Format of log lines
    --color: string@"nu-complete k3s-boot version color" # When to color the output
    --output(-o): string@"nu-complete k3s-boot version output" # Format of the report on stdout; with `json`, the log goes to stderr
    --help(-h)                # Print help (see more with '--help')
  ]

  def "nu-complete k3s-boot completions shell" [] {
    [ "bash" "elvish" "fish" "nushell" "powershell" "zsh" ]
  }

  def "nu-complete k3s-boot completions log_level" [] {
    [ "debug" "info" "warn" "error" ]
  }

  def "nu-complete k3s-boot completions log_format" [] {
    [ "text" "json" ]
  }

  def "nu-complete k3s-boot completions color" [] {
    [ "auto" "always" "never" ]
  }

  def "nu-complete k3s-boot completions output" [] {
    [ "text" "json" ]
  }

  # Print the completion script for a shell
  export extern "k3s-boot completions" [
    --kubeconfig: path        # Kubeconfig file [env: KUBECONFIG, which may be a list]
    --in-cluster              # Bootstrap the cluster in which k3s-boot runs as a pod, with the service account of the pod
    --context: string         # Kubeconfig context [default: the current context]
    --root: path              # Root of the repository [env: ROOT_DIR] [default: the Git top level]
    --config: path            # Configuration file [default: ROOT/k3s-boot.yaml, if it exists]
    --log-level: string@"nu-complete k3s-boot completions log_level" # Minimum log level [env: LOG_LEVEL] [default: info]
    --verbose(-v)             # Show the output of all tools: short for `--log-level debug`
    --log-format: string@"nu-complete k3s-boot completions log_format" # Format of log lines
    --color: string@"nu-complete k3s-boot completions color" # When to color the output
    --output(-o): string@"nu-complete k3s-boot completions output" # Format of the report on stdout; with `json`, the log goes to stderr
    --help(-h)                # Print help (see more with '--help')
    shell: string@"nu-complete k3s-boot completions shell" # Shell to generate the script for
  ]

  def "nu-complete k3s-boot man log_level" [] {
    [ "debug" "info" "warn" "error" ]
  }

  def "nu-complete k3s-boot man log_format" [] {
    [ "text" "json" ]
  }

  def "nu-complete k3s-boot man color" [] {
    [ "auto" "always" "never" ]
  }

  def "nu-complete k3s-boot man output" [] {
    [ "text" "json" ]
  }

  # Print the manual page
  export extern "k3s-boot man" [
    --kubeconfig: path        # Kubeconfig file [env: KUBECONFIG, which may be a list]
    --in-cluster              # Bootstrap the cluster in which k3s-boot runs as a pod, with the service account of the pod
    --context: string         # Kubeconfig context [default: the current context]
    --root: path              # Root of the repository [env: ROOT_DIR] [default: the Git top level]
    --config: path            # Configuration file [default: ROOT/k3s-boot.yaml, if it exists]
    --log-level: string@"nu-complete k3s-boot man log_level" # Minimum log level [env: LOG_LEVEL] [default: info]
    --verbose(-v)             # Show the output of all tools: short for `--log-level debug`
    --log-format: string@"nu-complete k3s-boot man log_format" # Format of log lines
    --color: string@"nu-complete k3s-boot man color" # When to color the output
    --output(-o): string@"nu-complete k3s-boot man output" # Format of the report on stdout; with `json`, the log goes to stderr
    --help(-h)                # Print help (see more with '--help')
  ]

  # Print this message or the help of the given subcommand(s)
  export extern "k3s-boot help" [
  ]

  # Bootstrap the cluster: preflight, nodes, namespaces, secrets, manifests, CRDs, apps, verify, summary
  export extern "k3s-boot help apps" [
  ]

  # Report everything that would make a bootstrap fail, with fixes
  export extern "k3s-boot help check" [
  ]

  # Show what `apps` would change: namespaces, names of secrets, releases with versions and values
  export extern "k3s-boot help diff" [
  ]

  # Show the state of nodes, releases and Flux
  export extern "k3s-boot help status" [
  ]

  # Recover Helm releases stuck in `pending-*`
  export extern "k3s-boot help recover" [
  ]

  # Write a repository for this cluster: helmfiles, Flux objects, encryption and tasks
  export extern "k3s-boot help init" [
  ]

  # Show the versions of k3s-boot and of the programs that it runs, and which versions it supports
  export extern "k3s-boot help version" [
  ]

  # Print the completion script for a shell
  export extern "k3s-boot help completions" [
  ]

  # Print the manual page
  export extern "k3s-boot help man" [
  ]

  # Print this message or the help of the given subcommand(s)
  export extern "k3s-boot help help" [
  ]

}

export use completions *
