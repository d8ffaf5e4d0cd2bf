//! The conversation of one fetch: which commits are meant, which are missing, get those.
//!
//! Protocol 2, depth 1, one `ls-refs` and at most one `fetch` for everything that moved. The
//! commits already here are named to the server at once, so there is no negotiation in rounds.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

use gix::ObjectId;
use gix::bstr::ByteSlice as _;
use gix::odb::pack;
use gix::progress::Discard;
use gix::protocol::fetch::negotiate::{Action, Round, one_round};
use gix::protocol::fetch::{Arguments, Negotiate, Response, Shallow, Tags};
use gix::protocol::ls_refs::RefPrefixes;
use gix::protocol::transport::client::blocking_io::http;
use gix::protocol::transport::{Protocol, Service};
use gix::protocol::{Handshake, LsRefsCommand};

use super::advertisement::Advertisement;
use super::generation::Generation;
use super::revision::{Found, RevisionError, Wanted};
use super::session::Session;
use super::wire::Wire;
use super::{Credential, Error, one_line};

/// What a fetch found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fetched {
    /// For every wanted revision its commit, complete in the mirror, or why there is none.
    pub(crate) commits: BTreeMap<String, Result<String, RevisionError>>,
    /// Whether objects were transferred.
    pub(crate) fetched: bool,
    /// HTTP requests sent.
    pub(crate) requests: u32,
}

type Connection = http::Transport<Session>;

/// One attempt, with everything it needs.
pub(super) struct Attempt<'a> {
    pub(super) generation: &'a Generation,
    /// A second place where commits may be already.
    pub(super) has: &'a dyn Fn(&ObjectId) -> bool,
    pub(super) wanted: &'a BTreeSet<String>,
    pub(super) credential: Option<&'a Credential>,
    pub(super) wire: Rc<Wire>,
    pub(super) known: Option<Advertisement>,
    pub(super) learned: Rc<RefCell<Option<Advertisement>>>,
    pub(super) interrupt: &'a AtomicBool,
    /// Set when the fault is in the objects here or in those that came, not in the connection.
    pub(super) damaged: Cell<bool>,
}

