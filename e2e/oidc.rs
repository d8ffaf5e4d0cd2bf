//! Logging in by a provider of OpenID Connect: a real one in a real browser, and one that lies.

use std::net::SocketAddr;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::given::{Lab, SOON, binary, config_map, story};
use crate::lab::agent::{Agent, AgentOptions, converse};
use crate::lab::browser::{Browser, Look};
use crate::lab::issuer::{Describes, Issuer, Lie, Shows, Signs, in_seconds};
use crate::lab::process::free_port;
use crate::lab::{Expectation, eventually};
use crate::people::token;

/// An agent whose people log in by this provider.
async fn agent_by(lab: &Lab, name: &str, issuer: &str) -> Result<Agent> {
    let port = free_port()?;
    let oidc = json!({
        "name": "the story", "issuer": issuer, "clientID": "trimtab",
        "redirectURL": format!("http://localhost:{port}/login/callback"),
    });
    let options = AgentOptions {
        name: name.to_owned(),
        address: format!("127.0.0.1:{port}"),
        settings: json!({"oidc": oidc}),
        namespace: format!("home-{name}"),
        ..AgentOptions::new(binary())
    };
    Agent::start(&lab.guardian, &lab.control_plane, &options).await
}

/// A plain GET: status, headers and body.
async fn get(address: SocketAddr, path: &str, cookie: &str) -> Result<(u16, String, String)> {
    let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    let head = format!("{head}Cookie: {cookie}\r\n\r\n");
    let answer = converse(TcpStream::connect(address).await?, head.as_bytes()).await?;
    Ok((answer.status, answer.head, answer.body))
}

/// The value of a cookie that an answer sets.
fn cookie(head: &str, name: &str) -> Option<String> {
    let set = head.lines().find(|line| {
        let line = line.to_ascii_lowercase();
        line.starts_with("set-cookie:") && line.contains(&format!(" {name}=").to_ascii_lowercase())
    })?;
    let value = set.split_once('=')?.1.split(';').next()?;
    (!value.is_empty()).then(|| value.to_owned())
}

/// A log-in that was begun: what the provider got, and the browser's cookie.
struct Begun {
    query: Vec<(String, String)>,
    cookie: String,
}

impl Begun {
    async fn at(agent: &Agent) -> Result<Self> {
        let (status, head, body) = get(agent.people, "/login/provider?next=/about", "").await?;
        ensure!(status == 303, "{status} {body}");
        let to = head
            .lines()
            .find_map(|line| line.strip_prefix("location: "));
        let to = url::Url::parse(to.context("a place")?)?;
        let set = head.lines().find(|line| line.starts_with("set-cookie: "));
        let set = set.context("a cookie")?;
        for wanted in ["__Host-", "Secure", "HttpOnly", "SameSite=Lax", "Path=/"] {
            ensure!(set.contains(wanted), "{set}");
        }
        let cookie = cookie(&head, "__Host-trimtab-login").context("a cookie")?;
        Ok(Self {
            query: to.query_pairs().into_owned().collect(),
            cookie: format!("__Host-trimtab-login={cookie}"),
        })
    }

    fn sent(&self, name: &str) -> &str {
        let found = self.query.iter().find(|(it, _)| it == name);
        found.map(|(_, value)| value.as_str()).unwrap_or_default()
    }

    fn back(&self, code: &str) -> String {
        format!("/login/callback?state={}&code={code}", self.sent("state"))
    }
}

/// Nobody is logged in, and the page says why.
async fn refused(agent: &Agent, path: &str, cookies: &str, why: &str) -> Result<()> {
    let (status, head, body) = get(agent.people, path, cookies).await?;
    ensure!((400..600).contains(&status), "{status} instead of {why}");
    ensure!(body.contains(why), "{why} is not in {body}");
    ensure!(
        cookie(&head, "__Host-trimtab").is_none(),
        "logged in: {why}"
    );
    Ok(())
}

#[test]
fn a_provider_that_says_of_itself_what_is_not_so_logs_nobody_in() {
    story(|lab| async move {
        let issuer = Issuer::start().await?;
        lab.given_in("lies", "home-lies").await?;
        let agent = agent_by(lab, "lies", &issuer.url()).await?;
        // It describes itself wrongly: nobody is sent there.
        for (describes, why) in [
            (Describes::AnotherIssuer, "another name"),
            (Describes::PlainAddress, "must begin with https"),
            (Describes::Elsewhere, "status 303"),
            (Describes::Nothing, "does not describe itself"),
        ] {
            issuer.lie(Lie {
                describes,
                ..Lie::default()
            });
            refused(&agent, "/login/provider", "", why).await?;
        }
        // Its keys are no keys.
        for (shows, why) in [
            (Shows::TooMany, "too long"),
            (Shows::Late, "no answer within"),
        ] {
            issuer.lie(Lie {
                shows,
                ..Lie::default()
            });
            let begun = Begun::at(&agent).await?;
            issuer.set_nonce(begun.sent("nonce"));
            let code = format!("{shows:?}");
            refused(&agent, &begun.back(&code), &begun.cookie, why).await?;
        }
        Ok(())
    });
}

