//! One application's task: woken by news, it brings the desired state up to date, compares,
//! decides, syncs and reports.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::Semaphore;

use crate::cluster::Error as ClusterError;
use crate::controller::{
    Context,
    act::{anew, hooks, newest, report, requests, rollback},
    advance::advance,
    context::{Hands, PAUSE, cluster_of},
    decide::chosen,
    finalize::finalize,
    interrupt::interrupt,
    mailbox::Mailbox,
    observe::{
        compare::compare_and_settle,
        dry_run, fights, gates,
        live::look_up,
        moving::{MOVING, may_move},
        projects,
    },
    state::{State, rendered_spec},
    syncing,
};
use crate::crd::names::REFRESH;
use crate::crd::{Application, ApplicationKey};
use crate::diff::IgnoreRules;
use crate::object::ResourceKey;
use crate::plan::{Action, Reason, Retry, Situation, decide, retry_pause};
use crate::sync::{Comparison, Source, desire};
use crate::trigger::{Cause, Following};

/// Applications that are looked at side by side: what each has at hand meanwhile, its manifests and
/// connections, is most of the memory that the agent ever needs.
static TURNS: Semaphore = Semaphore::const_new(16);
/// Turns of those whose source was just pushed to: somebody waits for them, and they do not wait
/// for a first sync of many others.
static TURNS_OF_PUSHES: Semaphore = Semaphore::const_new(16);
/// How long one look holds its turn: one that waits for something slow keeps no other waiting.
const TURN: Duration = Duration::from_secs(5);

