//! A real browser: Chromium, driven by its own driver.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use fantoccini::actions::{InputSource as _, KeyAction, KeyActions};
use fantoccini::{Client, ClientBuilder, Locator};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::process::{Guardian, Process, free_port};
use super::{Expectation, eventually};

/// A window of the browser.
pub(crate) struct Browser {
    pub(crate) client: Client,
    _driver: Process,
    profile: TempDir,
}

/// How the window is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Look {
    pub(crate) dark: bool,
    pub(crate) without_script: bool,
    /// Pixels; a desktop when none.
    pub(crate) size: Option<(u32, u32)>,
}

impl Browser {
    /// Opens a window with an empty profile.
    pub(crate) async fn open(guardian: &Guardian, look: Look) -> Result<Self> {
        let Ok(found) = which("chromedriver") else {
            bail!("chromedriver is not installed: hack/browser installs it");
        };
        let port = free_port()?;
        let mut command = Command::new(found);
        command.arg(format!("--port={port}")).stdin(Stdio::null());
        let driver = guardian.spawn(&format!("chromedriver-{port}"), &mut command)?;
        let profile = tempfile::tempdir()?;
        let (width, height) = look.size.unwrap_or((1280, 900));
        let mut arguments = vec![
            "--headless=new".to_owned(),
            "--no-sandbox".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-quic".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--no-first-run".to_owned(),
            "--disable-background-networking".to_owned(),
            "--disable-component-update".to_owned(),
            "--disable-sync".to_owned(),
            format!("--window-size={width},{height}"),
            format!("--user-data-dir={}", profile.path().display()),
        ];
        if look.dark {
            arguments.push("--blink-settings=preferredColorScheme=0".to_owned());
        }
        let mut options = json!({"args": arguments});
        if look.without_script {
            options["prefs"] = json!({"profile.managed_default_content_settings.javascript": 2});
        }
        if let Some((width, height)) = look.size {
            // A window has a least width, a device does not.
            options["mobileEmulation"] = json!({
                "deviceMetrics": {"width": width, "height": height, "pixelRatio": 2.0},
            });
        }
        let capabilities = json!({
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL"},
        });
        let Value::Object(capabilities) = capabilities else {
            bail!("capabilities are an object");
        };
        let address = format!("http://127.0.0.1:{port}");
        let client = eventually("a browser", Duration::from_secs(30), || async {
            let mut builder =
                ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new());
            let connected = builder.capabilities(capabilities.clone()).connect(&address);
            Ok(match connected.await {
                Ok(client) => Expectation::Met(client),
                Err(error) => Expectation::Pending(error.to_string()),
            })
        })
        .await?;
        Ok(Self {
            client,
            _driver: driver,
            profile,
        })
    }

    pub(crate) async fn visit(&self, url: &str) -> Result<()> {
        self.client.goto(url).await.with_context(|| url.to_owned())
    }

    /// Waits until the page says this somewhere.
    pub(crate) async fn shows(&self, text: &str) -> Result<()> {
        self.becomes(&format!("a page with {text:?}"), |page| page.contains(text))
            .await
    }

    /// Waits until the text of the page is as wanted.
    pub(crate) async fn becomes(&self, what: &str, wanted: impl Fn(&str) -> bool) -> Result<()> {
        eventually(what, Duration::from_secs(30), || async {
            // A page that is just being left has no body.
            let seen = match self.client.find(Locator::Css("body")).await {
                Ok(body) => body.text().await.unwrap_or_default(),
                Err(error) => error.to_string(),
            };
            Ok(if wanted(&seen) {
                Expectation::Met(())
            } else {
                Expectation::Pending(seen)
            })
        })
        .await
    }

    /// Clicks what this selector finds, as soon as it can be clicked.
    pub(crate) async fn click(&self, selector: &str) -> Result<()> {
        eventually(
            &format!("a click on {selector}"),
            Duration::from_secs(30),
            || async {
                let clicked = async {
                    self.client
                        .find(Locator::Css(selector))
                        .await?
                        .click()
                        .await
                };
                Ok(match clicked.await {
                    Ok(()) => Expectation::Met(()),
                    Err(error) => Expectation::Pending(error.to_string()),
                })
            },
        )
        .await
    }

    /// Clicks the button with this text.
    pub(crate) async fn press(&self, text: &str) -> Result<()> {
        let path = format!("//button[normalize-space()='{text}']");
        eventually(
            &format!("a click on {text}"),
            Duration::from_secs(30),
            || async {
                let clicked =
                    async { self.client.find(Locator::XPath(&path)).await?.click().await };
                Ok(match clicked.await {
                    Ok(()) => Expectation::Met(()),
                    Err(error) => Expectation::Pending(error.to_string()),
                })
            },
        )
        .await
    }

    /// Types into the field that this selector finds, as soon as it is there: a page that is read
    /// anew just then takes its fields away, and nothing was typed.
    pub(crate) async fn write(&self, selector: &str, text: &str) -> Result<()> {
        eventually(
            &format!("typing into {selector}"),
            Duration::from_secs(30),
            || async {
                let typed = async {
                    let field = self.client.find(Locator::Css(selector)).await?;
                    field.send_keys(text).await
                };
                Ok(match typed.await {
                    Ok(()) => Expectation::Met(()),
                    Err(error) => Expectation::Pending(error.to_string()),
                })
            },
        )
        .await
    }

    /// Types keys where the focus is, in WebDriver's code points: `\u{E004}` is Tab, `\u{E007}`
    /// Enter, `\u{E00C}` Escape.
    pub(crate) async fn keys(&self, keys: &str) -> Result<()> {
        let mut actions = KeyActions::new("keyboard".to_owned());
        for key in keys.chars() {
            actions = actions
                .then(KeyAction::Down { value: key })
                .then(KeyAction::Up { value: key });
        }
        Ok(self.client.perform_actions(actions).await?)
    }

    /// What has the focus, by its text.
    pub(crate) async fn focused(&self) -> Result<String> {
        let text = self
            .run("return document.activeElement.textContent.trim()")
            .await?;
        Ok(text.as_str().unwrap_or_default().to_owned())
    }

    /// Presses Tab until what has this text has the focus.
    pub(crate) async fn tab_to(&self, text: &str) -> Result<()> {
        for _ in 0..60 {
            self.keys("\u{E004}").await?;
            if self.focused().await? == text {
                return Ok(());
            }
        }
        bail!("{text} cannot be reached by Tab")
    }

    /// Runs a script in the page; the content security policy does not concern the driver.
    pub(crate) async fn run(&self, script: &str) -> Result<Value> {
        Ok(self.client.execute(script, Vec::new()).await?)
    }

    /// Everything the browser complained about so far: violations of the policy, failed requests,
    /// errors of the script.
    pub(crate) async fn complaints(&self) -> Result<Vec<String>> {
        let answer = self.client.issue_cmd(Log).await?;
        let entries = answer.as_array().cloned().unwrap_or_default();
        let entries = entries.iter().filter(|entry| entry["level"] == "SEVERE");
        Ok(entries
            .map(|entry| entry["message"].as_str().unwrap_or_default().to_owned())
            .collect())
    }

    pub(crate) async fn picture(&self) -> Result<Vec<u8>> {
        Ok(self.client.screenshot().await?)
    }

    pub(crate) async fn close(self) -> Result<()> {
        Ok(self.client.clone().close().await?)
    }
}

/// Chromium outlives its driver; where a story failed nobody has closed the window.
impl Drop for Browser {
    fn drop(&mut self) {
        let profile = self.profile.path().display().to_string();
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let ours = String::from_utf8_lossy(&line).contains(&profile);
            let process = entry.file_name().to_string_lossy().parse::<i32>();
            if let (true, Ok(process)) = (ours, process) {
                let process = nix::unistd::Pid::from_raw(process);
                let _ = nix::sys::signal::kill(process, nix::sys::signal::Signal::SIGKILL);
            }
        }
    }
}

/// Chromium's own command for what its console got.
#[derive(Debug)]
struct Log;

impl fantoccini::wd::WebDriverCompatibleCommand for Log {
    fn endpoint(
        &self,
        base: &url::Url,
        session: Option<&str>,
    ) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/se/log", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
        (
            http::Method::POST,
            Some(json!({"type": "browser"}).to_string()),
        )
    }
}

/// The path of a program.
fn which(name: &str) -> Result<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
        .with_context(|| format!("{name} is not in PATH"))
}
