//! Generates `CustomResourceDefinition` objects from short type descriptions (`types/*.types`).
//!
//! Real CRDs are large because they spell out every nested type wherever it is used. So does this: the API server gets
//! as many properties, enums and lists to compile as from the real ones. Only the prose is generated, and how much of it
//! is found by trying until the CRD has the size that is asked for.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};

use super::prose;

/// The shared Kubernetes types that all charts' types build on.
pub(super) const CORE: &str = include_str!("types/core.types");

/// Named types, each a list of fields.
pub(super) struct Types<'a>(BTreeMap<&'a str, Vec<Field<'a>>>);

struct Field<'a> {
    name: &'a str,
    required: bool,
    shape: Shape<'a>,
    default: Option<&'a str>,
}

enum Shape<'a> {
    /// A scalar or a type by name.
    Named(&'a str),
    Enum(Vec<&'a str>),
    /// A list, and the field that identifies its items.
    List(Box<Shape<'a>>, Option<&'a str>),
    Map(Box<Shape<'a>>),
}

/// One custom resource: its names, and what of it is not in its type.
pub(super) struct Crd {
    pub(super) group: &'static str,
    pub(super) version: &'static str,
    pub(super) kind: &'static str,
    /// The type in the types file, where it is not called like the kind.
    pub(super) root: Option<&'static str>,
    pub(super) plural: &'static str,
    pub(super) short_names: &'static [&'static str],
    pub(super) categories: &'static [&'static str],
    pub(super) cluster_scoped: bool,
    /// Name, type and JSON path of the columns that `kubectl get` shows.
    pub(super) columns: &'static [(&'static str, &'static str, &'static str)],
    /// Rule and message of CEL validations of the whole object.
    pub(super) rules: &'static [(&'static str, &'static str)],
    /// The size to reach, in bytes.
    pub(super) size: usize,
}

impl Crd {
    /// A namespaced resource with nothing special about it.
    pub(super) const fn new(
        group: &'static str,
        version: &'static str,
        kind: &'static str,
        plural: &'static str,
        size: usize,
    ) -> Self {
        Self {
            group,
            version,
            kind,
            root: None,
            plural,
            short_names: &[],
            categories: &[],
            cluster_scoped: false,
            columns: &[("Age", "date", ".metadata.creationTimestamp")],
            rules: &[],
            size,
        }
    }

    /// The object as YAML, with the lines of `metadata` (indented by two) behind its name, and as near to its size as
    /// whole sentences allow.
    pub(super) fn render(&self, types: &Types<'_>, metadata: &str) -> anyhow::Result<String> {
        let at = |density| self.render_with(types, metadata, density);
        let (mut low, mut high) = (0, prose::DENSEST);
        let (least, most) = (at(low)?.len(), at(high)?.len());
        if !(least..=most).contains(&self.size) {
            bail!("the schema of `{}` gives {least} to {most} bytes, not {}", self.kind, self.size);
        }
        let (mut at_low, mut at_high) = (least, most);
        loop {
            // The size grows evenly with the density, so this finds it in a few steps.
            let share = (self.size - at_low) as u64 * (high - low) / (at_high - at_low).max(1) as u64;
            let density = low + share;
            let text = at(density)?;
            if text.len().abs_diff(self.size) <= self.size / 200 || share == 0 {
                return Ok(text);
            }
            if text.len() > self.size {
                (high, at_high) = (density, text.len());
            } else {
                (low, at_low) = (density, text.len());
            }
        }
    }

