//! How texts are read.

use serde_json::json;

use super::*;

fn parse(text: &str) -> Result<Vec<Object>, YamlError> {
    parse_manifests(text, YamlLimits::default())
}

fn data(text: &str) -> Value {
    let text = format!("apiVersion: v1\nkind: ConfigMap\ndata: {{a: {text}}}");
    parse(&text).unwrap()[0].get("/data/a").cloned().unwrap()
}

#[test]
fn scalars_resolve_as_in_kubectl() {
    for (text, expected) in [
        ("0644", json!(420)),
        ("0o644", json!(420)),
        ("0x1F", json!(31)),
        ("-0b11", json!(-3)),
        ("yes", json!(true)),
        ("off", json!(false)),
        ("y", json!(true)),
        ("tRUE", json!("tRUE")),
        ("oN", json!("oN")),
        ("nO", json!("nO")),
        ("08", json!(8)),
        ("1_000", json!(1000)),
        ("1.5", json!(1.5)),
        ("1.0", json!(1)),
        ("1e3", json!(1000)),
        ("12e4567", json!("12e4567")),
        ("1e-4567", json!(0)),
        ("1:30", json!("1:30")),
        ("2026-01-01", json!("2026-01-01")),
        (
            "18446744073709551615",
            json!(18_446_744_073_709_551_615_u64),
        ),
        ("9e18", json!(9_000_000_000_000_000_000_i64)),
        ("-", json!("-")),
        ("+", json!("+")),
        ("0x", json!("0x")),
        ("--1", json!("--1")),
        ("\"yes\"", json!("yes")),
        ("!!str 12", json!("12")),
        ("!!int '12'", json!(12)),
        ("!!float 12", json!(12)),
        ("!!binary aGk=", json!("hi")),
        ("!own 12", json!("12")),
        ("~", json!(null)),
        (
            "\"a\\Nb\\Lc\\Pd\\_e\"",
            json!("a\u{85}b\u{2028}c\u{2029}d\u{a0}e"),
        ),
    ] {
        assert_eq!(data(text), expected, "{text}");
    }
    for text in [
        ".inf",
        "-.INF",
        ".nan",
        "!!int x",
        "!!null x",
        "!!binary '-'",
    ] {
        let text = format!("apiVersion: v1\nkind: ConfigMap\ndata: {{a: {text}}}");
        let error = parse(&text).unwrap_err().to_string();
        assert!(error.contains("line 3, column 11"), "{error}");
    }
}

#[test]
fn keys_resolve_as_in_kubectl() {
    for (key, expected) in [
        ("y", "true"),
        ("on", "true"),
        ("NO", "false"),
        ("0644", "420"),
        ("1.0", "1"),
        ("1e6", "1e+06"),
        ("0.00001", "1e-05"),
        ("123456.7", "123456.7"),
        (".inf", ".inf"),
        ("tRUE", "tRUE"),
        ("'on'", "on"),
        ("2026-01-01", "2026-01-01"),
    ] {
        let text = format!("apiVersion: v1\nkind: ConfigMap\ndata:\n  {key}: x");
        let objects = parse(&text).unwrap();
        assert_eq!(
            objects[0].get("/data"),
            Some(&json!({expected: "x"})),
            "{key}"
        );
    }
    for key in ["~", "[a]", "{a: b}", "18446744073709551615"] {
        let text = format!("apiVersion: v1\nkind: ConfigMap\ndata:\n  ? {key}\n  : x");
        assert!(
            matches!(parse(&text), Err(YamlError::Syntax { .. })),
            "{key}"
        );
    }
}

#[test]
fn a_merge_key_counts_from_its_place_on() {
    let merged = |text: &str| parse_document(text).unwrap()["m"].clone();
    let base = "b: &b {x: 1, y1: 2}\nc: &c {x: 3, z: 4}\n";
    for (text, expected) in [
        ("m: {<<: *b, x: 5}", json!({"x": 5, "y1": 2})),
        ("m: {x: 5, <<: *b}", json!({"x": 1, "y1": 2})),
        ("m: {<<: [*b, *c]}", json!({"x": 1, "y1": 2, "z": 4})),
        ("m: {<<: {x: 7}}", json!({"x": 7})),
        ("m: {'<<': 7}", json!({"<<": 7})),
    ] {
        assert_eq!(merged(&format!("{base}{text}")), expected, "{text}");
    }
    for text in ["m: {<<: 7}", "m: {<<: [7]}", "m: *none", "m: &m [*m]"] {
        assert!(parse_document(text).is_err(), "{text}");
    }
}

#[test]
fn of_several_values_the_last_counts_and_is_named() {
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  labels:\n    \
                x: \"1\"\n    x: \"2\"\n";
    let documents = read_manifests(text, YamlLimits::default()).unwrap();
    assert_eq!(documents.objects[0].label("x"), Some("2"));
    let [repeated] = documents.repeated.as_slice() else {
        panic!("{:?}", documents.repeated);
    };
    assert_eq!(
        repeated.to_string(),
        "line 7: the key `x` is there twice in ConfigMap/a"
    );
    let error = parse(text).unwrap_err();
    assert!(matches!(error, YamlError::Repeated(_)), "{error}");
    let json = r#"{"apiVersion": "v1", "kind": "A", "data": {"x": 1, "x": 2}}"#;
    let error = parse(json).unwrap_err().to_string();
    assert!(
        error.starts_with("the key `x` is there twice in A/"),
        "{error}"
    );
}

