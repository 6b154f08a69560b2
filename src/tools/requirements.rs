//! The supported versions of helmfile, helm, sops and kubectl.

use semver::{Version, VersionReq};

use crate::base::finding::Finding;

/// The supported versions of a program, as a requirement and in words.
struct Accepted {
    requirement: &'static str,
    words: &'static str,
}

fn accepted(program: &str) -> Accepted {
    match program {
        // Older versions are untested, and 2 may change anything.
        "helmfile" => Accepted { requirement: ">=1.7.1, <2", words: "1.7.1 or later, below 2" },
        "helm" => Accepted { requirement: ">=3.18, <5", words: "3.18 or later, below 5" },
        // `sops decrypt` came with 3.9.
        "sops" => Accepted { requirement: ">=3.9, <4", words: "3.9 or later, below 4" },
        // Server-side apply is stable since 1.22; versions before 1.28 are long out of support.
        _ => Accepted { requirement: ">=1.28, <2", words: "1.28 or later" },
    }
}

/// The supported versions of a program, in words.
pub(crate) fn accepted_words(program: &str) -> &'static str {
    accepted(program).words
}

/// The version in the output of a program: the first word that is one.
///
/// ```
/// use k3s_boot::internals::parse_version;
///
/// assert_eq!(parse_version("sops 3.13.2 (latest)").unwrap().to_string(), "3.13.2");
/// assert_eq!(parse_version("helmfile version (devel)"), None);
/// ```
#[must_use]
pub fn parse(text: &str) -> Option<Version> {
    text.split_whitespace().find_map(|word| {
        let word = word.trim_start_matches('v').trim_end_matches([',', '"']);
        Version::parse(word).ok()
    })
}

/// Checks that a version is supported; `None` if the output of the program had none.
///
/// # Errors
///
/// The version is not supported, or unknown.
pub(crate) fn check(program: &'static str, version: Option<&Version>) -> Result<(), Finding> {
    let Accepted { requirement, words } = accepted(program);
    let Some(version) = version else {
        return Err(Finding::error("versions", "Program version cannot be determined")
            .with("program", program)
            .with("accepted", words)
            .fix(format!("run `{program} version` and check its output")));
    };
    // Pre-releases and builds (`1.36.3+k3s1`, `4.3.0-rc.1`) count as their final version.
    let plain = Version::new(version.major, version.minor, version.patch);
    if VersionReq::parse(requirement).is_ok_and(|requirement| requirement.matches(&plain)) {
        return Ok(());
    }
    Err(Finding::error("versions", "Program version is not supported")
        .with("program", program)
        .with("version", version)
        .with("accepted", words)
        .fix(format!("install a supported version of {program}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_the_output_of_programs() {
        let cases = [
            ("helmfile version v1.7.4\n", "1.7.4"),
            ("v4.2.4\n", "4.2.4"),
            ("v3.18.6+gb76a950\n", "3.18.6+gb76a950"),
            ("sops 3.13.2 (latest)\n", "3.13.2"),
            ("v1.36.3+k3s1", "1.36.3+k3s1"),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text).unwrap().to_string(), expected);
        }
        assert_eq!(parse("helmfile version (devel)"), None);
    }

    #[test]
    fn the_limits_of_supported_versions() {
        let cases = [
            ("helmfile", "1.7.0", false),
            ("helmfile", "1.7.1", true),
            ("helmfile", "1.8.0", true),
            ("helmfile", "2.0.0", false),
            ("helmfile", "0.166.0", false),
            ("helm", "3.17.9", false),
            ("helm", "3.18.0", true),
            ("helm", "4.2.4", true),
            ("helm", "4.3.1", true),
            ("helm", "5.0.0", false),
            ("sops", "3.8.1", false),
            ("sops", "3.9.0", true),
            ("kubectl", "1.27.0", false),
            ("kubectl", "1.36.3+k3s1", true),
        ];
        for (program, version, good) in cases {
            let version = Version::parse(version).unwrap();
            assert_eq!(check(program, Some(&version)).is_ok(), good, "{program} {version}");
        }
        assert!(check("helm", None).is_err());
    }

    proptest::proptest! {
        #[test]
        fn parsing_never_panics(text: String, near in "[v0-9.+,\" a-]*",
            captured in crate::base::mutate::text(&["helmfile version v1.7.4\n", "v3.18.6+gb76a950\n", "Client Version: v1.36.3+k3s1\nKustomize Version: v5.7.1\n",
                "sops 3.13.2 (latest)\n"])) {
            _ = parse(&captured);
            _ = parse(&text);
            _ = parse(&near);
        }
    }
}
