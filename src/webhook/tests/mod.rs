//! Deliveries as the providers send them, and everything that must be refused.

mod hostile;

use hmac::{Hmac, Mac};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use sha2::Sha256;

use super::*;

const SECRET: &str = "It's a Secret to Everybody";
const SIGNING_TOKEN: &str = "whsec_dGVzdHRlc3R0ZXN0dGVzdHRlc3R0ZXN0dGVzdHRlc3Q=";
const NOW: u64 = 1_760_000_000;
const BEFORE: &str = "5f2c8d1e7b90a4c3d6e8f1029384756aabbccdde";
const AFTER: &str = "0a05129851238652bf806a400af89fa974ade739";

const GITHUB_PUSH: &str = include_str!("../testdata/github_push.json");
const GITHUB_TAG_PUSH: &str = include_str!("../testdata/github_tag_push.json");
const GITHUB_BRANCH_DELETE: &str = include_str!("../testdata/github_branch_delete.json");
const GITHUB_PING: &str = include_str!("../testdata/github_ping.json");
const GITHUB_PING_ORGANIZATION: &str = include_str!("../testdata/github_ping_organization.json");
const GITLAB_PUSH: &str = include_str!("../testdata/gitlab_push.json");
const GITLAB_TAG_PUSH: &str = include_str!("../testdata/gitlab_tag_push.json");
const GITLAB_BRANCH_DELETE: &str = include_str!("../testdata/gitlab_branch_delete.json");
const GITLAB_SYSTEM_PUSH: &str = include_str!("../testdata/gitlab_system_push.json");
const GITLAB_REPOSITORY_UPDATE: &str = include_str!("../testdata/gitlab_repository_update.json");

fn secret(text: &str) -> Secret {
    Secret::new(text.into()).unwrap()
}

fn secrets() -> Secrets {
    Secrets {
        tokens: vec![secret("old"), secret(SECRET)],
        signing_tokens: Vec::new(),
    }
}

fn signing() -> Secrets {
    Secrets {
        signing_tokens: vec![secret(SIGNING_TOKEN)],
        ..secrets()
    }
}