#[test]
fn json_is_read_as_json() {
    let text = "{\"apiVersion\": \"v1\",\n\t\"kind\": \"A\", \"a\": \"\\ud83d\\ude00\u{2028} b\", \"n\": 1.0}\n\
                {\"apiVersion\": \"v1\", \"kind\": \"B\"}{\"apiVersion\": \"v1\", \"kind\": \"C\"}";
    let objects = parse(text).unwrap();
    assert_eq!(objects.len(), 3);
    assert_eq!(objects[0].get("/a"), Some(&json!("\u{1f600}\u{2028} b")));
    assert_eq!(objects[0].get("/n"), Some(&json!(1)));
}

#[test]
fn the_first_document_is_the_kustomization() {
    for text in [
        "resources: [a]\n---\n",
        "---\nresources: [a]\n---\nnamespace: b\n",
        "resources:\n- a\n...\n",
        "{resources: [\ta\t]}",
        "{\"resources\":\n\t[\"a\"]}",
        "namespace: x\nresources: [b]\nresources: [a]\n",
    ] {
        let (value, _) = parse_first(text).unwrap();
        assert_eq!(value["resources"], json!(["a"]), "{text}");
    }
    assert_eq!(parse_first("").unwrap().0, json!(null));
}

#[test]
fn lists_are_opened_and_empty_documents_skipped() {
    let text = "---\n---\n# nothing\n---\napiVersion: v1\nkind: List\nitems:\n\
                - {apiVersion: v1, kind: A}\n- {apiVersion: v1, kind: B}\n---\n\
                {apiVersion: v1, kind: C}\n";
    let kinds: Vec<_> = parse(text)
        .unwrap()
        .iter()
        .map(|o| o.kind().to_owned())
        .collect();
    assert_eq!(kinds, ["A", "B", "C"]);
}

#[test]
fn errors_say_where_and_quote_nothing() {
    let repeated =
        "apiVersion: v1\nkind: Secret\nstringData: {password: hunter2, password: hunter2}";
    let error = parse(repeated).unwrap_err().to_string();
    assert!(error.contains("line 3: the key `password`"), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
    for text in [
        "apiVersion: v1\nkind: Secret\nstringData:\n  password: hunter2\n bad",
        "apiVersion: v1\nkind: Secret\nstringData: [hunter2",
        "- hunter2",
        "hunter2",
        "kind: hunter2",
    ] {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.starts_with("document 1"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn an_alias_bomb_is_refused() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let below = format!("*a{}", level - 1);
        let items = [below.as_str(); 10].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{items}]\n"));
    }
    assert!(matches!(parse(&text), Err(YamlError::Syntax { .. })));
}

/// What a read may cost follows the size of its text: a small one comes to little, whatever its
/// anchors hold and its aliases repeat.
#[test]
fn a_small_text_does_not_unfold() {
    let doubled = |rows: usize| {
        let rows = (1..rows).map(|n| format!("a{n}: &a{n} [*a{0}, *a{0}]\n", n - 1));
        format!("a0: &a0 [x, x]\n{}", rows.collect::<String>())
    };
    let nested = |depth: usize, text: &str| {
        let open: String = (0..depth).map(|n| format!("&n{n} [")).collect();
        format!("a: {open}{text}{}\n", "]".repeat(depth))
    };
    let long = "x".repeat(40_000);
    let merged = (0..300).map(|n| format!("m{n}: {{<<: *long, a{n}: b}}\n"));
    for (text, is_read) in [
        (doubled(9), true),
        (doubled(12), false),
        // Each anchor keeps all that is below it.
        (nested(100, &"x,".repeat(50)), true),
        (nested(100, &"x,".repeat(500)), false),
        (nested(30, &long), true),
        (nested(60, &long), false),
        (
            format!("long: &long {{text: {long}}}\nonce: *long\nagain: *long\n"),
            true,
        ),
        (
            format!(
                "long: &long {{text: {long}}}\n{}",
                merged.collect::<String>()
            ),
            false,
        ),
    ] {
        let read = parse_first(&text);
        assert_eq!(read.is_ok(), is_read, "{}: {:?}", &text[..40], read.err());
    }
    // What a chart's author shares by merge keys grows with the text.
    let shared: String = (0..2000)
        .map(|n| format!("service{n}:\n  <<: *shared\n  name: service{n}\n  port: {n}\n"))
        .collect();
    let text = format!("shared: &shared {{a: b, c: d, e: f, g: h, i: j, k: l}}\n{shared}");
    assert!(parse_first(&text).is_ok());
}

#[test]
fn caps_hold() {
    let limits = YamlLimits {
        bytes: 40,
        objects: 1,
        nodes: 100,
    };
    let two = "{apiVersion: v, kind: A}\n---\n{apiVersion: v, kind: B}";
    assert!(matches!(
        parse_manifests(two, limits),
        Err(YamlError::TooLarge { .. })
    ));
    let limits = YamlLimits {
        bytes: 400,
        objects: 1,
        nodes: 100,
    };
    assert!(matches!(
        parse_manifests(two, limits),
        Err(YamlError::TooMany { .. })
    ));
    let limits = YamlLimits {
        bytes: 1 << 20,
        objects: 10,
        nodes: 1000,
    };
    let texts = ["a,".repeat(600), "\"a,:[{\\\"\",".repeat(600)];
    for (many, items) in texts
        .iter()
        .flat_map(|text| [(true, text.repeat(2)), (false, text.clone())])
    {
        let items = items.trim_end_matches(',');
        let json = format!(
            "{{\"apiVersion\": \"v\", \"kind\": \"A\", \"metadata\": {{\"name\": \"a\"}}, \"x\": [{items}]}}"
        );
        let yaml = format!("apiVersion: v\nkind: A\nmetadata: {{name: a}}\nx: [{items}]\n");
        for text in [json, yaml] {
            assert_eq!(
                parse_manifests(&text, limits).is_err(),
                many,
                "{}",
                &text[..80]
            );
        }
    }
}
