//! The next thing to do in a sync, from how far each of its tasks came. Called anew after every
//! change, so that nothing but the tasks' own progress has to survive a restart.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::crd::HookPhase;
use crate::object::{ResourceKey, duration_text};

/// When a task is done: phase by phase, in each first what is applied by rising wave, then what
/// is deleted by falling wave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) phase: HookPhase,
    pub(crate) deletes: bool,
    /// The wave, negative for what is deleted.
    pub(crate) order: i64,
}

impl Place {
    pub(crate) fn of_wave(phase: HookPhase, wave: i32) -> Self {
        Self {
            phase,
            deletes: false,
            order: wave.into(),
        }
    }

    /// What is deleted goes at the end of the Sync phase, the highest wave first.
    pub(crate) fn of_deletion(wave: i32) -> Self {
        Self {
            phase: HookPhase::Sync,
            deletes: true,
            order: -i64::from(wave),
        }
    }
}

/// What a task is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    Apply(ResourceKey),
    /// The n-th hook of the desired state.
    Hook(usize),
    Prune(ResourceKey),
}

/// How far a task came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    Pending,
    /// Begun; the text says what it lacks.
    Running(String),
    /// Applied and not well; it may be that its controller has not looked at it yet.
    Unhealthy(String),
    Done,
    Failed(String),
    /// It waits for a person, however long that takes; the text names what it is about.
    Unconfirmed(String),
}

/// One task of a sync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Task {
    pub(crate) subject: Subject,
    pub(crate) place: Place,
    pub(crate) progress: Progress,
    /// Its deletion waits for the health of all that was applied.
    pub(crate) last: bool,
    /// Its deletion goes before what is applied at its place, which it stands in the way of.
    pub(crate) first: bool,
}

impl Task {
    /// What is begun together: all of one place, but what goes first there.
    fn group(&self) -> (Place, bool) {
        (self.place, !self.first)
    }
}

/// What has passed since the sync last moved.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Patience {
    /// Controllers had time to look at what was applied: what is unhealthy still is taken as such.
    pub(crate) settled: bool,
    /// The time for one wave is over.
    pub(crate) over: bool,
    /// How long that is.
    pub(crate) limit: Duration,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Begin these tasks (their indices), all of one place.
    Run(Vec<usize>),
    /// Nothing until something changes; the text says for what.
    Wait(String),
    Succeeded,
    Failed(String),
}

/// Tells the next step.
///
/// As in Argo CD a place is begun when all before it are done and healthy, the last one is not
/// waited for, and after a failure only the SyncFail hooks run. Unlike there, what is deleted does
/// not wait for health unless it asks for that (`PruneLast`), and an object that is unhealthy only
/// counts as failure after its controller had a moment to see the change.
pub(crate) fn step(tasks: &[Task], patience: Patience) -> Step {
    let mut order: Vec<usize> = (0..tasks.len()).collect();
    order.sort_by_key(|&index| tasks[index].group());
    let (after_failure, regular): (Vec<usize>, Vec<usize>) = order
        .into_iter()
        .partition(|&index| tasks[index].place.phase == HookPhase::SyncFail);
    match walk(tasks, &regular, patience) {
        Step::Failed(why) => fail(tasks, &regular, &after_failure, patience, why),
        step => step,
    }
}

fn walk(tasks: &[Task], order: &[usize], patience: Patience) -> Step {
    let failures: Vec<String> = order
        .iter()
        .filter_map(|&index| match &tasks[index].progress {
            Progress::Failed(why) => Some(why.clone()),
            _ => None,
        })
        .collect();
    if !failures.is_empty() {
        return Step::Failed(some_of(&failures));
    }
    let Some(&first) = order
        .iter()
        .find(|&&index| tasks[index].progress == Progress::Pending)
    else {
        return finish(tasks, order, patience);
    };
    let (place, begun) = (tasks[first].place, tasks[first].group());
    let group: Vec<usize> = order
        .iter()
        .copied()
        .filter(|&index| tasks[index].group() == begun)
        .collect();
    let last = group.iter().any(|&index| tasks[index].last);
    let before = order.iter().copied().filter(|&index| {
        let task = &tasks[index];
        let gates = !place.deletes
            || last
            || task.place.deletes
            || task.place.phase != place.phase
            || matches!(task.subject, Subject::Hook(_));
        task.group() < begun && gates
    });
    if let Some(step) = hold(tasks, before, patience) {
        return step;
    }
    let pending = group.into_iter();
    Step::Run(
        pending
            .filter(|&index| tasks[index].progress == Progress::Pending)
            .collect(),
    )
}

