//! What kustomize, helm and kubectl print and read, against our own reader: random texts, scalars
//! and odd documents, each sort in one run of the real tool.

use std::collections::BTreeMap;
use std::{fs, path::Path};

use serde_json::{Map, Value, json};

use super::staged::{Staged, tools};
use super::*;
use crate::object::{Object, read_manifests, to_flow_yaml, to_yaml};

/// Numbers that look random and are the same in every run (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % limit
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

const WORDS: [&str; 40] = [
    "true",
    "tRUE",
    "True",
    "TRUE",
    "false",
    "on",
    "oN",
    "On",
    "off",
    "no",
    "nO",
    "No",
    "yes",
    "YES",
    "y",
    "Y",
    "n",
    "N",
    "null",
    "Null",
    "nULL",
    "~",
    "",
    ".inf",
    ".NaN",
    "-.INF",
    "<<",
    "=",
    "0x1F",
    "0o17",
    "0b11",
    "0644",
    "08",
    "1_000",
    "1:30",
    "12e4567",
    "1e3",
    "2026-01-01",
    "---",
    "...",
];

/// Texts that are easily taken for something else.
fn texts() -> Vec<String> {
    let mut random = Random(0x5eed_1234_5678_9abc);
    let mut texts: Vec<String> = WORDS.map(str::to_owned).into();
    let numbers: Vec<char> = "0123456789eE.+-_xXobBaf:~".chars().collect();
    let nasty: Vec<char> = " \t\n\r'\"\\:#-?[]{},&*!|>%@`~=<yn0x1.a\u{85}\u{a0}\u{2028}\u{2029}\u{feff}é日😀\u{1b}\u{200b}"
        .chars()
        .collect();
    for _ in 0..1500 {
        // As a short commit id.
        let id = (0..7).map(|_| random.of(&['0', '1', '2', '5', '7', '9', 'e', 'e', 'a', 'f']));
        texts.push(id.collect());
        let length = random.below(7) + 1;
        texts.push((0..length).map(|_| random.of(&numbers)).collect());
        let length = random.below(12) + 1;
        texts.push((0..length).map(|_| random.of(&nasty)).collect());
        let length = random.below(4);
        let around: String = (0..length).map(|_| random.of(&nasty)).collect();
        texts.push(format!(
            "{around}{}{}",
            random.of(&WORDS),
            random.of(&nasty)
        ));
        // A case of its own for every letter.
        let word: String = random
            .of(&WORDS)
            .chars()
            .map(|c| match random.below(2) {
                0 => c.to_ascii_uppercase(),
                _ => c.to_ascii_lowercase(),
            })
            .collect();
        texts.push(word);
    }
    texts
}

/// kustomize and `toYaml` write JSON that they read as YAML, to which a next-line is a line end:
/// they print a space. `quote` keeps it.
fn without_next_lines(mut texts: Vec<String>) -> Vec<String> {
    texts.retain(|text| !text.contains('\u{85}'));
    texts
}

fn numbered(texts: &[String]) -> Map<String, Value> {
    let texts = texts.iter().enumerate();
    texts
        .map(|(n, text)| (format!("k{n}"), text.as_str().into()))
        .collect()
}

fn config_map(name: &str, data: &Map<String, Value>) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

async fn render_files(files: &[(&str, &str)], source: Value) -> Vec<Object> {
    let rendered = Staged::of(files).render(source, &tools()).await;
    rendered.unwrap().objects
}