/// Tokens that are not to be believed, and what people are told.
fn bad_tokens() -> Vec<(Lie, &'static str)> {
    let claims = |claims: Value| Lie {
        claims,
        ..Lie::default()
    };
    let signs = |signs, header: Value| Lie {
        signs,
        header,
        ..Lie::default()
    };
    vec![
        (
            claims(json!({"iss": "https://accounts.example.com"})),
            "another issuer",
        ),
        (claims(json!({"aud": "other"})), "somebody else"),
        (claims(json!({"aud": ["trimtab", "other"]})), "given to"),
        (claims(json!({"azp": "other"})), "given to"),
        (claims(json!({"nonce": "other"})), "another log-in"),
        (claims(json!({"nonce": null})), "another log-in"),
        (claims(json!({"exp": in_seconds(-120)})), "has ended"),
        (claims(json!({"exp": null})), "when it ends"),
        (claims(json!({"nbf": in_seconds(120)})), "not valid yet"),
        (claims(json!({"iat": in_seconds(120)})), "not valid yet"),
        (claims(json!({"email": ""})), "names nobody"),
        (claims(json!({"email": null})), "names nobody"),
        (claims(json!({"email": ["ann"]})), "names nobody"),
        (claims(json!({"email_verified": false})), "did not verify"),
        (claims(json!({"groups": 7})), "no list of names"),
        (claims(json!({"groups": [""]})), "no list of names"),
        (signs(Signs::ByAnother, json!({})), "signature"),
        (
            signs(Signs::ByAnother, json!({"kid": "new"})),
            "not one of the provider",
        ),
        (
            signs(Signs::Well, json!({"kid": "../known"})),
            "not one of the provider",
        ),
        (signs(Signs::Not, json!({"alg": "none"})), "algorithm"),
        (signs(Signs::Not, json!({})), "signature"),
        (
            signs(Signs::ByPublicKey, json!({"alg": "HS256"})),
            "algorithm",
        ),
        (signs(Signs::Well, json!({"crit": ["b64"]})), "extension"),
    ]
}

#[test]
fn a_token_that_is_not_to_be_believed_logs_nobody_in() {
    story(|lab| async move {
        let issuer = Issuer::start().await?;
        lab.given_in("bad-tokens", "home-bad-tokens").await?;
        let agent = agent_by(lab, "bad-tokens", &issuer.url()).await?;
        for (number, (lie, why)) in bad_tokens().into_iter().enumerate() {
            issuer.lie(lie.clone());
            let begun = Begun::at(&agent).await?;
            issuer.set_nonce(begun.sent("nonce"));
            refused(
                &agent,
                &begun.back(&format!("c{number}")),
                &begun.cookie,
                why,
            )
            .await
            .with_context(|| format!("{lie:?}"))?;
        }
        Ok(())
    });
}

#[test]
fn a_log_in_is_of_one_browser_and_ends_once() {
    story(|lab| async move {
        let issuer = Issuer::start().await?;
        lab.given_in("once", "home-once").await?;
        let agent = agent_by(lab, "once", &issuer.url()).await?;
        let (begun, other) = (Begun::at(&agent).await?, Begun::at(&agent).await?);
        ensure!(begun.sent("state") != other.sent("state") && begun.sent("state").len() >= 32);
        ensure!(begun.sent("code_challenge_method") == "S256");
        issuer.set_nonce(begun.sent("nonce"));
        let not_begun = "not begun in this browser";
        refused(&agent, &begun.back("good"), &other.cookie, not_begun).await?;
        refused(&agent, &begun.back("good"), "", not_begun).await?;
        refused(
            &agent,
            "/login/callback?error=access_denied",
            "",
            "access_denied",
        )
        .await?;
        let (status, head, body) = get(agent.people, &begun.back("good"), &begun.cookie).await?;
        ensure!(
            status == 200 && body.contains("url=/about"),
            "{status} {body}"
        );
        let session = cookie(&head, "__Host-trimtab").context("a session")?;
        let session = format!("__Host-trimtab={session}");
        refused(&agent, &begun.back("good"), &begun.cookie, not_begun).await?;
        // The code is bound to our secret, and a code that was used is refused by the provider.
        let (login, form) = issuer.exchanges().pop().context("an exchange")?;
        let sent = |name: &str| {
            form.iter()
                .any(|(it, value)| it == name && value.len() >= 7)
        };
        ensure!(
            sent("code_verifier") && sent("client_id") && login.is_empty(),
            "{form:?}"
        );
        let third = Begun::at(&agent).await?;
        issuer.set_nonce(third.sent("nonce"));
        refused(&agent, &third.back("good"), &third.cookie, "status 400").await?;
        // Whoever is logged in is known by a name that no one of the cluster has.
        let (status, _, body) = get(agent.people, "/api/v1/about", &session).await?;
        let user: Value = serde_json::from_str(&body)?;
        ensure!(
            status == 200 && user["user"] == "oidc:ann@example.com",
            "{body}"
        );
        let log = agent.process.log();
        ensure!(!log.contains(third.sent("nonce")), "a nonce is in the log");
        Ok(())
    });
}