    fn render_with(&self, types: &Types<'_>, metadata: &str, density: u64) -> anyhow::Result<String> {
        let singular = self.kind.to_lowercase();
        let mut out = Yaml::default();
        out.line(0, &["apiVersion: apiextensions.k8s.io/v1"]);
        out.line(0, &["kind: CustomResourceDefinition"]);
        out.line(0, &["metadata:"]);
        out.line(2, &["name: ", self.plural, ".", self.group]);
        out.text.push_str(metadata);
        out.line(0, &["spec:"]);
        out.line(2, &["group: ", self.group]);
        out.line(2, &["names:"]);
        out.list(4, "categories", self.categories);
        out.line(4, &["kind: ", self.kind]);
        out.line(4, &["listKind: ", self.kind, "List"]);
        out.line(4, &["plural: ", self.plural]);
        out.list(4, "shortNames", self.short_names);
        out.line(4, &["singular: ", &singular]);
        out.line(2, &["scope: ", if self.cluster_scoped { "Cluster" } else { "Namespaced" }]);
        out.line(2, &["versions:"]);
        out.line(2, &["- additionalPrinterColumns:"]);
        for (name, kind, path) in self.columns {
            out.line(4, &["- jsonPath: ", path]);
            out.line(4, &["  name: ", name]);
            out.line(4, &["  type: ", kind]);
        }
        out.line(4, &["name: ", self.version]);
        out.line(4, &["schema:"]);
        out.line(6, &["openAPIV3Schema:"]);
        let root = self.root.unwrap_or(self.kind);
        Writer { types, density, out: &mut out }
            .root(root, self)
            .with_context(|| format!("in the schema of `{}`", self.kind))?;
        out.line(4, &["served: true"]);
        out.line(4, &["storage: true"]);
        if types.fields(root)?.iter().any(|field| field.name == "status") {
            out.line(4, &["subresources:"]);
            out.line(4, &["  status: {}"]);
        }
        Ok(out.text)
    }
}

impl<'a> Types<'a> {
    /// Reads type descriptions; later texts may use the types of earlier ones.
    pub(super) fn parse(texts: &[&'a str]) -> anyhow::Result<Self> {
        let mut types: BTreeMap<&str, Vec<Field<'_>>> = BTreeMap::new();
        for text in texts {
            let mut current = None;
            for line in text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
                let mut tokens = line.split_whitespace();
                if !line.starts_with(' ') {
                    current = tokens.next();
                }
                let name = current.context("a type begins with its name")?;
                let fields = types.entry(name).or_default();
                for token in tokens {
                    fields.push(Field::parse(token).with_context(|| format!("in type `{name}`: `{token}`"))?);
                }
            }
        }
        Ok(Self(types))
    }

    fn fields(&self, name: &str) -> anyhow::Result<&[Field<'a>]> {
        self.0.get(name).map(Vec::as_slice).with_context(|| format!("no type `{name}`"))
    }
}

impl<'a> Field<'a> {
    fn parse(token: &'a str) -> anyhow::Result<Self> {
        let (name, rest) = token.split_once(':').context("a field is `name:type`")?;
        // An enum may hold `=`, so its default is looked for behind it.
        let behind = rest.rfind(')').map_or(0, |end| end + 1);
        let (shape, default) = match rest.get(behind..).and_then(|tail| tail.find('=')) {
            Some(at) => (rest.get(..behind + at), rest.get(behind + at + 1..)),
            None => (Some(rest), None),
        };
        Ok(Self {
            name: name.trim_end_matches('!'),
            required: name.ends_with('!'),
            shape: Shape::parse(shape.unwrap_or_default())?,
            default,
        })
    }
}

impl<'a> Shape<'a> {
    fn parse(text: &'a str) -> anyhow::Result<Self> {
        let inner = |open, close| text.strip_prefix(open).and_then(|rest: &str| rest.strip_suffix(close));
        Ok(if let Some(items) = inner('[', ']') {
            match items.split_once('@') {
                Some((items, key)) => Self::List(Box::new(Self::parse(items)?), Some(key)),
                None => Self::List(Box::new(Self::parse(items)?), None),
            }
        } else if let Some(values) = inner('{', '}') {
            Self::Map(Box::new(Self::parse(values)?))
        } else if let Some(values) = text.strip_prefix("enum(").and_then(|rest| rest.strip_suffix(')')) {
            Self::Enum(values.split('|').collect())
        } else if text.is_empty() || text.contains(['(', ')', '[', ']', '{', '}']) {
            bail!("`{text}` is not a type");
        } else {
            Self::Named(text)
        })
    }
}