/// What kubectl reads: the objects of a file, or of all files of a directory, as JSON. Files that
/// it refuses are left out.
async fn kubectl(path: &Path) -> Vec<Value> {
    let tools = std::env::var_os("TRIMTAB_TOOLS_BIN").expect("set by the check of kustomize");
    let mut arguments: Vec<OsString> = ["label", "--local", "-o", "json", "read=yes", "-f"]
        .map(OsString::from)
        .into();
    arguments.push(path.into());
    // It ends with an error when it refuses one of many.
    let script = "kubectl=$1; shift; \"$kubectl\" \"$@\" 2>/dev/null; true";
    let mut all: Vec<OsString> = vec!["-c".into(), script.into(), "sh".into()];
    all.push(Path::new(&tools).join("kubectl").into());
    all.append(&mut arguments);
    let output = exec::run(exec::Command {
        program: "/bin/sh".into(),
        arguments: all,
        environment: vec![("HOME".into(), "/nonexistent".into())],
        directory: "/".into(),
        timeout: Duration::from_secs(60),
        output_limit: 64 << 20,
        confinement: None,
        priority: Priority::Usual,
    });
    let output = output.await.unwrap();
    let values = serde_json::Deserializer::from_slice(&output).into_iter::<Value>();
    let without_label = |value: Result<Value, _>| {
        let mut value: Value = value.unwrap();
        let metadata = value["metadata"].as_object_mut().unwrap();
        let labels = metadata["labels"].as_object_mut().unwrap();
        labels.remove("read");
        if labels.is_empty() {
            metadata.remove("labels");
        }
        value
    };
    values.map(without_label).collect()
}

fn assert_texts(texts: &[String], object: &Object, what: &str) {
    let data = object.get("/data").unwrap();
    let wrong: Vec<_> = (0..texts.len())
        .map(|n| (&texts[n], &data[format!("k{n}")]))
        .filter(|(text, read)| read.as_str() != Some(text.as_str()))
        .collect();
    let first = &wrong[..wrong.len().min(8)];
    assert!(wrong.is_empty(), "{what}: {} wrong, {first:?}", wrong.len());
}

#[tokio::test]
async fn every_text_that_kustomize_prints_reads_back() {
    let texts = without_next_lines(texts());
    let manifest = to_flow_yaml(&config_map("a", &numbered(&texts)));
    let files = [
        (
            "k/kustomization.yaml",
            "resources: [a.yaml]\nnamePrefix: x-\n",
        ),
        ("k/a.yaml", manifest.as_str()),
    ];
    let objects = render_files(&files, json!({"path": "k"})).await;
    assert_texts(&texts, &objects[0], "kustomize");
}

#[tokio::test]
async fn every_text_that_helm_prints_reads_back() {
    let texts = texts();
    let template = "{{ dict \"apiVersion\" \"v1\" \"kind\" \"ConfigMap\" \"metadata\" \
        (dict \"name\" \"a\") \"data\" .Values.others | toYaml }}\n---\n\
        {{ dict \"apiVersion\" \"v1\" \"kind\" \"ConfigMap\" \"metadata\" (dict \"name\" \"b\") \
        \"data\" .Values.others | toJson }}\n---\napiVersion: v1\nkind: ConfigMap\n\
        metadata: {name: c}\ndata:\n{{- range $k, $v := .Values.texts }}\n  {{ $k }}: \
        {{ $v | quote }}\n{{- end }}\n";
    let files = [
        ("c/Chart.yaml", "apiVersion: v2\nname: c\nversion: 1.0.0\n"),
        ("c/templates/a.yaml", template),
    ];
    let others = without_next_lines(texts.clone());
    let values = json!({"texts": numbered(&texts), "others": numbered(&others)});
    let source = json!({"path": "c", "helm": {"valuesObject": values}});
    let objects = render_files(&files, source).await;
    assert_eq!(objects.len(), 3);
    for object in &objects {
        let texts = if object.name() == "c" {
            &texts
        } else {
            &others
        };
        assert_texts(texts, object, object.name());
    }
}

#[tokio::test]
async fn every_text_that_we_print_is_read_back_by_kubectl() {
    let texts = texts();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.yaml");
    let value = config_map("a", &numbered(&texts));
    fs::write(&file, to_yaml(&value).unwrap()).unwrap();
    let read = kubectl(&file).await;
    let read = Object::new(read.into_iter().next().expect("kubectl reads it")).unwrap();
    assert_texts(&texts, &read, "kubectl");
    let own = read_manifests(&fs::read_to_string(&file).unwrap(), YamlLimits::default());
    assert_texts(&texts, &own.unwrap().objects[0], "our own");
}

