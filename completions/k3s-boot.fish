# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_k3s_boot_global_optspecs
    string join \n kubeconfig= in-cluster context= root= config= log-level= v/verbose log-format= color= o/output= h/help V/version
end

function __fish_k3s_boot_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_k3s_boot_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_k3s_boot_using_subcommand
    set -l cmd (__fish_k3s_boot_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c k3s-boot -n "__fish_k3s_boot_needs_command" -l kubeconfig -d 'Kubeconfig file [env: KUBECONFIG, which may be a list]' -r -F
complete -c k3s-boot -n "__fish_k3s_boot_needs_command" -l context -d 'Kubeconfig context [default: the current context]' -r
complete -c k3s-boot -n "__fish_k3s_boot_needs_command" -l root -d 'Root of the repository [env: ROOT_DIR] [default: the Git top level]' -r -F
complete -c k3s-boot -n "__fish_k3s_boot_needs_command" -l config -d 'Configuration file [default: ROOT/k3s-boot.yaml, if it exists]' -r -F
complete -c k3s-boot -n "__fish_k3s_boot_needs_command" -l log-level -d 'Minimum log level [env: LOG_LEVEL] [default: info]' -r -f -a "debug\t'Everything, including the output of all tools'
info\t'Progress'
warn\t'Warnings'
error\t'Errors that end the run'"
complete -c k3s-boot -n "__fish_k3s_boot_needs_command" -l log-format -d 'Format of log lines' -r -f -a "text\t'Human-readable lines'
json\t'One JSON object per line (docs/log.schema.json)'"
complete -c k3s-boot -n "__fish_k3s_boot_needs_command" -l color -d 'When to color the output' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` or `TERM=dumb` is set; `CLICOLOR_FORCE` forces color'
always\t'Always'
never\t'Never'"
complete -c k3s-boot -n "__fish_k3s_boot_needs_command" -s o -l output -d 'Format of the report on stdout; with `json`, the log goes to stderr' -r -f -a "text\t'Human-readable'
json\t'One JSON document; with `status --watch`, one per line'"
complete -c k3s-boot -n "__fish_k3s_boot_needs_command" -l in-cluster -d 'Bootstrap the cluster in which k3s-boot runs as a pod, with the service account of the pod'
complete -c k3s-boot -n "__fish_k3s_boot_needs_command" -s v -l verbose -d 'Show the output of all tools: short for `--log-level debug`'
complete -c k3s-boot -n "__fish_k3s_boot_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c k3s-boot -n "__fish_k3s_boot_needs_command" -s V -l version -d 'Print version'
complete -c k3s-boot -n "__fish_k3s_boot_needs_command" -f -a "apps" -d 'Bootstrap the cluster: preflight, nodes, namespaces, secrets, manifests, CRDs, apps, verify, summary'
complete -c k3s-boot -n "__fish_k3s_boot_needs_command" -f -a "check" -d 'Report everything that would make a bootstrap fail, with fixes'
complete -c k3s-boot -n "__fish_k3s_boot_needs_command" -f -a "diff" -d 'Show what `apps` would change: namespaces, names of secrets, releases with versions and values'
complete -c k3s-boot -n "__fish_k3s_boot_needs_command" -f -a "status" -d 'Show the state of nodes, releases and Flux'
complete -c k3s-boot -n "__fish_k3s_boot_needs_command" -f -a "recover" -d 'Recover Helm releases stuck in `pending-*`'
complete -c k3s-boot -n "__fish_k3s_boot_needs_command" -f -a "init" -d 'Write a repository for this cluster: helmfiles, Flux objects, encryption and tasks'
complete -c k3s-boot -n "__fish_k3s_boot_needs_command" -f -a "version" -d 'Show the versions of k3s-boot and of the programs that it runs, and which versions it supports'
complete -c k3s-boot -n "__fish_k3s_boot_needs_command" -f -a "completions" -d 'Print the completion script for a shell'
complete -c k3s-boot -n "__fish_k3s_boot_needs_command" -f -a "man" -d 'Print the manual page'
complete -c k3s-boot -n "__fish_k3s_boot_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l nodes -d 'Number of nodes to expect; they do not have to be Ready [default: 1]' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l timeout -d 'Timeout for the whole run [default: 30m]' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l request-timeout -d 'Timeout for each request to the API server [default: 10s]' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l age-key -d 'Age key to store in the cluster as `flux-system/sops-age`; `-` reads it from stdin, `env:NAME` from an environment variable [default: ROOT/age.key]' -r -F
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l env-file -d 'File with variables for templates, which take precedence over those of k3s-boot.yaml (repeatable)' -r -F
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l chart-mirror -d 'Fetch charts of a registry from a mirror, such as `ghcr.io=https://registry.example.org/ghcr.io` (repeatable)' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l chart-pulls -d 'Number of charts to fetch at the same time [default: all]' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l skip-check -d 'Skip a check; docs/checks.md lists all checks' -r -f -a "versions\t''
releases\t''
helm-features\t''
chart-version\t''
mirror\t''
flux-pair\t''
placeholders\t''
values-keys\t''
cilium-values\t''
cert-manager-crds\t''
flux-sync\t''
flux-patches\t''
flux-decryption\t''
parity\t''
namespaces\t''
old-script\t''
age-key-mode\t''
age-key-git\t''
age-key-flux\t''
sops-plain\t''
sops-recipients\t''
sops-rules\t''
flux-pull-secret\t''
kubeconfig-cert\t''
api-ready\t''
distribution\t''
kube-version\t''
rights\t''
clock\t''
k3s-flannel\t''
k3s-network-policy\t''
k3s-kube-proxy\t''
k3s-coredns\t''
k3s-servers\t''
k3s-bundled\t''
coredns-bundled\t''
bundled-adopted\t''
nodes\t''
nodes-ready\t''
taints\t''
replicas\t''
pod-cidr\t''
coredns-values\t''
api-port\t''
service-network\t''
cluster-dns\t''
dns-address\t''
api-host\t''
api-host-cert\t''
api-host-roles\t''
crds\t''
renders\t''
ownership\t''
flux-owned\t''
newer\t''
drift\t''
flux-state\t''"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l report -d 'Write the JSON report to a file too, completely or not at all; /dev/termination-log gets one of 4096 bytes at most' -r -F
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l release-timeout -d 'Timeout for each release, unless the helmfile sets a shorter one [default: 15m]' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l nodes-timeout -d 'Timeout for nodes to register [default: 10m]' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l verify-timeout -d 'Timeout for Flux to sync the repository [default: 10m]' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l wait-lock -d 'How long to wait for another run to finish; 15s is the minimum [default: 15s]' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l only -d 'Run only this stage (repeatable)' -r -f -a "nodes\t'Wait until the nodes have registered'
namespaces\t'Create the namespaces'
secrets\t'Apply the age key and the other secrets'
manifests\t'Apply the manifests that `k3s-boot.yaml` names'
crds\t'Sync the helmfile for custom resource definitions'
apps\t'Sync the helmfile for everything else'
verify\t'Wait until Flux syncs the repository'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l from -d 'Start with this stage' -r -f -a "nodes\t'Wait until the nodes have registered'
namespaces\t'Create the namespaces'
secrets\t'Apply the age key and the other secrets'
manifests\t'Apply the manifests that `k3s-boot.yaml` names'
crds\t'Sync the helmfile for custom resource definitions'
apps\t'Sync the helmfile for everything else'
verify\t'Wait until Flux syncs the repository'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l skip -d 'Skip this stage (repeatable)' -r -f -a "nodes\t'Wait until the nodes have registered'
namespaces\t'Create the namespaces'
secrets\t'Apply the age key and the other secrets'
manifests\t'Apply the manifests that `k3s-boot.yaml` names'
crds\t'Sync the helmfile for custom resource definitions'
apps\t'Sync the helmfile for everything else'
verify\t'Wait until Flux syncs the repository'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l release -d 'Sync only this release (NAME or NAMESPACE/NAME, repeatable) and those of its `needs` that are not installed' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l skip-release -d 'Skip this release; releases that need it are still synced' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l adopt -d 'Take over this release, which is managed by Flux or k3s' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l downgrade -d 'Allow this release to be downgraded to the version in the helmfile' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l fix-drift -d 'Revert manual changes to this release' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l uninstall -d 'Uninstall this release, for which the helmfile sets `installed: false`' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l cluster -d 'UID of the kube-system namespace of the target cluster, if nothing else identifies it' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l moved-from -d 'Former URL of this repository: accept clusters that were bootstrapped or are synced from it (repeatable)' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l kubeconfig -d 'Kubeconfig file [env: KUBECONFIG, which may be a list]' -r -F
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l context -d 'Kubeconfig context [default: the current context]' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l root -d 'Root of the repository [env: ROOT_DIR] [default: the Git top level]' -r -F
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l config -d 'Configuration file [default: ROOT/k3s-boot.yaml, if it exists]' -r -F
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l log-level -d 'Minimum log level [env: LOG_LEVEL] [default: info]' -r -f -a "debug\t'Everything, including the output of all tools'
info\t'Progress'
warn\t'Warnings'
error\t'Errors that end the run'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l log-format -d 'Format of log lines' -r -f -a "text\t'Human-readable lines'
json\t'One JSON object per line (docs/log.schema.json)'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l color -d 'When to color the output' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` or `TERM=dumb` is set; `CLICOLOR_FORCE` forces color'
always\t'Always'
never\t'Never'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -s o -l output -d 'Format of the report on stdout; with `json`, the log goes to stderr' -r -f -a "text\t'Human-readable'
json\t'One JSON document; with `status --watch`, one per line'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l allow-hooks -d 'Allow helmfiles with `exec` or `prepare` hooks, which run commands while rendering'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l strict -d 'Treat warnings as errors'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l fail-fast -d 'Stop at the first unschedulable pod, failed image pull or crash loop'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -s y -l yes -d 'Answer yes to all questions, except whether this is the right cluster: use --cluster'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l dry-run -d 'Show what would change, like `k3s-boot diff`, and exit'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l list -d 'List the stages and their releases without contacting the cluster, and exit'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l force -d 'Sync releases even if they are up to date; releases managed by Flux or k3s stay untouched'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l rotate-age-key -d 'Replace the age key in the cluster, even if its identities are not in the key file'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l in-cluster -d 'Bootstrap the cluster in which k3s-boot runs as a pod, with the service account of the pod'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -s v -l verbose -d 'Show the output of all tools: short for `--log-level debug`'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand check" -l nodes -d 'Number of nodes to expect; they do not have to be Ready [default: 1]' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand check" -l timeout -d 'Timeout for the whole run [default: 30m]' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand check" -l request-timeout -d 'Timeout for each request to the API server [default: 10s]' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand check" -l age-key -d 'Age key to store in the cluster as `flux-system/sops-age`; `-` reads it from stdin, `env:NAME` from an environment variable [default: ROOT/age.key]' -r -F
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand check" -l env-file -d 'File with variables for templates, which take precedence over those of k3s-boot.yaml (repeatable)' -r -F
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand check" -l chart-mirror -d 'Fetch charts of a registry from a mirror, such as `ghcr.io=https://registry.example.org/ghcr.io` (repeatable)' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand check" -l chart-pulls -d 'Number of charts to fetch at the same time [default: all]' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand check" -l skip-check -d 'Skip a check; docs/checks.md lists all checks' -r -f -a "versions\t''
releases\t''
helm-features\t''
chart-version\t''
mirror\t''
flux-pair\t''
placeholders\t''
values-keys\t''
cilium-values\t''
cert-manager-crds\t''
flux-sync\t''
flux-patches\t''
flux-decryption\t''
parity\t''
namespaces\t''
old-script\t''
age-key-mode\t''
age-key-git\t''
age-key-flux\t''
sops-plain\t''
sops-recipients\t''
sops-rules\t''
flux-pull-secret\t''
kubeconfig-cert\t''
api-ready\t''
distribution\t''
kube-version\t''
rights\t''
clock\t''
k3s-flannel\t''
k3s-network-policy\t''
k3s-kube-proxy\t''
k3s-coredns\t''
k3s-servers\t''
k3s-bundled\t''
coredns-bundled\t''
bundled-adopted\t''
nodes\t''
nodes-ready\t''
taints\t''
replicas\t''
pod-cidr\t''
coredns-values\t''
api-port\t''
service-network\t''
cluster-dns\t''
dns-address\t''
api-host\t''
api-host-cert\t''
api-host-roles\t''
crds\t''
renders\t''
ownership\t''
flux-owned\t''
newer\t''
drift\t''
flux-state\t''"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand check" -l report -d 'Write the JSON report to a file too, completely or not at all; /dev/termination-log gets one of 4096 bytes at most' -r -F
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand check" -l explain -d 'Explain a check and exit' -r -f -a "config\t''
env\t''
environment\t''
programs\t''
versions\t''
helmfile\t''
hooks\t''
releases\t''
helm-features\t''
charts\t''
chart-version\t''
chart-login\t''
mirror\t''
flux-pair\t''
placeholders\t''
values-keys\t''
cilium-values\t''
cert-manager-crds\t''
flux-sync\t''
flux-patches\t''
flux-decryption\t''
manifests\t''
parity\t''
namespaces\t''
old-script\t''
age-key\t''
age-key-mode\t''
age-key-git\t''
age-key-flux\t''
sops\t''
secrets-commands\t''
sops-plain\t''
sops-recipients\t''
sops-rules\t''
flux-pull-secret\t''
kubeconfig\t''
kubeconfig-cert\t''
api\t''
cluster-identity\t''
api-ready\t''
distribution\t''
kube-version\t''
rights\t''
clock\t''
k3s-flannel\t''
k3s-network-policy\t''
k3s-kube-proxy\t''
k3s-coredns\t''
k3s-servers\t''
k3s-bundled\t''
coredns-bundled\t''
bundled-adopted\t''
nodes\t''
nodes-ready\t''
taints\t''
replicas\t''
pod-cidr\t''
coredns-values\t''
api-port\t''
service-network\t''
cluster-dns\t''
dns-address\t''
api-host\t''
api-host-cert\t''
api-host-roles\t''
crds\t''
renders\t''
pending\t''
ownership\t''
flux-owned\t''
newer\t''
drift\t''
flux-state\t''
plan\t''"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand check" -l kubeconfig -d 'Kubeconfig file [env: KUBECONFIG, which may be a list]' -r -F
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand check" -l context -d 'Kubeconfig context [default: the current context]' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand check" -l root -d 'Root of the repository [env: ROOT_DIR] [default: the Git top level]' -r -F
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand check" -l config -d 'Configuration file [default: ROOT/k3s-boot.yaml, if it exists]' -r -F
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand check" -l log-level -d 'Minimum log level [env: LOG_LEVEL] [default: info]' -r -f -a "debug\t'Everything, including the output of all tools'
info\t'Progress'
warn\t'Warnings'
error\t'Errors that end the run'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand check" -l log-format -d 'Format of log lines' -r -f -a "text\t'Human-readable lines'
json\t'One JSON object per line (docs/log.schema.json)'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand check" -l color -d 'When to color the output' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` or `TERM=dumb` is set; `CLICOLOR_FORCE` forces color'
always\t'Always'
never\t'Never'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand check" -s o -l output -d 'Format of the report on stdout; with `json`, the log goes to stderr' -r -f -a "text\t'Human-readable'
json\t'One JSON document; with `status --watch`, one per line'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand check" -l allow-hooks -d 'Allow helmfiles with `exec` or `prepare` hooks, which run commands while rendering'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand check" -l strict -d 'Treat warnings as errors'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand check" -l offline -d 'Run only checks that need neither a cluster nor the network, for example in CI'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand check" -l pin -d 'Write the UID of the cluster to k3s-boot.yaml, so that this repository bootstraps no other cluster'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand check" -s y -l yes -d 'With --pin, replace the UID of another cluster'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand check" -l list -d 'List all checks and exit'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand check" -l in-cluster -d 'Bootstrap the cluster in which k3s-boot runs as a pod, with the service account of the pod'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand check" -s v -l verbose -d 'Show the output of all tools: short for `--log-level debug`'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand check" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand diff" -l nodes -d 'Number of nodes to expect; they do not have to be Ready [default: 1]' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand diff" -l timeout -d 'Timeout for the whole run [default: 30m]' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand diff" -l request-timeout -d 'Timeout for each request to the API server [default: 10s]' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand diff" -l age-key -d 'Age key to store in the cluster as `flux-system/sops-age`; `-` reads it from stdin, `env:NAME` from an environment variable [default: ROOT/age.key]' -r -F
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand diff" -l env-file -d 'File with variables for templates, which take precedence over those of k3s-boot.yaml (repeatable)' -r -F
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand diff" -l chart-mirror -d 'Fetch charts of a registry from a mirror, such as `ghcr.io=https://registry.example.org/ghcr.io` (repeatable)' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand diff" -l chart-pulls -d 'Number of charts to fetch at the same time [default: all]' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand diff" -l skip-check -d 'Skip a check; docs/checks.md lists all checks' -r -f -a "versions\t''
releases\t''
helm-features\t''
chart-version\t''
mirror\t''
flux-pair\t''
placeholders\t''
values-keys\t''
cilium-values\t''
cert-manager-crds\t''
flux-sync\t''
flux-patches\t''
flux-decryption\t''
parity\t''
namespaces\t''
old-script\t''
age-key-mode\t''
age-key-git\t''
age-key-flux\t''
sops-plain\t''
sops-recipients\t''
sops-rules\t''
flux-pull-secret\t''
kubeconfig-cert\t''
api-ready\t''
distribution\t''
kube-version\t''
rights\t''
clock\t''
k3s-flannel\t''
k3s-network-policy\t''
k3s-kube-proxy\t''
k3s-coredns\t''
k3s-servers\t''
k3s-bundled\t''
coredns-bundled\t''
bundled-adopted\t''
nodes\t''
nodes-ready\t''
taints\t''
replicas\t''
pod-cidr\t''
coredns-values\t''
api-port\t''
service-network\t''
cluster-dns\t''
dns-address\t''
api-host\t''
api-host-cert\t''
api-host-roles\t''
crds\t''
renders\t''
ownership\t''
flux-owned\t''
newer\t''
drift\t''
flux-state\t''"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand diff" -l report -d 'Write the JSON report to a file too, completely or not at all; /dev/termination-log gets one of 4096 bytes at most' -r -F
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand diff" -l release -d 'Sync only this release (NAME or NAMESPACE/NAME, repeatable) and those of its `needs` that are not installed' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand diff" -l skip-release -d 'Skip this release; releases that need it are still synced' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand diff" -l adopt -d 'Take over this release, which is managed by Flux or k3s' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand diff" -l downgrade -d 'Allow this release to be downgraded to the version in the helmfile' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand diff" -l fix-drift -d 'Revert manual changes to this release' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand diff" -l uninstall -d 'Uninstall this release, for which the helmfile sets `installed: false`' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand diff" -l cluster -d 'UID of the kube-system namespace of the target cluster, if nothing else identifies it' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand diff" -l moved-from -d 'Former URL of this repository: accept clusters that were bootstrapped or are synced from it (repeatable)' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand diff" -l kubeconfig -d 'Kubeconfig file [env: KUBECONFIG, which may be a list]' -r -F
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand diff" -l context -d 'Kubeconfig context [default: the current context]' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand diff" -l root -d 'Root of the repository [env: ROOT_DIR] [default: the Git top level]' -r -F
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand diff" -l config -d 'Configuration file [default: ROOT/k3s-boot.yaml, if it exists]' -r -F
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand diff" -l log-level -d 'Minimum log level [env: LOG_LEVEL] [default: info]' -r -f -a "debug\t'Everything, including the output of all tools'
info\t'Progress'
warn\t'Warnings'
error\t'Errors that end the run'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand diff" -l log-format -d 'Format of log lines' -r -f -a "text\t'Human-readable lines'
json\t'One JSON object per line (docs/log.schema.json)'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand diff" -l color -d 'When to color the output' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` or `TERM=dumb` is set; `CLICOLOR_FORCE` forces color'
always\t'Always'
never\t'Never'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand diff" -s o -l output -d 'Format of the report on stdout; with `json`, the log goes to stderr' -r -f -a "text\t'Human-readable'
json\t'One JSON document; with `status --watch`, one per line'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand diff" -l allow-hooks -d 'Allow helmfiles with `exec` or `prepare` hooks, which run commands while rendering'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand diff" -l strict -d 'Treat warnings as errors'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand diff" -l manifests -d 'Also compare every object of the releases'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand diff" -l exit-code -d 'Exit with code 7 if anything would change'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand diff" -l force -d 'Sync releases even if they are up to date; releases managed by Flux or k3s stay untouched'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand diff" -l rotate-age-key -d 'Replace the age key in the cluster, even if its identities are not in the key file'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand diff" -l in-cluster -d 'Bootstrap the cluster in which k3s-boot runs as a pod, with the service account of the pod'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand diff" -s v -l verbose -d 'Show the output of all tools: short for `--log-level debug`'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand diff" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand status" -l kubeconfig -d 'Kubeconfig file [env: KUBECONFIG, which may be a list]' -r -F
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand status" -l context -d 'Kubeconfig context [default: the current context]' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand status" -l root -d 'Root of the repository [env: ROOT_DIR] [default: the Git top level]' -r -F
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand status" -l config -d 'Configuration file [default: ROOT/k3s-boot.yaml, if it exists]' -r -F
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand status" -l log-level -d 'Minimum log level [env: LOG_LEVEL] [default: info]' -r -f -a "debug\t'Everything, including the output of all tools'
info\t'Progress'
warn\t'Warnings'
error\t'Errors that end the run'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand status" -l log-format -d 'Format of log lines' -r -f -a "text\t'Human-readable lines'
json\t'One JSON object per line (docs/log.schema.json)'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand status" -l color -d 'When to color the output' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` or `TERM=dumb` is set; `CLICOLOR_FORCE` forces color'
always\t'Always'
never\t'Never'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand status" -s o -l output -d 'Format of the report on stdout; with `json`, the log goes to stderr' -r -f -a "text\t'Human-readable'
json\t'One JSON document; with `status --watch`, one per line'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand status" -l watch -d 'Refresh every two seconds until interrupted; with `-o json`, print a line for each change'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand status" -l in-cluster -d 'Bootstrap the cluster in which k3s-boot runs as a pod, with the service account of the pod'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand status" -s v -l verbose -d 'Show the output of all tools: short for `--log-level debug`'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand recover" -l cluster -d 'UID of the kube-system namespace of the target cluster' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand recover" -l wait-lock -d 'How long to wait for another run to finish; 15s is the minimum [default: 15s]' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand recover" -l report -d 'Write the JSON report to a file too, completely or not at all; /dev/termination-log gets one of 4096 bytes at most' -r -F
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand recover" -l kubeconfig -d 'Kubeconfig file [env: KUBECONFIG, which may be a list]' -r -F
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand recover" -l context -d 'Kubeconfig context [default: the current context]' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand recover" -l root -d 'Root of the repository [env: ROOT_DIR] [default: the Git top level]' -r -F
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand recover" -l config -d 'Configuration file [default: ROOT/k3s-boot.yaml, if it exists]' -r -F
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand recover" -l log-level -d 'Minimum log level [env: LOG_LEVEL] [default: info]' -r -f -a "debug\t'Everything, including the output of all tools'
info\t'Progress'
warn\t'Warnings'
error\t'Errors that end the run'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand recover" -l log-format -d 'Format of log lines' -r -f -a "text\t'Human-readable lines'
json\t'One JSON object per line (docs/log.schema.json)'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand recover" -l color -d 'When to color the output' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` or `TERM=dumb` is set; `CLICOLOR_FORCE` forces color'
always\t'Always'
never\t'Never'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand recover" -s o -l output -d 'Format of the report on stdout; with `json`, the log goes to stderr' -r -f -a "text\t'Human-readable'
json\t'One JSON document; with `status --watch`, one per line'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand recover" -l force -d 'Also recover releases whose operation may still be running because its timeout has not passed'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand recover" -s y -l yes -d 'Recover without asking for confirmation'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand recover" -l in-cluster -d 'Bootstrap the cluster in which k3s-boot runs as a pod, with the service account of the pod'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand recover" -s v -l verbose -d 'Show the output of all tools: short for `--log-level debug`'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand recover" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand init" -l layout -d 'What to write' -r -f -a "flux\t'Helmfiles that read the HelmReleases of Flux, and everything around them'
helmfile\t'Only `bootstrap/` and the Taskfile'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand init" -l nodes -d 'Number of nodes, with agents [default: those of the cluster]' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand init" -l agents -d 'How many of the nodes are agents [default: those of the cluster]' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand init" -l api-host -d 'Address of the API server for Cilium [default: 127.0.0.1, where k3s answers on every node]' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand init" -l cni -d 'CNI plugin [default: that of the cluster, or cilium]' -r -f -a "cilium\t'Cilium, which also replaces kube-proxy'
flannel\t'The flannel of k3s'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand init" -l dns -d 'DNS server [default: that of the cluster, or coredns]' -r -f -a "coredns\t'CoreDNS as a release'
k3s\t'The CoreDNS of k3s'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand init" -l cluster-cidr -d 'Networks of pods, one for each IP family [default: those of the cluster, or of k3s]' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand init" -l service-cidr -d 'Networks of Services, one for each IP family [default: those of the cluster, or of k3s]' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand init" -l git-url -d 'URL of the Git repository that Flux syncs [default: the remote `origin`]' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand init" -l git-branch -d 'Branch that Flux syncs [default: the current branch, or main]' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand init" -l kubeconfig -d 'Kubeconfig file [env: KUBECONFIG, which may be a list]' -r -F
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand init" -l context -d 'Kubeconfig context [default: the current context]' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand init" -l root -d 'Root of the repository [env: ROOT_DIR] [default: the Git top level]' -r -F
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand init" -l config -d 'Configuration file [default: ROOT/k3s-boot.yaml, if it exists]' -r -F
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand init" -l log-level -d 'Minimum log level [env: LOG_LEVEL] [default: info]' -r -f -a "debug\t'Everything, including the output of all tools'
info\t'Progress'
warn\t'Warnings'
error\t'Errors that end the run'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand init" -l log-format -d 'Format of log lines' -r -f -a "text\t'Human-readable lines'
json\t'One JSON object per line (docs/log.schema.json)'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand init" -l color -d 'When to color the output' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` or `TERM=dumb` is set; `CLICOLOR_FORCE` forces color'
always\t'Always'
never\t'Never'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand init" -s o -l output -d 'Format of the report on stdout; with `json`, the log goes to stderr' -r -f -a "text\t'Human-readable'
json\t'One JSON document; with `status --watch`, one per line'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand init" -l dry-run -d 'List what would be written, and write nothing'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand init" -l offline -d 'Do not read the cluster'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand init" -l deploy-key -d 'Create a deploy key for a private repository, encrypted with SOPS'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand init" -l in-cluster -d 'Bootstrap the cluster in which k3s-boot runs as a pod, with the service account of the pod'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand init" -s v -l verbose -d 'Show the output of all tools: short for `--log-level debug`'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand init" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand version" -l kubeconfig -d 'Kubeconfig file [env: KUBECONFIG, which may be a list]' -r -F
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand version" -l context -d 'Kubeconfig context [default: the current context]' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand version" -l root -d 'Root of the repository [env: ROOT_DIR] [default: the Git top level]' -r -F
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand version" -l config -d 'Configuration file [default: ROOT/k3s-boot.yaml, if it exists]' -r -F
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand version" -l log-level -d 'Minimum log level [env: LOG_LEVEL] [default: info]' -r -f -a "debug\t'Everything, including the output of all tools'
info\t'Progress'
warn\t'Warnings'
error\t'Errors that end the run'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand version" -l log-format -d 'Format of log lines' -r -f -a "text\t'Human-readable lines'
json\t'One JSON object per line (docs/log.schema.json)'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand version" -l color -d 'When to color the output' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` or `TERM=dumb` is set; `CLICOLOR_FORCE` forces color'
always\t'Always'
never\t'Never'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand version" -s o -l output -d 'Format of the report on stdout; with `json`, the log goes to stderr' -r -f -a "text\t'Human-readable'
json\t'One JSON document; with `status --watch`, one per line'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand version" -l in-cluster -d 'Bootstrap the cluster in which k3s-boot runs as a pod, with the service account of the pod'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand version" -s v -l verbose -d 'Show the output of all tools: short for `--log-level debug`'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand version" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand completions" -l kubeconfig -d 'Kubeconfig file [env: KUBECONFIG, which may be a list]' -r -F
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand completions" -l context -d 'Kubeconfig context [default: the current context]' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand completions" -l root -d 'Root of the repository [env: ROOT_DIR] [default: the Git top level]' -r -F
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand completions" -l config -d 'Configuration file [default: ROOT/k3s-boot.yaml, if it exists]' -r -F
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand completions" -l log-level -d 'Minimum log level [env: LOG_LEVEL] [default: info]' -r -f -a "debug\t'Everything, including the output of all tools'
info\t'Progress'
warn\t'Warnings'
error\t'Errors that end the run'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand completions" -l log-format -d 'Format of log lines' -r -f -a "text\t'Human-readable lines'
json\t'One JSON object per line (docs/log.schema.json)'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand completions" -l color -d 'When to color the output' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` or `TERM=dumb` is set; `CLICOLOR_FORCE` forces color'
always\t'Always'
never\t'Never'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand completions" -s o -l output -d 'Format of the report on stdout; with `json`, the log goes to stderr' -r -f -a "text\t'Human-readable'
json\t'One JSON document; with `status --watch`, one per line'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand completions" -l in-cluster -d 'Bootstrap the cluster in which k3s-boot runs as a pod, with the service account of the pod'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand completions" -s v -l verbose -d 'Show the output of all tools: short for `--log-level debug`'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand completions" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand man" -l kubeconfig -d 'Kubeconfig file [env: KUBECONFIG, which may be a list]' -r -F
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand man" -l context -d 'Kubeconfig context [default: the current context]' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand man" -l root -d 'Root of the repository [env: ROOT_DIR] [default: the Git top level]' -r -F
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand man" -l config -d 'Configuration file [default: ROOT/k3s-boot.yaml, if it exists]' -r -F
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand man" -l log-level -d 'Minimum log level [env: LOG_LEVEL] [default: info]' -r -f -a "debug\t'Everything, including the output of all tools'
info\t'Progress'
warn\t'Warnings'
error\t'Errors that end the run'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand man" -l log-format -d 'Format of log lines' -r -f -a "text\t'Human-readable lines'
json\t'One JSON object per line (docs/log.schema.json)'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand man" -l color -d 'When to color the output' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` or `TERM=dumb` is set; `CLICOLOR_FORCE` forces color'
always\t'Always'
never\t'Never'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand man" -s o -l output -d 'Format of the report on stdout; with `json`, the log goes to stderr' -r -f -a "text\t'Human-readable'
json\t'One JSON document; with `status --watch`, one per line'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand man" -l in-cluster -d 'Bootstrap the cluster in which k3s-boot runs as a pod, with the service account of the pod'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand man" -s v -l verbose -d 'Show the output of all tools: short for `--log-level debug`'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand man" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand help; and not __fish_seen_subcommand_from apps check diff status recover init version completions man help" -f -a "apps" -d 'Bootstrap the cluster: preflight, nodes, namespaces, secrets, manifests, CRDs, apps, verify, summary'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand help; and not __fish_seen_subcommand_from apps check diff status recover init version completions man help" -f -a "check" -d 'Report everything that would make a bootstrap fail, with fixes'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand help; and not __fish_seen_subcommand_from apps check diff status recover init version completions man help" -f -a "diff" -d 'Show what `apps` would change: namespaces, names of secrets, releases with versions and values'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand help; and not __fish_seen_subcommand_from apps check diff status recover init version completions man help" -f -a "status" -d 'Show the state of nodes, releases and Flux'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand help; and not __fish_seen_subcommand_from apps check diff status recover init version completions man help" -f -a "recover" -d 'Recover Helm releases stuck in `pending-*`'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand help; and not __fish_seen_subcommand_from apps check diff status recover init version completions man help" -f -a "init" -d 'Write a repository for this cluster: helmfiles, Flux objects, encryption and tasks'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand help; and not __fish_seen_subcommand_from apps check diff status recover init version completions man help" -f -a "version" -d 'Show the versions of k3s-boot and of the programs that it runs, and which versions it supports'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand help; and not __fish_seen_subcommand_from apps check diff status recover init version completions man help" -f -a "completions" -d 'Print the completion script for a shell'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand help; and not __fish_seen_subcommand_from apps check diff status recover init version completions man help" -f -a "man" -d 'Print the manual page'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand help; and not __fish_seen_subcommand_from apps check diff status recover init version completions man help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
