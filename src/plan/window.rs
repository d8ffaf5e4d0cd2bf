//! Whether the sync windows of a project let an application be synced now, and until when that
//! holds. Argo CD's rules.

use jiff::{SignedDuration, Timestamp};

use crate::config::{SyncWindow, WindowKind};

/// How many openings of one window are followed to find the end of a time that it is open for.
const OPENINGS: usize = 100;
/// How many times something opens or closes until the state is taken as lasting ...
const STEPS: usize = 32;
/// ... and how far into the future is looked for a difference.
const FAR: SignedDuration = SignedDuration::from_hours(31 * 24);

/// What may be done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WindowState {
    /// The agent may sync by itself.
    pub(crate) automatic: bool,
    /// A person may sync.
    pub(crate) manual: bool,
    /// What holds automation up.
    pub(crate) why: Option<String>,
    /// When to look again: nothing is different before. None when nothing ever will be.
    pub(crate) changes_at: Option<Timestamp>,
}

/// A window that is meant for the application, at some time.
struct Phase<'a> {
    window: &'a SyncWindow,
    open: bool,
    /// The end of this phase; none when there is none.
    until: Option<Timestamp>,
}

/// Judges the windows that match the application. An open deny window holds syncs up; if there
/// are allow windows, one of them must be open. `manualSync` lets people sync nevertheless: that
/// of every open deny window, or else of any of the allow windows.
pub(crate) fn windows(
    windows: &[SyncWindow],
    application: &str,
    namespace: &str,
    now: Timestamp,
) -> WindowState {
    let mut phases: Vec<_> = windows
        .iter()
        .filter(|window| window.matches(application, namespace))
        .map(|window| Phase::at(window, now))
        .collect();
    let (automatic, manual) = judge(&phases);
    WindowState {
        automatic,
        manual,
        why: if automatic { None } else { why(&phases) },
        changes_at: change(&mut phases, now),
    }
}

