//! When a schedule fires: the five fields of cron, on the clock of a time zone.

use jiff::{
    Timestamp,
    civil::{Date, DateTime, date},
    tz::{Offset, TimeZone},
};

/// How many days are looked through: 29 February is eight years away at most.
const LOOK_AHEAD: usize = 2_930;
/// How many changes of the clock are looked across in that time.
const CLOCK_CHANGES: usize = 64;
/// Bytes of one schedule; every minute of an hour can be listed.
const LONGEST: usize = 512;

/// Minutes at which something starts. Each field is a set of bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Schedule {
    text: String,
    zone: TimeZone,
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Days of the month and of the week are both given: either is enough.
    either_day: bool,
}

struct Field {
    name: &'static str,
    first: u8,
    last: u8,
    words: &'static [&'static str],
}

const MINUTE: Field = field("minute", 0, 59, &[]);
const HOUR: Field = field("hour", 0, 23, &[]);
const DAY: Field = field("day of the month", 1, 31, &[]);
const MONTH: Field = field("month", 1, 12, &MONTHS);
const WEEKDAY: Field = field("day of the week", 0, 6, &WEEKDAYS);
const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

const fn field(name: &'static str, first: u8, last: u8, words: &'static [&'static str]) -> Field {
    Field {
        name,
        first,
        last,
        words,
    }
}

impl Schedule {
    /// Reads `minute hour day month weekday`. The clock is that of the zone: a time that it skips
    /// counts at the moment that it would have been without the skip, one that it shows twice
    /// counts twice.
    pub(super) fn parse(text: &str, zone: TimeZone) -> Result<Self, String> {
        if text.len() > LONGEST {
            return Err(format!("has more than {LONGEST} bytes"));
        }
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let &[minute, hour, day, month, weekday] = fields.as_slice() else {
            let problem = "has no five fields: minute, hour, day, month, day of the week";
            return Err(problem.to_owned());
        };
        let (minutes, _) = MINUTE.read(minute)?;
        let (hours, _) = HOUR.read(hour)?;
        let (days, every_day) = DAY.read(day)?;
        let (months, _) = MONTH.read(month)?;
        let (weekdays, every_weekday) = WEEKDAY.read(weekday)?;
        let schedule = Self {
            text: fields.join(" "),
            zone,
            minutes,
            hours,
            days,
            months,
            // 7 is Sunday as well as 0.
            weekdays: (weekdays | weekdays >> 7) & 0x7f,
            either_day: !every_day && !every_weekday,
        };
        match schedule.on_clock(date(2000, 1, 1).at(0, 0, 0, 0)) {
            Some(_) => Ok(schedule),
            None => Err("never fires".to_owned()),
        }
    }

    /// As it was written.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The name of its time zone.
    pub(crate) fn zone(&self) -> &str {
        self.zone.iana_name().unwrap_or("UTC")
    }

    /// The first time after this one.
    pub(crate) fn next_after(&self, time: Timestamp) -> Option<Timestamp> {
        let mut from = just_after(time)?;
        for _ in 0..CLOCK_CHANGES {
            let offset = self.zone.to_offset(from);
            let ordinary = self
                .on_clock(offset.to_datetime(from))
                .and_then(|clock| offset.to_timestamp(clock).ok());
            let next = match (ordinary, self.skipped(from, offset)) {
                (Some(ordinary), Some(skipped)) => Some(ordinary.min(skipped)),
                (ordinary, skipped) => ordinary.or(skipped),
            };
            let change = self.zone.following(from).next();
            match change.map(|change| change.timestamp()) {
                Some(change) if next.is_none_or(|next| next >= change) => from = change,
                _ => return next,
            }
        }
        None
    }

    /// The first time at or after `from` among those that the last change of the clock skipped.
    fn skipped(&self, from: Timestamp, offset: Offset) -> Option<Timestamp> {
        let change = self.zone.preceding(just_after(from)?).next()?.timestamp();
        let before = self.zone.to_offset(just_before(change)?);
        let resumed = offset.to_datetime(change);
        if before >= offset || before.to_datetime(from) >= resumed {
            return None;
        }
        let clock = self.on_clock(before.to_datetime(from))?;
        (clock < resumed).then(|| before.to_timestamp(clock).ok())?
    }

    /// The first minute on the clock at or after this one.
    fn on_clock(&self, from: DateTime) -> Option<DateTime> {
        let mut hour = bits_of(from.hour());
        let mut minute = bits_of(from.minute());
        if from.second() > 0 || from.subsec_nanosecond() > 0 {
            minute += 1;
        }
        let mut day = from.date();
        for _ in 0..LOOK_AHEAD {
            if self.is_on(day)
                && let Some((hour, minute)) = self.in_day(hour, minute)
            {
                return Some(day.at(hour, minute, 0, 0));
            }
            (hour, minute) = (0, 0);
            day = day.tomorrow().ok()?;
        }
        None
    }

    fn is_on(&self, day: Date) -> bool {
        let has = |set: u64, number: i8| set >> bits_of(number) & 1 == 1;
        let of_month = has(self.days, day.day());
        let of_week = has(self.weekdays, day.weekday().to_sunday_zero_offset());
        has(self.months, day.month())
            && if self.either_day {
                of_month || of_week
            } else {
                of_month && of_week
            }
    }

    /// The first hour and minute of a day at or after these; the minute may be 60.
    fn in_day(&self, hour: u32, minute: u32) -> Option<(i8, i8)> {
        let (hour, minute) = match lowest(self.minutes, minute) {
            Some(minute) if self.hours >> hour & 1 == 1 => (hour, minute),
            _ => (lowest(self.hours, hour + 1)?, lowest(self.minutes, 0)?),
        };
        Some((i8::try_from(hour).ok()?, i8::try_from(minute).ok()?))
    }
}

impl Field {
    /// The numbers of a field, and whether it says `*` and so leaves the choice to others.
    fn read(&self, text: &str) -> Result<(u64, bool), String> {
        let mut numbers = 0;
        let mut every = false;
        for item in text.split(',') {
            let (range, step) = match item.split_once('/') {
                Some((range, step)) => (range, Some(self.step(step)?)),
                None => (item, None),
            };
            let (first, last) = match range.split_once('-') {
                _ if matches!(range, "*" | "?") => {
                    every |= step.is_none_or(|step| step == 1);
                    (self.first, self.last)
                }
                Some((first, last)) => (self.number(first)?, self.number(last)?),
                None => {
                    let first = self.number(range)?;
                    // `5/15` is `5-59/15`.
                    (first, if step.is_some() { self.last } else { first })
                }
            };
            if first > last {
                return Err(format!("the {} \"{range}\" runs backwards", self.name));
            }
            for number in (first..=last).step_by(step.unwrap_or(1)) {
                numbers |= 1 << number;
            }
        }
        Ok((numbers, every))
    }

    fn step(&self, text: &str) -> Result<usize, String> {
        match digits(text) {
            Some(step) if step > 0 => Ok(step.into()),
            _ => Err(format!("the {} has no step \"{text}\"", self.name)),
        }
    }

    fn number(&self, text: &str) -> Result<u8, String> {
        let word = self
            .words
            .iter()
            .position(|word| word.eq_ignore_ascii_case(text))
            .and_then(|at| u8::try_from(at).ok())
            .map(|at| at + self.first);
        // Sunday has two numbers.
        let last = if self.last == WEEKDAY.last {
            7
        } else {
            self.last
        };
        match word.or_else(|| digits(text)) {
            Some(number) if (self.first..=last).contains(&number) => Ok(number),
            _ => Err(format!("there is no {} \"{text}\"", self.name)),
        }
    }
}

fn digits(text: &str) -> Option<u8> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok())?
}

