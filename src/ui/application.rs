//! One application: state and reason in words first, then its objects, what differs, events,
//! history and its own manifest. A page each, so that every one has an address.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Extension,
    extract::{Path, Query, State},
    response::Response,
};
use maud::{Markup, html};
use serde::Deserialize;

use super::{address, difference, graph, html as page_of, layout, waterfall, words};
use crate::api::{
    Api, Commit, DiffQuery, EventRow, Identity, ObjectQuery, Problem, Visible, explain,
};
use crate::controller::{Against, Fate};
use crate::crd::{Application, ApplicationKey, Deployment, OperationPhase};
use crate::object::{redact_url, to_yaml};

pub(super) type Named = Path<(String, String)>;

/// What every page of an application begins with.
pub(super) struct Head {
    pub(super) application: Application,
    may: BTreeMap<&'static str, bool>,
    user: String,
    commit: Option<Commit>,
}

impl Head {
    pub(super) async fn read(api: &Api, identity: &Identity, path: Named) -> Result<Self, Problem> {
        let Path((namespace, name)) = path;
        let key = ApplicationKey { namespace, name };
        let application = api.application(&key).await?;
        let commit = api.commit(&key, &application.status.sync.revision).await;
        Ok(Self {
            application,
            commit,
            may: api.actions(identity, &key).await?,
            user: identity.name().to_owned(),
        })
    }

    fn may(&self, verb: &str) -> bool {
        self.may.get(verb) == Some(&true)
    }

    /// The address of a page of it, or of an action on it.
    pub(super) fn page(&self, page: &str) -> String {
        let key = &self.application.key;
        address(&key.namespace, &key.name, page)
    }

    pub(super) fn action(&self, action: &str) -> String {
        format!("/api/v1{}", self.page(action))
    }

    pub(super) fn show(&self, tab: &str, content: &Markup) -> Response {
        let key = &self.application.key;
        // What is asked of the cluster alone is asked again and again; a difference is made once.
        let polls = matches!(tab, "Objects" | "Events");
        let content = html! {
            (self.top())
            (self.tabs(if tab == "Object" { "Objects" } else { tab }))
            section aria-label=(tab) data-poll[polls] { (content) }
        };
        let live = key.to_string();
        page_of(layout::page(&key.name, &self.user, Some(&live), &content))
    }

    fn top(&self) -> Markup {
        let (spec, status) = (&self.application.spec, &self.application.status);
        let explanation = explain(&self.application);
        let source = spec.source.clone().unwrap_or_default();
        let repository = redact_url(&source.repo_url);
        html! {
            div .title {
                h1 { (self.application.key.name) }
                (words::sync(status.sync.status))
                (words::health_of(status.health.as_ref()))
                @if let Some(state) = &status.operation_state {
                    @if state.phase != OperationPhase::Succeeded { (words::phase(state.phase)) }
                }
            }
            p .headline { (explanation.headline) }
            p .from {
                (words::commit(&status.sync.revision, &repository))
                " of " (repository)
                @if !source.path.is_empty() { " " code { (source.path) } }
                @if !source.target_revision.is_empty() { ", " (source.target_revision) }
                @if !spec.destination.namespace.is_empty() {
                    " → namespace " (spec.destination.namespace)
                }
            }
            @if let Some(commit) = &self.commit {
                p .from { q { (subject(commit)) }
                    " by " (commit.author.split(" <").next().unwrap_or_default()) ", "
                    (words::ago(&commit.at)) }
            }
            (self.actions())
            @if !explanation.reasons.is_empty() {
                ul .reasons {
                    @for reason in explanation.reasons.iter().take(50) {
                        li { (reason.text)
                            @if !reason.advice.is_empty() { div .advice { (reason.advice) } } }
                    }
                }
            }
            @for line in &explanation.closing { p .closing { (line) } }
            (self.operation())
        }
    }

    fn tabs(&self, chosen: &str) -> Markup {
        html! {
            nav .tabs aria-label="Application" {
                @for (page, name) in [("", "Objects"), ("diff", "Diff"), ("events", "Events"),
                    ("history", "History"), ("manifest", "Manifest")] {
                    a href=(self.page(page)) aria-current=[(name == chosen).then_some("page")] { (name) }
                }
            }
        }
    }