/// Texts that need no quotes to be read.
fn scalars() -> Vec<String> {
    let is_plain = |text: &String| {
        let mut characters = text.chars();
        characters.all(|c| c.is_ascii_alphanumeric() || "._+-~<=".contains(c))
            && !text.is_empty()
            && text != "<<"
            && text != "-"
            && !text.starts_with("---")
            && text != "..."
            // JSON has neither.
            && !text.to_lowercase().ends_with(".inf")
            && !text.to_lowercase().ends_with(".nan")
    };
    let mut scalars: Vec<String> = texts().into_iter().filter(is_plain).collect();
    for (sign, more) in [("", "e"), ("-", "E"), ("+", "e+"), ("", "e-")] {
        for exponent in [0, 3, 18, 19, 21, 308, 309, 400] {
            scalars.push(format!("{sign}12.50{more}{exponent}"));
        }
    }
    for text in [
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775808",
        "-9223372036854775809",
        "18446744073709551615",
        "18446744073709551616",
        "0xFFFFFFFFFFFFFFFF",
        "0777777777777777777777",
        "-0x10",
        "+0b101",
        "0b-1",
        "-0b-1",
        "0_",
        "0x_1F",
        "1.",
        "1.e2",
        ".5e1",
        "._5",
        "-.5",
        "+.5",
        "-0",
        "-0.0",
        "0.1",
        "123456789.123456789",
        "1e-7",
    ] {
        scalars.push(text.to_owned());
    }
    scalars
}

