//! The Kubernetes distribution that a repository is for, from its files.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::base::distribution::Distribution;

/// Words in the name of a folder near the root, or of a file about Ansible, and in tasks and templates.
const WORDS: [(&str, Distribution); 7] = [
    ("k3s", Distribution::K3s),
    ("k3d", Distribution::K3d),
    ("rke2", Distribution::Rke2),
    ("talos", Distribution::Talos),
    ("talosctl", Distribution::Talos),
    ("talhelper", Distribution::Talos),
    ("kubeadm", Distribution::Kubeadm),
];

/// Files of one distribution, without their extension.
const FILES: [(&str, Distribution); 5] = [
    ("talconfig", Distribution::Talos),
    ("talenv", Distribution::Talos),
    ("talosconfig", Distribution::Talos),
    ("k3d-config", Distribution::K3d),
    ("kubeadm-config", Distribution::Kubeadm),
];

/// Images in the Plans of system-upgrade-controller, and kinds of tuppr.
const UPGRADES: [(&str, Distribution); 4] = [
    ("rancher/k3s-upgrade", Distribution::K3s),
    ("rancher/rke2-upgrade", Distribution::Rke2),
    ("siderolabs/installer", Distribution::Talos),
    ("kind: TalosUpgrade", Distribution::Talos),
];

/// How deep a folder named after a distribution may lie: `kubernetes/bootstrap/talos`, `ansible/roles/k3s`. A folder of an app
/// may have such a name for another reason.
pub(crate) const MAX_DEPTH: usize = 3;

/// A file or folder that shows which distribution the repository is for. Its path is relative to the root.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Sign {
    pub distribution: Distribution,
    pub file: PathBuf,
}

/// Whether a name is that of a distribution or of one of its tools.
pub(crate) fn is_word(name: &str) -> bool {
    WORDS.iter().any(|(word, _)| *word == name)
}

/// Whether the words in a file may be signs: it has tasks, tool versions, or templates of the bootstrap.
pub(crate) fn has_words(file: &Path) -> bool {
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_lowercase();
    let stem = name.split('.').find(|part| !part.is_empty()).unwrap_or_default();
    let folder = file.iter().next().and_then(|folder| folder.to_str()).unwrap_or_default();
    let is_task =
        matches!(stem, "taskfile" | "justfile" | "makefile" | "mise") || name == "requirements.yaml";
    (is_task && file.iter().count() <= MAX_DEPTH)
        || matches!(folder, ".taskfiles" | ".mise" | ".just" | "bootstrap")
        || (folder == "ansible" && stem == "requirements")
}

/// The sign in the path of a file.
pub(crate) fn sign_of_path(file: &Path) -> Option<Sign> {
    let parts: Vec<_> = file.iter().filter_map(|part| part.to_str()).collect();
    let (name, folders) = parts.split_last()?;
    let sign = |distribution, depth: usize| Sign { distribution, file: parts[..depth].iter().collect() };
    for (depth, folder) in folders.iter().take(MAX_DEPTH).enumerate() {
        if let Some((_, found)) = WORDS.iter().find(|(word, _)| word == folder) {
            return Some(sign(*found, depth + 1));
        }
    }
    let stem = name.split('.').next().unwrap_or_default();
    let named = FILES.iter().find(|(file, _)| *file == stem).map(|(_, found)| *found);
    let of_ansible = || {
        let is_ansible = folders.first() == Some(&"ansible");
        is_ansible.then(|| parts[1..].iter().find_map(|part| words(part).into_iter().next())).flatten()
    };
    named.or_else(of_ansible).map(|found| sign(found, parts.len()))
}

/// The signs in the text of a file with tasks or templates.
pub(crate) fn signs_of_words(file: &Path, text: &str) -> Vec<Sign> {
    words(text).into_iter().map(|distribution| Sign { distribution, file: file.to_owned() }).collect()
}

/// The signs in a manifest.
pub(crate) fn signs_of_manifest(file: &Path, text: &str) -> Vec<Sign> {
    let found = UPGRADES.iter().filter(|(image, _)| text.contains(image));
    found.map(|(_, distribution)| Sign { distribution: *distribution, file: file.to_owned() }).collect()
}

/// The distributions whose words a text has.
fn words(text: &str) -> BTreeSet<Distribution> {
    // k3s-boot itself is no sign.
    let text = text.to_lowercase().replace("k3s-boot", "").replace("k3s_boot", "");
    let found = text.split(|c: char| !c.is_ascii_alphanumeric());
    found.filter_map(|word| WORDS.iter().find(|(known, _)| *known == word)).map(|(_, found)| *found).collect()
}

