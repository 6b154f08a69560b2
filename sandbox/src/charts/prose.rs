//! Generates descriptions of schema fields, which make up most of a real CRD.

/// What a description can add to its first sentence. `{f}` is the field in words, `{o}` its owner, and `{w}` two of
/// [`WORDS`]: without them the text would compress far better than that of the real charts, and Helm's records be smaller.
const SENTENCES: &[&str] = &[
    "If it is not set, the controller chooses a {w} that suits the {o}.",
    "This field is optional; leave it empty unless the {w} needs something else than the default.",
    "Changes of the {f} are picked up without restarting the {w}.",
    "It has no effect when the {o} is managed by another {w}.",
    "More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/ about the {w}",
    "The value is passed on to the {w} as it is; the operator does not check it any further.",
    "It is an error to set the {f} together with the {w}.",
    "The operator validates the {f} before it writes the {w} of the {o}.",
    "When the {w} is deleted, the {f} is no longer taken into account.",
    "It requires a version of the {w} that supports the {f}.",
    "The name must be a valid DNS subdomain and unique within the {w}.",
    "This is an alpha field and requires that the feature gate of the {w} is enabled.",
    "Note that this field cannot be set when the {w} of the {o} is windows.",
    "The {f} takes precedence over what the {w} of the {o} says.",
    "It is recommended to keep the {f} small, since the {w} is held in memory.",
    "References to a {w} of another namespace are ignored.",
    "The limit applies to each {w} of the {o} on its own.",
    "Setting the {f} to its zero value disables the {w}.",
    "Cannot be updated once the {w} exists.",
    "If unspecified, the {o} inherits the {f} of the {w} that it belongs to.",
    "The default is tuned for small and medium numbers of {w} objects.",
    "An empty list matches no {w}, a missing one matches every {w}.",
    "What the {f} names must exist in the same namespace as the {w}.",
    "Deprecated fields are still read, but a warning is logged for each {w} that has them.",
];

/// What fields talk about.
const WORDS: &[&str] = &[
    "account",
    "address",
    "alert",
    "annotation",
    "archive",
    "attribute",
    "audience",
    "authority",
    "backend",
    "bucket",
    "buffer",
    "bundle",
    "cache",
    "capacity",
    "certificate",
    "channel",
    "checkpoint",
    "client",
    "cluster",
    "collector",
    "component",
    "condition",
    "connection",
    "container",
    "context",
    "controller",
    "credential",
    "deadline",
    "delivery",
    "deployment",
    "device",
    "directory",
    "discovery",
    "domain",
    "endpoint",
    "environment",
    "event",
    "expression",
    "failure",
    "feature",
    "filter",
    "frontend",
    "gateway",
    "generation",
    "group",
    "handler",
    "header",
    "histogram",
    "identity",
    "image",
    "instance",
    "interface",
    "interval",
    "issuer",
    "label",
    "lease",
    "listener",
    "location",
    "manifest",
    "matcher",
    "member",
    "message",
    "metric",
    "mirror",
    "network",
    "node",
    "notification",
    "object",
    "operation",
    "option",
    "owner",
    "parameter",
    "partition",
    "peer",
    "pipeline",
    "policy",
    "pool",
    "prefix",
    "probe",
    "profile",
    "protocol",
    "provider",
    "proxy",
    "query",
    "queue",
    "quota",
    "receiver",
    "record",
    "region",
    "registry",
    "release",
    "replica",
    "request",
    "resource",
    "response",
    "route",
    "rule",
    "sample",
    "schedule",
    "scope",
    "secret",
    "segment",
    "selector",
    "server",
    "service",
    "session",
    "shard",
    "signature",
    "snapshot",
    "source",
    "stage",
    "storage",
    "stream",
    "subject",
    "suffix",
    "target",
    "template",
    "tenant",
    "threshold",
    "token",
    "topology",
    "tracer",
    "trigger",
    "tunnel",
    "upstream",
    "volume",
    "webhook",
    "window",
    "worker",
    "workload",
    "zone",
];

/// Sentences that say what a field is, for its first line.
const OPENINGS: &[&str] = &[
    "{F} defines the {f} of the {o}.",
    "{F} is the {f} to be used by the {o}.",
    "{F} specifies the {f} that applies to the {o}.",
    "{F} configures how the {o} treats the {f}.",
    "{F} of the {o}.",
    "{F} holds the {f} for this {o}.",
];

/// The highest density: about nine sentences for each field.
pub(super) const DENSEST: u64 = 8 * 1024;

/// The lines of a description. The same field of the same type begins alike everywhere, and goes on differently at
/// another `place`. `density` decides how many sentences follow the first one: 1024 more of it add one to each field,
/// less than that to some of them.
pub(super) fn describe(owner: &str, field: &str, place: u64, density: u64) -> Vec<String> {
    let hash = mix(0, owner).rotate_left(7) ^ mix(0, field);
    let more = (density + hash % 1024) / 1024;
    let (owner, words) = (words(owner), words(field));
    let fill = |sentence: &str| sentence.replace("{F}", field).replace("{f}", &words).replace("{o}", &owner);
    let mut lines = vec![fill(pick(OPENINGS, hash >> 10))];
    lines.extend((0..more).map(|n| {
        let here = mix(place, field);
        let thing = [pick(WORDS, (here >> 20) + 37 * n), pick(WORDS, (here >> 30) + 11 * n)].join(" ");
        fill(pick(SENTENCES, (here >> 40) + 7 * n)).replace("{w}", &thing)
    }));
    lines
}

fn pick<'a>(from: &[&'a str], n: u64) -> &'a str {
    let index = usize::try_from(n % from.len() as u64).unwrap_or_default();
    from.get(index).copied().unwrap_or_default()
}

/// `remoteWriteURL` becomes `remote write url`.
fn words(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 8);
    let mut previous = 'A';
    for c in name.chars() {
        if c.is_uppercase() && !previous.is_uppercase() {
            out.push(' ');
        }
        out.extend(c.to_lowercase());
        previous = c;
    }
    out
}

/// The place of `name` below `place`; the place of a root is `mix(0, kind)`.
pub(super) fn mix(place: u64, name: &str) -> u64 {
    let start = place ^ 0xcbf2_9ce4_8422_2325;
    name.bytes().fold(start, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