/// A delivery in the making: headers can be set, doubled and taken away.
struct Sent {
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Sent {
    fn new(body: impl Into<Vec<u8>>) -> Self {
        let sent = Self {
            headers: HeaderMap::new(),
            body: body.into(),
        };
        sent.with("content-type", "application/json")
    }

    fn github(event: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::new(body)
            .with("x-github-event", event)
            .with("x-github-delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958")
            .signed()
    }

    fn gitlab(event: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::new(body)
            .with("x-gitlab-event", event)
            .with("x-gitlab-token", SECRET)
            .with("idempotency-key", "f5e5f430-f57b-4e6e-9fac-d9128cd7232f")
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
        self.headers.insert(HeaderName::from_static(name), value);
        self
    }

    fn and(mut self, name: &'static str, value: &str) -> Self {
        let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
        self.headers.append(HeaderName::from_static(name), value);
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.headers.remove(name);
        self
    }

    fn body(mut self, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self
    }

    fn signed(self) -> Self {
        let signature = sign(SECRET.as_bytes(), &self.body);
        self.with(
            "x-hub-signature-256",
            &format!("sha256={}", hex::encode(signature)),
        )
    }

    fn to(&self, provider: Provider, secrets: &Secrets) -> Result<Delivery, Rejection> {
        receive(provider, secrets, &self.headers, &self.body, NOW)
    }

    fn to_github(&self) -> Result<Delivery, Rejection> {
        self.to(Provider::GitHub, &secrets())
    }

    fn to_gitlab(&self) -> Result<Delivery, Rejection> {
        self.to(Provider::GitLab, &secrets())
    }
}

fn sign(key: &[u8], body: &[u8]) -> Vec<u8> {
    let mut hmac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    hmac.update(body);
    hmac.finalize().into_bytes().to_vec()
}

fn push_of(delivery: Delivery) -> Push {
    match delivery.event {
        Event::Push(push) => push,
        other => panic!("{other:?}"),
    }
}

fn unauthorized(result: &Result<Delivery, Rejection>) -> bool {
    matches!(result, Err(rejection @ Rejection::Unauthorized(_)) if rejection.status() == 401)
}

fn malformed(result: &Result<Delivery, Rejection>) -> bool {
    matches!(result, Err(rejection @ Rejection::Malformed(_)) if rejection.status() == 400)
}

fn commit(id: &str) -> Option<String> {
    (!id.is_empty()).then(|| id.to_owned())
}

#[test]
fn pushes_of_github_are_read() {
    let check = |body: &str, reference: &str, before: &str, after: &str| {
        let delivery = Sent::github("push", body).to_github().unwrap();
        assert_eq!(delivery.id, "72d3162e-cc78-11e3-81ab-4c9367dc0958");
        let urls = [
            "https://github.com/acme/shop",
            "https://github.com/acme/shop.git",
            "git@github.com:acme/shop.git",
            "git://github.com/acme/shop.git",
        ];
        let expected = Push {
            urls: urls.map(str::to_owned).to_vec(),
            reference: reference.into(),
            before: commit(before),
            after: commit(after),
        };
        assert_eq!(push_of(delivery), expected);
    };
    check(GITHUB_PUSH, "refs/heads/main", BEFORE, AFTER);
    check(GITHUB_TAG_PUSH, "refs/tags/v1.2.0", "", AFTER);
    check(GITHUB_BRANCH_DELETE, "refs/heads/old", BEFORE, "");
}

#[test]
fn pushes_of_gitlab_are_read() {
    let check = |event: &str, body: &str, reference: &str, before: &str, after: &str| {
        let delivery = Sent::gitlab(event, body).to_gitlab().unwrap();
        assert_eq!(delivery.id, "f5e5f430-f57b-4e6e-9fac-d9128cd7232f");
        let urls = [
            "https://gitlab.example.com/acme/shop",
            "https://gitlab.example.com/acme/shop.git",
            "ssh://git@gitlab.example.com:2222/acme/shop.git",
        ];
        let expected = Push {
            urls: urls.map(str::to_owned).to_vec(),
            reference: reference.into(),
            before: commit(before),
            after: commit(after),
        };
        assert_eq!(push_of(delivery), expected);
    };
    let main = "refs/heads/main";
    check("Push Hook", GITLAB_PUSH, main, BEFORE, AFTER);
    check(
        "Tag Push Hook",
        GITLAB_TAG_PUSH,
        "refs/tags/v1.2.0",
        "",
        AFTER,
    );
    check(
        "Push Hook",
        GITLAB_BRANCH_DELETE,
        "refs/heads/old",
        BEFORE,
        "",
    );
    check("System Hook", GITLAB_SYSTEM_PUSH, main, BEFORE, AFTER);
    check(
        "System Hook",
        GITLAB_TAG_PUSH,
        "refs/tags/v1.2.0",
        "",
        AFTER,
    );
    check("System Hook", GITLAB_REPOSITORY_UPDATE, main, BEFORE, AFTER);
}

#[test]
fn forms_of_github_are_signed_as_they_are_sent() {
    const FORM: &str = "payload=%7B%22ref%22%3A%22refs%2Fheads%2Fmain%22%2C%22after%22%3A%220a05129851238652bf806a400af89fa974ade739%22%7D";
    let form = |body: &str, signature: &str| {
        Sent::github("push", body)
            .with(
                "content-type",
                "application/x-www-form-urlencoded; charset=utf-8",
            )
            .with("x-hub-signature-256", signature)
            .to_github()
    };
    // Authentic, but this body has no repository.
    assert!(malformed(&form(
        FORM,
        "sha256=20828264cdfb5d0c1dec24247c72cc2df6013ef5ee8cdf58c517195348df0a7e"
    )));
    // The signature of the JSON inside, as Gitea sends it.
    assert!(unauthorized(&form(
        FORM,
        "sha256=f11debb6846795dab0ce389a3a383e373410862e183e74fa1b6a80326bb7beff"
    )));
    let send = |body: String| {
        Sent::github("push", body)
            .with("content-type", "application/x-www-form-urlencoded")
            .to_github()
    };
    let encode = |name: &str| {
        form_urlencoded::Serializer::new(String::new())
            .append_pair(name, GITHUB_PUSH)
            .finish()
    };
    let push = push_of(send(encode("payload")).unwrap());
    assert_eq!(push.reference, "refs/heads/main");
    assert!(malformed(&send(encode("other"))));
    assert!(malformed(&send(format!("{0}&{0}", encode("payload")))));
    assert!(malformed(&send(String::new())));
    assert!(malformed(&send(GITHUB_PUSH.to_owned())));
    assert!(malformed(&send("payload=%ff%fe".to_owned())));
}

#[test]
fn pings_need_no_repository() {
    for body in [GITHUB_PING, GITHUB_PING_ORGANIZATION] {
        let delivery = Sent::github("ping", body).to_github().unwrap();
        assert_eq!(delivery.event, Event::Ping);
    }
}

#[test]
fn other_events_are_accepted_and_ignored() {
    let check = |delivery: Result<Delivery, Rejection>, event: &str| {
        assert_eq!(delivery.unwrap().event, Event::Ignored(event.to_owned()));
    };
    check(Sent::github("create", "{}").to_github(), "create");
    check(Sent::github("PUSH", GITHUB_PUSH).to_github(), "PUSH");
    check(Sent::gitlab("Note Hook", "{}").to_gitlab(), "Note Hook");
    let long = "x".repeat(1000);
    check(Sent::github(&long, "{}").to_github(), &long[..64]);
    let system = |body: Value| Sent::gitlab("System Hook", body.to_string()).to_gitlab();
    check(system(json!({"event_name": "user_create"})), "user_create");
    check(
        system(json!({"object_kind": "merge_request"})),
        "merge_request",
    );
}

#[test]
fn github_signatures_are_checked_first() {
    let good = || Sent::github("push", "Hello, World!");
    let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let check = |sent: Sent| assert!(unauthorized(&sent.to_github()), "{:?}", sent.headers);
    let header = |value: &str| check(good().with("x-hub-signature-256", value));
    assert!(malformed(
        &good().with("x-hub-signature-256", signature).to_github()
    ));
    check(good().without("x-hub-signature-256"));
    check(good().and("x-hub-signature-256", signature));
    check(good().body(b"Hello, World!\n"));
    check(good().body(b""));
    header("");
    header("sha256=");
    header("sha256");
    header(&signature[7..]);
    header(&signature[..70]);
    header(&format!("{signature}0"));
    header(&signature.to_uppercase());
    header(&format!("sha256={}", signature[7..].to_uppercase()));
    header(&format!("sha256={}", "z".repeat(64)));
    header(&format!("{signature},{signature}"));
    header(&format!(
        "sha256={}",
        hex::encode(sign(b"another", b"Hello, World!"))
    ));
    header(&format!(
        "sha256={}",
        hex::encode(sign(b"", b"Hello, World!"))
    ));
    header("sha1=01dc10d0c83e72ed246219cdd91669667fe2ca59");
    header("sha256=\u{e9}");
    check(good().without("x-hub-signature-256").with(
        "x-hub-signature",
        "sha1=01dc10d0c83e72ed246219cdd91669667fe2ca59",
    ));
    check(
        good()
            .without("x-hub-signature-256")
            .with("x-hub-signature", signature),
    );
}

#[test]
fn gitlab_tokens_are_checked_first() {
    let good = || Sent::gitlab("Push Hook", "not json");
    let check = |sent: Sent| assert!(unauthorized(&sent.to_gitlab()), "{:?}", sent.headers);
    assert!(malformed(&good().to_gitlab()));
    assert!(malformed(&good().with("x-gitlab-token", "old").to_gitlab()));
    check(good().without("x-gitlab-token"));
    check(good().with("x-gitlab-token", ""));
    check(good().and("x-gitlab-token", SECRET));
    check(good().with("x-gitlab-token", &SECRET.to_uppercase()));
    check(good().with("x-gitlab-token", &SECRET[1..]));
    check(good().with("x-gitlab-token", &format!("{SECRET} ")));
}

#[test]
fn a_receiver_without_secrets_accepts_nobody() {
    let empty = Secrets::default();
    let sent = Sent::github("ping", "{}");
    assert!(unauthorized(&sent.to(Provider::GitHub, &empty)));
    let sent = Sent::gitlab("Push Hook", GITLAB_PUSH);
    assert!(unauthorized(&sent.to(Provider::GitLab, &empty)));
    assert!(unauthorized(
        &sent.with("x-gitlab-token", "").to(Provider::GitLab, &empty)
    ));
    // Signing tokens are GitLab's; GitHub must not be let in by the lack of others.
    let only_signing = Secrets {
        tokens: Vec::new(),
        ..signing()
    };
    let sent = Sent::github("ping", "{}");
    assert!(unauthorized(&sent.to(Provider::GitHub, &only_signing)));
}

#[test]
fn deliveries_of_another_provider_are_refused() {
    assert!(unauthorized(&Sent::github("push", GITHUB_PUSH).to_gitlab()));
    assert!(unauthorized(
        &Sent::gitlab("Push Hook", GITLAB_PUSH).to_github()
    ));
    // With the right token the headers are still another provider's.
    let sent = Sent::github("push", GITHUB_PUSH).with("x-gitlab-token", SECRET);
    assert!(malformed(&sent.to_gitlab()));
}

/// As GitLab 19 sends it: the published vector, whose body is a template's.
fn gitlab_signed() -> Sent {
    Sent::gitlab(
        "Push Hook",
        r#"{"ref":"refs/heads/main","after":"0a05129851238652bf806a400af89fa974ade739"}"#,
    )
    .with("webhook-id", "f5e5f430-f57b-4e6e-9fac-d9128cd7232f")
    .with("webhook-timestamp", "1760000000")
    .with(
        "webhook-signature",
        "v1,qwXfd/v034nEyg+yHi6xOn76QXOTl0tQNeXqp0mAl10=",
    )
}

#[test]
fn gitlab_signing_tokens_require_a_signature() {
    let delivery = gitlab_signed().to(Provider::GitLab, &signing()).unwrap();
    assert_eq!(delivery.id, "f5e5f430-f57b-4e6e-9fac-d9128cd7232f");
    assert_eq!(delivery.event, Event::Refresh);

    let check = |sent: Sent| {
        assert!(
            unauthorized(&sent.to(Provider::GitLab, &signing())),
            "{:?}",
            sent.headers
        );
    };
    for header in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        check(gitlab_signed().without(header));
        check(gitlab_signed().with(header, ""));
        check(gitlab_signed().with(header, "x"));
        let again = gitlab_signed().headers[header].to_str().unwrap().to_owned();
        check(gitlab_signed().and(header, &again));
    }
    check(gitlab_signed().body(b"{}"));
    check(gitlab_signed().with(
        "webhook-signature",
        "v1a,qwXfd/v034nEyg+yHi6xOn76QXOTl0tQNeXqp0mAl10=",
    ));
    // The right token alone is not enough.
    check(Sent::gitlab("Push Hook", GITLAB_PUSH));
    // A token that is no signing token matches nothing.
    let broken = Secrets {
        signing_tokens: vec![secret("whsec_***")],
        ..secrets()
    };
    assert!(unauthorized(&gitlab_signed().to(Provider::GitLab, &broken)));
}