#[derive(Default)]
struct Yaml {
    text: String,
}

impl Yaml {
    fn line(&mut self, indent: usize, parts: &[&str]) {
        self.text.extend(std::iter::repeat_n(' ', indent));
        self.text.extend(parts.iter().copied());
        self.text.push('\n');
    }

    fn list(&mut self, indent: usize, name: &str, items: &[&str]) {
        if !items.is_empty() {
            self.line(indent, &[name, ":"]);
            for item in items {
                self.line(indent, &["- ", &scalar(item)]);
            }
        }
    }

    fn description(&mut self, indent: usize, lines: &[String]) {
        match lines {
            // A colon in it would make a plain scalar a mapping.
            [one] if !one.contains(": ") => self.line(indent, &["description: ", one]),
            lines => {
                self.line(indent, &["description: |-"]);
                for line in lines {
                    self.line(indent + 2, &[line]);
                }
            }
        }
    }
}

/// Quotes what controller-gen would quote. Like controller-gen, it does not quote `=`, which some YAML 1.1 parsers reject.
fn scalar(text: &str) -> std::borrow::Cow<'_, str> {
    let quoted = text == r#""""#;
    if !quoted
        && (text.starts_with('!') || matches!(text, "True" | "False" | "") || text.parse::<f64>().is_ok())
    {
        format!("\"{text}\"").into()
    } else {
        text.into()
    }
}

const DURATION: &str =
    "pattern: ^(0|(([0-9]+)y)?(([0-9]+)w)?(([0-9]+)d)?(([0-9]+)h)?(([0-9]+)m)?(([0-9]+)s)?(([0-9]+)ms)?)$";
const QUANTITY: &str = "pattern: ^(\\+|-)?(([0-9]+(\\.[0-9]*)?)|(\\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\\+|-)?(([0-9]+(\\.[0-9]*)?)|(\\.[0-9]+))))?$";

struct Writer<'w, 't> {
    types: &'w Types<'t>,
    density: u64,
    out: &'w mut Yaml,
}

impl Writer<'_, '_> {
    fn root(&mut self, name: &str, crd: &Crd) -> anyhow::Result<()> {
        let fields = self.types.fields(name)?;
        let place = prose::mix(0, crd.kind);
        let lines = prose::describe(name, crd.kind, place, self.density);
        self.out.description(8, &lines);
        self.out.line(8, &["properties:"]);
        for (field, url) in [("apiVersion", "resources"), ("kind", "types-kinds")] {
            self.out.line(10, &[field, ":"]);
            self.out.description(
                12,
                &[
                    format!("The {field} of this representation of an object."),
                    "Servers convert what they recognise to the latest internal value.".to_owned(),
                    format!("More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#{url}"),
                ],
            );
            self.out.line(12, &["type: string"]);
        }
        self.out.line(10, &["metadata:"]);
        self.out.line(12, &["type: object"]);
        for field in fields {
            self.field(crd.kind, field, place, 10)?;
        }
        self.required(fields, 8);
        self.out.line(8, &["type: object"]);
        if !crd.rules.is_empty() {
            self.out.line(8, &["x-kubernetes-validations:"]);
        }
        for (rule, message) in crd.rules {
            self.out.line(8, &["- message: ", message]);
            self.out.line(8, &["  rule: ", rule]);
        }
        Ok(())
    }

    fn field(&mut self, owner: &str, field: &Field<'_>, place: u64, indent: usize) -> anyhow::Result<()> {
        self.out.line(indent, &[field.name, ":"]);
        if let Some(default) = field.default {
            self.out.line(indent + 2, &["default: ", default]);
        }
        let lines = prose::describe(owner, field.name, place, self.density);
        self.out.description(indent + 2, &lines);
        self.shape(&field.shape, prose::mix(place, field.name), indent + 2)
            .with_context(|| format!("`{}`", field.name))
    }