/// Runs until the Application is gone. After panics nothing is left of what it remembered.
pub(super) async fn run(
    context: Arc<Context>,
    key: ApplicationKey,
    mailbox: Arc<Mailbox>,
    panics: u32,
) {
    // Boxed: a task that waits is small, and there are thousands.
    let mut state = Box::new(State::default());
    if panics > 0 {
        state.fault = Box::pin(anew::after_panics(&context, &key, &mailbox, panics)).await;
    }
    loop {
        let due = state.due.take();
        let timer = async {
            match due {
                Some(due) => tokio::time::sleep_until(due.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = mailbox.woken.notified() => {}
            () = timer => {}
        }
        // Boxed: a task that waits holds only what it remembers.
        if !Box::pin(turn(&context, &mut state, &key, &mailbox)).await {
            return;
        }
        state.rest();
    }
}

/// Takes in the news and looks once. Returns whether the Application is still there.
async fn turn(
    context: &Context,
    state: &mut State,
    key: &ApplicationKey,
    mailbox: &Mailbox,
) -> bool {
    let inbox = mailbox.take();
    state.wake();
    if inbox.gone {
        let_go(context, state, key).await;
        return false;
    }
    if inbox.anew {
        // The source is told again as to one that is new.
        context.sources.forget(key);
        *state = State::default();
    }
    let pushed = matches!(&inbox.revision, Some(it) if matches!(it.cause, Cause::Push(_)));
    state.absorb(inbox);
    let Some(application) = state.application.clone() else {
        return true;
    };
    anew::expire(state);
    let looking = Box::pin(look(context, state, &application, mailbox));
    let turns = if pushed { &TURNS_OF_PUSHES } else { &TURNS };
    let looked = in_turn(turns, looking).await;
    mailbox.set_codes(report::codes(&state.written));
    gates::tell(context, state, &application, false);
    let done = match looked {
        Ok(()) => end_refresh(context, state).await,
        Err(error) => Err(error),
    };
    if let Err(error) = done {
        tracing::warn!(app = %key, %error, "tried again in a moment");
        let mut pause = PAUSE;
        if error.is_too_large() {
            report::write_refusal(context, state, &application, &error).await;
            pause = syncing::after_failure(state, &application);
        }
        state.look_again_in(pause);
    }
    true
}

/// Forgets an Application that is gone.
async fn let_go(context: &Context, state: &State, key: &ApplicationKey) {
    context.dependencies.remove(key);
    for waiting in context.claims.remove(key) {
        (context.wake)(&waiting);
    }
    context.sources.forget(key);
    context.journal.forget(key);
    context.live.watch_for(key, &Default::default()).await;
    if let Some(application) = &state.application {
        context.engine.bundles.remove(&application.uid);
    }
    tracing::info!(app = %key, "the Application is gone");
}

/// Waits for a turn, and gives it back when the work is done or takes long.
async fn in_turn<T>(turns: &Semaphore, mut work: impl Future<Output = T> + Unpin) -> T {
    let turn = turns.acquire().await;
    match tokio::time::timeout(TURN, &mut work).await {
        Ok(done) => done,
        Err(_) => {
            drop(turn);
            work.await
        }
    }
}

/// Takes the wish to refresh off the Application once its answer is in the status.
async fn end_refresh(context: &Context, state: &mut State) -> Result<(), ClusterError> {
    let (true, true, Some(application)) = (
        state.refreshing,
        state.source_answered,
        state.application.as_mut(),
    ) else {
        return Ok(());
    };
    application.remove_annotation(REFRESH);
    let key = application.key.clone();
    let read = context.applications.clear_refresh(&key, None).await?;
    state.refreshed = read.resource_version.parse().ok();
    state.refreshing = false;
    Ok(())
}

/// One look: everything that is due for the application. An error is one of reporting; what went
/// wrong with the application itself is in its status.
async fn look(
    context: &Context,
    state: &mut State,
    application: &Application,
    mailbox: &Mailbox,
) -> Result<(), ClusterError> {
    if application.object.is_terminating() {
        finalize(context, state, application, mailbox).await?;
        return requests::refuse_deleted(context, state, application).await;
    }
    if is_refused(context, state, application).await? {
        requests::answer_refresh(state, application);
        return Ok(());
    }
    follow(context, state, application);
    let mut application = application.clone();
    // Before anything is pinned: what is refused changes nothing.
    if let Some(why) = gates::look(context, state, &application)
        && asks_for_sync(&application)
        && !requests::is_to_take_up(state, &application)
    {
        requests::refuse_next(context, state, &application, &why).await?;
        application.operation = None;
    }
    requests::refuse_empty(context, state, &mut application).await?;
    newest::take_up(context, state, &mut application).await?;
    rollback::take_up(context, state, &mut application).await?;
    update_desired(context, state, &application).await;
    claim(context, state, &application);
    refuse_without_render(context, state, &mut application).await?;
    let application = &application;
    if state.desired.is_none() {
        let answered = requests::answer_without_desired(context, state, application).await?;
        if answered || state.operation != state.written.operation_state {
            report::write(context, state, application, None).await?;
        }
        return Ok(());
    }
    let desired = state.desired.as_ref();
    let refusal = desired.and_then(|it| projects::refuse_objects(context, application, it));
    if let Some(refusal) = refusal {
        state.compare_error = Some(refusal);
        let why = "its project does not permit it";
        requests::refuse(context, state, application, why).await?;
        return report::write(context, state, application, None).await;
    }
    let kinds = state.kinds();
    context.live.watch_for(&application.key, &kinds).await;
    is_verification_due(context, state);
    if state.running.is_none() {
        syncing::resume(state, application);
    }
    let mut comparison = compare_and_settle(context, state, application).await;
    dry_run::doubt_by_rules(state, &mut comparison);
    let doubted = verify(context, state, &mut comparison);
    if !comparison.is_synced() {
        gates::tell(context, state, application, true);
    }
    dry_run::look_closer(context, state, application, &mut comparison).await;
    let mut hands = Hands {
        context,
        application,
        mailbox,
        ignore: state.ignore.clone(),
        cluster: cluster_of(context, application),
        manifests: state.manifests.take(),
    };
    interrupt(&hands, state).await?;
    if state.running.is_none() {
        start(context, state, application, &mut comparison).await?;
        let running = state.running.as_ref();
        if running.is_some_and(|running| !running.sync.sync_options.is_empty()) {
            // Its options say what counts as stale and what asks for a person.
            comparison = compare_and_settle(context, state, application).await;
            if doubted {
                comparison.doubt_all();
            }
        }
    }
    if state.running.is_some() {
        comparison = Box::pin(advance(&mut hands, state, comparison)).await?;
    }
    if state.running.is_none() && comparison.is_synced() {
        hooks::sweep(&hands, state).await;
    }
    report::write(context, state, application, Some(&comparison)).await
}

/// Reports an Application of which nothing can be done as it is written, if it is one.
async fn is_refused(
    context: &Context,
    state: &mut State,
    application: &Application,
) -> Result<bool, ClusterError> {
    if application.inventory_unknown {
        context.sources.forget(&application.key);
        state.following = None;
        state.compare_error = Some(UNREADABLE.to_owned());
        requests::refuse(context, state, application, "the status cannot be read").await?;
        report::write(context, state, application, None).await?;
        return Ok(true);
    }
    let refusals = context.projects.refusals(application, []);
    let mut refused = None;
    if application.faults.is_empty() && !refusals.is_empty() {
        let application = refused.insert(application.clone());
        application.faults = refusals;
    }
    let application = refused.as_ref().unwrap_or(application);
    if !application.faults.is_empty() {
        context.sources.forget(&application.key);
        state.following = None;
    } else if let Err(faults) = take_ignore_rules(context, state, application) {
        state.compare_error = Some(faults);
    } else {
        return Ok(false);
    }
    requests::refuse(context, state, application, "the spec has faults").await?;
    report::write(context, state, application, None).await?;
    Ok(true)
}

/// What is said where it is not known what there is, so that nothing is done.
const UNREADABLE: &str = "the status cannot be read, so that it is not known what belongs to the \
    application: correct it, or set status.inventory to null to begin anew with what is desired";

/// While the newest commit does not render nothing that is asked for is begun; what runs goes on, and
/// can be ended.
async fn refuse_without_render(
    context: &Context,
    state: &mut State,
    application: &mut Application,
) -> Result<(), ClusterError> {
    let operation = application.operation.as_ref();
    let ends = operation.is_some_and(|operation| operation.terminate);
    let renders = state.compare_error.is_none() || state.pin.is_some();
    if renders || ends || requests::is_to_take_up(state, application) {
        return Ok(());
    }
    let why = "the newest commit does not render";
    requests::refuse_next(context, state, application, why).await?;
    application.operation = None;
    Ok(())
}

/// Whether a person wants something to be applied.
fn asks_for_sync(application: &Application) -> bool {
    let operation = application.operation.as_ref();
    let Some(operation) = operation.filter(|operation| !operation.terminate) else {
        return false;
    };
    let syncs = operation.sync.as_ref().is_some_and(|sync| !sync.dry_run);
    syncs || operation.rollback.is_some()
}

/// Sees whether the interval is over in which everything is doubted once.
fn is_verification_due(context: &Context, state: &mut State) {
    if let Some(interval) = context.engine.verify_interval {
        let last = *state.verified.get_or_insert_with(Instant::now);
        match interval.checked_sub(last.elapsed()) {
            Some(left) => state.look_again_in(left),
            None => state.verifies = true,
        }
    }
    if state.verifies {
        state.namespace_held = None;
    }
}

/// Doubts everything when a hard refresh asks for it or the interval for that is over; says whether
/// it does.
fn verify(context: &Context, state: &mut State, comparison: &mut Comparison) -> bool {
    // A sync that runs goes first; it would take what is doubted for its own.
    if !state.verifies || state.running.is_some() {
        return false;
    }
    state.ignored_before = None;
    state.verifies = false;
    state.verified = Some(Instant::now());
    if let Some(interval) = context.engine.verify_interval {
        state.look_again_in(interval);
    }
    comparison.doubt_all();
    true
}

/// How long a manager counts as named just now: a rule and the commit that it came with arrive one
/// after the other.
const TOGETHER: Duration = Duration::from_secs(10 * 60);

/// Compiles the rules of what is left alone: those for all applications and its own.
fn take_ignore_rules(
    context: &Context,
    state: &mut State,
    application: &Application,
) -> Result<(), String> {
    let rules = IgnoreRules::compile(
        &context.engine.ignore_differences,
        &application.spec.ignore_differences,
    );
    let rules = rules.map_err(|faults| faults.join("; "))?;
    if state.ignore.are(&rules) {
        if state.named_since.is_some_and(|at| at.elapsed() > TOGETHER) {
            state.ignore.settle();
        }
        return Ok(());
    }
    let before = std::mem::replace(&mut state.ignore, rules);
    // What was settled or given up was so by the rules before. After a start there were none.
    state.settled_suspicions.clear();
    state.fights.forget();
    if state.desired.is_some() {
        state.ignore.replace(&before);
        state.named_since = Some(Instant::now());
        state.ignored_before.get_or_insert(before);
    }
    Ok(())
}

/// Says what is desired now, and wakes those that wait for something that is not any more.
fn claim(context: &Context, state: &State, application: &Application) {
    let desired = state.desired.as_ref();
    let keys = desired.map(|desired| desired.objects.keys());
    for waiting in context.claims.set(&application.key, keys) {
        (context.wake)(&waiting);
    }
}

/// Begins a sync if there is reason to.
async fn start(
    context: &Context,
    state: &mut State,
    application: &Application,
    comparison: &mut Comparison,
) -> Result<(), ClusterError> {
    let asked = application.operation.as_ref();
    // What waits beside the end of a sync comes with the next event.
    let asked = asked.filter(|asked| !asked.terminate);
    if asked.is_some_and(|asked| !newest::is_known(state, asked)) {
        // Another one was ended for it just now: the source is asked first.
        state.look_again_in(Duration::ZERO);
        return Ok(());
    }
    let sync = asked.and_then(|asked| asked.sync.as_ref());
    if let Some(why) = sync.and_then(|sync| chosen::refusal(state, sync, comparison)) {
        requests::refuse_for(context, state, application, why).await?;
        // What is to be done without it is next.
        state.look_again_in(Duration::ZERO);
        return Ok(());
    }
    let mut may_prune = syncing::check_prune(state, application, comparison);
    let may_move = may_prune && may_move(context, state, application, comparison);
    if may_move {
        state.look_again_in(MOVING);
        may_prune = false;
    }
    let going = |key: &&ResourceKey| {
        let live = look_up(context, state, application, key);
        let live = live.found();
        live.is_some_and(|live| live.observation.terminating)
    };
    // What is on its way out is not asked to go again.
    let prunable = comparison.prunable().filter(|_| may_prune);
    let prunable = prunable.filter(|key| !going(key)).count();
    match action(state, application, comparison, prunable) {
        Action::Nothing if comparison.is_synced() => {
            // Whatever failed before, nothing is left of it.
            state.sync_error = None;
            state.retry_now();
        }
        Action::Nothing => {}
        Action::Wait(pause) => state.look_again_in(pause),
        Action::Sync { reason, prune } => {
            if reason == Reason::Drift {
                fights::give_up(context, state, application, comparison).await;
                if comparison.drifted.is_empty() {
                    return Ok(());
                }
            }
            syncing::begin(state, application, comparison, reason, prune && may_prune);
            if let Some(running) = &mut state.running {
                running.may_move = prune && may_move;
            }
        }
    }
    Ok(())
}

fn action(
    state: &State,
    application: &Application,
    comparison: &Comparison,
    prunable: usize,
) -> Action {
    let digest = state.desired.as_ref().map(|desired| &desired.digest);
    let held = state.held.is_some() && state.held.as_ref() == digest;
    let stopped = !comparison.shared.is_empty() || held || !state.holds.is_empty();
    let due_in = |at: Instant| Retry {
        due_in: at.saturating_duration_since(Instant::now()),
    };
    decide(&Situation {
        changed: comparison.changed.len()
            + comparison.hooks
            + usize::from(comparison.namespace.is_some()),
        drifted: comparison.drifted.len(),
        prunable,
        automated: application.spec.automated().filter(|_| !stopped),
        operation: application
            .operation
            .as_ref()
            .filter(|operation| !operation.terminate)
            .and_then(|operation| operation.sync.as_ref()),
        retry: state.next_attempt.map(due_in),
    })
}

/// Tells the source loop what the application follows, and passes on a wish to refresh.
fn follow(context: &Context, state: &mut State, application: &Application) {
    let source = application.spec.source.as_ref();
    let following = source.map(|source| Following {
        repo_url: source.repo_url.clone(),
        target_revision: source.target_revision.clone(),
    });
    if let Some(wanted) = following.clone()
        && state.following != following
    {
        // What was rendered from another source says nothing about this one.
        state.revision = None;
        state.desired = None;
        state.compare_error = None;
        state.following = following;
        context.sources.follow(&application.key, wanted);
    }
    if let Some(wish) = application.annotation(REFRESH)
        && !state.refreshing
    {
        state.verifies |= wish == "hard";
        state.refreshing = true;
        state.source_answered = false;
        state.rendered_spec = None;
        if !context.sources.refresh(&application.key, Cause::Manual) {
            // It cannot be followed, and the condition says why: that is the answer.
            state.source_answered = true;
        }
    }
}

/// Renders when the commit or what is asked of it changed. Keeps the manifests when it did.
async fn update_desired(context: &Context, state: &mut State, application: &Application) {
    if rollback::is_pinned(state, application) {
        return rollback::recall_deployed(context, state, application).await;
    }
    let Some(revision) = state.revision.clone() else {
        if state.source_error.is_some() {
            rollback::recall_deployed(context, state, application).await;
        }
        return;
    };
    let spec = rendered_spec(application);
    let capabilities = &context.engine.capabilities;
    let same_commit = state.desired.as_ref().is_some_and(|desired| {
        desired.commit_id == revision.commit_id
            && capabilities.is_current(desired.asks, &desired.capabilities)
    });
    if same_commit && state.rendered_spec.as_ref() == Some(&spec) && state.compare_error.is_none() {
        return;
    }
    if let Some(at) = state.renders_at
        && !state.refreshing
        && Instant::now() < at
    {
        // What used up its time or memory would do so again, and others want the place.
        state.look_again_in(at - Instant::now());
        return;
    }
    let Some(mirror) = (context.mirror_of)(&application.key) else {
        return;
    };
    let source = Source {
        mirror: &mirror,
        commit_id: &revision.commit_id,
    };
    match desire(&context.engine, application, &source).await {
        Ok((desired, manifests)) => {
            context
                .sources
                .rendered(&application.key, Some(desired.inputs.clone()));
            syncing::rendered(context, state, &revision);
            state.desired = Some(desired);
            state.rendered_spec = Some(spec);
            state.compare_error = None;
            state.manifests = Some(manifests);
            state.render_now();
        }
        Err(error) => {
            context.sources.rendered(&application.key, None);
            if error.is_lost() {
                context.sources.refresh(&application.key, Cause::Poll);
            }
            if error.is_transient() {
                state.render_failures = state.render_failures.saturating_add(1);
                let pause = retry_pause(&application.spec, state.render_failures);
                state.renders_at = error.is_exhausted().then(|| Instant::now() + pause);
                state.look_again_in(pause);
            }
            let message = error.to_string();
            if state.compare_error.as_ref() != Some(&message) {
                tracing::warn!(app = %application.key, revision = revision.commit_id, %error, stage = ?error.stage(), "no desired state");
            }
            state.compare_error = Some(message);
            rollback::recall_deployed(context, state, application).await;
        }
    }
}
