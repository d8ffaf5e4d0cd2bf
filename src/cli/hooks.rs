//! Joins the webhook port, the receivers of the settings with their secret files, and the source
//! loop.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use http::HeaderMap;
use jiff::Timestamp;

use crate::config::{Provider, Receiver, Settings};
use crate::object::rfc3339;
use crate::reload::{self, Content, Reloaded};
use crate::server::{Full, Hooks, Refused, Verified};
use crate::source::{Pushed, SourceLoop};
use crate::trigger::{Delivery, Journal, ReceiverName};
use crate::webhook::{Event, Secret, Secrets, receive};

/// The receivers that are configured now.
pub(super) struct Receivers {
    all: RwLock<HashMap<String, (Provider, Reloaded<Secrets>)>>,
    sources: Arc<SourceLoop>,
    journal: Arc<Journal>,
}

impl Receivers {
    /// Follows the secret files of each receiver. One whose files hold no secret is an error:
    /// it would accept nobody, and whoever set it up should know.
    pub(super) fn new(
        settings: &Settings,
        sources: Arc<SourceLoop>,
        journal: Arc<Journal>,
    ) -> Result<Self, reload::Error> {
        let receivers = Self {
            all: RwLock::default(),
            sources,
            journal,
        };
        receivers.set(settings)?;
        Ok(receivers)
    }

    /// Takes the receivers of new settings, all or none of them.
    pub(super) fn set(&self, settings: &Settings) -> Result<(), reload::Error> {
        let mut all = HashMap::new();
        for receiver in &settings.receivers {
            let (secrets, following) = follow(receiver)?;
            // Ends when the receiver is dropped.
            tokio::spawn(following);
            all.insert(receiver.name.clone(), (receiver.provider, secrets));
        }
        let names = settings.receivers.iter().map(|receiver| ReceiverName {
            name: receiver.name.clone(),
            provider: receiver.provider.name(),
        });
        self.journal.set_receivers(names.collect());
        *self.all.write().unwrap_or_else(PoisonError::into_inner) = all;
        Ok(())
    }

    fn find(&self, receiver: &str) -> Option<(Provider, Arc<Secrets>)> {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        all.get(receiver)
            .map(|(provider, secrets)| (*provider, secrets.get()))
    }
}

fn follow(
    receiver: &Receiver,
) -> Result<(Reloaded<Secrets>, impl Future<Output = ()> + Send + 'static), reload::Error> {
    let name = receiver.name.clone();
    let tokens = receiver.secret_files.len();
    let paths: Vec<PathBuf> = receiver
        .secret_files
        .iter()
        .chain(&receiver.signing_token_files)
        .cloned()
        .collect();
    let named = paths.clone();
    let read = move |contents: &[Content]| {
        let mut secrets = Secrets::default();
        for (at, content) in contents.iter().enumerate() {
            let secret = content.clone().and_then(Secret::new).ok_or_else(|| {
                format!(
                    "receiver \"{name}\": {} holds no secret",
                    named[at].display()
                )
            })?;
            if at < tokens {
                secrets.tokens.push(secret);
            } else if secret.is_signing_token() {
                secrets.signing_tokens.push(secret);
            } else {
                let path = named[at].display();
                return Err(format!(
                    "receiver \"{name}\": {path} holds no token (whsec_...)"
                ));
            }
        }
        Ok(secrets)
    };
    Reloaded::follow(paths, reload::Options::default(), read)
}

impl Hooks for Receivers {
    type Work = Pushed;

    fn knows(&self, receiver: &str) -> bool {
        self.find(receiver).is_some()
    }

    fn verify(
        &self,
        receiver: &str,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Verified<Pushed>, Refused> {
        let (provider, secrets) = self.find(receiver).ok_or(Refused(404))?;
        let received = Instant::now();
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let delivery = receive(provider, &secrets, headers, body, now).map_err(|error| {
            tracing::warn!(receiver, %error, "a delivery was refused");
            Refused(error.status())
        })?;
        let id = delivery.id.clone();
        let work = |urls, reference, commit_id| Pushed {
            urls,
            reference,
            commit_id,
            delivery: delivery.id,
            received,
        };
        let note = |event: &str| {
            self.journal.delivered(Delivery {
                receiver: receiver.to_owned(),
                id: id.clone(),
                event: event.to_owned(),
                at: rfc3339(Timestamp::now()),
                ..Delivery::default()
            });
        };
        Ok(match delivery.event {
            Event::Ping => {
                note("ping");
                Verified::Ping
            }
            Event::Ignored(event) => {
                note(&event);
                Verified::Ignored
            }
            Event::Refresh => Verified::Work {
                id,
                work: work(Vec::new(), None, None),
            },
            Event::Push(push) => Verified::Work {
                id,
                work: work(push.urls, Some(push.reference), push.after),
            },
        })
    }

    fn hand_on(&self, receiver: &str, work: Pushed, received: Instant) -> Result<(), Full> {
        let pushed = Pushed { received, ..work };
        let woken = self.sources.pushed(receiver, &pushed);
        tracing::debug!(receiver, delivery = pushed.delivery, woken, "a push");
        Ok(())
    }
}
