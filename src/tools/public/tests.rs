use super::*;

fn shown(public: PublicPart, talk: &str) -> String {
    talk.lines().filter_map(public).collect::<Vec<_>>().join("\n")
}

/// Output of helmfile 1.7.4 with helm 4.2.4, and what passes the filter.
const HELMFILE: &[(&str, &str)] = &[
    (
        "in h.yaml: failed to render values files \"v.yaml.gotmpl\": failed to render [v.yaml.gotmpl], because of template: stringTemplate:1:4: executing \"stringTemplate\" at <fromYaml (readFile \"../k8s/hr.yaml\")>: error calling fromYaml: yaml: line 1: did not find expected key, offending yaml: spec:\n  values:\n    a: b\n   bad: CANARY: x: y\n\nin h.yaml: after",
        "in h.yaml: failed to render values files \"v.yaml.gotmpl\": failed to render [v.yaml.gotmpl], because of template: stringTemplate:1:4: executing \"stringTemplate\" at <fromYaml (readFile \"../k8s/hr.yaml\")>: error calling fromYaml: yaml: line 1: did not find expected key\nin h.yaml: after",
    ),
    (
        "in h.yaml: yaml: unmarshal errors:\n  line 1: cannot unmarshal !!str `CANARY-...` into map[string]interface {}",
        "in h.yaml: yaml: unmarshal errors:\n  line 1: cannot unmarshal !!str into map[string]interface {}",
    ),
    (
        "  line 1: cannot unmarshal !!seq into map[string]interface {}",
        "  line 1: cannot unmarshal !!seq into map[string]interface {}",
    ),
    (
        "in h.yaml: yaml: line 2: mapping values are not allowed in this context",
        "in h.yaml: yaml: line 2: mapping values are not allowed in this context",
    ),
    (
        "x at <fetchSecretValue \"ref+sops://../s.sops.yaml#/top\">: error calling fetchSecretValue: expected map[other:two pw:CANARY] to be string",
        "x at <fetchSecretValue \"ref+sops://../s.sops.yaml#/top\">: error calling fetchSecretValue: the key is a map, not a string",
    ),
    (
        "x at <f>: error calling fetchSecretValue: expected <nil> to be string",
        "x at <f>: error calling fetchSecretValue: the key does not exist",
    ),
    (
        "x: error calling fetchSecretValue: expand sops://../s.sops.yaml#/top/pw: Error getting data key: 0 successful groups required, got 0",
        "x: error calling fetchSecretValue: expand sops://../s.sops.yaml#/top/pw: Error getting data key: 0 successful groups required, got 0",
    ),
    (
        "x: error calling mustToDate: parsing time \"CANARY\" as \"2006\": cannot parse \"CANARY\" as \"2006\"",
        "x: error calling mustToDate: (message withheld: it may contain file content)",
    ),
    (
        "x: error calling include: template: c/a.tpl:1:2: executing \"a\" at <b>: error calling atoi: strconv.Atoi: parsing \"CANARY\": invalid syntax",
        "x: error calling include: template: c/a.tpl:1:2: executing \"a\" at <b>: error calling atoi: (message withheld: it may contain file content)",
    ),
    (
        "x: error calling requiredEnv: required env var `K3S_API_HOST` is not set",
        "x: error calling requiredEnv: required env var `K3S_API_HOST` is not set",
    ),
    ("x: error calling required: set a.b", "x: error calling required: set a.b"),
    (
        "x: error calling fetchSecretValue: expected map[a:CANARY-1\nCANARY-2\n\nCANARY-3] to be string\nerr 1: y",
        "x: error calling fetchSecretValue: the key is a map, not a string\nerr 1: y",
    ),
    (
        "  - at '/a': value must be 'ok'\n  - at '/n': got string, want integer\n  - at '/p': 'CANARY' does not match pattern '^x'",
        "  - at '/a': value must be 'ok'\n  - at '/n': got string, want integer\n  - at '/p': does not match pattern '^x'",
    ),
    (
        "- at '/m': maximum: got 12345678, want 10\n- at '/f': 'CANARY' is not valid email: missing @ in CANARY\n- at '/l': minLength: got 3, want 8\n- at '': additional properties 'x' not allowed",
        "- at '/m': maximum: want 10\n- at '/f': is not valid email\n- at '/l': minLength: want 8\n- at '': additional properties 'x' not allowed",
    ),
    (
        "  Error: incl/templates/cm.yaml:1:6\n    executing \"incl/templates/cm.yaml\" at <include \"x.y\" .>:\n      error calling include:\n  \
         incl/templates/_h.tpl:2:10\n    executing \"x.y\" at <.Values.deep.er.key>:\n      nil pointer evaluating interface {}.er\n  \
         Use --debug flag to render out invalid YAML",
        "  Error: incl/templates/cm.yaml:1:6\n    executing \"incl/templates/cm.yaml\" at <include \"x.y\" .>:\n      error calling include:\n  \
         incl/templates/_h.tpl:2:10\n    executing \"x.y\" at <.Values.deep.er.key>:\n      nil pointer evaluating interface {}.er\n  \
         Use --debug flag to render out invalid YAML",
    ),
    (
        "    executing \"a\" at <atoi .Values.a>:\n      error calling atoi:\n        strconv.Atoi: parsing \"CANARY\": invalid syntax\n\nCOMBINED OUTPUT:\n  x",
        "    executing \"a\" at <atoi .Values.a>:\n      error calling atoi: (message withheld: it may contain file content)\nCOMBINED OUTPUT:\n  x",
    ),
    (
        "template: c/a.yaml:1:9: executing \"c/a.yaml\" at <.Values.a>: range can't iterate over CANARY\nCANARY\nin h.yaml: after",
        "template: c/a.yaml:1:9: executing \"c/a.yaml\" at <.Values.a>: range can't iterate over (message withheld: it may contain file content)\nin h.yaml: after",
    ),
    (
        "  Error: error while running post render on files: error while running command /bin/x. error output:\n  x: CANARY: command not found\n\nCOMBINED OUTPUT:\n",
        "  Error: error while running post render on files: (message withheld: it may contain file content)\nCOMBINED OUTPUT:",
    ),
    (
        "  Error: YAML parse error on c/a.yaml: error converting YAML to JSON: yaml: line 3: did not find expected ',' or '}'",
        "  Error: YAML parse error on c/a.yaml: error converting YAML to JSON: yaml: line 3: did not find expected ',' or '}'",
    ),
    (
        "  Error: YAML parse error on c/a.yaml: error converting YAML to JSON: yaml: unknown anchor 'CANARY' referenced",
        "  Error: YAML parse error on c/a.yaml: error converting YAML to JSON: yaml: unknown anchor  referenced",
    ),
    (
        "  Error: YAML parse error on c/a.yaml: error converting YAML to JSON: yaml: invalid map key: map[interface {}]interface {}{\"CANARY\":1}",
        "  Error: YAML parse error on c/a.yaml: error converting YAML to JSON: yaml: invalid map key",
    ),
    (
        "  Error: YAML parse error on c/a.yaml: error converting YAML to JSON: yaml: line 5: key \"CANARY\" already set in map",
        "  Error: YAML parse error on c/a.yaml: error converting YAML to JSON: yaml: line 5: key  already set in map",
    ),
    (
        "in ./e.yaml: failed to load environment values file \"env.yaml\": yaml: line 1: did not find expected ',' or ']'\n\nOffending YAML:\na: CANARY-1\n\nin CANARY: |\nerr 1: CANARY\nb: CANARY",
        "in ./e.yaml: failed to load environment values file \"env.yaml\": yaml: line 1: did not find expected ',' or ']'\n",
    ),
    (
        "STDERR:\n  in ./g.yaml: failed to load environment values file \"b\": yaml: line 2: c\n  \n  Offending YAML:\n  in CANARY: 1\n\n  CANARY\nCOMBINED OUTPUT:\n  Offending YAML:\n  CANARY\nerr 1: x",
        "STDERR:\n  in ./g.yaml: failed to load environment values file \"b\": yaml: line 2: c\n  \nCOMBINED OUTPUT:\nerr 1: x",
    ),
    ("hook[postsync] logs | Offending YAML:\nhook[postsync] logs | CANARY\nin x.yaml: y", "in x.yaml: y"),
    (
        "in ./h.yaml: failed executing template expressions in release \"a\".values[0] = \"a: CANARY\nb: '{{ .Foo.Bar }}'\n\": template: stringTemplate:1:3: executing \"stringTemplate\" at <.Foo>: can't evaluate field Foo\nerr 1: y",
        "in ./h.yaml: failed executing template expressions in release \"a\".values[0]\nin ./h.yaml: failed executing template expressions in release \"a\".values[0]: template: stringTemplate:1:3: executing \"stringTemplate\" at <.Foo>: can't evaluate field Foo\nerr 1: y",
    ),
    (
        "in ./h.yaml: failed executing template expressions in release \"a\".set[0].value = \"CANARY{{ .Foo }}\": template: stringTemplate:1:3: x",
        "in ./h.yaml: failed executing template expressions in release \"a\".set[0].value: template: stringTemplate:1:3: x",
    ),
    (
        "in ./h.yaml: unexpected type of value: value=[CANARY], type=[]interface {}",
        "in ./h.yaml: unexpected type of value: (message withheld: it may contain file content)",
    ),
    (
        "in ./h.yaml: unexpected type of key in map: expected string, got int: value=1, map=map[1:CANARY\nCANARY]",
        "in ./h.yaml: unexpected type of key in map: expected string, got int: (message withheld: it may contain file content)",
    ),
    (
        "in ./mm.yaml: expand sops://m.sops.yaml#/top/a/b: unexpected type of value for key at 1=a in [top a b]: expected a map, got CANARY(string)",
        "in ./mm.yaml: expand sops://m.sops.yaml#/top/a/b: unexpected type of value for key at 1=a in [top a b]: expected a map, got (message withheld: it may contain file content)",
    ),
    (
        "in ./e.yaml: failed to load environment values file \"env.yaml\": yaml: unknown anchor 'CANARY' referenced",
        "in ./e.yaml: failed to load environment values file \"env.yaml\": yaml: unknown anchor  referenced",
    ),
    (
        "failed: unexpected type of value in release values: value=CANARY, type=string",
        "failed: unexpected type of value in release values: (message withheld: it may contain file content)",
    ),
    (
        "Upgrading release=cilium, chart=/c/cilium, namespace=kube-system",
        "Upgrading release=cilium, chart=/c/cilium, namespace=kube-system",
    ),
];