impl Attempt<'_> {
    pub(super) fn run(&self) -> Result<Fetched, Error> {
        let mut fetched = Fetched::default();
        let mut open = BTreeMap::new();
        for text in self.wanted {
            match Wanted::parse(text) {
                Ok(Wanted::Commit(id)) if (self.has)(&id) => {
                    fetched.commits.insert(text.clone(), self.settled(id));
                }
                Ok(wanted) => drop(open.insert(text.clone(), wanted)),
                Err(error) => drop(fetched.commits.insert(text.clone(), Err(error))),
            }
        }
        if !open.is_empty() {
            self.ask(&open, &mut fetched)?;
        }
        fetched.requests = self.wire.requests.get();
        Ok(fetched)
    }

    fn ask(&self, open: &BTreeMap<String, Wanted>, fetched: &mut Fetched) -> Result<(), Error> {
        self.wire.expect_small();
        let mut connection = self.connect()?;
        let mut handshake = self.handshake(&mut connection)?;
        let refs = self.list(open, &mut connection, &mut handshake)?;
        let mut moved = Vec::new();
        let mut pinned = Vec::new();
        let mut found = BTreeMap::new();
        for (text, wanted) in open {
            match wanted.answer(&refs) {
                Ok(answer) if (self.has)(&answer.commit) => drop(found.insert(text, answer.commit)),
                Ok(answer) => {
                    let alone = matches!(wanted, Wanted::Commit(_));
                    let list = if alone { &mut pinned } else { &mut moved };
                    list.push(answer);
                    found.insert(text, answer.commit);
                }
                Err(error) => drop(fetched.commits.insert(text.clone(), Err(error))),
            }
        }
        if !moved.is_empty() {
            self.transfer(&moved, &mut connection, &mut handshake)?;
            fetched.fetched = true;
        }
        let mut absent = BTreeSet::new();
        for pin in pinned {
            if (self.has)(&pin.commit) {
                continue;
            }
            // One by one: a server refuses the whole request over one commit that it lacks.
            match self.transfer(&[pin], &mut connection, &mut handshake) {
                Ok(()) => fetched.fetched = true,
                Err(Error::Protocol { problem, .. }) if is_unknown_commit(&problem) => {
                    absent.insert(pin.commit);
                }
                Err(error) => return Err(error),
            }
        }
        for (text, commit) in found {
            let settled = if absent.contains(&commit) {
                Err(RevisionError::NotFound)
            } else {
                self.settled(commit)
            };
            fetched.commits.insert(text.clone(), settled);
        }
        Ok(())
    }

    /// The commit as an answer, unless the object is of another kind.
    fn settled(&self, id: ObjectId) -> Result<String, RevisionError> {
        use gix::odb::HeaderExt as _;
        let header = self.generation.objects().header(id);
        match header {
            Ok(header) if header.kind() != gix::objs::Kind::Commit => {
                Err(RevisionError::NotACommit)
            }
            // An object of the previous generation was looked at when it came.
            _ => Ok(id.to_string()),
        }
    }

    fn connect(&self) -> Result<Connection, Error> {
        let url = gix::url::parse(self.wire.url.as_bytes().as_bstr());
        let url = url.map_err(|error| self.failed("its address", &error))?;
        let known = self.known.clone();
        let session = Session::new(Rc::clone(&self.wire), known, Rc::clone(&self.learned));
        Ok(http::connect_http(session, url, Protocol::V2, false))
    }

    fn handshake(&self, connection: &mut Connection) -> Result<Handshake, Error> {
        let nobody = |_| Ok(None);
        gix::protocol::handshake(
            connection,
            Service::UploadPack,
            nobody,
            Vec::new(),
            &mut Discard,
        )
        .map_err(|error| self.failed("greeting", &error))
    }

    /// The refs that can answer. A protocol 1 server sends all of them in its greeting.
    fn list(
        &self,
        open: &BTreeMap<String, Wanted>,
        connection: &mut Connection,
        handshake: &mut Handshake,
    ) -> Result<Vec<gix::protocol::handshake::Ref>, Error> {
        if let Some(refs) = handshake.refs.take() {
            return Ok(refs);
        }
        let mut prefixes = RefPrefixes::new();
        let names: BTreeSet<String> = open.values().flat_map(Wanted::names).collect();
        if names.is_empty() {
            return Ok(Vec::new());
        }
        prefixes.extend(names.into_iter().map(Into::into));
        LsRefsCommand::new(Some(prefixes), &handshake.capabilities, agent())
            .invoke_blocking(connection, &mut Discard, false)
            .map_err(|error| self.failed("listing refs", &error))
    }

    fn transfer(
        &self,
        wants: &[Found],
        connection: &mut Connection,
        handshake: &mut Handshake,
    ) -> Result<(), Error> {
        self.wire.expect_pack();
        let generation = self.generation;
        let mut haves = generation.tips();
        haves.retain(|id| generation.has(id));
        generation.trim_shallow(&haves)?;
        let mut request = Wants { wants, haves };
        let shallow = Shallow::DepthAtRemote(NonZeroU32::MIN);
        let result = gix::protocol::fetch(
            &mut request,
            |reader, progress, interrupt| self.store(reader, progress, interrupt),
            Discard,
            self.interrupt,
            gix::protocol::fetch::Context {
                handshake,
                transport: connection,
                user_agent: agent(),
                trace_packetlines: false,
            },
            gix::protocol::fetch::Options {
                shallow_file: generation.shallow_file(),
                shallow: &shallow,
                tags: Tags::None,
                reject_shallow_remote: false,
            },
        );
        result.map_err(|error| self.failed("fetching", &error))?;
        let commits: BTreeSet<ObjectId> = wants.iter().map(|found| found.commit).collect();
        if let Some(missing) = commits.iter().find(|id| !generation.has(id)) {
            self.damaged.set(true);
            return Err(Error::Protocol {
                url: self.wire.url.clone(),
                problem: format!("commit {missing} did not come with the others"),
            });
        }
        generation.received(&commits)
    }

    /// Checks the pack's digest, completes it with bases from here, and indexes it.
    fn store(
        &self,
        reader: &mut dyn std::io::BufRead,
        progress: &mut dyn gix::DynNestedProgress,
        interrupt: &AtomicBool,
    ) -> gix::Result<bool> {
        let options = pack::bundle::write::Options {
            // The pack of one commit is too small to be worth starting threads for.
            thread_limit: (!self.generation.tips().is_empty()).then_some(1),
            alloc_limit_bytes: usize::try_from(self.wire.limits.bytes).ok(),
            ..Default::default()
        };
        let written = pack::Bundle::write_to_directory(
            reader,
            Some(&self.generation.pack_directory()),
            progress,
            interrupt,
            Some(self.generation.objects()),
            gix::hash::Kind::Sha1,
            options,
        );
        match written {
            Ok(outcome) => {
                // Git's lock against garbage collection, which never happens here.
                if let Some(path) = outcome.keep_path {
                    drop(std::fs::remove_file(path));
                }
                self.generation.count_pack();
                Ok(true)
            }
            Err(error) => {
                self.damaged.set(true);
                Err(error)
            }
        }
    }

    /// The typed failure of the connection when there was one, else what gix says.
    fn failed(&self, during: &str, error: &gix::Error) -> Error {
        let kept = self.wire.failure.borrow_mut().take();
        if kept.is_some() || self.interrupt.load(Ordering::Relaxed) {
            self.damaged.set(false);
            return kept.unwrap_or_else(|| self.wire.timed_out());
        }
        let text = one_line(&format!("{during}: {}", chain(error)));
        let problem = match self.credential {
            Some(credential) => credential.scrub(&text),
            None => text,
        };
        let url = self.wire.url.clone();
        Error::Protocol { url, problem }
    }
}