/// All was begun: only hooks are waited for, and a person's word.
fn finish(tasks: &[Task], order: &[usize], patience: Patience) -> Step {
    let open = order.iter().copied().filter(|&index| {
        let task = &tasks[index];
        matches!(task.subject, Subject::Hook(_))
            || matches!(task.progress, Progress::Unconfirmed(_))
    });
    hold(tasks, open, patience).unwrap_or(Step::Succeeded)
}

/// What keeps the next place from being begun, if anything.
fn hold(tasks: &[Task], before: impl Iterator<Item = usize>, patience: Patience) -> Option<Step> {
    let mut waits = Vec::new();
    let mut unhealthy = Vec::new();
    let mut unconfirmed = Vec::new();
    for index in before {
        match &tasks[index].progress {
            Progress::Running(what) => waits.push(what.clone()),
            Progress::Unhealthy(what) => unhealthy.push(what.clone()),
            Progress::Unconfirmed(what) => unconfirmed.push(what.clone()),
            _ => {}
        }
    }
    if !unhealthy.is_empty() && (patience.settled || patience.over) {
        return Some(Step::Failed(some_of(&unhealthy)));
    }
    waits.extend(unhealthy);
    if patience.over && !waits.is_empty() {
        let what = some_of(&waits);
        let limit = duration_text(patience.limit);
        return Some(Step::Failed(format!(
            "waited too long for {what}; syncPolicy.waveTimeout gives it {limit}"
        )));
    }
    if !unconfirmed.is_empty() {
        waits.push(format!("approval to delete {}", some_of(&unconfirmed)));
    }
    if waits.is_empty() {
        return None;
    }
    Some(Step::Wait(format!("waiting for {}", some_of(&waits))))
}

/// A failed sync: hooks that still run are waited for, then all SyncFail hooks run at once.
fn fail(
    tasks: &[Task],
    regular: &[usize],
    after_failure: &[usize],
    patience: Patience,
    why: String,
) -> Step {
    let pending: Vec<usize> = after_failure
        .iter()
        .copied()
        .filter(|&index| tasks[index].progress == Progress::Pending)
        .collect();
    if !pending.is_empty() {
        return Step::Run(pending);
    }
    let runs = |&&index: &&usize| {
        matches!(tasks[index].subject, Subject::Hook(_))
            && matches!(tasks[index].progress, Progress::Running(_))
    };
    let running: Vec<String> = regular
        .iter()
        .chain(after_failure)
        .filter(runs)
        .filter_map(|&index| match &tasks[index].progress {
            Progress::Running(what) => Some(what.clone()),
            _ => None,
        })
        .collect();
    if !running.is_empty() && !patience.over {
        return Step::Wait(format!("failed: {why}; waiting for {}", some_of(&running)));
    }
    let also = after_failure
        .iter()
        .any(|&index| matches!(tasks[index].progress, Progress::Failed(_)));
    Step::Failed(if also {
        format!("{why}; and a SyncFail hook failed too")
    } else {
        why
    })
}