/// Scalars without quotes, as values and as keys, are what they are to kubectl.
#[tokio::test]
async fn every_scalar_is_what_it_is_to_kubectl() {
    let scalars = scalars();
    let mut text = String::from("apiVersion: v1\nkind: Thing\nmetadata: {name: values}\nvalues:\n");
    for (n, scalar) in scalars.iter().enumerate() {
        text.push_str(&format!("  k{n}: {scalar}\n"));
    }
    text.push_str("---\napiVersion: v1\nkind: Thing\nmetadata: {name: keys}\nkeys:\n");
    let is_key = |text: &str| {
        let value = crate::object::read_values(text).unwrap().remove(0);
        !value.is_null()
            && value
                .as_u64()
                .is_none_or(|number| i64::try_from(number).is_ok())
    };
    for (n, scalar) in scalars.iter().enumerate().filter(|(_, it)| is_key(it)) {
        text.push_str(&format!("- {{{scalar}: {n}}}\n"));
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.yaml");
    fs::write(&file, &text).unwrap();
    let theirs = kubectl(&file).await;
    let ours = read_manifests(&text, YamlLimits::default())
        .unwrap()
        .objects;
    assert_eq!((theirs.len(), ours.len()), (2, 2), "kubectl reads both");
    for (n, scalar) in scalars.iter().enumerate() {
        let (ours, theirs) = (&ours[0].fields()["values"], &theirs[0]["values"]);
        let key = format!("k{n}");
        // serde_json reads kubectl's floats one off in the last place, at times.
        let numbers = (ours[&key].as_f64(), theirs[&key].as_f64());
        let is_same = match numbers {
            (Some(ours), Some(theirs)) => (ours - theirs).abs() <= ours.abs() * 1e-15,
            _ => ours[&key] == theirs[&key],
        };
        assert!(is_same, "{scalar}: {} and {}", ours[&key], theirs[&key]);
    }
    let (ours, theirs) = (
        ours[1].fields()["keys"].as_array().unwrap(),
        &theirs[1]["keys"],
    );
    for (n, ours) in ours.iter().enumerate() {
        assert_eq!(ours, &theirs[n]);
    }
}

/// Documents whose reading differs between YAML 1.1, YAML 1.2 and their readers.
const ODD: [&str; 46] = [
    "a: {x: 1, <<: {x: 2, y1: 3}}",
    "a: {<<: {x: 2, y1: 3}, x: 1}",
    "b: &b {x: 1}\na: {x: 5, <<: *b}",
    "b: &b {x: 1}\nc: &c {x: 2, z: 3}\na: {<<: [*b, *c]}",
    "a: {'<<': {x: 1}}",
    "y: 1\non: 2\n0644: 3\nnull1: 4\n1.5: 5",
    "a: [\t1,\t2\t]",
    "a:\t1",
    "a: {\"x\":1}",
    "a: {x:1}",
    "a: [x:1, y: 2]",
    "a: http://example.com:80/#x",
    "a: x#y #z",
    "a: 'x''y'",
    "a: \"\\x41\\u00e9\\U0001F600\\e\\/\"",
    "a: \"x\n  y\n\n  z\"",
    "a: 'x\n  y\n\n  z'",
    "a: x\n  y\n\n  z",
    "a: |\n  x\n   y\n  z\n\n",
    "a: |-\n  x\n\n",
    "a: |+\n  x\n\n",
    "a: >\n  x\n  y\n\n  z\n   w\n",
    "a: |2\n    x\n   y\n",
    "a: 'x\u{2028}  y'",
    "a: \"x\u{85}  y\"",
    "a: |-\n  x\u{2028}  y\n  z\n",
    "a: |-\n  x\u{85}  y\n",
    "a: \"x\u{a0}y\u{feff}z\"",
    "a: é日😀",
    "a:\n- 1\n-  - 2\n   - 3\n- - 4",
    "a:\n  - x: 1\n    y1: 2",
    "? a\n: b",
    "? a\n? b",
    "a: &x [1, 2]\nb: *x",
    "a: &x 1\n*x : 2",
    "a: !!str 12\nb: !!int '12'\nc: !own 5\nd: ! 5\ne: !!binary aGk=\nf: !!float 3\ng: !!null ''",
    "a: *none",
    "a: {x: 1, x: 2}",
    "a: [1, 2,]",
    "a: {x: , y1}",
    "a: -\n",
    "a: [-]\n",
    "a: @x",
    "a: %x",
    "a: x: y",
    "%YAML 1.1\n---\na: 1",
];

#[tokio::test]
async fn odd_documents_are_what_they_are_to_kubectl() {
    let directory = tempfile::tempdir().unwrap();
    let text = |n: usize, odd: &str| {
        // Directives come first of all.
        let (before, odd) = odd.split_once("---\n").unwrap_or(("", odd));
        let start = if before.is_empty() { "" } else { "---\n" };
        format!("{before}{start}apiVersion: v1\nkind: Thing\nmetadata: {{name: n{n}}}\n{odd}\n")
    };
    for (n, odd) in ODD.iter().enumerate() {
        fs::write(directory.path().join(format!("{n}.yaml")), text(n, odd)).unwrap();
    }
    let theirs = kubectl(directory.path()).await.into_iter();
    let theirs: BTreeMap<String, Value> = theirs
        .map(|value| {
            (
                value["metadata"]["name"].as_str().unwrap().to_owned(),
                value,
            )
        })
        .collect();
    assert!(
        theirs.len() > 30,
        "only {} are read by kubectl",
        theirs.len()
    );
    let mut wrong = Vec::new();
    for (n, odd) in ODD.iter().enumerate() {
        let ours = read_manifests(&text(n, odd), YamlLimits::default());
        let theirs = theirs.get(&format!("n{n}"));
        match (ours, theirs) {
            (Ok(ours), Some(theirs)) => {
                let ours = Value::Object(ours.objects[0].fields().clone());
                if &ours != theirs {
                    wrong.push(format!("{odd:?}: {ours} and {theirs}"));
                }
            }
            (Err(error), Some(theirs)) => wrong.push(format!("{odd:?}: {error} and {theirs}")),
            // What kubectl refuses may be taken.
            (_, None) => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Nothing that is fed to the reader ends it otherwise than by an answer.
#[test]
fn no_text_breaks_the_reader() {
    let mut random = Random(0x0ddb_a11c_afe0_1234);
    let pieces = [
        "a", ": ", "- ", "\n", "  ", "{", "}", "[", "]", ",", "&a ", "*a", "!!int ", "! ", "|",
        ">", "'", "\"", "\\", "#", "?", "%", "---\n", "...\n", "\t", "<<", "\u{85}", "\u{2028}",
        "\u{feff}", "1", "~", "\r\n", "é", "@", "`",
    ];
    for _ in 0..20_000 {
        let length = random.below(24);
        let text: String = (0..length).map(|_| random.of(&pieces)).collect();
        let _ = read_manifests(&text, YamlLimits::default());
    }
    for deep in ["[", "{a: ", "- ", "? "] {
        assert!(read_manifests(&deep.repeat(100_000), YamlLimits::default()).is_err());
    }
}
