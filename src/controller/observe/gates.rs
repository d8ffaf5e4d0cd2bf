//! What keeps an application from doing anything by itself: a pause, or what it depends on.

use jiff::Timestamp;

use crate::controller::{Context, observe::projects, state::State};
use crate::crd::names::SKIP_RECONCILE;
use crate::crd::{Application, ApplicationKey, HealthCode, SyncCode};

/// What is said of an application that carries `skip-reconcile: "true"`.
const SKIPPED: &str = "by the annotation skip-reconcile until it is taken away";

/// Whether nothing is to be done with an application at all, as Argo CD's annotation says.
fn is_skipped(application: &Application) -> bool {
    let said = application.annotation(SKIP_RECONCILE);
    said.is_some_and(|said| matches!(said, "1" | "t" | "T" | "true" | "TRUE" | "True"))
}

/// Looks at everything that may hold up automation, and remembers it for the status. What a person
/// asks for is held up by a sync window only: then it is said why.
pub(in crate::controller) fn look(
    context: &Context,
    state: &mut State,
    application: &Application,
) -> Option<String> {
    let mut holds = Vec::new();
    let skips = is_skipped(application);
    if skips {
        holds.push(("Paused", SKIPPED.to_owned()));
    }
    if let Some(pause) = &application.spec.pause {
        let now = Timestamp::now();
        if pause.holds(now) {
            if let Some(end) = pause.end() {
                let left = end.duration_since(now).try_into().unwrap_or_default();
                state.look_again_in(left);
            }
            let by = match pause.by.as_str() {
                "" => "somebody",
                by => by,
            };
            let until = pause.until.as_deref().unwrap_or("it is resumed");
            let reason = match pause.reason.as_str() {
                "" => String::new(),
                reason => format!(": {reason}"),
            };
            holds.push(("Paused", format!("by {by} until {until}{reason}")));
        }
    }
    let own = &application.key;
    let needs = application.spec.depends_on.iter().map(|need| {
        let namespace = match need.namespace.as_str() {
            "" => own.namespace.clone(),
            namespace => namespace.to_owned(),
        };
        ApplicationKey {
            namespace,
            name: need.name.clone(),
        }
    });
    for waiting in context.dependencies.set_needs(own, needs.collect()) {
        (context.wake)(&waiting);
    }
    let pending = |need: &ApplicationKey| context.claims.is_expected(need);
    if let Some(why) = context.dependencies.waits(own, pending) {
        holds.push(("WaitingForDependency", why));
    }
    let window = projects::look_at_windows(context, state, application);
    let refused = window.as_ref().filter(|(_, manual)| !manual);
    let refused = refused.map(|(why, _)| why.clone());
    let refused = skips.then(|| SKIPPED.to_owned()).or(refused);
    if let Some((why, _)) = window {
        holds.push(("SyncWindow", why));
    }
    state.holds = holds;
    refused
}

/// Says whether those that depend on this application may begin.
pub(in crate::controller) fn tell(
    context: &Context,
    state: &State,
    application: &Application,
    differs: bool,
) {
    let status = &state.written;
    let healthy = status
        .health
        .as_ref()
        .is_some_and(|health| health.status == HealthCode::Healthy);
    let ready =
        !differs && healthy && status.sync.status == SyncCode::Synced && state.running.is_none();
    for waiting in context.dependencies.set_ready(&application.key, ready) {
        (context.wake)(&waiting);
    }
}