/// The first few of many, and how many more.
pub(crate) fn some_of(texts: &[String]) -> String {
    let shown = texts.iter().take(3).cloned().collect::<Vec<_>>().join("; ");
    match texts.len().saturating_sub(3) {
        0 => shown,
        more => format!("{shown}; and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> ResourceKey {
        ResourceKey {
            group: String::new(),
            kind: "ConfigMap".into(),
            namespace: "shop".into(),
            name: name.into(),
        }
    }

    fn progress(word: &str) -> Progress {
        match word {
            "pending" => Progress::Pending,
            "running" => Progress::Running("it".into()),
            "unhealthy" => Progress::Unhealthy("it is ill".into()),
            "done" => Progress::Done,
            "failed" => Progress::Failed("it broke".into()),
            "unconfirmed" => Progress::Unconfirmed("it".into()),
            other => panic!("{other}"),
        }
    }

    fn apply(wave: i32, word: &str) -> Task {
        Task {
            subject: Subject::Apply(key(&format!("{wave}"))),
            place: Place::of_wave(HookPhase::Sync, wave),
            progress: progress(word),
            last: false,
            first: false,
        }
    }

    fn hook(phase: HookPhase, word: &str) -> Task {
        Task {
            subject: Subject::Hook(0),
            place: Place::of_wave(phase, 0),
            progress: progress(word),
            last: false,
            first: false,
        }
    }

    fn prune(wave: i32, word: &str, last: bool) -> Task {
        Task {
            subject: Subject::Prune(key(&format!("{wave}"))),
            place: Place::of_deletion(wave),
            progress: progress(word),
            last,
            first: false,
        }
    }

    fn first(wave: i32, word: &str) -> Task {
        Task {
            place: Place::of_wave(HookPhase::Sync, wave),
            first: true,
            ..prune(0, word, false)
        }
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn steps() {
        use HookPhase::{PostSync, PreSync, Sync, SyncFail};
        let wait = || Step::Wait("waiting for it".into());
        let failed = |why: &str| Step::Failed(why.into());
        for (name, tasks, expected) in [
            ("nothing", vec![], Step::Succeeded),
            ("one", vec![apply(0, "pending")], Step::Run(vec![0])),
            (
                "what stands in the way goes first",
                vec![
                    apply(0, "pending"),
                    first(0, "pending"),
                    prune(0, "pending", false),
                ],
                Step::Run(vec![1]),
            ),
            (
                "and is to be gone",
                vec![apply(0, "pending"), first(0, "running")],
                wait(),
            ),
            (
                "not before the waves before",
                vec![
                    apply(-1, "running"),
                    first(0, "pending"),
                    apply(0, "pending"),
                ],
                wait(),
            ),
            (
                "and only with a person's word",
                vec![apply(0, "pending"), first(0, "unconfirmed")],
                Step::Wait("waiting for approval to delete it".into()),
            ),
            (
                "the last wave is not waited for",
                vec![apply(0, "running")],
                Step::Succeeded,
            ),
            (
                "waves one by one",
                vec![apply(1, "pending"), apply(-1, "pending"), apply(-1, "done")],
                Step::Run(vec![1]),
            ),
            (
                "a wave waits",
                vec![apply(0, "running"), apply(1, "pending")],
                wait(),
            ),
            (
                "a wave goes on",
                vec![apply(0, "done"), apply(1, "pending")],
                Step::Run(vec![1]),
            ),
            (
                "an unhealthy one has a moment",
                vec![apply(0, "unhealthy"), apply(1, "pending")],
                Step::Wait("waiting for it is ill".into()),
            ),
            (
                "nothing is begun after a failure",
                vec![apply(0, "failed"), apply(0, "pending"), apply(1, "pending")],
                failed("it broke"),
            ),
            (
                "hooks go first",
                vec![
                    apply(-9, "pending"),
                    hook(PreSync, "pending"),
                    hook(PostSync, "pending"),
                ],
                Step::Run(vec![1]),
            ),
            (
                "a hook is waited for",
                vec![hook(PreSync, "running"), apply(0, "pending")],
                wait(),
            ),
            (
                "also the last",
                vec![apply(0, "done"), hook(Sync, "running")],
                wait(),
            ),
            (
                "after the sync all is healthy",
                vec![apply(0, "running"), hook(PostSync, "pending")],
                wait(),
            ),
            (
                "and what was deleted is gone",
                vec![
                    apply(0, "done"),
                    prune(0, "running", false),
                    hook(PostSync, "pending"),
                ],
                wait(),
            ),
            (
                "deletions do not wait for health",
                vec![apply(0, "running"), prune(0, "pending", false)],
                Step::Run(vec![1]),
            ),
            (
                "unless they ask for it",
                vec![apply(0, "running"), prune(0, "pending", true)],
                wait(),
            ),
            (
                "the highest wave goes first",
                vec![prune(0, "pending", false), prune(5, "pending", false)],
                Step::Run(vec![1]),
            ),
            (
                "and is gone before the next",
                vec![prune(0, "pending", false), prune(5, "running", false)],
                wait(),
            ),
            (
                "a deletion waits for no deletion after it",
                vec![prune(0, "running", false)],
                Step::Succeeded,
            ),
            (
                "what waits for a person is waited for",
                vec![apply(0, "done"), prune(0, "unconfirmed", false)],
                Step::Wait("waiting for approval to delete it".into()),
            ),
            (
                "while the rest goes on",
                vec![apply(0, "pending"), prune(0, "unconfirmed", false)],
                Step::Run(vec![0]),
            ),
            (
                "except for what comes after",
                vec![
                    apply(0, "running"),
                    prune(0, "unconfirmed", false),
                    hook(PostSync, "pending"),
                ],
                Step::Wait("waiting for it; approval to delete it".into()),
            ),
            (
                "a failure is one nevertheless",
                vec![apply(0, "failed"), prune(0, "unconfirmed", false)],
                failed("it broke"),
            ),
            (
                "a hook of the same phase is done before a deletion",
                vec![hook(Sync, "running"), prune(0, "pending", false)],
                wait(),
            ),
            (
                "not without a failure",
                vec![hook(SyncFail, "pending")],
                Step::Succeeded,
            ),
            (
                "after a failure",
                vec![
                    apply(0, "failed"),
                    hook(SyncFail, "pending"),
                    hook(PostSync, "pending"),
                ],
                Step::Run(vec![1]),
            ),
            (
                "until they are done",
                vec![apply(0, "failed"), hook(SyncFail, "running")],
                Step::Wait("failed: it broke; waiting for it".into()),
            ),
            (
                "then it has failed",
                vec![
                    apply(0, "failed"),
                    hook(SyncFail, "done"),
                    hook(Sync, "done"),
                ],
                failed("it broke"),
            ),
            (
                "twice",
                vec![hook(PreSync, "failed"), hook(SyncFail, "failed")],
                failed("it broke; and a SyncFail hook failed too"),
            ),
        ] {
            assert_eq!(step(&tasks, Patience::default()), expected, "{name}");
        }
    }

    #[test]
    fn patience_ends() {
        let settled = Patience {
            settled: true,
            over: false,
            limit: Duration::from_secs(90),
        };
        let over = Patience {
            over: true,
            ..settled
        };
        let late = "waited too long for it; syncPolicy.waveTimeout gives it 1m30s";
        let ill = [apply(0, "unhealthy"), apply(1, "pending")];
        assert_eq!(step(&ill, settled), Step::Failed("it is ill".into()));
        let slow = [apply(0, "running"), apply(1, "pending")];
        assert_eq!(step(&slow, settled), Step::Wait("waiting for it".into()));
        assert_eq!(step(&slow, over), Step::Failed(late.into()));
        let hangs = [hook(HookPhase::PostSync, "running")];
        assert_eq!(step(&hangs, over), Step::Failed(late.into()));
        let asks = [prune(0, "unconfirmed", false)];
        assert_eq!(
            step(&asks, over),
            Step::Wait("waiting for approval to delete it".into()),
            "a person may take long"
        );
        let last = [apply(0, "unhealthy")];
        assert_eq!(
            step(&last, over),
            Step::Succeeded,
            "the last wave is not waited for"
        );
    }
}
