//! Authentic bodies of any content: malformed or harmless, never a panic.

use super::*;

#[test]
fn hostile_json_is_malformed_or_harmless() {
    let github = |body: &[u8]| Sent::github("push", body).to_github();
    let gitlab = |body: &[u8]| Sent::gitlab("Push Hook", body).to_gitlab();
    let deep = |open: &str, close: &str| [open.repeat(10_000), close.repeat(10_000)].concat();
    let with_bom = [b"\xef\xbb\xbf", GITHUB_PUSH.as_bytes()].concat();
    let with_bom_gitlab = [b"\xef\xbb\xbf", GITLAB_PUSH.as_bytes()].concat();
    assert!(malformed(&github(&with_bom)) && malformed(&gitlab(&with_bom_gitlab)));
    for body in [
        "",
        "{",
        "nul",
        "{}x",
        "\u{0}",
        "payload=1",
        &deep(r#"{"ref":"#, "}"),
    ] {
        assert!(malformed(&github(body.as_bytes())), "{body:.20}");
    }
    for body in ["", "{", "nul", "{}x", "\u{0}"] {
        assert!(malformed(&gitlab(body.as_bytes())), "{body:.20}");
    }
    for body in ["null", "7", "[]", r#""x""#, &deep("[", "]")] {
        assert!(malformed(&github(body.as_bytes())), "{body:.20}");
        let result = gitlab(body.as_bytes());
        assert!(
            malformed(&result) || result.is_ok_and(|delivery| delivery.event == Event::Refresh)
        );
    }

    // Where nothing is read, depth, length and odd text cost nothing.
    let around = |value: &str| {
        let unread = format!(r#"{{"unread":{value},"#);
        github(GITHUB_PUSH.replacen('{', &unread, 1).as_bytes())
    };
    for value in [
        &*deep("[", "]"),
        &format!("[{}0]", "0,".repeat(1_000_000)),
        r#""\ud800""#,
        r#""\u0000""#,
        "1e999",
    ] {
        let result = around(value);
        assert!(result.is_ok() || malformed(&result), "{value:.20}");
    }

    // A doubled key could be read differently by two readers.
    let doubled = GITHUB_PUSH.replacen('{', r#"{"ref":"refs/heads/other","#, 1);
    assert!(malformed(&github(doubled.as_bytes())));
}

#[test]
fn references_are_full_and_plain() {
    let github = |reference: Value| {
        let mut body: Value = serde_json::from_str(GITHUB_PUSH).unwrap();
        body["ref"] = reference;
        Sent::github("push", body.to_string()).to_github()
    };
    for reference in [
        json!(null),
        json!(""),
        json!("main"),
        json!("refs/heads/a\u{0}b"),
        json!("refs/heads/a\nb"),
        json!(format!("refs/heads/{}", "x".repeat(5000))),
        json!(["refs/heads/main"]),
        json!(7),
    ] {
        assert!(malformed(&github(reference.clone())), "{reference}");
    }
    let push = push_of(github(json!("refs/heads/\u{e9}")).unwrap());
    assert_eq!(push.reference, "refs/heads/\u{e9}");
}

#[test]
fn errors_say_nothing_of_the_payload() {
    let sent = Sent::github("push", r#"{"ref": ["hunter2"], "hunter2": hunter2}"#);
    let error = sent.to_github().unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter2"));
    let body = GITHUB_PUSH.replace(&format!("\"{AFTER}\""), "{\"hunter2\": \"hunter2\"}");
    let error = Sent::github("push", body).to_github().unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}

/// Calls `check` with the value changed in each of its fields and elements, in several ways.
fn mutate(value: &Value, check: &mut impl FnMut(&Value, &str)) {
    let mut pointers = Vec::new();
    collect(value, String::new(), &mut pointers);
    let huge = Value::Array(vec![json!({}); 300]);
    let deep = (0..100).fold(json!(1), |value, _| json!([value]));
    for pointer in &pointers {
        for replacement in [
            json!(null),
            json!(""),
            json!("\u{0}"),
            json!("0".repeat(40)),
            json!("x".repeat(3000)),
            json!(0),
            json!(-1.5),
            json!(true),
            json!([]),
            json!([null]),
            json!({}),
            json!({"a": {"b": []}}),
            huge.clone(),
            deep.clone(),
        ] {
            let mut changed = value.clone();
            *changed.pointer_mut(pointer).unwrap() = replacement;
            check(&changed, pointer);
        }
        let (parent, name) = pointer.rsplit_once('/').unwrap_or_default();
        let mut changed = value.clone();
        if let Some(Value::Object(parent)) = changed.pointer_mut(parent) {
            parent.remove(name);
            check(&changed, pointer);
        }
    }
}

fn collect(value: &Value, pointer: String, pointers: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                collect(value, format!("{pointer}/{name}"), pointers);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                collect(value, format!("{pointer}/{index}"), pointers);
            }
        }
        _ => {}
    }
    pointers.push(pointer);
}

#[test]
fn every_field_may_be_anything() {
    let check = |provider: Provider, event: &str, body: &str| {
        let body = serde_json::from_str(body).unwrap();
        mutate(&body, &mut |body, pointer| {
            let body = body.to_string();
            let result = match provider {
                Provider::GitHub => Sent::github(event, body).to_github(),
                Provider::GitLab => Sent::gitlab(event, body).to_gitlab(),
            };
            assert!(
                result.is_ok() || malformed(&result),
                "{pointer}: {result:?}"
            );
            if let Ok(Delivery {
                event: Event::Push(push),
                ..
            }) = result
            {
                assert!(!push.urls.is_empty() && push.reference.starts_with("refs/"));
                assert!(push.urls.iter().all(|url| url.len() < 3000), "{pointer}");
            }
        });
    };
    for body in [GITHUB_PUSH, GITHUB_TAG_PUSH, GITHUB_BRANCH_DELETE] {
        check(Provider::GitHub, "push", body);
    }
    for body in [GITHUB_PING, GITHUB_PING_ORGANIZATION] {
        check(Provider::GitHub, "ping", body);
    }
    check(Provider::GitLab, "Push Hook", GITLAB_PUSH);
    check(Provider::GitLab, "Push Hook", GITLAB_BRANCH_DELETE);
    check(Provider::GitLab, "Tag Push Hook", GITLAB_TAG_PUSH);
    check(Provider::GitLab, "System Hook", GITLAB_SYSTEM_PUSH);
    check(Provider::GitLab, "System Hook", GITLAB_REPOSITORY_UPDATE);
}