fn chain(error: &gix::Error) -> String {
    let causes: Vec<String> = error.iter_errors().map(ToString::to_string).collect();
    causes.join(": ")
}

/// What upload-pack and the large forges say about a commit that they do not have.
fn is_unknown_commit(problem: &str) -> bool {
    let problem = problem.to_ascii_lowercase();
    [
        "not our ref",
        "unadvertised object",
        "not found",
        "no such",
        "not valid",
        "does not exist",
    ]
    .iter()
    .any(|words| problem.contains(words))
}

fn agent() -> (&'static str, Option<String>) {
    let agent = concat!("git/trimtab-", env!("CARGO_PKG_VERSION"));
    ("agent", Some(agent.to_owned()))
}

/// Says what is wanted and what is here, and is done: with a depth of 1 there is no history whose
/// common point would have to be found.
struct Wants<'a> {
    wants: &'a [Found],
    haves: Vec<ObjectId>,
}

impl Negotiate for Wants<'_> {
    fn mark_complete_and_common_ref(&mut self) -> gix::Result<Action> {
        Ok(Action::MustNegotiate {
            remote_ref_target_known: Vec::new(),
        })
    }

    fn add_wants(&mut self, arguments: &mut Arguments, _known: &[bool]) -> bool {
        let ids: BTreeSet<ObjectId> = self.wants.iter().map(|found| found.fetch).collect();
        for id in &ids {
            arguments.want(id);
        }
        !ids.is_empty()
    }

    fn one_round(
        &mut self,
        state: &mut one_round::State,
        arguments: &mut Arguments,
        _previous: Option<&Response>,
    ) -> gix::Result<(Round, bool)> {
        for id in &self.haves {
            arguments.have(id);
        }
        let round = Round {
            haves_sent: self.haves.len(),
            in_vain: 0,
            haves_to_send: state.haves_to_send,
            previous_response_had_at_least_one_in_common: false,
        };
        Ok((round, true))
    }
}
