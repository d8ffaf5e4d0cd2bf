//! Tasks that never die silently. A panic ends what a task was at, not the task: it is counted, said,
//! and the task begins again after a pause, with nothing of what it remembered.
//!
//! The text of a panic stays in the log, where the panic hook wrote it: it may quote what it was about.

use std::{
    fmt::Display,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use futures::FutureExt as _;
use tokio::{task::JoinHandle, time::sleep};

use crate::telemetry::{Metrics, Task};

/// Without a panic for so long a task is well again.
pub(crate) const CALM: Duration = Duration::from_secs(600);
/// The first pause after a panic, and the longest. Tests do not wait for it.
const FIRST: Duration = Duration::from_millis(if cfg!(test) { 10 } else { 1000 });
const LONGEST: Duration = FIRST.saturating_mul(300);

/// Runs what `begin` makes until it ends by itself. `begin` is told how many panics in a row ended
/// the task: after one it must take nothing of what the task left behind for granted.
pub(crate) fn supervise<F>(
    metrics: &Arc<Metrics>,
    task: Task,
    name: impl Display + Send + Sync + 'static,
    mut begin: impl FnMut(u32) -> F + Send + 'static,
) -> JoinHandle<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let metrics = Arc::clone(metrics);
    tokio::spawn(async move {
        let mut panics = 0;
        loop {
            let began = Instant::now();
            let work = AssertUnwindSafe(async { begin(panics).await });
            if work.catch_unwind().await.is_ok() {
                return;
            }
            panics = in_a_row(panics, began.elapsed());
            let pause = pause_after(panics);
            say(&metrics, task, &name, pause);
            sleep(pause).await;
        }
    })
}

/// Does one piece of the work of a task that goes on whatever becomes of it; says whether it was done.
/// `panics` counts those in a row.
pub(crate) fn attempt(
    metrics: &Metrics,
    task: Task,
    name: &dyn Display,
    panics: &mut u32,
    work: impl FnOnce(),
) -> bool {
    if catch_unwind(AssertUnwindSafe(work)).is_ok() {
        return true;
    }
    *panics = panics.saturating_add(1);
    say(metrics, task, name, pause_after(*panics));
    false
}

fn say(metrics: &Metrics, task: Task, name: &dyn Display, pause: Duration) {
    metrics.task_panicked(task);
    tracing::error!(
        task = task.as_str(), %name, ?pause,
        "it panicked, as said above, and begins again after a pause: a fault of the agent"
    );
}

/// How many panics in a row it is now, after one that came so long after the last beginning.
fn in_a_row(before: u32, ran: Duration) -> u32 {
    if ran >= CALM {
        1
    } else {
        before.saturating_add(1)
    }
}

/// 1 s, 2 s, ... up to [`LONGEST`].
pub(crate) fn pause_after(panics: u32) -> Duration {
    let doubled = 1 << panics.saturating_sub(1).min(10);
    FIRST.saturating_mul(doubled).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn pauses_grow_while_panics_follow_each_other() {
        let pauses: Vec<_> = (1..=10).map(pause_after).collect();
        let wanted = [1, 2, 4, 8, 16, 32, 64, 128, 256, 300].map(|times| FIRST * times);
        assert_eq!(pauses, wanted);
        assert_eq!(pause_after(u32::MAX), LONGEST);
        assert_eq!(in_a_row(0, Duration::ZERO), 1);
        assert_eq!(in_a_row(5, CALM - FIRST), 6);
        assert_eq!(in_a_row(5, CALM), 1);
    }

    #[tokio::test]
    async fn a_task_that_panics_begins_again_and_is_counted() {
        let metrics = Arc::new(Metrics::new("1"));
        let begun = Arc::new(Mutex::new(Vec::new()));
        let task = {
            let begun = Arc::clone(&begun);
            supervise(&metrics, Task::Application, "shop/web", move |panics| {
                begun.lock().unwrap().push(panics);
                // One while it is made, one on its way.
                assert_ne!(panics, 0, "canary");
                async move {
                    sleep(FIRST).await;
                    assert_ne!(panics, 1, "canary");
                }
            })
        };
        task.await.unwrap();
        assert_eq!(*begun.lock().unwrap(), [0, 1, 2]);
        let line = "trimtab_task_panics_total{task=\"application\"} 2";
        let text = metrics.encode();
        assert!(text.lines().any(|found| found == line), "{text}");
    }

    #[test]
    fn what_panics_is_left_out_and_the_rest_goes_on() {
        let metrics = Metrics::new("1");
        let (mut panics, mut done) = (0, Vec::new());
        for number in [1, 2, 3] {
            let work = || {
                assert_ne!(number, 2, "canary");
                done.push(number);
            };
            let went = attempt(&metrics, Task::Watch, &"ConfigMap", &mut panics, work);
            assert_eq!(went, number != 2);
        }
        assert_eq!((done, panics), (vec![1, 3], 1));
    }
}