/// Output of sops 3.13.2, and what passes the filter.
const SOPS: &[(&str, &str)] = &[
    (
        "Error decrypting tree: Error walking tree: Could not decrypt value: Input string CANARY does not match sops' data format",
        "Error decrypting tree: Error walking tree: Could not decrypt value: input does not match sops' data format",
    ),
    (
        "Cannot decrypt MAC: Input string CANARY does not match sops' data format",
        "Cannot decrypt MAC: input does not match sops' data format",
    ),
    ("MAC mismatch. File has 444F, computed CANARY", "MAC mismatch"),
    (
        "Error decrypting tree: Error walking tree: Could not decrypt value: Could not decrypt with AES_GCM: cipher: message authentication failed",
        "Error decrypting tree: Error walking tree: Could not decrypt value: Could not decrypt with AES_GCM: cipher: message authentication failed",
    ),
    (
        "yaml: mapping values are not allowed in this context",
        "yaml: mapping values are not allowed in this context",
    ),
    (
        "parsing time \"CANARY\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"CANARY\" as \"2006\"",
        "(message withheld: it may contain file content)",
    ),
    ("sops metadata not found", "sops metadata not found"),
    (
        "yaml: unmarshal errors:\n  line 21: mapping key \"CANARY\" already defined at line 6",
        "yaml: unmarshal errors:\n  line 21: mapping key  already defined at line 6",
    ),
    ("    - | failed to load age identities.", "    - | failed to load age identities."),
];