    /// What this person may do; what they may not is not offered.
    fn actions(&self) -> Markup {
        let status = &self.application.status;
        let running = status.operation_state.as_ref();
        let running = running.is_some_and(|state| state.phase == OperationPhase::Running);
        let waits = crate::crd::approval(&self.application, jiff::Timestamp::UNIX_EPOCH).is_some();
        html! {
            div .actions {
                @if self.may("sync") {
                    (self.sync_dialog())
                    @if running { (layout::button("Terminate", &self.action("terminate"), "{}")) }
                    @if waits { (self.approve_dialog()) }
                }
                @if self.may("refresh") {
                    (layout::button("Refresh", &self.action("refresh"), "{}"))
                    (layout::button("Hard refresh", &self.action("refresh"), r#"{"hard":true}"#))
                }
                @if self.may("rollback") && status.pin.is_some() {
                    (layout::button("End rollback", &self.action("rollback"), r#"{"undo":true}"#))
                }
                @if self.may("pause") {
                    @if self.application.spec.pause.is_some() {
                        (layout::button("Resume", &self.action("resume"), "{}"))
                    } @else { (self.pause_dialog()) }
                }
                @if self.may("delete") { (self.delete_dialog()) }
            }
        }
    }

    fn sync_dialog(&self) -> Markup {
        let rows = &self.application.status.resources;
        let send = layout::Send {
            title: "Sync",
            go: "Sync",
            method: "POST",
            to: &self.action("sync"),
        };
        let fields = html! {
            label .check { input type="checkbox" name="prune"; "Prune: delete what is not desired" }
            label .check { input type="checkbox" name="dryRun"; "Dry run: only say what would change" }
            label { "Branch, tag or commit" input name="revision" maxlength="255"
                placeholder="the newest of its own"; }
            p .dim { "Another one stays until the source has a newer commit." }
            @if rows.len() < 200 && self.application.status.unlisted() == 0 {
                details { summary { "Only some of the " (rows.len()) " objects" }
                    @for row in rows {
                        label .check { input type="checkbox" data-resource={
                            (row.group) "\n" (row.kind) "\n" (row.namespace) "\n" (row.name) };
                            (row.key()) }
                    }
                }
            }
        };
        layout::dialog("sync", "Sync", &send, &fields)
    }

    /// What the deployment did not have goes too, unless the person takes that back; the command
    /// line does the same.
    fn rollback_dialog(&self, id: i64, visible: &Visible) -> Markup {
        let objects = visible.inspection.objects.iter();
        let gone = objects.filter(|it| it.fate == Fate::Pruned).count();
        let hidden = visible.hidden;
        let send = layout::Send {
            title: &format!("Roll back to deployment {id}?"),
            go: "Roll back",
            method: "POST",
            to: &self.action("rollback"),
        };
        let fields = html! {
            input type="hidden" name="id" value=(id) data-json;
            @if gone + hidden > 0 {
                label .check { input type="checkbox" name="prune" checked;
                    "Delete the " (gone) " objects that it did not have"
                    @if hidden > 0 { ", and what of the " (hidden) " that you may not see" } }
            }
            p .dim { "It stays until the source has a newer commit, or the rollback is ended." }
        };
        layout::dialog("rollback", "Roll back…", &send, &fields)
    }

    /// What the last sync did, or a dry run would do: object by object.
    fn operation(&self) -> Markup {
        let Some(state) = &self.application.status.operation_state else {
            return html! {};
        };
        let sync = state.operation.sync.as_ref();
        let dry_run = sync.is_some_and(|sync| sync.dry_run);
        let by = state.operation.initiated_by.as_ref();
        let by = by.filter(|by| !by.username.is_empty());
        let result = state.sync_result.as_ref();
        let rows = result
            .map(|result| result.resources.as_slice())
            .unwrap_or_default();
        html! {
            details .operation open[dry_run] data-key={ "operation " (state.started_at) } {
                summary {
                    @if dry_run { "Dry run" } @else { "Last sync" }
                    @if let Some(by) = by { " by " (by.username) }
                    ", " (words::ago(&state.started_at)) ": "
                    @if state.message.is_empty() { (state.phase) } @else { (words::line(&state.message)) }
                }
                @if rows.is_empty() { p .empty { "Nothing was done to any object." } } @else {
                    div .scroll { table {
                        thead { tr { th scope="col" { "Object" } th scope="col" { "Phase" }
                            th scope="col" { "Result" } th scope="col" { "Message" } } }
                        tbody { @for row in rows.iter().take(200) {
                            tr .bad[row.status == "SyncFailed"] {
                                td { (row.key()) }
                                td { @if let Some(phase) = row.sync_phase { (phase) } }
                                td { (row.status) } td { (words::line(&row.message)) }
                            }
                        } }
                    } }
                    @let more = result.map_or(0, |it| it.rows()) - rows.len().min(200);
                    @if more > 0 { p .dim { "and " (more) " more" } }
                }
            }
        }
    }

    fn approve_dialog(&self) -> Markup {
        let all = self.application.object.is_terminating();
        let send = layout::Send {
            title: "Let these go?",
            go: "Delete them",
            method: "POST",
            to: &self.action("approve"),
        };
        let rows = self.application.status.resources.iter();
        let fields = html! {
            ul { @for row in rows.filter(|row| all || row.goes()) { li { (row.key()) } } }
            @let more = self.application.status.unlisted();
            @if more > 0 {
                p { (more) " objects more are not listed; those that leave are among them too." }
            }
        };
        layout::dialog("approve", "Approve", &send, &fields)
    }

    fn pause_dialog(&self) -> Markup {
        let send = layout::Send {
            title: "Pause",
            go: "Pause",
            method: "POST",
            to: &self.action("pause"),
        };
        let fields = html! {
            label { "Why" input name="reason" required maxlength="200"; }
            label { "How long" input name="duration" placeholder="2h; until resumed when empty"; }
        };
        layout::dialog("pause", "Pause", &send, &fields)
    }

    fn delete_dialog(&self) -> Markup {
        let send = layout::Send {
            title: "Delete this application?",
            go: "Delete",
            method: "DELETE",
            to: &self.action(""),
        };
        let count = self.application.status.objects();
        let name = &self.application.key.name;
        let fields = html! {
            label { "What becomes of its " (count) " objects"
                select name="cascade" data-query {
                    option value="background" { "They are deleted" }
                    option value="foreground" { "They are deleted after what they own" }
                    option value="orphan" { "They stay" }
                }
            }
            p { "CustomResourceDefinitions, the created namespace and objects with Delete=false stay." }
            label { "Type " strong { (name) } " to confirm"
                input name="confirm" data-query required pattern=(name) autocomplete="off"; }
        };
        layout::dialog("delete", "Delete…", &send, &fields)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ObjectsQuery {
    /// `list` instead of the tree.
    view: String,
    /// Part of a kind or name.
    q: String,
    /// Ids of nodes whose children are folded away, with commas between.
    fold: String,
}

pub(super) async fn objects(
    State(api): State<Arc<Api>>,
    Extension(identity): Extension<Identity>,
    path: Named,
    Query(query): Query<ObjectsQuery>,
) -> Result<Response, Problem> {
    let head = Head::read(&api, &identity, path).await?;
    let mut tree = api.tree(&identity, &head.application).await?;
    let words = query.q.to_lowercase();
    tree.nodes.retain(|node| {
        let text = format!("{} {}", node.kind, node.name).to_lowercase();
        words.is_empty() || text.contains(&words)
    });
    let as_list = query.view == "list";
    let base = head.page("");
    let content = html! {
        form .filters method="get" action=(base) data-filters {
            label { "Search" input type="search" name="q" value=(query.q) placeholder="kind or name"; }
            label { "View" select name="view" {
                option value="tree" { "tree" }
                option value="list" selected[as_list] { "list" }
            } }
            button type="submit" { "Show" }
            @if !as_list {
                span .zoom .scripted { button type="button" data-zoom="0.8" aria-label="Smaller" { "−" }
                    button type="button" data-zoom="1.25" aria-label="Larger" { "+" } }
            }
        }
        @if !tree.hidden.is_empty() {
            p .dim { "Not shown, as you or the agent may not list it: " (tree.hidden.join(", ")) }
        }
        @if tree.left_out > 0 {
            p .dim { (tree.left_out) " objects more are not listed: the status of so many has no room \
                for all. What differs or is not healthy is listed first." }
        }
        @if tree.nodes.is_empty() { p .empty { "No objects." } }
        @else if as_list { (graph::list(&base, &tree.nodes)) }
        @else { (graph::tree(&base, &head.application.key.name, &tree.nodes, &query.fold, &query.q)) }
        (waterfall::last(head.application.status.timing.as_ref()))
    };
    Ok(head.show("Objects", &content))
}

pub(super) async fn diff(
    State(api): State<Arc<Api>>,
    Extension(identity): Extension<Identity>,
    path: Named,
    Query(query): Query<DiffQuery>,
    Query(shown): Query<difference::Shown>,
) -> Result<Response, Problem> {
    let head = Head::read(&api, &identity, path).await?;
    let against = query.against()?;
    let deployment = match &against {
        Against::Deployment(id) => Some(*id),
        _ => None,
    };
    let visible = api
        .compare(&identity, &head.application.key, against, &query)
        .await?;
    let content = html! {
        @if let Some(id) = deployment {
            p { "What a rollback to deployment " (id) " would change." }
            @if !query.is_whole() {
                p { a href={ (head.page("diff")) "?all=true&deployment=" (id) } { "All of it" } }
            } @else if head.may("rollback") { (head.rollback_dialog(id, &visible)) }
        }
        (difference::page(&visible, &shown, &head.page("diff"), &query))
    };
    Ok(head.show("Diff", &content))
}

pub(super) async fn events(
    State(api): State<Arc<Api>>,
    Extension(identity): Extension<Identity>,
    path: Named,
) -> Result<Response, Problem> {
    let head = Head::read(&api, &identity, path).await?;
    let key = &head.application.key;
    let rows = api.events(&identity, key, &ObjectQuery::default()).await?;
    Ok(head.show("Events", &event_table(&rows)))
}

pub(super) fn event_table(rows: &[EventRow]) -> Markup {
    html! {
        @if rows.is_empty() { p .empty { "No events." } }
        @else {
            div .scroll { table {
                thead { tr { th scope="col" { "When" } th scope="col" { "Reason" }
                    th scope="col" { "Message" } th scope="col" { "Times" } } }
                tbody { @for row in rows {
                    tr .bad[row.warning] {
                        td { (words::ago(&row.at)) } td { (row.reason) } td { (row.message) }
                        td { (row.count) }
                    }
                } }
            } }
        }
    }
}

pub(super) async fn history(
    State(api): State<Arc<Api>>,
    Extension(identity): Extension<Identity>,
    path: Named,
) -> Result<Response, Problem> {
    let head = Head::read(&api, &identity, path).await?;
    let status = &head.application.status;
    let source = head.application.spec.source.clone().unwrap_or_default();
    let repository = redact_url(&source.repo_url);
    let newest = status.history.last().map(|deployment| deployment.id);
    let mut commits = BTreeMap::new();
    for deployment in &status.history {
        let commit = api
            .commit(&head.application.key, &deployment.revision)
            .await;
        commits.extend(commit.map(|it| (deployment.revision.clone(), subject(&it))));
    }
    let content = html! {
        h2 { "Deployments" }
        div .scroll { table {
            thead { tr { th scope="col" { "Id" } th scope="col" { "Commit" } th scope="col" { "When" }
                th scope="col" { "By" } th scope="col" { "" } } }
            tbody { @for deployment in status.history.iter().rev() {
                tr {
                    td { (deployment.id) }
                    td { (words::commit(&deployment.revision, &repository))
                        @if let Some(subject) = commits.get(&deployment.revision) {
                            div .message { (subject) } } }
                    td { (words::ago(&deployment.deployed_at)) }
                    td { (initiator(deployment)) }
                    td { @if Some(deployment.id) != newest || status.pin.is_some() {
                        a href={ (head.page("diff")) "?all=true&deployment=" (deployment.id) } {
                            "Compare" @if head.may("rollback") { " and roll back" } } } }
                }
            } }
        } }
        @let timings = api.timings(&head.application.key);
        @if !timings.is_empty() {
            h2 { "How long the last changes took" }
            div .scroll { table {
                thead { tr { th scope="col" { "Commit" } th scope="col" { "Received" }
                    th scope="col" { "Stages, since it was received" } } }
                tbody { @for row in &timings {
                    tr {
                        td { (words::commit(&row.timing.revision, &repository)) }
                        td { (words::ago(&row.timing.received_at)) div .message { "by " (row.timing.trigger)
                            @if !row.delivery.is_empty() { " " (row.delivery) } } }
                        td { (waterfall::bars(&row.timing)) }
                    }
                } }
            } }
        }
        h2 { "Last syncs" }
        div .scroll { table {
            thead { tr { th scope="col" { "When" } th scope="col" { "By" } th scope="col" { "Commit" }
                th scope="col" { "Result" } th scope="col" { "Changed" } th scope="col" { "Took" } } }
            tbody { @for attempt in status.attempts.iter().rev() {
                tr .bad[attempt.result != "Succeeded"] {
                    td { (words::ago(&attempt.at)) } td { (attempt.by) }
                    td { (words::commit(&attempt.revision, &repository)) }
                    td { (attempt.result) @if !attempt.message.is_empty() { ": " (attempt.message) } }
                    td { (attempt.changed) @if attempt.pruned > 0 { ", " (attempt.pruned) " pruned" } }
                    td { (attempt.duration_ms) " ms" }
                }
            } }
        } }
    };
    Ok(head.show("History", &content))
}

/// The first line of a commit's message.
fn subject(commit: &Commit) -> String {
    words::line(commit.message.lines().next().unwrap_or_default())
}

fn initiator(deployment: &Deployment) -> String {
    match &deployment.initiated_by {
        Some(by) if !by.username.is_empty() => by.username.clone(),
        _ => "automation".to_owned(),
    }
}

pub(super) async fn manifest(
    State(api): State<Arc<Api>>,
    Extension(identity): Extension<Identity>,
    path: Named,
) -> Result<Response, Problem> {
    let head = Head::read(&api, &identity, path).await?;
    let text = to_yaml(&crate::api::stored(head.application.clone())).unwrap_or_default();
    Ok(head.show("Manifest", &words::code(&text)))
}