fn bits_of(number: i8) -> u32 {
    u32::from(number.unsigned_abs())
}

/// The lowest number of a set that is no less than `from`.
fn lowest(set: u64, from: u32) -> Option<u32> {
    let rest = set >> from << from;
    (rest != 0).then(|| rest.trailing_zeros())
}

fn just_after(time: Timestamp) -> Option<Timestamp> {
    time.checked_add(jiff::SignedDuration::from_nanos(1)).ok()
}

fn just_before(time: Timestamp) -> Option<Timestamp> {
    time.checked_sub(jiff::SignedDuration::from_nanos(1)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(name: &str) -> TimeZone {
        jiff::tz::TimeZoneDatabase::bundled().get(name).unwrap()
    }

    fn check(schedule: &str, name: &str, from: &str, expected: &[&str]) {
        let schedule = Schedule::parse(schedule, zone(name)).unwrap();
        let mut time: Timestamp = from.parse().unwrap();
        for expected in expected {
            time = schedule.next_after(time).unwrap();
            assert_eq!(time.to_string(), *expected, "{schedule:?}");
        }
    }

    #[test]
    fn the_five_fields() {
        // 2026-03-04 is a Wednesday.
        const FROM: &str = "2026-03-04T10:15:20.5Z";
        for (schedule, expected) in [
            ("* * * * *", "2026-03-04T10:16:00Z"),
            ("15 * * * *", "2026-03-04T11:15:00Z"),
            ("*/20 * * * *", "2026-03-04T10:20:00Z"),
            ("5/20 * * * *", "2026-03-04T10:25:00Z"),
            ("0 10 * * *", "2026-03-05T10:00:00Z"),
            ("0 9-17/4 * * *", "2026-03-04T13:00:00Z"),
            ("59 23 31 * *", "2026-03-31T23:59:00Z"),
            ("0 0 31 4,6,7 *", "2026-07-31T00:00:00Z"),
            ("0 0 29 2 *", "2028-02-29T00:00:00Z"),
            ("0 0 * * sun", "2026-03-08T00:00:00Z"),
            ("0 0 * * 7", "2026-03-08T00:00:00Z"),
            ("0 0 * * fri-7", "2026-03-06T00:00:00Z"),
            ("0 0 * * MON", "2026-03-09T00:00:00Z"),
            ("0 0 ? jan-feb ?", "2027-01-01T00:00:00Z"),
            // Both days given: either is enough. One of them `*`: the other decides.
            ("0 0 13 * fri", "2026-03-06T00:00:00Z"),
            ("0 0 13 * *", "2026-03-13T00:00:00Z"),
            ("0 0 1-31 * mon", "2026-03-05T00:00:00Z"),
            ("0 0 */1 * mon", "2026-03-09T00:00:00Z"),
            ("0 0 1,* * mon", "2026-03-09T00:00:00Z"),
            // `*/2` is a choice, not "every".
            ("0 0 */2 * mon", "2026-03-05T00:00:00Z"),
            ("  0\t0  1 * *  ", "2026-04-01T00:00:00Z"),
        ] {
            check(schedule, "UTC", FROM, &[expected]);
        }
        check(
            "0 0 29 2 *",
            "UTC",
            "2096-02-29T00:00:00Z",
            &["2104-02-29T00:00:00Z"],
        );
    }

    #[test]
    fn a_time_that_the_clock_skips_counts_as_if_it_had_not() {
        // Berlin goes from 02:00 +1 to 03:00 +2 at 01:00Z.
        const DAY_BEFORE: &str = "2026-03-28T22:59:00Z";
        for (schedule, expected) in [
            (
                "30 2 * * *",
                &["2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z"][..],
            ),
            // The skipped 02:00 and the real 03:00 are one moment.
            (
                "0 * * * *",
                &[
                    "2026-03-28T23:00:00Z",
                    "2026-03-29T00:00:00Z",
                    "2026-03-29T01:00:00Z",
                    "2026-03-29T02:00:00Z",
                ],
            ),
            (
                "10,40 2,3 * * *",
                &[
                    "2026-03-29T01:10:00Z",
                    "2026-03-29T01:40:00Z",
                    "2026-03-30T00:10:00Z",
                ],
            ),
            ("0 3 * * *", &["2026-03-29T01:00:00Z"]),
            (
                "59 1 * * *",
                &["2026-03-29T00:59:00Z", "2026-03-29T23:59:00Z"],
            ),
        ] {
            check(schedule, "Europe/Berlin", DAY_BEFORE, expected);
        }
        // Asked in the middle of what was skipped, and after it.
        check(
            "15,45 2 * * *",
            "Europe/Berlin",
            "2026-03-29T01:20:00Z",
            &["2026-03-29T01:45:00Z", "2026-03-30T00:15:00Z"],
        );
        // Half an hour, and a whole day that never was.
        check(
            "15 2 * * *",
            "Australia/Lord_Howe",
            "2026-10-03T00:00:00Z",
            &["2026-10-03T15:45:00Z", "2026-10-04T15:15:00Z"],
        );
        check(
            "0 12 30 12 *",
            "Pacific/Apia",
            "2011-12-01T00:00:00Z",
            &["2011-12-30T22:00:00Z", "2012-12-29T22:00:00Z"],
        );
    }

    #[test]
    fn a_time_that_the_clock_shows_twice_counts_twice() {
        // Berlin goes from 03:00 +2 back to 02:00 +1 at 01:00Z.
        check(
            "30 2 * * *",
            "Europe/Berlin",
            "2026-10-24T12:00:00Z",
            &[
                "2026-10-25T00:30:00Z",
                "2026-10-25T01:30:00Z",
                "2026-10-26T01:30:00Z",
            ],
        );
        check(
            "0 3 * * *",
            "Europe/Berlin",
            "2026-10-24T12:00:00Z",
            &["2026-10-25T02:00:00Z"],
        );
        check(
            "0 * * * *",
            "America/New_York",
            "2026-11-01T04:30:00Z",
            &[
                "2026-11-01T05:00:00Z",
                "2026-11-01T06:00:00Z",
                "2026-11-01T07:00:00Z",
            ],
        );
    }

    #[test]
    fn garbage_is_refused() {
        for (text, expected) in [
            ("", "five fields"),
            ("* * * *", "five fields"),
            ("* * * * * *", "five fields"),
            ("@daily", "five fields"),
            ("TZ=UTC * * * * *", "five fields"),
            ("60 * * * *", "no minute \"60\""),
            ("* 24 * * *", "no hour \"24\""),
            ("* * 0 * *", "no day of the month \"0\""),
            ("* * * 13 *", "no month \"13\""),
            ("* * * * 8", "no day of the week \"8\""),
            ("* * * * someday", "no day of the week"),
            ("jan * * * *", "no minute"),
            ("-1 * * * *", "no minute \"\""),
            ("+1 * * * *", "no minute"),
            ("1,,2 * * * *", "no minute \"\""),
            ("1- * * * *", "no minute \"\""),
            ("1-2-3 * * * *", "no minute \"2-3\""),
            ("*/0 * * * *", "no step \"0\""),
            ("*/999 * * * *", "no step \"999\""),
            ("1/2/3 * * * *", "no step \"2/3\""),
            ("* 22-6 * * *", "runs backwards"),
            ("**  * * * *", "no minute"),
            ("٣ * * * *", "no minute"),
            ("0 0 30 2 *", "never fires"),
            ("0 0 31 feb,apr,jun,sep,nov *", "never fires"),
            (&"1,".repeat(10_000), "bytes"),
        ] {
            let error = Schedule::parse(text, TimeZone::UTC).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
        assert!(Schedule::parse("0 0 30 2 fri", TimeZone::UTC).is_ok());
    }

    #[test]
    fn the_end_of_time_is_no_trouble() {
        let schedule = Schedule::parse("0 0 29 2 *", zone("Africa/Casablanca")).unwrap();
        assert_eq!(schedule.next_after(Timestamp::MAX), None);
        assert!(schedule.next_after(Timestamp::MIN).is_some());
    }
}
