
use builtin;
use str;

set edit:completion:arg-completer[k3s-boot] = {|@words|
    fn spaces {|n|
        builtin:repeat $n ' ' | str:join ''
    }
    fn cand {|text desc|
        edit:complex-candidate $text &display=$text' '(spaces (- 14 (wcswidth $text)))$desc
    }
    var command = 'k3s-boot'
    for word $words[1..-1] {
        if (str:has-prefix $word '-') {
            break
        }
        set command = $command';'$word
    }
    var completions = [
        &'k3s-boot'= {
            cand --kubeconfig 'Kubeconfig file [env: KUBECONFIG, which may be a list]'
            cand --context 'Kubeconfig context [default: the current context]'
            cand --root 'Root of the repository [env: ROOT_DIR] [default: the Git top level]'
            cand --config 'Configuration file [default: ROOT/k3s-boot.yaml, if it exists]'
            cand --log-level 'Minimum log level [env: LOG_LEVEL] [default: info]'
            cand --log-format 'Format of log lines'
            cand --color 'When to color the output'
            cand -o 'Format of the report on stdout; with `json`, the log goes to stderr'
            cand --output 'Format of the report on stdout; with `json`, the log goes to stderr'
            cand -v 'Show the output of all tools: short for `--log-level debug`'
            cand --verbose 'Show the output of all tools: short for `--log-level debug`'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
            cand -V 'Print version'
            cand --version 'Print version'
            cand apps 'Bootstrap the cluster: preflight, nodes, namespaces, secrets, manifests, CRDs, apps, verify, summary'
            cand check 'Report everything that would make a bootstrap fail, with fixes'
            cand diff 'Show what `apps` would change: namespaces, names of secrets, releases with versions and values'
            cand status 'Show the state of nodes, releases and Flux'
            cand recover 'Recover Helm releases stuck in `pending-*`'
            cand init 'Write a repository for this cluster: helmfiles, Flux objects, encryption and tasks'
            cand version 'Show the versions of k3s-boot and of the programs that it runs, and which versions it supports'
            cand completions 'Print the completion script for a shell'
            cand man 'Print the manual page'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'k3s-boot;apps'= {
            cand --nodes 'Number of nodes to expect; they do not have to be Ready [default: 1]'
            cand --timeout 'Timeout for the whole run [default: 30m]'
            cand --request-timeout 'Timeout for each request to the API server [default: 10s]'
            cand --age-key 'Age key to store in the cluster as `flux-system/sops-age` [default: ROOT/age.key]'
            cand --skip-check 'Skip a check; docs/checks.md lists all checks'
            cand --release-timeout 'Timeout for each release, unless the helmfile sets a shorter one [default: 15m]'
            cand --nodes-timeout 'Timeout for nodes to register [default: 10m]'
            cand --verify-timeout 'Timeout for Flux to sync the repository [default: 10m]'
            cand --wait-lock 'How long to wait for another run to finish; 15s is the minimum [default: 15s]'
            cand --only 'Run only this stage (repeatable)'
            cand --from 'Start with this stage'
            cand --skip 'Skip this stage (repeatable)'
            cand --release 'Sync only this release (NAME or NAMESPACE/NAME, repeatable) and those of its `needs` that are not installed'
            cand --skip-release 'Skip this release; releases that need it are still synced'
            cand --adopt 'Take over this release, which is managed by Flux or k3s'
            cand --downgrade 'Allow this release to be downgraded to the version in the helmfile'
            cand --fix-drift 'Revert manual changes to this release'
            cand --uninstall 'Uninstall this release, for which the helmfile sets `installed: false`'
            cand --cluster 'UID of the kube-system namespace of the target cluster, if nothing else identifies it'
            cand --moved-from 'Former URL of this repository: accept clusters that were bootstrapped or are synced from it (repeatable)'
            cand --kubeconfig 'Kubeconfig file [env: KUBECONFIG, which may be a list]'
            cand --context 'Kubeconfig context [default: the current context]'
            cand --root 'Root of the repository [env: ROOT_DIR] [default: the Git top level]'
            cand --config 'Configuration file [default: ROOT/k3s-boot.yaml, if it exists]'
            cand --log-level 'Minimum log level [env: LOG_LEVEL] [default: info]'
            cand --log-format 'Format of log lines'
            cand --color 'When to color the output'
            cand -o 'Format of the report on stdout; with `json`, the log goes to stderr'
            cand --output 'Format of the report on stdout; with `json`, the log goes to stderr'
            cand --allow-hooks 'Allow helmfiles with `exec` or `prepare` hooks, which run commands while rendering'
            cand --strict 'Treat warnings as errors'
            cand --fail-fast 'Stop at the first unschedulable pod, failed image pull or crash loop'
            cand -y 'Answer yes to all questions, except whether this is the right cluster: use --cluster'
            cand --yes 'Answer yes to all questions, except whether this is the right cluster: use --cluster'
            cand --dry-run 'Show what would change, like `k3s-boot diff`, and exit'
            cand --list 'List the stages and their releases without contacting the cluster, and exit'
            cand --force 'Sync releases even if they are up to date; releases managed by Flux or k3s stay untouched'
            cand --rotate-age-key 'Replace the age key in the cluster, even if its identities are not in the key file'
            cand -v 'Show the output of all tools: short for `--log-level debug`'
            cand --verbose 'Show the output of all tools: short for `--log-level debug`'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'k3s-boot;check'= {
            cand --nodes 'Number of nodes to expect; they do not have to be Ready [default: 1]'
            cand --timeout 'Timeout for the whole run [default: 30m]'
            cand --request-timeout 'Timeout for each request to the API server [default: 10s]'
            cand --age-key 'Age key to store in the cluster as `flux-system/sops-age` [default: ROOT/age.key]'
            cand --skip-check 'Skip a check; docs/checks.md lists all checks'
            cand --explain 'Explain a check and exit'
            cand --kubeconfig 'Kubeconfig file [env: KUBECONFIG, which may be a list]'
            cand --context 'Kubeconfig context [default: the current context]'
            cand --root 'Root of the repository [env: ROOT_DIR] [default: the Git top level]'
            cand --config 'Configuration file [default: ROOT/k3s-boot.yaml, if it exists]'
            cand --log-level 'Minimum log level [env: LOG_LEVEL] [default: info]'
            cand --log-format 'Format of log lines'
            cand --color 'When to color the output'
            cand -o 'Format of the report on stdout; with `json`, the log goes to stderr'
            cand --output 'Format of the report on stdout; with `json`, the log goes to stderr'
            cand --allow-hooks 'Allow helmfiles with `exec` or `prepare` hooks, which run commands while rendering'
            cand --strict 'Treat warnings as errors'
            cand --offline 'Run only checks that need neither a cluster nor the network, for example in CI'
            cand --pin 'Write the UID of the cluster to k3s-boot.yaml, so that this repository bootstraps no other cluster'
            cand -y 'With --pin, replace the UID of another cluster'
            cand --yes 'With --pin, replace the UID of another cluster'
            cand --list 'List all checks and exit'
            cand -v 'Show the output of all tools: short for `--log-level debug`'
            cand --verbose 'Show the output of all tools: short for `--log-level debug`'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'k3s-boot;diff'= {
            cand --nodes 'Number of nodes to expect; they do not have to be Ready [default: 1]'
            cand --timeout 'Timeout for the whole run [default: 30m]'
            cand --request-timeout 'Timeout for each request to the API server [default: 10s]'
            cand --age-key 'Age key to store in the cluster as `flux-system/sops-age` [default: ROOT/age.key]'
            cand --skip-check 'Skip a check; docs/checks.md lists all checks'
            cand --release 'Sync only this release (NAME or NAMESPACE/NAME, repeatable) and those of its `needs` that are not installed'
            cand --skip-release 'Skip this release; releases that need it are still synced'
            cand --adopt 'Take over this release, which is managed by Flux or k3s'
            cand --downgrade 'Allow this release to be downgraded to the version in the helmfile'
            cand --fix-drift 'Revert manual changes to this release'
            cand --uninstall 'Uninstall this release, for which the helmfile sets `installed: false`'
            cand --cluster 'UID of the kube-system namespace of the target cluster, if nothing else identifies it'
            cand --moved-from 'Former URL of this repository: accept clusters that were bootstrapped or are synced from it (repeatable)'
            cand --kubeconfig 'Kubeconfig file [env: KUBECONFIG, which may be a list]'
            cand --context 'Kubeconfig context [default: the current context]'
            cand --root 'Root of the repository [env: ROOT_DIR] [default: the Git top level]'
            cand --config 'Configuration file [default: ROOT/k3s-boot.yaml, if it exists]'
            cand --log-level 'Minimum log level [env: LOG_LEVEL] [default: info]'
            cand --log-format 'Format of log lines'
            cand --color 'When to color the output'
            cand -o 'Format of the report on stdout; with `json`, the log goes to stderr'
            cand --output 'Format of the report on stdout; with `json`, the log goes to stderr'
            cand --allow-hooks 'Allow helmfiles with `exec` or `prepare` hooks, which run commands while rendering'
            cand --strict 'Treat warnings as errors'
            cand --manifests 'Also compare every object of the releases'
            cand --exit-code 'Exit with code 7 if anything would change'
            cand --force 'Sync releases even if they are up to date; releases managed by Flux or k3s stay untouched'
            cand --rotate-age-key 'Replace the age key in the cluster, even if its identities are not in the key file'
            cand -v 'Show the output of all tools: short for `--log-level debug`'
            cand --verbose 'Show the output of all tools: short for `--log-level debug`'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'k3s-boot;status'= {
            cand --kubeconfig 'Kubeconfig file [env: KUBECONFIG, which may be a list]'
            cand --context 'Kubeconfig context [default: the current context]'
            cand --root 'Root of the repository [env: ROOT_DIR] [default: the Git top level]'
            cand --config 'Configuration file [default: ROOT/k3s-boot.yaml, if it exists]'
            cand --log-level 'Minimum log level [env: LOG_LEVEL] [default: info]'
            cand --log-format 'Format of log lines'
            cand --color 'When to color the output'
            cand -o 'Format of the report on stdout; with `json`, the log goes to stderr'
            cand --output 'Format of the report on stdout; with `json`, the log goes to stderr'
            cand --watch 'Refresh every two seconds until interrupted; with `-o json`, print a line for each change'
            cand -v 'Show the output of all tools: short for `--log-level debug`'
            cand --verbose 'Show the output of all tools: short for `--log-level debug`'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'k3s-boot;recover'= {
            cand --cluster 'UID of the kube-system namespace of the target cluster'
            cand --wait-lock 'How long to wait for another run to finish; 15s is the minimum [default: 15s]'
            cand --kubeconfig 'Kubeconfig file [env: KUBECONFIG, which may be a list]'
            cand --context 'Kubeconfig context [default: the current context]'
            cand --root 'Root of the repository [env: ROOT_DIR] [default: the Git top level]'
            cand --config 'Configuration file [default: ROOT/k3s-boot.yaml, if it exists]'
            cand --log-level 'Minimum log level [env: LOG_LEVEL] [default: info]'
            cand --log-format 'Format of log lines'
            cand --color 'When to color the output'
            cand -o 'Format of the report on stdout; with `json`, the log goes to stderr'
            cand --output 'Format of the report on stdout; with `json`, the log goes to stderr'
            cand --force 'Also recover releases whose operation may still be running because its timeout has not passed'
            cand -y 'Recover without asking for confirmation'
            cand --yes 'Recover without asking for confirmation'
            cand -v 'Show the output of all tools: short for `--log-level debug`'
            cand --verbose 'Show the output of all tools: short for `--log-level debug`'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'k3s-boot;init'= {
            cand --layout 'What to write'
            cand --nodes 'Number of nodes, with agents [default: those of the cluster]'
            cand --agents 'How many of the nodes are agents [default: those of the cluster]'
            cand --api-host 'Address of the API server for Cilium [default: 127.0.0.1, where k3s answers on every node]'
            cand --cni 'CNI plugin [default: that of the cluster, or cilium]'
            cand --dns 'DNS server [default: that of the cluster, or coredns]'
            cand --cluster-cidr 'Networks of pods, one for each IP family [default: those of the cluster, or of k3s]'
            cand --service-cidr 'Networks of Services, one for each IP family [default: those of the cluster, or of k3s]'
            cand --git-url 'URL of the Git repository that Flux syncs [default: the remote `origin`]'
            cand --git-branch 'Branch that Flux syncs [default: the current branch, or main]'
            cand --kubeconfig 'Kubeconfig file [env: KUBECONFIG, which may be a list]'
            cand --context 'Kubeconfig context [default: the current context]'
            cand --root 'Root of the repository [env: ROOT_DIR] [default: the Git top level]'
            cand --config 'Configuration file [default: ROOT/k3s-boot.yaml, if it exists]'
            cand --log-level 'Minimum log level [env: LOG_LEVEL] [default: info]'
            cand --log-format 'Format of log lines'
            cand --color 'When to color the output'
            cand -o 'Format of the report on stdout; with `json`, the log goes to stderr'
            cand --output 'Format of the report on stdout; with `json`, the log goes to stderr'
            cand --dry-run 'List what would be written, and write nothing'
            cand --offline 'Do not read the cluster'
            cand --deploy-key 'Create a deploy key for a private repository, encrypted with SOPS'
            cand -v 'Show the output of all tools: short for `--log-level debug`'
            cand --verbose 'Show the output of all tools: short for `--log-level debug`'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'k3s-boot;version'= {
            cand --kubeconfig 'Kubeconfig file [env: KUBECONFIG, which may be a list]'
            cand --context 'Kubeconfig context [default: the current context]'
            cand --root 'Root of the repository [env: ROOT_DIR] [default: the Git top level]'
            cand --config 'Configuration file [default: ROOT/k3s-boot.yaml, if it exists]'
            cand --log-level 'Minimum log level [env: LOG_LEVEL] [default: info]'
            cand --log-format 'Format of log lines'
            cand --color 'When to color the output'
            cand -o 'Format of the report on stdout; with `json`, the log goes to stderr'
            cand --output 'Format of the report on stdout; with `json`, the log goes to stderr'
            cand -v 'Show the output of all tools: short for `--log-level debug`'
            cand --verbose 'Show the output of all tools: short for `--log-level debug`'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'k3s-boot;completions'= {
            cand --kubeconfig 'Kubeconfig file [env: KUBECONFIG, which may be a list]'
            cand --context 'Kubeconfig context [default: the current context]'
            cand --root 'Root of the repository [env: ROOT_DIR] [default: the Git top level]'
            cand --config 'Configuration file [default: ROOT/k3s-boot.yaml, if it exists]'
            cand --log-level 'Minimum log level [env: LOG_LEVEL] [default: info]'
            cand --log-format 'Format of log lines'
            cand --color 'When to color the output'
            cand -o 'Format of the report on stdout; with `json`, the log goes to stderr'
            cand --output 'Format of the report on stdout; with `json`, the log goes to stderr'
            cand -v 'Show the output of all tools: short for `--log-level debug`'
            cand --verbose 'Show the output of all tools: short for `--log-level debug`'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'k3s-boot;man'= {
            cand --kubeconfig 'Kubeconfig file [env: KUBECONFIG, which may be a list]'
            cand --context 'Kubeconfig context [default: the current context]'
            cand --root 'Root of the repository [env: ROOT_DIR] [default: the Git top level]'
            cand --config 'Configuration file [default: ROOT/k3s-boot.yaml, if it exists]'
            cand --log-level 'Minimum log level [env: LOG_LEVEL] [default: info]'
            cand --log-format 'Format of log lines'
            cand --color 'When to color the output'
            cand -o 'Format of the report on stdout; with `json`, the log goes to stderr'
            cand --output 'Format of the report on stdout; with `json`, the log goes to stderr'
            cand -v 'Show the output of all tools: short for `--log-level debug`'
            cand --verbose 'Show the output of all tools: short for `--log-level debug`'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'k3s-boot;help'= {
            cand apps 'Bootstrap the cluster: preflight, nodes, namespaces, secrets, manifests, CRDs, apps, verify, summary'
            cand check 'Report everything that would make a bootstrap fail, with fixes'
            cand diff 'Show what `apps` would change: namespaces, names of secrets, releases with versions and values'
            cand status 'Show the state of nodes, releases and Flux'
            cand recover 'Recover Helm releases stuck in `pending-*`'
            cand init 'Write a repository for this cluster: helmfiles, Flux objects, encryption and tasks'
            cand version 'Show the versions of k3s-boot and of the programs that it runs, and which versions it supports'
            cand completions 'Print the completion script for a shell'
            cand man 'Print the manual page'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'k3s-boot;help;apps'= {
        }
        &'k3s-boot;help;check'= {
        }
        &'k3s-boot;help;diff'= {
        }
        &'k3s-boot;help;status'= {
        }
        &'k3s-boot;help;recover'= {
        }
        &'k3s-boot;help;init'= {
        }
        &'k3s-boot;help;version'= {
        }
        &'k3s-boot;help;completions'= {
        }
        &'k3s-boot;help;man'= {
        }
        &'k3s-boot;help;help'= {
        }
    ]
    $completions[$command]
}
