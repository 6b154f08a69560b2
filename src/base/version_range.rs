//! Version constraints in Helm's notation, which the semver crate does not parse.

use semver::{Comparator, Op, Version, VersionReq};

/// Whether a version meets a constraint in Helm's notation: alternatives with `||`, conditions with `,` or a space between
/// them, ranges with ` - `. `None` if it cannot be parsed.
pub(crate) fn meets(constraint: &str, version: &Version) -> Option<bool> {
    let mut met = false;
    for alternative in constraint.split("||") {
        met |= alternative_met(alternative.trim(), version)?;
    }
    Some(met)
}

fn alternative_met(text: &str, version: &Version) -> Option<bool> {
    if let Some((from, to)) = text.split_once(" - ") {
        let text = format!(">={}, <={}", plain(from), plain(to));
        return Some(VersionReq::parse(&text).ok()?.matches(version));
    }
    let mut words: Vec<String> = Vec::new();
    for word in text.split([',', ' ']).filter(|word| !word.is_empty()) {
        match words.last_mut() {
            // There may be a space between operator and version.
            Some(last) if !last.contains(|c: char| c.is_ascii_digit() || "xX*".contains(c)) => {
                last.push_str(word);
            }
            _ => words.push(word.to_owned()),
        }
    }
    let mut met = true;
    for word in &words {
        met &= condition_met(word, version)?;
    }
    (!words.is_empty()).then_some(met)
}

fn condition_met(word: &str, version: &Version) -> Option<bool> {
    let start = word.find(|c: char| c.is_ascii_digit() || "vxX*".contains(c))?;
    let (operator, operand) = word.split_at(start);
    let operand = plain(operand);
    if operand == "*" {
        return Some(operator != "!=");
    }
    let (operator, not) = match operator {
        // Without an operator, it is an exact version.
        "" | "=" => ("=", false),
        "!=" => ("=", true),
        "=>" => (">=", false),
        "=<" => ("<=", false),
        "~>" => ("~", false),
        known => (known, false),
    };
    let comparator = Comparator::parse(&format!("{operator}{operand}")).ok()?;
    // In Helm, `-0` includes pre-releases, but none gets here.
    let comparator = match comparator.op {
        Op::Exact if !comparator.pre.is_empty() => return None,
        _ => comparator,
    };
    Some(comparator.matches(version) != not)
}

/// A version in the notation of the semver crate.
fn plain(version: &str) -> String {
    let version = version.trim().trim_start_matches('v').replace(['x', 'X'], "*");
    if version.starts_with('*') { "*".to_owned() } else { version }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constraints_work_as_in_helm() {
        let cases = [
            (">= 1.21.0-0", "1.33.6", Some(true)),
            (">=1.22.0-0", "1.21.9", Some(false)),
            (">= 1.21.0-0 < 1.34.0-0", "1.34.0", Some(false)),
            (">= 1.21, < 1.34", "1.33.6", Some(true)),
            ("1.33.6", "1.33.6", Some(true)),
            ("1.33.6", "1.33.7", Some(false)),
            ("1.33.x", "1.33.7", Some(true)),
            ("1.30 - 1.32", "1.32.9", Some(true)),
            ("1.30 - 1.32", "1.33.0", Some(false)),
            ("^1.19.0", "1.33.6", Some(true)),
            ("~1.32.0 || ~1.33.0", "1.33.6", Some(true)),
            ("~1.31.0 || ~1.32.0", "1.33.6", Some(false)),
            ("!=1.33.6", "1.33.6", Some(false)),
            ("*", "1.33.6", Some(true)),
            ("", "1.33.6", None),
            ("?", "1.33.6", None),
            (">= twelve", "1.33.6", None),
            ("1.21.0-0", "1.33.6", None),
        ];
        for (constraint, version, expected) in cases {
            assert_eq!(
                meets(constraint, &Version::parse(version).unwrap()),
                expected,
                "{constraint} {version}"
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn no_constraint_makes_it_panic(text: String, near in "[<>=~^!vxX*0-9.,| -]{0,20}",
            known in crate::base::mutate::text(&[">=1.21.0-0 <1.34.0 || ^1.35", "~1.2.x, !=1.30.1", "1.20 - 1.33", "=> v1.28.0"])) {
            for constraint in [text, near, known] {
                _ = meets(&constraint, &Version::new(1, 33, 6));
            }
        }
    }
}