#[test]
fn old_signatures_of_gitlab_are_refused() {
    let check = |now: u64, accepted: bool| {
        let sent = gitlab_signed();
        let result = receive(Provider::GitLab, &signing(), &sent.headers, &sent.body, now);
        assert_eq!(result.is_ok(), accepted, "{now}");
        assert!(accepted || unauthorized(&result));
    };
    check(NOW + 300, true);
    check(NOW + 301, false);
    check(NOW - 300, true);
    check(NOW - 301, false);
    check(0, false);
    check(u64::MAX, false);
}

#[test]
fn delivery_ids_are_fit_for_logs() {
    let check = |id: &str, expected: &str| {
        let sent = Sent::github("ping", "{}").with("x-github-delivery", id);
        assert_eq!(sent.to_github().unwrap().id, expected);
    };
    check("", "");
    check("a\tb", "ab");
    check(&"\u{e9}".repeat(1000), &"\u{e9}".repeat(128));
    let sent = Sent::github("ping", "{}").without("x-github-delivery");
    assert_eq!(sent.to_github().unwrap().id, "");
    let sent = Sent::gitlab("Push Hook", GITLAB_PUSH)
        .without("idempotency-key")
        .with("x-gitlab-event-uuid", "shared");
    assert_eq!(sent.to_gitlab().unwrap().id, "");
}

