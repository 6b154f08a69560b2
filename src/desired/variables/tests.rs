use super::*;

fn parsed(name: &str, text: &str, state: State) -> Result<Vec<(String, String)>, String> {
    let path = Path::new(name);
    let format = Format::new(path).map_err(|finding| format!("{:?}", finding.details))?;
    match parse(path, format, text, state) {
        Ok(found) => Ok(found
            .into_iter()
            .map(|variable| (variable.name, variable.value.expose_secret().to_owned()))
            .collect()),
        Err(finding) => {
            let details = finding.details.iter().skip(1).map(|(key, value)| format!("{key}={value}"));
            let details = details.collect::<Vec<_>>().join("; ");
            assert!(!details.contains("CANARY"), "{details}");
            Err(details)
        }
    }
}

fn values(name: &str, text: &str, state: State) -> Vec<(String, String)> {
    parsed(name, text, state).unwrap()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn dotenv_lines_are_read() {
    let text = "\u{20}# comment\n\nA=1\n export B = two words  # comment\r\nC='a # \\n$b' # x\nD=\"a\\n\\\"b\\\" \\$c \\x\"\nE=\nF=a#b\nG=x=y\\nz\nH=#x\nA=1\n";
    let mut expected = vec![
        ("A", "1"),
        ("B", "two words"),
        ("C", "a # \\n$b"),
        ("D", "a\n\"b\" $c \\x"),
        ("E", ""),
        ("F", "a#b"),
        ("G", "x=y\\nz"),
        ("H", ""),
        ("A", "1"),
    ];
    assert_eq!(values(".env", text, State::Plain), pairs(&expected));
    // sops writes line breaks as `\n`.
    expected[6].1 = "x=y\nz";
    assert_eq!(values("a.sops.env", text, State::Decrypted), pairs(&expected));
}

#[test]
fn names_of_an_encrypted_dotenv_file_are_known() {
    let text = "#ENC[AES256_GCM,data:x,type:comment]\nA=ENC[AES256_GCM,data:x,type:str]\nB=\nsops_mac=ENC[x]\nsops_version=3.13.2\n";
    assert!(Format::Dotenv.is_encrypted(text));
    assert!(!Format::Dotenv.is_encrypted("A=sops_mac=x\n"));
    let found = parse(Path::new("a.env"), Format::Dotenv, text, State::Encrypted).ok().unwrap();
    let names: Vec<_> = found.iter().map(|one| (one.name.as_str(), one.is_encrypted)).collect();
    assert_eq!(names, [("A", true), ("B", false)]);
    // Whether encrypted values differ is unknown, and their size is not that of the values.
    let long = format!("A=ENC[x]\nA=ENC[{}]\n", "y".repeat(MAX_VALUE_SIZE));
    assert!(parse(Path::new("a.env"), Format::Dotenv, &long, State::Encrypted).is_ok());
    // A value that only looks encrypted is one.
    let found = parse(Path::new("a.env"), Format::Dotenv, "A=ENC[x]\n", State::Plain).ok().unwrap();
    assert!(!found[0].is_encrypted);
}

#[test]
fn objects_are_read() {
    let text = "apiVersion: v1\nkind: Secret\nmetadata: {name: cluster-secrets}\ndata: {A: QUJD, B: \"QUJD\\nCg==\\n\"}\nstringData:\n  C: |\n    text\n---\n---\n\
                kind: ConfigMap\ndata: {D: '6443'}\nbinaryData: {E: QQ==}\n";
    assert_eq!(
        values("a.yaml", text, State::Plain),
        pairs(&[("A", "ABC"), ("B", "ABC"), ("C", "text"), ("D", "6443")])
    );
    let encrypted = "kind: Secret\ndata: {A: 'ENC[x]'}\nstringData: {B: 'ENC[y]', C: open}\nsops: {mac: x}\n";
    assert!(Format::Manifest.is_encrypted(encrypted) && !Format::Manifest.is_encrypted(text));
    let found = parse(Path::new("a.yaml"), Format::Manifest, encrypted, State::Encrypted).ok().unwrap();
    let names: Vec<_> = found.iter().map(|one| (one.name.as_str(), one.is_encrypted)).collect();
    assert_eq!(names, [("A", true), ("B", true), ("C", false)]);
}

#[test]
fn what_is_wrong_is_shown_without_values() {
    let long = format!("A={}CANARY\n", "x".repeat(MAX_VALUE_SIZE));
    let cases = [
        ("a.toml", "", "[(\"file\", \"a.toml\"), (\"reason\", \"the name does not show its format\")"),
        ("a.env", "A=1\nCANARY\n", "line=2; reason=there is no `=`; accepted=`NAME=value`"),
        ("a.env", "A=\"CANARY\n", "line=1; reason=the quote is not closed in this line"),
        ("a.env", "A='CANARY\n", "line=1; reason=the quote is not closed in this line"),
        ("a.env", "A='x' CANARY\n", "line=1; reason=there is text after the closing quote"),
        (
            "a.env",
            "A=1\nB=2\nA=CANARY\n",
            "line=3; reason=line 1 sets `A` to another value; accepted=each variable once",
        ),
        ("a.env", "A-B=CANARY\n", "line=1; reason=this is not the name of a variable; accepted=letters"),
        ("a.env", "1A=CANARY\n", "line=1; reason=this is not the name of a variable"),
        (
            "a.env",
            "KUBECONFIG=CANARY\n",
            "line=1; reason=`KUBECONFIG` could select another cluster or change how programs run",
        ),
        ("a.env", &long, "line=1; reason=no variable can hold the value"),
        ("a.env", "# nothing\n", "reason=it contains no variable; accepted=Secret"),
        ("a.yaml", "a: [CANARY\n", "reason=not valid YAML: line "),
        ("a.yaml", "CANARY\n", "field=kind; reason=this is neither a Secret nor a ConfigMap"),
        ("a.yaml", "kind: Deployment\n", "field=kind; reason=this is neither a Secret nor a ConfigMap"),
        (
            "a.yaml",
            "kind: Secret\nstringData: {A: x}\n---\nkind: List\n",
            "field=kind of document 2; reason=this is neither",
        ),
        ("a.yaml", "kind: Secret\nstringData: CANARY\n", "field=stringData; reason=this is not a mapping"),
        ("a.yaml", "kind: Secret\nstringData: {1: CANARY}\n", "field=stringData; reason=a key is not text"),
        (
            "a.yaml",
            "kind: ConfigMap\ndata: {PORT: 6443}\n",
            "field=data.PORT; reason=the value is not text; accepted=text; put",
        ),
        (
            "a.yaml",
            "kind: Secret\ndata: {A: CANARY!}\n",
            "field=data.A; reason=the value is not base64; accepted=text in base64",
        ),
        ("a.yaml", "kind: Secret\ndata: {A: /w==}\n", "field=data.A; reason=the decoded value is not text"),
        (
            "a.yaml",
            "kind: Secret\nstringData: {age.agekey: CANARY}\n",
            "field=stringData.age.agekey; reason=this is not the name",
        ),
        (
            "a.yaml",
            "kind: Secret\nstringData: {A: \"CANARY\\0\"}\n",
            "field=stringData.A; reason=no variable can hold",
        ),
        ("a.yaml", "kind: Secret\n", "reason=it contains no variable"),
    ];
    for (name, text, expected) in cases {
        let found = parsed(name, text, State::Plain).unwrap_err();
        assert!(found.starts_with(expected), "{name} {text:.60}: {found}");
    }
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text: String, near in crate::base::mutate::text(&[
        "# x\nexport A = \"a\\n\\\"b\" # c\nB='x'\nC=ENC[AES256_GCM,data:x]\nsops_mac=ENC[x]\n",
        "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ndata: {A: QUJD}\nstringData:\n  B: ENC[AES256_GCM,data:x,type:str]\nsops: {mac: x}\n---\nkind: ConfigMap\ndata: {D: '1'}\n",
    ])) {
        for text in [text, near] {
            for format in [Format::Manifest, Format::Dotenv] {
                _ = format.is_encrypted(&text);
                for state in [State::Plain, State::Encrypted, State::Decrypted] {
                    _ = parse(Path::new("a"), format, &text, state);
                }
            }
        }
    }
}