/// The distribution that all signs agree on.
pub(crate) fn decide(signs: &[Sign]) -> Distribution {
    let all: BTreeSet<_> = signs.iter().map(|sign| sign.distribution).collect();
    match all.into_iter().collect::<Vec<_>>()[..] {
        [one] => one,
        // Tasks for k3d name k3s, too.
        [Distribution::K3s, Distribution::K3d] => Distribution::K3d,
        _ => Distribution::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(file: &str) -> Option<String> {
        sign_of_path(Path::new(file))
            .map(|sign| format!("{} {}", sign.distribution.key(), sign.file.display()))
    }

    #[test]
    fn folders_and_files_of_a_distribution_are_signs() {
        let cases = [
            ("talos/clusterconfig/x.yaml", "talos talos"),
            ("kubernetes/bootstrap/talos/a.yaml", "talos kubernetes/bootstrap/talos"),
            ("kubernetes/main/talconfig.yaml", "talos kubernetes/main/talconfig.yaml"),
            ("talosconfig", "talos talosconfig"),
            ("kubernetes/k3s/config.yaml", "k3s kubernetes/k3s"),
            ("ansible/roles/k3s/tasks/main.yml", "k3s ansible/roles/k3s"),
            ("ansible/playbooks/cluster/install-k3s.yml", "k3s ansible/playbooks/cluster/install-k3s.yml"),
            ("ansible/roles/xanmanning.k3s/a.yml", "k3s ansible/roles/xanmanning.k3s/a.yml"),
            ("rke2/config.yaml", "rke2 rke2"),
            ("k3d-config.yaml", "k3d k3d-config.yaml"),
        ];
        for (file, expected) in cases {
            assert_eq!(path(file).as_deref(), Some(expected), "{file}");
        }
        let none = [
            "k3s-boot.yaml",
            "ansible/k3s-boot.yml",
            "kubernetes/apps/monitoring/dashboards/talos/a.json",
            "docs/k3s.md",
            "bootstrap/helmfile.d/01-apps.yaml",
            "",
        ];
        for file in none {
            assert_eq!(path(file), None, "{file}");
        }
    }

    #[test]
    fn words_of_tasks_and_images_of_plans_are_signs() {
        let found = |text: &str| {
            signs_of_words(Path::new("a"), text)
                .iter()
                .map(|sign| sign.distribution.key())
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(found("- talosctl apply-config\n"), "talos");
        assert_eq!(found("requiredEnv \"K3S_API_HOST\""), "k3s");
        assert_eq!(found("k3s-boot apps; K3S_BOOT_X; k3sup; ak3d"), "");
        assert_eq!(found("k3d cluster create --k3s-arg"), "k3s k3d");
        assert_eq!(found("curl https://get.k3s.io; rke2"), "k3s rke2");
        let plan = |image: &str| {
            let text = format!(
                "apiVersion: upgrade.cattle.io/v1\nkind: Plan\nspec: {{upgrade: {{image: {image}}}}}\n"
            );
            signs_of_manifest(Path::new("a"), &text).first().map(|sign| sign.distribution)
        };
        assert_eq!(plan("rancher/k3s-upgrade"), Some(Distribution::K3s));
        assert_eq!(plan("rancher/rke2-upgrade"), Some(Distribution::Rke2));
        assert_eq!(plan("rancher/kubectl"), None);
        let read = [
            "Taskfile.yaml",
            ".taskfiles/a/b.yaml",
            ".mise.toml",
            "mise.toml",
            "kubernetes/justfile",
            "bootstrap/x.gotmpl",
            "ansible/requirements.yml",
        ];
        assert!(read.iter().all(|file| has_words(Path::new(file))));
        let unread = ["README.md", "kubernetes/apps/a/b/Taskfile.yaml", "k3s-boot.yaml", "docs/mise.md/x"];
        assert!(!unread.iter().any(|file| has_words(Path::new(file))));
    }

    #[test]
    fn signs_have_to_agree() {
        use Distribution::{K3d, K3s, Talos, Unknown};
        let of = |all: &[Distribution]| {
            let sign = |distribution: &Distribution| Sign { distribution: *distribution, file: "a".into() };
            decide(&all.iter().map(sign).collect::<Vec<_>>())
        };
        assert_eq!((of(&[]), of(&[K3s, K3s]), of(&[Talos])), (Unknown, K3s, Talos));
        assert_eq!((of(&[K3s, Talos]), of(&[K3d, K3s]), of(&[K3d, K3s, Talos])), (Unknown, K3d, Unknown));
    }

    proptest::proptest! {
        #[test]
        fn no_path_and_no_text_makes_it_panic(text: String, near in crate::base::mutate::text(&["ansible/roles/k3s/x.yml", "K3S_API_HOST talosctl"])) {
            for text in [text, near] {
                _ = (sign_of_path(Path::new(&text)), has_words(Path::new(&text)));
                _ = (signs_of_words(Path::new("a"), &text), signs_of_manifest(Path::new("a"), &text));
            }
        }
    }
}