#[test]
fn stored_login_is_withheld() {
    let error = r#"Error: GET "https://h/v2/x": failed to decode auth field: invalid config format: auth 'CANARY' does not conform"#;
    let expected = r#"Error: GET "https://h/v2/x": failed to decode auth field: (withheld)"#;
    assert_eq!(shown(registry_filter(), error), expected);
    assert_eq!(shown(registry_filter(), "Error: not found"), "Error: not found");
}

#[test]
fn file_content_is_withheld() {
    for (talk, expected) in HELMFILE {
        assert_eq!(shown(helmfile_filter(), talk), *expected);
    }
    for (talk, expected) in SOPS {
        assert_eq!(shown(sops_filter(), talk), *expected);
    }
    for (_, expected) in HELMFILE.iter().chain(SOPS) {
        assert!(!expected.contains("CANARY"), "{expected}");
    }
}

proptest::proptest! {
    #[test]
    fn filtering_never_panics(near in crate::base::mutate::text(&[
        "in h.yaml: x: error calling fromYaml: yaml: line 1: did not find \"a\", offending yaml: spec:",
        "  - at '/p': 'CANARY' does not match pattern '^x'\n- at '/m': maximum: got 12, want 10\n- at '/f': 'a' is not valid b: c",
        "  line 1: cannot unmarshal !!str `CANARY-...` into map[string]interface {}",
        "MAC mismatch. File has 444F, computed ABC",
    ])) {
        _ = (shown(helmfile_filter(), &near), shown(sops_filter(), &near));
    }
}