    fn required(&mut self, fields: &[Field<'_>], indent: usize) {
        let names: Vec<_> = fields.iter().filter(|field| field.required).map(|field| field.name).collect();
        self.out.list(indent, "required", &names);
    }

    fn shape(&mut self, shape: &Shape<'_>, place: u64, indent: usize) -> anyhow::Result<()> {
        match shape {
            Shape::Named(name) => self.named(name, place, indent)?,
            Shape::Enum(values) => {
                self.out.list(indent, "enum", values);
                self.out.line(indent, &["type: string"]);
            }
            Shape::List(items, key) => {
                self.out.line(indent, &["items:"]);
                self.shape(items, place, indent + 2)?;
                self.out.line(indent, &["type: array"]);
                match key {
                    Some(key) => {
                        self.out.list(indent, "x-kubernetes-list-map-keys", &[key]);
                        self.out.line(indent, &["x-kubernetes-list-type: map"]);
                    }
                    None => self.out.line(indent, &["x-kubernetes-list-type: atomic"]),
                }
            }
            Shape::Map(values) => {
                self.out.line(indent, &["additionalProperties:"]);
                self.shape(values, place, indent + 2)?;
                self.out.line(indent, &["type: object"]);
            }
        }
        Ok(())
    }

    fn named(&mut self, name: &str, place: u64, indent: usize) -> anyhow::Result<()> {
        let lines: &[&str] = match name {
            "string" => &["type: string"],
            "bool" => &["type: boolean"],
            "int32" => &["format: int32", "type: integer"],
            "int64" => &["format: int64", "type: integer"],
            "bytes" => &["format: byte", "type: string"],
            "time" => &["format: date-time", "type: string"],
            "duration" => &[DURATION, "type: string"],
            "json" => &["x-kubernetes-preserve-unknown-fields: true"],
            "intstr" => &["anyOf:", "- type: integer", "- type: string", "x-kubernetes-int-or-string: true"],
            "quantity" => {
                &["anyOf:", "- type: integer", "- type: string", QUANTITY, "x-kubernetes-int-or-string: true"]
            }
            _ => {
                let fields = self.types.fields(name)?;
                self.out.line(indent, &["properties:"]);
                for field in fields {
                    self.field(name, field, place, indent + 2)?;
                }
                self.required(fields, indent);
                &["type: object"]
            }
        };
        for line in lines {
            self.out.line(indent, &[line]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CRD: Crd = Crd::new("example.org", "v1", "Thing", "things", 6000);

    #[test]
    fn a_crd_has_the_asked_size_and_shape() {
        let types = Types::parse(&[
            "Thing spec!:Spec status:Spec\nSpec op:enum(!=|=)== names!:[Name@id]\nName id!:string n:int32=3",
        ])
        .unwrap();
        let text = CRD.render(&types, "").unwrap();
        assert!((5900..=6100).contains(&text.len()), "{}", text.len());
        for part in [
            "- \"!=\"\n",
            "- =\n",
            "default: =\n",
            "default: 3\n",
            "x-kubernetes-list-map-keys:\n",
            "subresources:",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }

    #[test]
    fn a_mistake_in_a_type_names_its_place() {
        let error = Types::parse(&["Thing\n  spec:[Spec"]).err().unwrap();
        assert_eq!(format!("{error:#}"), "in type `Thing`: `spec:[Spec`: `[Spec` is not a type");
        let types = Types::parse(&["Thing spec:Spec"]).unwrap();
        let error = CRD.render(&types, "").unwrap_err();
        assert_eq!(format!("{error:#}"), "in the schema of `Thing`: `spec`: no type `Spec`");
    }

    #[test]
    fn a_schema_that_cannot_have_the_size_is_refused() {
        let types = Types::parse(&["Thing spec:string"]).unwrap();
        let error = Crd { size: 90_000, ..CRD }.render(&types, "").unwrap_err().to_string();
        assert!(
            error.starts_with("the schema of `Thing` gives ") && error.ends_with(" bytes, not 90000"),
            "{error}"
        );
    }
}
