//! Forges that never answer, that ask to be left alone, and that are told of the same thing again and
//! again; and what stays on disk of repositories that nobody follows.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;

use crate::given::{Lab, SOON, Story, binary, config_map, story};
use crate::lab::git_server::Fault;
use crate::lab::{Agent, AgentOptions, Expectation, GitServer, eventually};

/// Takes every connection and never says anything.
struct Silent {
    address: SocketAddr,
    open: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Silent {
    async fn start(last: u8) -> Result<Self> {
        let listener = TcpListener::bind((std::net::Ipv4Addr::new(127, 0, 3, last), 0)).await?;
        let silent = Self {
            address: listener.local_addr()?,
            open: Arc::default(),
            most: Arc::default(),
        };
        let (open, most) = (Arc::clone(&silent.open), Arc::clone(&silent.most));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                open.fetch_add(1, Ordering::SeqCst);
                let (now, most) = (Arc::clone(&open), Arc::clone(&most));
                tokio::spawn(async move {
                    // That one was given up may be noticed only after the next has come.
                    tokio::time::sleep(Duration::from_millis(250)).await;
                    most.fetch_max(now.load(Ordering::SeqCst), Ordering::SeqCst);
                });
                let open = Arc::clone(&open);
                tokio::spawn(async move {
                    let mut rest = Vec::new();
                    let _ = stream.read_to_end(&mut rest).await;
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Ok(silent)
    }
}

/// How long it takes from a push until it is live.
async fn time_of_a_push(app: &Story, agent: &Agent, value: &str) -> Result<Duration> {
    let text = config_map("a", value);
    let commit_id = app.commit(&[("a.yaml", Some(&text))])?;
    let began = Instant::now();
    let status = agent.push_github(&app.url, "main", &commit_id).await?;
    ensure!(status == 202, "{status}");
    app.value("a", Some(value)).await?;
    Ok(began.elapsed())
}

#[test]
fn six_hundred_silent_repositories_hold_nobody_up() {
    story(|lab| async move {
        let app = lab.given_in("not-silent", "not-silent-home").await?;
        let agent = lab.agent_for(&app.home, &[]).await?;
        let first = app.commit(&[("a.yaml", Some(&config_map("a", "0")))])?;
        app.create(&app.application()).await?;
        app.synced(&first).await?;
        let alone = time_of_a_push(&app, &agent, "1").await?;
        // Three hosts, as one that hangs is no excuse for another.
        let mut hosts = Vec::new();
        for last in 1..=3 {
            hosts.push(Silent::start(last).await?);
        }
        let created = (0..600).map(|number| {
            let mut application = app.application();
            let host = hosts[number % hosts.len()].address;
            application["metadata"]["name"] = json!(format!("silent-{number}"));
            application["spec"]["source"]["repoURL"] =
                json!(format!("http://{host}/team/app-{number}.git"));
            let app = &app;
            async move { app.create(&application).await }
        });
        futures::future::try_join_all(created).await?;
        eventually("every host is asked", SOON, || async {
            let open = |host: &Silent| host.open.load(Ordering::SeqCst);
            let open: Vec<_> = hosts.iter().map(open).collect();
            Ok(match open.iter().all(|open| *open >= 8) {
                true => Expectation::Met(()),
                false => Expectation::Pending(format!("{open:?} connections")),
            })
        })
        .await?;
        let beside = time_of_a_push(&app, &agent, "2").await?;
        // Far from the minute that a request to a silent host takes.
        ensure!(
            beside < alone + SOON / 4,
            "alone {alone:?}, beside 600 silent repositories {beside:?}"
        );
        for host in &hosts {
            let most = host.most.load(Ordering::SeqCst);
            ensure!(most <= 8, "{most} connections to one host at once");
        }
        Ok(())
    });
}

#[test]
fn a_storm_of_deliveries_asks_the_forge_once_a_second() {
    story(|lab| async move {
        let app = lab.given("storm").await?;
        let first = app.commit(&[("a.yaml", Some(&config_map("a", "1")))])?;
        app.create(&app.application()).await?;
        app.synced(&first).await?;
        let before = lab.git.count("storm", "ls-refs");
        let began = Instant::now();
        for _ in 0..300 {
            let status = lab.agent.push_github(&app.url, "main", &first).await?;
            ensure!(status == 202, "{status}");
        }
        // What is new in the middle of it is found all the same.
        app.push(&lab.agent, &[("a.yaml", Some(&config_map("a", "2")))])
            .await?;
        app.value("a", Some("2")).await?;
        let asked = lab.git.count("storm", "ls-refs") - before;
        let seconds = usize::try_from(began.elapsed().as_secs())?;
        // Five at once, one each second, and the one that brought something.
        ensure!(
            asked <= 5 + seconds + 2,
            "{asked} questions in {seconds} s for 301 deliveries"
        );
        Ok(())
    });
}

/// A forge of its own that serves the lab's repositories: what it is asked is this story's alone.
fn own_forge(lab: &Lab) -> Result<GitServer> {
    GitServer::start(&lab.guardian.directory().join("repositories"))
}

/// A repository of this forge, and a synced application of it.
async fn given_at(lab: &Lab, forge: &GitServer, name: &str, home: &str) -> Result<(Story, String)> {
    let app = lab.given(name).await?;
    let app = Story {
        url: forge.url(name),
        home: home.to_owned(),
        ..app
    };
    let first = app.commit(&[("a.yaml", Some(&config_map("a", "1")))])?;
    app.create(&app.application()).await?;
    app.synced(&first).await?;
    Ok((app, first))
}

#[test]
fn a_storm_over_many_repositories_asks_their_forge_once_a_second() {
    story(|lab| async move {
        let forge = own_forge(lab)?;
        let home = "host-storm-home";
        lab.given_in("host-storm", home).await?;
        let agent = lab.agent_for(home, &["--no-install-crd"]).await?;
        let (good, _) = given_at(lab, &forge, "host-storm-good", home).await?;
        let names: Vec<_> = (0..12).map(|n| format!("host-storm-{n}")).collect();
        let given = names.iter().map(|name| given_at(lab, &forge, name, home));
        let apps = futures::future::try_join_all(given).await?;
        let asked = || {
            let all = names.iter().map(|name| forge.count(name, "ls-refs"));
            all.sum::<usize>()
        };
        let alone = time_of_a_push(&good, &agent, "2").await?;
        let before = asked();
        let began = Instant::now();
        for round in 0..25 {
            for (app, first) in &apps {
                let status = agent.push_github(&app.url, "main", first).await?;
                ensure!(status == 202, "{status}");
            }
            // In the middle of it somebody else pushes to the same forge, and does not wait for twelve
            // others.
            if round % 5 == 4 {
                let value = format!("beside-{round}");
                let beside = time_of_a_push(&good, &agent, &value).await?;
                ensure!(
                    beside < alone * 2 + Duration::from_secs(5),
                    "alone {alone:?}, beside a storm {beside:?}"
                );
            }
        }
        let asked = asked() - before;
        let seconds = usize::try_from(began.elapsed().as_secs())?;
        // Five at once, and one each second.
        ensure!(
            (5..=5 + seconds + 1).contains(&asked),
            "{asked} questions in {seconds} s for 300 deliveries over 12 repositories"
        );
        Ok(())
    });
}

#[test]
fn a_forge_that_asks_for_patience_is_left_alone() {
    story(|lab| async move {
        let forge = own_forge(lab)?;
        let (app, first) = given_at(lab, &forge, "patience", "trimtab").await?;
        let (other, one) = given_at(lab, &forge, "patience-beside", "trimtab").await?;
        forge.fail("patience", Fault::Patience(3600));
        app.push(&lab.agent, &[("a.yaml", Some(&config_map("a", "2")))])
            .await?;
        app.condition("SourceError", "429").await?;
        let asked = forge.requests();
        for _ in 0..20 {
            lab.agent.push_github(&app.url, "main", &first).await?;
            lab.agent.push_github(&other.url, "main", &one).await?;
        }
        // What else is there says why it does not know better.
        other
            .push(&lab.agent, &[("a.yaml", Some(&config_map("a", "2")))])
            .await?;
        other
            .condition("SourceError", "the server asked to be left alone")
            .await?;
        // Others are asked meanwhile, so time passes for them as well.
        let elsewhere = lab.given("impatient").await?;
        let one = elsewhere.commit(&[("a.yaml", Some(&config_map("a", "1")))])?;
        elsewhere.create(&elsewhere.application()).await?;
        elsewhere.synced(&one).await?;
        time_of_a_push(&elsewhere, &lab.agent, "2").await?;
        let now = forge.requests();
        ensure!(now == asked, "asked {} times more", now - asked);
        app.value("a", Some("1")).await?;
        other.value("a", Some("1")).await
    });
}

#[test]
fn a_pause_that_is_over_is_over_for_all() {
    story(|lab| async move {
        let forge = own_forge(lab)?;
        let (app, first) = given_at(lab, &forge, "host-pause", "trimtab").await?;
        let (other, _) = given_at(lab, &forge, "host-pause-beside", "trimtab").await?;
        // Long enough to be said before it is over, also on a busy machine.
        forge.fail("host-pause", Fault::Patience(30));
        lab.agent.push_github(&app.url, "main", &first).await?;
        app.condition("SourceError", "429").await?;
        forge.heal("host-pause");
        let second = other
            .push(&lab.agent, &[("a.yaml", Some(&config_map("a", "2")))])
            .await?;
        other
            .condition("SourceError", "the server asked to be left alone")
            .await?;
        let status = other.synced(&second).await?;
        ensure!(!status.to_string().contains("left alone"), "{status}");
        app.synced(&first).await?;
        Ok(())
    });
}

#[test]
fn what_a_delivery_names_before_it_is_there_is_live_soon_after_it_is() {
    story(|lab| async move {
        let (app, _) = given_at(lab, &lab.git, "early-delivery", "trimtab").await?;
        // A commit that no branch shows yet, as behind a replica that lags.
        let main = app.repository.resolve("main")?;
        let text = config_map("a", "2");
        let later = app.commit(&[("a.yaml", Some(&text))])?;
        app.repository.set_branch("main", &main)?;
        let before = lab.git.count("early-delivery", "ls-refs");
        let status = lab.agent.push_github(&app.url, "main", &later).await?;
        ensure!(status == 202, "{status}");
        eventually("it is asked in vain, twice", SOON, || async {
            let asked = lab.git.count("early-delivery", "ls-refs") - before;
            Ok(match asked {
                0 | 1 => Expectation::Pending(format!("{asked} questions")),
                _ => Expectation::Met(()),
            })
        })
        .await?;
        app.value("a", Some("1")).await?;
        app.repository.set_branch("main", &later)?;
        let began = Instant::now();
        // Nobody tells of it once more, and the interval is three minutes.
        app.value("a", Some("2")).await?;
        app.synced(&later).await?;
        ensure!(began.elapsed() < SOON / 2, "{:?}", began.elapsed());
        Ok(())
    });
}

/// A text that packs badly.
fn noise(bytes: usize) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut text = String::with_capacity(bytes + 8);
    while text.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        for letter in state.to_le_bytes() {
            text.push(char::from(LETTERS[usize::from(letter & 63)]));
        }
    }
    text
}

#[test]
fn a_mirror_that_nobody_follows_goes_when_the_disk_is_full() {
    story(|lab| async move {
        let old = lab.given_in("old-mirror", "old-mirror-home").await?;
        let options = AgentOptions {
            name: "agent-old-mirror".to_owned(),
            namespace: old.home.clone(),
            settings: json!({"limits": {"mirrorsMiB": 8}}),
            ..AgentOptions::new(binary())
        };
        let agent = Agent::start(&lab.guardian, &lab.control_plane, &options).await?;
        let (map, large) = (config_map("a", "1"), noise(13 << 20));
        old.commit(&[("a.yaml", Some(&map))])?;
        old.repository
            .commit("main", &[("large.txt", Some(&large))], "much")?;
        old.create(&old.application()).await?;
        old.value("a", Some("1")).await?;
        old.becomes("Synced", |status| status["sync"]["status"] == "Synced")
            .await?;
        eventually("the mirror is counted", SOON, || async {
            let bytes = agent.metric("trimtab_mirror_bytes", &[]).await?;
            Ok(match bytes > f64::from(8 << 20) {
                true => Expectation::Met(()),
                false => Expectation::Pending(format!("{bytes} bytes")),
            })
        })
        .await?;
        // It is followed, and used a moment ago: it stays, whatever the budget is.
        let removed = || agent.metric("trimtab_mirrors_removed_total", &["reason=\"budget\""]);
        ensure!(removed().await? < 0.5);
        old.cluster.delete(&old.path()).await?;
        eventually("the mirror goes", SOON, || async {
            let bytes = agent.metric("trimtab_mirror_bytes", &[]).await?;
            Ok(if bytes < 1.0 && removed().await? > 0.5 {
                Expectation::Met(())
            } else {
                Expectation::Pending(format!("{bytes} bytes"))
            })
        })
        .await
    });
}