#[test]
fn only_plain_json_and_forms_of_github_are_read() {
    let check = |sent: Sent| {
        let sent = sent.signed();
        for result in [sent.to_github(), sent.to_gitlab()] {
            assert_eq!(result, Err(Rejection::UnsupportedMediaType));
        }
    };
    assert_eq!(Rejection::UnsupportedMediaType.status(), 415);
    let good = || {
        Sent::github("push", GITHUB_PUSH)
            .with("x-gitlab-token", SECRET)
            .with("x-gitlab-event", "Push Hook")
    };
    check(good().without("content-type"));
    check(good().with("content-type", ""));
    check(good().with("content-type", "text/plain"));
    check(good().with("content-type", "application/jsonp"));
    check(good().with("content-type", "text/json, application/json"));
    check(good().and("content-type", "application/json"));
    check(
        good()
            .with("content-encoding", "gzip")
            .body(b"\x1f\x8b\x08\0"),
    );
    check(good().with("content-encoding", "identity, gzip"));
    let sent = good()
        .with("content-type", "Application/JSON ; charset=utf-8")
        .with("content-encoding", "identity");
    assert!(sent.to_github().is_ok() && sent.to_gitlab().is_ok());
    let form = good().with("content-type", "application/x-www-form-urlencoded");
    assert_eq!(form.to_gitlab(), Err(Rejection::UnsupportedMediaType));
    // Whoever is not authentic learns nothing of this.
    let gzip = good().with("content-encoding", "gzip").body(b"x");
    assert!(unauthorized(&gzip.to_github()));
}