/// The real provider, and its address.
async fn provider(lab: &Lab, redirect: &str) -> Result<(crate::lab::process::Process, String)> {
    let program = std::env::var("TRIMTAB_PROVIDER")
        .context("TRIMTAB_PROVIDER is not set: hack/test sets it to what hack/provider prints")?;
    let port = free_port()?;
    let mut command = Command::new("node");
    command.args([&program, &port.to_string(), "trimtab", "a secret", redirect]);
    let process = lab.guardian.spawn("provider", &mut command)?;
    eventually("the provider", SOON, || async {
        Ok(match process.log().contains("listening") {
            true => Expectation::Met(()),
            false => Expectation::Pending(process.tail(5)),
        })
    })
    .await?;
    Ok((process, format!("http://127.0.0.1:{port}")))
}

/// Logs in at the provider's own pages.
async fn log_in(browser: &Browser, base: &str, name: &str) -> Result<()> {
    browser.visit(base).await?;
    browser.shows("Log in with the story").await?;
    browser.click("a[href^='/login/provider']").await?;
    browser.shows("Sign-in").await?;
    browser.write("input[name=login]", name).await?;
    browser.write("input[name=password]", "any").await?;
    browser.press("Sign-in").await?;
    browser.press("Continue").await
}

#[test]
fn a_person_logs_in_by_a_real_provider_and_sees_what_their_group_may() {
    story(|lab| async move {
        let app = lab.given_in("by-provider", "home-by-provider").await?;
        let port = free_port()?;
        let redirect = format!("http://localhost:{port}/login/callback");
        let (_process, issuer) = provider(lab, &redirect).await?;
        let secret = lab.guardian.directory().join("oidc-secret");
        std::fs::write(&secret, "a secret\n")?;
        let options = AgentOptions {
            name: "by-provider".to_owned(),
            address: format!("127.0.0.1:{port}"),
            settings: json!({"oidc": {
                "name": "the story", "issuer": issuer, "clientID": "trimtab",
                "clientSecretFile": secret, "redirectURL": redirect,
            }}),
            namespace: app.home.clone(),
            ..AgentOptions::new(binary())
        };
        let agent = Agent::start(&lab.guardian, &lab.control_plane, &options).await?;
        // The roles of the chart are there once somebody needs them.
        token(lab, "trimtab-viewer", "trimtab").await?;
        let binding = json!({
            "metadata": {"name": "ann-team"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
                "name": "trimtab-viewer"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group",
                "name": "oidc:ann-team"}],
        });
        let bindings = format!(
            "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings",
            app.home
        );
        app.cluster.create(&bindings, &binding).await?;
        let commit_id = app.commit(&[("a.yaml", Some(&config_map("a", "1")))])?;
        app.create(&app.application()).await?;
        app.synced(&commit_id).await?;
        let base = format!("http://localhost:{port}");
        let page = format!("{base}/applications/{}/{}", app.home, app.name);
        let browser = Browser::open(&lab.guardian, Look::default()).await?;
        log_in(&browser, &page, "ann").await?;
        browser.shows("In sync, 1 objects").await?;
        browser.shows("oidc:ann@example.com").await?;
        let buttons = "return document.querySelectorAll('.actions button').length";
        ensure!(
            browser.run(buttons).await? == 0,
            "a viewer is offered actions"
        );
        // What the session was is worth nothing after the log-out.
        let cookies = browser.client.get_all_cookies().await?;
        let session = cookies
            .iter()
            .find(|cookie| cookie.name() == "__Host-trimtab");
        let session = session.context("a session")?.value().to_owned();
        let session = format!("__Host-trimtab={session}");
        let (status, ..) = get(agent.people, "/api/v1/about", &session).await?;
        ensure!(status == 200, "{status}");
        browser.press("Log out").await?;
        browser.shows("Log in with the story").await?;
        let (status, ..) = get(agent.people, "/api/v1/about", &session).await?;
        ensure!(status == 401, "the session is still good: {status}");
        browser.close().await?;
        // Somebody of another group is known and sees nothing; who is not verified is not known.
        let browser = Browser::open(&lab.guardian, Look::default()).await?;
        log_in(&browser, &page, "bob").await?;
        browser.shows("may not get application").await?;
        browser.close().await?;
        let browser = Browser::open(&lab.guardian, Look::default()).await?;
        log_in(&browser, &page, "unverified").await?;
        browser.shows("did not verify the e-mail address").await?;
        browser.close().await?;
        if agent.process.log().contains("a secret") {
            bail!("the secret is in the log");
        }
        Ok(())
    });
}
