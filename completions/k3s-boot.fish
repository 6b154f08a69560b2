# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_k3s_boot_global_optspecs
    string join \n kubeconfig= context= root= config= log-level= log-format= color= o/output= h/help V/version
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
complete -c k3s-boot -n "__fish_k3s_boot_needs_command" -l context -d 'Kubeconfig context [default: the current one]' -r
complete -c k3s-boot -n "__fish_k3s_boot_needs_command" -l root -d 'Root of the repository [env: ROOT_DIR] [default: the Git top level]' -r -F
complete -c k3s-boot -n "__fish_k3s_boot_needs_command" -l config -d 'Configuration file [default: ROOT/k3s-boot.yaml, if it is there]' -r -F
complete -c k3s-boot -n "__fish_k3s_boot_needs_command" -l log-level -d 'Least important level to log [env: LOG_LEVEL] [default: info]' -r -f -a "debug\t'Everything, also what the child processes say'
info\t'The steps'
warn\t'What deserves a look'
error\t'What ended the run'"
complete -c k3s-boot -n "__fish_k3s_boot_needs_command" -l log-format -d 'How log lines look; with `json`, each is an object (docs/log.schema.json) without colours' -r -f -a "text\t'Lines for people, those of the seed'
json\t'One JSON object a line, for machines'"
complete -c k3s-boot -n "__fish_k3s_boot_needs_command" -l color -d 'When to colour log lines' -r -f -a "auto\t'On a terminal, as `NO_COLOR`, `CLICOLOR_FORCE` and `TERM` allow'
always\t'Always'
never\t'Never'"
complete -c k3s-boot -n "__fish_k3s_boot_needs_command" -s o -l output -d 'What to print on stdout; with `json`, the log goes to stderr' -r -f -a "text\t'For people'
json\t'One JSON document; one a line with `status --watch`'"
complete -c k3s-boot -n "__fish_k3s_boot_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c k3s-boot -n "__fish_k3s_boot_needs_command" -s V -l version -d 'Print version'
complete -c k3s-boot -n "__fish_k3s_boot_needs_command" -f -a "apps" -d 'Bootstrap the cluster: preflight, nodes, namespaces, secrets, CRDs, apps, verify, summary'
complete -c k3s-boot -n "__fish_k3s_boot_needs_command" -f -a "check" -d 'Tell every problem that a bootstrap would have, each with what mends it; changes nothing'
complete -c k3s-boot -n "__fish_k3s_boot_needs_command" -f -a "diff" -d 'Show what `apps` would do: namespaces, secrets by name, releases with versions and values; changes nothing'
complete -c k3s-boot -n "__fish_k3s_boot_needs_command" -f -a "status" -d 'Tell what stands: nodes, releases, Flux\'s objects, what is not ready and why; changes nothing'
complete -c k3s-boot -n "__fish_k3s_boot_needs_command" -f -a "recover" -d 'Unlock releases that an operation of Helm left `pending-*`; asks first'
complete -c k3s-boot -n "__fish_k3s_boot_needs_command" -f -a "completions" -d 'Print the completion script for a shell'
complete -c k3s-boot -n "__fish_k3s_boot_needs_command" -f -a "man" -d 'Print the manual page'
complete -c k3s-boot -n "__fish_k3s_boot_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l nodes -d 'Nodes to expect; they need not be Ready [default: 1]' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l timeout -d 'Deadline of the whole run, such as `30m` [default: 30m]' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l request-timeout -d 'Deadline of one request to the API server [default: 10s]' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l age-key -d 'Age key that goes into the cluster as `flux-system/sops-age` [default: ROOT/age.key]' -r -F
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l skip-check -d 'Leave a check out; docs/checks.md has their names' -r -f -a "versions\t''
releases\t''
helm-features\t''
mirror\t''
flux-pair\t''
placeholders\t''
values-keys\t''
cilium-values\t''
cert-manager-crds\t''
flux-sync\t''
flux-decryption\t''
namespaces\t''
old-script\t''
age-key-mode\t''
age-key-git\t''
age-key-flux\t''
sops-plain\t''
sops-recipients\t''
sops-rules\t''
kubeconfig-cert\t''
api-ready\t''
k3s\t''
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
cluster-dns\t''
dns-address\t''
api-host\t''
api-host-cert\t''
api-host-roles\t''
renders\t''
ownership\t''
flux-owned\t''
newer\t''
drift\t''
flux-state\t''"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l release-timeout -d 'Deadline of one release, unless the helmfile sets a shorter one [default: 15m]' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l nodes-timeout -d 'Deadline of waiting for nodes to register [default: 10m]' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l verify-timeout -d 'Deadline of waiting for Flux to sync [default: 10m]' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l wait-lock -d 'How long to wait for another run to end; at least until it is seen that it lives [default: 15s]' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l only -d 'Do this stage and no other' -r -f -a "nodes\t'Wait until the nodes have registered'
namespaces\t'Make the namespaces'
secrets\t'Apply the age key and the other secrets'
crds\t'Sync the helmfile for custom resource definitions'
apps\t'Sync the helmfile for everything else'
verify\t'Wait until Flux has taken over'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l from -d 'Begin with this stage' -r -f -a "nodes\t'Wait until the nodes have registered'
namespaces\t'Make the namespaces'
secrets\t'Apply the age key and the other secrets'
crds\t'Sync the helmfile for custom resource definitions'
apps\t'Sync the helmfile for everything else'
verify\t'Wait until Flux has taken over'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l skip -d 'Leave this stage out' -r -f -a "nodes\t'Wait until the nodes have registered'
namespaces\t'Make the namespaces'
secrets\t'Apply the age key and the other secrets'
crds\t'Sync the helmfile for custom resource definitions'
apps\t'Sync the helmfile for everything else'
verify\t'Wait until Flux has taken over'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l release -d 'Sync this release (NAME or NAMESPACE/NAME; more than once for more) and what it needs that is not installed, and no other' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l skip-release -d 'Leave this release out; what needs it is synced all the same' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l take -d 'With --force, sync this release although Flux or k3s owns it' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l downgrade -d 'Lower this release to the version of the helmfile, although a newer one is installed' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l fix-drift -d 'Set fields of this release back that somebody has changed in the cluster' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l uninstall -d 'Remove this release, for which the helmfile says `installed: false`' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l cluster -d 'UID of the namespace kube-system of the target cluster, if nothing else identifies it' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l moved-from -d 'Former address of this repository: accept a cluster that was bootstrapped or is synced from it (repeatable)' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l kubeconfig -d 'Kubeconfig file [env: KUBECONFIG, which may be a list]' -r -F
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l context -d 'Kubeconfig context [default: the current one]' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l root -d 'Root of the repository [env: ROOT_DIR] [default: the Git top level]' -r -F
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l config -d 'Configuration file [default: ROOT/k3s-boot.yaml, if it is there]' -r -F
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l log-level -d 'Least important level to log [env: LOG_LEVEL] [default: info]' -r -f -a "debug\t'Everything, also what the child processes say'
info\t'The steps'
warn\t'What deserves a look'
error\t'What ended the run'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l log-format -d 'How log lines look; with `json`, each is an object (docs/log.schema.json) without colours' -r -f -a "text\t'Lines for people, those of the seed'
json\t'One JSON object a line, for machines'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l color -d 'When to colour log lines' -r -f -a "auto\t'On a terminal, as `NO_COLOR`, `CLICOLOR_FORCE` and `TERM` allow'
always\t'Always'
never\t'Never'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -s o -l output -d 'What to print on stdout; with `json`, the log goes to stderr' -r -f -a "text\t'For people'
json\t'One JSON document; one a line with `status --watch`'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l allow-hooks -d 'Allow helmfiles with `prepare` hooks or `exec`, which run even when they are only read'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l strict -d 'Treat warnings as errors'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l fail-fast -d 'End as soon as a pod cannot be placed, an image not be pulled, or a container crashes again and again; such things often mend by themselves while a cluster comes up, so that they are only warned of otherwise'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -s y -l yes -d 'Answer yes to questions; but whether this is the right cluster is answered with --cluster alone'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l dry-run -d 'Show what would be done, as `k3s-boot diff` does, and do nothing'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l list -d 'List the stages and the releases of each, without asking the cluster, and do nothing'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l force -d 'Sync releases that are as wanted, too; never those that Flux or k3s owns'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -l rotate-age-key -d 'Replace the age key in the cluster, although the key file does not hold it'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand apps" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand check" -l nodes -d 'Nodes to expect; they need not be Ready [default: 1]' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand check" -l timeout -d 'Deadline of the whole run, such as `30m` [default: 30m]' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand check" -l request-timeout -d 'Deadline of one request to the API server [default: 10s]' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand check" -l age-key -d 'Age key that goes into the cluster as `flux-system/sops-age` [default: ROOT/age.key]' -r -F
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand check" -l skip-check -d 'Leave a check out; docs/checks.md has their names' -r -f -a "versions\t''
releases\t''
helm-features\t''
mirror\t''
flux-pair\t''
placeholders\t''
values-keys\t''
cilium-values\t''
cert-manager-crds\t''
flux-sync\t''
flux-decryption\t''
namespaces\t''
old-script\t''
age-key-mode\t''
age-key-git\t''
age-key-flux\t''
sops-plain\t''
sops-recipients\t''
sops-rules\t''
kubeconfig-cert\t''
api-ready\t''
k3s\t''
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
cluster-dns\t''
dns-address\t''
api-host\t''
api-host-cert\t''
api-host-roles\t''
renders\t''
ownership\t''
flux-owned\t''
newer\t''
drift\t''
flux-state\t''"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand check" -l explain -d 'Tell why a check matters, and do nothing else' -r -f -a "config\t''
env\t''
programs\t''
versions\t''
helmfile\t''
hooks\t''
releases\t''
helm-features\t''
charts\t''
chart-login\t''
mirror\t''
flux-pair\t''
placeholders\t''
values-keys\t''
cilium-values\t''
cert-manager-crds\t''
flux-sync\t''
flux-decryption\t''
namespaces\t''
old-script\t''
age-key\t''
age-key-mode\t''
age-key-git\t''
age-key-flux\t''
sops\t''
sops-plain\t''
sops-recipients\t''
sops-rules\t''
kubeconfig\t''
kubeconfig-cert\t''
api\t''
cluster-identity\t''
api-ready\t''
k3s\t''
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
cluster-dns\t''
dns-address\t''
api-host\t''
api-host-cert\t''
api-host-roles\t''
renders\t''
pending\t''
ownership\t''
flux-owned\t''
newer\t''
drift\t''
flux-state\t''
plan\t''"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand check" -l kubeconfig -d 'Kubeconfig file [env: KUBECONFIG, which may be a list]' -r -F
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand check" -l context -d 'Kubeconfig context [default: the current one]' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand check" -l root -d 'Root of the repository [env: ROOT_DIR] [default: the Git top level]' -r -F
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand check" -l config -d 'Configuration file [default: ROOT/k3s-boot.yaml, if it is there]' -r -F
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand check" -l log-level -d 'Least important level to log [env: LOG_LEVEL] [default: info]' -r -f -a "debug\t'Everything, also what the child processes say'
info\t'The steps'
warn\t'What deserves a look'
error\t'What ended the run'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand check" -l log-format -d 'How log lines look; with `json`, each is an object (docs/log.schema.json) without colours' -r -f -a "text\t'Lines for people, those of the seed'
json\t'One JSON object a line, for machines'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand check" -l color -d 'When to colour log lines' -r -f -a "auto\t'On a terminal, as `NO_COLOR`, `CLICOLOR_FORCE` and `TERM` allow'
always\t'Always'
never\t'Never'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand check" -s o -l output -d 'What to print on stdout; with `json`, the log goes to stderr' -r -f -a "text\t'For people'
json\t'One JSON document; one a line with `status --watch`'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand check" -l allow-hooks -d 'Allow helmfiles with `prepare` hooks or `exec`, which run even when they are only read'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand check" -l strict -d 'Treat warnings as errors'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand check" -l offline -d 'Check only what needs no cluster, and contact nothing: for a repository\'s CI'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand check" -l pin -d 'Write the cluster\'s UID into k3s-boot.yaml: it is the only one then that this repository bootstraps'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand check" -s y -l yes -d 'With --pin, replace another cluster\'s UID'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand check" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand diff" -l nodes -d 'Nodes to expect; they need not be Ready [default: 1]' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand diff" -l timeout -d 'Deadline of the whole run, such as `30m` [default: 30m]' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand diff" -l request-timeout -d 'Deadline of one request to the API server [default: 10s]' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand diff" -l age-key -d 'Age key that goes into the cluster as `flux-system/sops-age` [default: ROOT/age.key]' -r -F
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand diff" -l skip-check -d 'Leave a check out; docs/checks.md has their names' -r -f -a "versions\t''
releases\t''
helm-features\t''
mirror\t''
flux-pair\t''
placeholders\t''
values-keys\t''
cilium-values\t''
cert-manager-crds\t''
flux-sync\t''
flux-decryption\t''
namespaces\t''
old-script\t''
age-key-mode\t''
age-key-git\t''
age-key-flux\t''
sops-plain\t''
sops-recipients\t''
sops-rules\t''
kubeconfig-cert\t''
api-ready\t''
k3s\t''
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
cluster-dns\t''
dns-address\t''
api-host\t''
api-host-cert\t''
api-host-roles\t''
renders\t''
ownership\t''
flux-owned\t''
newer\t''
drift\t''
flux-state\t''"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand diff" -l release -d 'Sync this release (NAME or NAMESPACE/NAME; more than once for more) and what it needs that is not installed, and no other' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand diff" -l skip-release -d 'Leave this release out; what needs it is synced all the same' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand diff" -l take -d 'With --force, sync this release although Flux or k3s owns it' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand diff" -l downgrade -d 'Lower this release to the version of the helmfile, although a newer one is installed' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand diff" -l fix-drift -d 'Set fields of this release back that somebody has changed in the cluster' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand diff" -l uninstall -d 'Remove this release, for which the helmfile says `installed: false`' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand diff" -l cluster -d 'UID of the namespace kube-system of the target cluster, if nothing else identifies it' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand diff" -l moved-from -d 'Former address of this repository: accept a cluster that was bootstrapped or is synced from it (repeatable)' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand diff" -l kubeconfig -d 'Kubeconfig file [env: KUBECONFIG, which may be a list]' -r -F
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand diff" -l context -d 'Kubeconfig context [default: the current one]' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand diff" -l root -d 'Root of the repository [env: ROOT_DIR] [default: the Git top level]' -r -F
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand diff" -l config -d 'Configuration file [default: ROOT/k3s-boot.yaml, if it is there]' -r -F
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand diff" -l log-level -d 'Least important level to log [env: LOG_LEVEL] [default: info]' -r -f -a "debug\t'Everything, also what the child processes say'
info\t'The steps'
warn\t'What deserves a look'
error\t'What ended the run'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand diff" -l log-format -d 'How log lines look; with `json`, each is an object (docs/log.schema.json) without colours' -r -f -a "text\t'Lines for people, those of the seed'
json\t'One JSON object a line, for machines'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand diff" -l color -d 'When to colour log lines' -r -f -a "auto\t'On a terminal, as `NO_COLOR`, `CLICOLOR_FORCE` and `TERM` allow'
always\t'Always'
never\t'Never'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand diff" -s o -l output -d 'What to print on stdout; with `json`, the log goes to stderr' -r -f -a "text\t'For people'
json\t'One JSON document; one a line with `status --watch`'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand diff" -l allow-hooks -d 'Allow helmfiles with `prepare` hooks or `exec`, which run even when they are only read'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand diff" -l strict -d 'Treat warnings as errors'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand diff" -l manifests -d 'Compare every object that the releases make, too'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand diff" -l exit-code -d 'End with exit code 7 if anything would be changed'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand diff" -l force -d 'Sync releases that are as wanted, too; never those that Flux or k3s owns'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand diff" -l rotate-age-key -d 'Replace the age key in the cluster, although the key file does not hold it'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand diff" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand status" -l kubeconfig -d 'Kubeconfig file [env: KUBECONFIG, which may be a list]' -r -F
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand status" -l context -d 'Kubeconfig context [default: the current one]' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand status" -l root -d 'Root of the repository [env: ROOT_DIR] [default: the Git top level]' -r -F
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand status" -l config -d 'Configuration file [default: ROOT/k3s-boot.yaml, if it is there]' -r -F
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand status" -l log-level -d 'Least important level to log [env: LOG_LEVEL] [default: info]' -r -f -a "debug\t'Everything, also what the child processes say'
info\t'The steps'
warn\t'What deserves a look'
error\t'What ended the run'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand status" -l log-format -d 'How log lines look; with `json`, each is an object (docs/log.schema.json) without colours' -r -f -a "text\t'Lines for people, those of the seed'
json\t'One JSON object a line, for machines'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand status" -l color -d 'When to colour log lines' -r -f -a "auto\t'On a terminal, as `NO_COLOR`, `CLICOLOR_FORCE` and `TERM` allow'
always\t'Always'
never\t'Never'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand status" -s o -l output -d 'What to print on stdout; with `json`, the log goes to stderr' -r -f -a "text\t'For people'
json\t'One JSON document; one a line with `status --watch`'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand status" -l watch -d 'Look again every two seconds until interrupted; with `json`, a line for each change'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand recover" -l cluster -d 'UID of kube-system of the cluster that is meant' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand recover" -l wait-lock -d 'How long to wait for another run to end; at least until it is seen that it lives [default: 15s]' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand recover" -l kubeconfig -d 'Kubeconfig file [env: KUBECONFIG, which may be a list]' -r -F
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand recover" -l context -d 'Kubeconfig context [default: the current one]' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand recover" -l root -d 'Root of the repository [env: ROOT_DIR] [default: the Git top level]' -r -F
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand recover" -l config -d 'Configuration file [default: ROOT/k3s-boot.yaml, if it is there]' -r -F
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand recover" -l log-level -d 'Least important level to log [env: LOG_LEVEL] [default: info]' -r -f -a "debug\t'Everything, also what the child processes say'
info\t'The steps'
warn\t'What deserves a look'
error\t'What ended the run'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand recover" -l log-format -d 'How log lines look; with `json`, each is an object (docs/log.schema.json) without colours' -r -f -a "text\t'Lines for people, those of the seed'
json\t'One JSON object a line, for machines'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand recover" -l color -d 'When to colour log lines' -r -f -a "auto\t'On a terminal, as `NO_COLOR`, `CLICOLOR_FORCE` and `TERM` allow'
always\t'Always'
never\t'Never'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand recover" -s o -l output -d 'What to print on stdout; with `json`, the log goes to stderr' -r -f -a "text\t'For people'
json\t'One JSON document; one a line with `status --watch`'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand recover" -l force -d 'Unlock releases too whose operation may still be at work, for it is younger than its timeout'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand recover" -s y -l yes -d 'Answer yes to the question'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand recover" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand completions" -l kubeconfig -d 'Kubeconfig file [env: KUBECONFIG, which may be a list]' -r -F
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand completions" -l context -d 'Kubeconfig context [default: the current one]' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand completions" -l root -d 'Root of the repository [env: ROOT_DIR] [default: the Git top level]' -r -F
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand completions" -l config -d 'Configuration file [default: ROOT/k3s-boot.yaml, if it is there]' -r -F
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand completions" -l log-level -d 'Least important level to log [env: LOG_LEVEL] [default: info]' -r -f -a "debug\t'Everything, also what the child processes say'
info\t'The steps'
warn\t'What deserves a look'
error\t'What ended the run'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand completions" -l log-format -d 'How log lines look; with `json`, each is an object (docs/log.schema.json) without colours' -r -f -a "text\t'Lines for people, those of the seed'
json\t'One JSON object a line, for machines'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand completions" -l color -d 'When to colour log lines' -r -f -a "auto\t'On a terminal, as `NO_COLOR`, `CLICOLOR_FORCE` and `TERM` allow'
always\t'Always'
never\t'Never'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand completions" -s o -l output -d 'What to print on stdout; with `json`, the log goes to stderr' -r -f -a "text\t'For people'
json\t'One JSON document; one a line with `status --watch`'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand completions" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand man" -l kubeconfig -d 'Kubeconfig file [env: KUBECONFIG, which may be a list]' -r -F
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand man" -l context -d 'Kubeconfig context [default: the current one]' -r
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand man" -l root -d 'Root of the repository [env: ROOT_DIR] [default: the Git top level]' -r -F
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand man" -l config -d 'Configuration file [default: ROOT/k3s-boot.yaml, if it is there]' -r -F
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand man" -l log-level -d 'Least important level to log [env: LOG_LEVEL] [default: info]' -r -f -a "debug\t'Everything, also what the child processes say'
info\t'The steps'
warn\t'What deserves a look'
error\t'What ended the run'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand man" -l log-format -d 'How log lines look; with `json`, each is an object (docs/log.schema.json) without colours' -r -f -a "text\t'Lines for people, those of the seed'
json\t'One JSON object a line, for machines'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand man" -l color -d 'When to colour log lines' -r -f -a "auto\t'On a terminal, as `NO_COLOR`, `CLICOLOR_FORCE` and `TERM` allow'
always\t'Always'
never\t'Never'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand man" -s o -l output -d 'What to print on stdout; with `json`, the log goes to stderr' -r -f -a "text\t'For people'
json\t'One JSON document; one a line with `status --watch`'"
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand man" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand help; and not __fish_seen_subcommand_from apps check diff status recover completions man help" -f -a "apps" -d 'Bootstrap the cluster: preflight, nodes, namespaces, secrets, CRDs, apps, verify, summary'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand help; and not __fish_seen_subcommand_from apps check diff status recover completions man help" -f -a "check" -d 'Tell every problem that a bootstrap would have, each with what mends it; changes nothing'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand help; and not __fish_seen_subcommand_from apps check diff status recover completions man help" -f -a "diff" -d 'Show what `apps` would do: namespaces, secrets by name, releases with versions and values; changes nothing'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand help; and not __fish_seen_subcommand_from apps check diff status recover completions man help" -f -a "status" -d 'Tell what stands: nodes, releases, Flux\'s objects, what is not ready and why; changes nothing'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand help; and not __fish_seen_subcommand_from apps check diff status recover completions man help" -f -a "recover" -d 'Unlock releases that an operation of Helm left `pending-*`; asks first'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand help; and not __fish_seen_subcommand_from apps check diff status recover completions man help" -f -a "completions" -d 'Print the completion script for a shell'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand help; and not __fish_seen_subcommand_from apps check diff status recover completions man help" -f -a "man" -d 'Print the manual page'
complete -c k3s-boot -n "__fish_k3s_boot_using_subcommand help; and not __fish_seen_subcommand_from apps check diff status recover completions man help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