#[test]
fn an_event_without_a_name_is_malformed() {
    let github = || Sent::github("push", GITHUB_PUSH);
    assert!(malformed(&github().without("x-github-event").to_github()));
    assert!(malformed(&github().with("x-github-event", "").to_github()));
    assert!(malformed(
        &github().and("x-github-event", "ping").to_github()
    ));
    assert!(malformed(
        &github()
            .with("x-github-event", "\u{e9}")
            .and("x-github-event", "x")
            .to_github()
    ));
    let gitlab = || Sent::gitlab("Push Hook", GITLAB_PUSH);
    assert!(malformed(&gitlab().without("x-gitlab-event").to_gitlab()));
    assert!(malformed(&gitlab().and("x-gitlab-event", "x").to_gitlab()));
}

#[test]
fn templates_of_gitlab_mean_refresh() {
    let check = |event: &str, body: &Value| {
        let delivery = Sent::gitlab(event, body.to_string()).to_gitlab().unwrap();
        assert_eq!(delivery.event, Event::Refresh, "{body}");
    };
    for event in ["Push Hook", "Tag Push Hook", "System Hook"] {
        check(event, &json!({}));
        check(event, &json!({"text": "somebody pushed"}));
        check(event, &json!({"project": "acme/shop", "ref": "main"}));
        check(event, &json!("pushed"));
    }
    let project = json!({"web_url": "https://gitlab.example.com/acme/shop"});
    check("Push Hook", &json!({"project": project, "ref": "main"}));
    check("Push Hook", &json!({"project": project}));
    check("Push Hook", &json!({"ref": "refs/heads/main"}));
    check(
        "Push Hook",
        &json!({"ref": "refs/heads/main", "project": null}),
    );
}

#[test]
fn an_update_of_several_references_means_refresh() {
    let update = |changes: Value| {
        let mut body: Value = serde_json::from_str(GITLAB_REPOSITORY_UPDATE).unwrap();
        body["changes"] = changes;
        let delivery = Sent::gitlab("System Hook", body.to_string()).to_gitlab();
        delivery.unwrap().event
    };
    let change = json!({"ref": "refs/heads/a", "before": BEFORE, "after": AFTER});
    assert!(matches!(update(json!([change])), Event::Push(_)));
    assert_eq!(update(json!([change, change])), Event::Refresh);
    assert_eq!(update(json!([])), Event::Refresh);
    assert_eq!(update(json!(null)), Event::Refresh);
    assert_eq!(update(json!([[]])), Event::Refresh);
}