/// Whether the agent may sync, and whether a person may.
fn judge(phases: &[Phase<'_>]) -> (bool, bool) {
    let of = |kind| phases.iter().filter(move |phase| phase.window.kind == kind);
    let mut denying = of(WindowKind::Deny).filter(|phase| phase.open).peekable();
    if denying.peek().is_some() {
        return (false, denying.all(|phase| phase.window.manual_sync));
    }
    let mut allowing = of(WindowKind::Allow).peekable();
    if allowing.peek().is_none() || of(WindowKind::Allow).any(|phase| phase.open) {
        return (true, true);
    }
    (false, allowing.any(|phase| phase.window.manual_sync))
}

fn why(phases: &[Phase<'_>]) -> Option<String> {
    let open = |phase: &&Phase<'_>| phase.open && phase.window.kind == WindowKind::Deny;
    if let Some(phase) = phases.iter().find(open) {
        return Some(format!("held up by {}", phase.window));
    }
    let next = phases
        .iter()
        .filter(|phase| phase.window.kind == WindowKind::Allow)
        .min_by_key(|phase| phase.until.unwrap_or(Timestamp::MAX))?;
    let when = match next.until {
        Some(time) => format!(" opens at {time:.0}"),
        None => " does not open again".to_owned(),
    };
    Some(format!("no allow window is open; {}{when}", next.window))
}

/// The first time at which something else may be done than now.
fn change(phases: &mut [Phase<'_>], now: Timestamp) -> Option<Timestamp> {
    let state = judge(phases);
    let mut time = None;
    for _ in 0..STEPS {
        let next = phases.iter().filter_map(|phase| phase.until).min()?;
        for phase in phases.iter_mut() {
            if phase.until == Some(next) {
                *phase = Phase::at(phase.window, next);
            }
        }
        time = Some(next);
        if judge(phases) != state || next.duration_since(now) > FAR {
            break;
        }
    }
    time
}

impl<'a> Phase<'a> {
    fn at(window: &'a SyncWindow, time: Timestamp) -> Self {
        let closed = |until| Self {
            window,
            open: false,
            until,
        };
        let Ok(since) = time.checked_sub(window.duration) else {
            return closed(None);
        };
        let start = match window.schedule.next_after(since) {
            Some(start) if start <= time => start,
            later => return closed(later),
        };
        Self {
            window,
            open: true,
            until: end(window, start, time),
        }
    }
}

/// When a window that opened at `start` closes, with the openings before that which keep it open.
fn end(window: &SyncWindow, mut start: Timestamp, time: Timestamp) -> Option<Timestamp> {
    let next = |after| window.schedule.next_after(after);
    let mut until = start.checked_add(window.duration).ok()?;
    for _ in 0..OPENINGS {
        // One at the very end leads furthest, and most schedules that never pause have it.
        let just_before = until.checked_sub(SignedDuration::from_nanos(1)).ok()?;
        let again = next(just_before).filter(|at| *at == until);
        match again.or_else(|| next(start).filter(|at| *at <= until)) {
            Some(opens) => start = opens,
            None => break,
        }
        until = start.checked_add(window.duration).ok()?;
        if until.duration_since(time) > FAR {
            break;
        }
    }
    Some(until)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    const NIGHTS: &str = "{kind: deny, schedule: '0 22 * * *', duration: 8h, applications: ['*']}";
    const OFFICE: &str =
        "{kind: allow, schedule: '0 9 * * mon-fri', duration: 8h, namespaces: [shop]}";

    fn state(given: &[&str], now: &str) -> WindowState {
        let text = format!(
            "projects: [{{name: team, syncWindows: [{}]}}]",
            given.join(", ")
        );
        let settings = Settings::parse(&text).unwrap();
        let team = settings.projects.get("team").unwrap();
        windows(&team.sync_windows, "web", "shop", now.parse().unwrap())
    }

    fn check(given: &[&str], now: &str, automatic: bool, manual: bool, changes_at: Option<&str>) {
        let state = state(given, now);
        assert_eq!(
            (
                state.automatic,
                state.manual,
                state.changes_at.map(|time| time.to_string())
            ),
            (automatic, manual, changes_at.map(str::to_owned)),
            "{given:?} {now}: {state:?}"
        );
        assert_eq!(state.why.is_none(), automatic, "{state:?}");
    }

    fn with(window: &str, field: &str) -> String {
        window.replace('}', &format!(", {field}}}"))
    }

    #[test]
    fn nothing_is_held_up_without_a_window() {
        check(&[], "2026-03-04T10:00:00Z", true, true, None);
        let others = "{kind: deny, schedule: '* * * * *', duration: 1h, applications: [blog]}";
        check(&[others], "2026-03-04T10:00:00Z", true, true, None);
    }

    #[test]
    fn a_deny_window_holds_up_from_its_start_to_before_its_end() {
        for (now, free, changes_at) in [
            ("2026-03-04T21:59:59.999Z", true, "2026-03-04T22:00:00Z"),
            ("2026-03-04T22:00:00Z", false, "2026-03-05T06:00:00Z"),
            ("2026-03-05T05:59:59.999Z", false, "2026-03-05T06:00:00Z"),
            ("2026-03-05T06:00:00Z", true, "2026-03-05T22:00:00Z"),
        ] {
            check(&[NIGHTS], now, free, free, Some(changes_at));
        }
        let why = state(&[NIGHTS], "2026-03-04T23:00:00Z").why.unwrap();
        assert_eq!(
            why,
            "held up by the deny window \"0 22 * * *\" for 8h (UTC)"
        );
    }

    #[test]
    fn with_allow_windows_one_must_be_open() {
        // 2026-03-06 is a Friday.
        for (now, free, changes_at) in [
            ("2026-03-06T08:59:00Z", false, "2026-03-06T09:00:00Z"),
            ("2026-03-06T09:00:00Z", true, "2026-03-06T17:00:00Z"),
            ("2026-03-06T17:00:00Z", false, "2026-03-09T09:00:00Z"),
        ] {
            check(&[OFFICE], now, free, free, Some(changes_at));
        }
        let why = state(&[OFFICE], "2026-03-07T00:00:00Z").why.unwrap();
        assert_eq!(
            why,
            "no allow window is open; the allow window \"0 9 * * mon-fri\" for 8h (UTC) \
             opens at 2026-03-09T09:00:00Z"
        );
    }

    #[test]
    fn deny_wins_and_people_may_where_it_says_so() {
        let noon = "{kind: deny, schedule: '0 12 * * *', duration: 1h, clusters: [in-cluster]}";
        let (nights, office) = (
            with(NIGHTS, "manualSync: true"),
            with(OFFICE, "manualSync: true"),
        );
        let noon_manual = with(noon, "manualSync: true");
        let weekend = "{kind: allow, schedule: '0 0 * * sat', duration: 48h, applications: ['*']}";
        for (given, now, automatic, manual, changes_at) in [
            (
                &[OFFICE, noon][..],
                "2026-03-06T12:30:00Z",
                false,
                false,
                "2026-03-06T13:00:00Z",
            ),
            (
                &[OFFICE, noon],
                "2026-03-06T13:00:00Z",
                true,
                true,
                "2026-03-06T17:00:00Z",
            ),
            (
                &[OFFICE, &noon_manual],
                "2026-03-06T12:30:00Z",
                false,
                true,
                "2026-03-06T13:00:00Z",
            ),
            // Every open deny window must let people through ...
            (
                &[noon, &noon_manual],
                "2026-03-06T12:30:00Z",
                false,
                false,
                "2026-03-06T13:00:00Z",
            ),
            // ... and then no allow window is asked for.
            (
                &[&nights, OFFICE],
                "2026-03-06T23:00:00Z",
                false,
                true,
                "2026-03-07T06:00:00Z",
            ),
            (
                &[NIGHTS, &office],
                "2026-03-06T23:00:00Z",
                false,
                false,
                "2026-03-07T06:00:00Z",
            ),
            // Any closed allow window may let people through.
            (
                &[&office, weekend],
                "2026-03-06T18:00:00Z",
                false,
                true,
                "2026-03-07T00:00:00Z",
            ),
            (
                &[OFFICE, weekend],
                "2026-03-06T18:00:00Z",
                false,
                false,
                "2026-03-07T00:00:00Z",
            ),
        ] {
            check(given, now, automatic, manual, Some(changes_at));
        }
    }

    #[test]
    fn windows_that_touch_or_overlap_are_one() {
        let hourly = "{kind: deny, schedule: '0 9-11 * * *', duration: 1h, applications: ['*']}";
        let early = "{kind: deny, schedule: '30 11 * * *', duration: 3h, applications: ['*']}";
        check(
            &[hourly],
            "2026-03-04T09:30:00Z",
            false,
            false,
            Some("2026-03-04T12:00:00Z"),
        );
        let both = [hourly, early];
        check(
            &both,
            "2026-03-04T09:30:00Z",
            false,
            false,
            Some("2026-03-04T14:30:00Z"),
        );
        // Two allow windows that follow each other.
        let allow = [
            "{kind: allow, schedule: '0 9 * * *', duration: 1h, applications: ['*']}",
            "{kind: allow, schedule: '0 10 * * *', duration: 1h, applications: ['*']}",
        ];
        check(
            &allow,
            "2026-03-04T09:30:00Z",
            true,
            true,
            Some("2026-03-04T11:00:00Z"),
        );
    }

    #[test]
    fn a_freeze_without_end_is_looked_at_seldom() {
        const MONTH: SignedDuration = SignedDuration::from_hours(31 * 24);
        let now: Timestamp = "2026-03-04T09:30:00Z".parse().unwrap();
        for (schedule, duration, least) in [
            ("* * * * *", "24h", MONTH),
            ("0 0 * * *", "24h", MONTH),
            ("0 * * * *", "90m", SignedDuration::from_hours(90)),
        ] {
            let freeze = format!(
                "{{kind: deny, schedule: '{schedule}', duration: {duration}, applications: ['*']}}"
            );
            let state = state(&[&freeze], &now.to_string());
            assert!(!state.automatic);
            let ahead = state.changes_at.unwrap().duration_since(now);
            assert!(ahead > least, "{schedule}: {state:?}");
        }
        // A real difference is found however far it is.
        let newyear = "{kind: deny, schedule: '0 0 1 1 *', duration: 24h, applications: ['*']}";
        let next = Some("2027-01-01T00:00:00Z");
        check(&[newyear], "2026-03-04T09:30:00Z", true, true, next);
    }

    #[test]
    fn the_clock_of_the_zone_counts() {
        let berlin = with(NIGHTS, "timeZone: Europe/Berlin");
        for (now, free, changes_at) in [
            // Winter: 22:00 is 21:00Z; summer: 20:00Z.
            ("2026-03-04T20:59:00Z", true, "2026-03-04T21:00:00Z"),
            ("2026-07-04T20:00:00Z", false, "2026-07-05T04:00:00Z"),
            // Eight hours are eight hours in the nights that have nine or seven.
            ("2026-03-28T22:00:00Z", false, "2026-03-29T05:00:00Z"),
            ("2026-10-24T22:00:00Z", false, "2026-10-25T04:00:00Z"),
        ] {
            check(&[&berlin], now, free, free, Some(changes_at));
        }
        // A start that the clock skips: the window is not lost.
        let lost = "{kind: deny, schedule: '30 2 * * *', duration: 30m, applications: ['*'], \
                    timeZone: Europe/Berlin}";
        check(
            &[lost],
            "2026-03-29T01:45:00Z",
            false,
            false,
            Some("2026-03-29T02:00:00Z"),
        );
        // An hour that comes twice is denied twice.
        let twice = "{kind: deny, schedule: '0 2 * * *', duration: 1h, applications: ['*'], \
                     timeZone: Europe/Berlin}";
        check(
            &[twice],
            "2026-10-25T00:30:00Z",
            false,
            false,
            Some("2026-10-25T02:00:00Z"),
        );
    }

    #[test]
    fn the_ends_of_time_are_no_trouble() {
        for now in [Timestamp::MIN, Timestamp::MAX] {
            let state = state(&[NIGHTS, OFFICE], &now.to_string());
            assert!(!state.automatic, "{state:?}");
        }
    }
}
