//! Many guests, one after the other: how they end, and what went wrong.

use crate::guest::Guest;
use crate::record::record_and_replay;
use crate::run::{Ending, run};
use crate::snippets::Class;
use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// One guest in so many is recorded and replayed as well.
const RECORDED_OF: u64 = 8;
/// Longest that a guest may take; most take a tenth of a second.
const LONGEST_S: u64 = 300;

/// What came of some guests.
#[derive(Debug, Default)]
pub struct Survey {
    /// How many guests of a class ended in a way.
    pub endings: BTreeMap<(Class, Ending), u64>,
    /// What was executed in all.
    pub counts: u64,
    /// How many were recorded and replayed.
    pub recorded: u64,
    /// The number of each guest that something went wrong with, and what.
    pub troubles: Vec<(u64, String)>,
}

impl Survey {
    /// Runs the guests of these numbers.
    ///
    /// # Panics
    /// When no folder for recordings can be made.
    #[must_use]
    pub fn of(numbers: Range<u64>) -> Survey {
        let folder = tempfile::tempdir().expect("a folder for recordings");
        let mut survey = Survey::default();
        let watchdog = Watchdog::start();
        for number in numbers {
            watchdog.begin(number);
            let result = catch_unwind(AssertUnwindSafe(|| survey.guest(number, folder.path())));
            if let Err(panic) = result {
                let text = panic
                    .downcast_ref::<String>()
                    .map(String::as_str)
                    .or_else(|| panic.downcast_ref::<&str>().copied());
                survey.troubles.push((number, format!("panic: {}", text.unwrap_or("of another kind"))));
            }
        }
        survey
    }

    fn guest(&mut self, number: u64, folder: &std::path::Path) {
        let guest = Guest::new(number);
        match run(&guest) {
            Ok((ending, counts)) => {
                *self.endings.entry((guest.classes[0], ending)).or_default() += 1;
                self.counts += counts;
            }
            Err(trouble) => self.troubles.push((number, trouble.to_string())),
        }
        // All classes have their turn, their number being prime to this one.
        if number.is_multiple_of(RECORDED_OF) {
            self.recorded += 1;
            if let Err(trouble) = record_and_replay(&guest, folder) {
                self.troubles.push((number, trouble.to_string()));
            }
        }
    }

    /// How many guests ended in a way.
    #[must_use]
    pub fn ended(&self, ending: Ending) -> u64 {
        self.endings.iter().filter(|((_, how), _)| *how == ending).map(|(_, count)| count).sum()
    }
}

/// Ends the process when one guest takes too long: a machine that hangs comes back to nobody.
struct Watchdog {
    current: Arc<AtomicU64>,
}

impl Watchdog {
    fn start() -> Watchdog {
        let current = Arc::new(AtomicU64::new(u64::MAX));
        let seen_by_thread = Arc::downgrade(&current);
        thread::spawn(move || {
            let mut before = u64::MAX;
            loop {
                for _ in 0..LONGEST_S {
                    thread::sleep(Duration::from_secs(1));
                    if seen_by_thread.strong_count() == 0 {
                        return;
                    }
                }
                let Some(current) = seen_by_thread.upgrade() else { return };
                let now = current.load(Ordering::Relaxed);
                if now == before {
                    eprintln!("guest {now} hangs: cargo run --release -p hostile -- --guest {now}");
                    std::process::abort();
                }
                before = now;
            }
        });
        Watchdog { current }
    }

    fn begin(&self, number: u64) {
        self.current.store(number, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A few seconds; the long form is `cargo run --release -p hostile -- --guests 10000`.
    const GUESTS: u64 = 195;

    #[test]
    fn hostile_guests_do_no_harm_to_any_engine() {
        let survey = Survey::of(0..GUESTS);
        let again = |number| format!("cargo run --release -p hostile -- --guest {number}");
        let listed: Vec<String> =
            survey.troubles.iter().map(|(number, what)| format!("{}: {what}", again(number))).collect();
        assert!(listed.is_empty(), "{}", listed.join("\n"));
        assert_eq!(survey.endings.values().sum::<u64>(), GUESTS);
        // They live long enough to do what they are made for, and do it.
        assert!(survey.counts / GUESTS > 10_000, "{} counts", survey.counts);
        for ending in [Ending::Limit, Ending::TripleFault, Ending::Hang, Ending::Resets] {
            assert!(survey.ended(ending) > 0, "no guest ends by {ending:?}");
        }
        assert!(survey.recorded >= GUESTS / RECORDED_OF);
    }

    /// Guests that once showed a mistake of the machine.
    #[test]
    fn guests_of_old_mistakes_do_no_harm() {
        // A page was marked as accessed that no instruction reached into; an idle guest was never over; short quanta.
        for number in [231, 285, 308, 72, 11] {
            let survey = Survey::of(number..number + 1);
            assert!(survey.troubles.is_empty(), "{:?}", survey.troubles);
        }
    }

    #[test]
    fn a_number_makes_the_same_guest_again() {
        for number in [0, 1, 12_345] {
            let [first, second] = [(); 2].map(|()| Guest::new(number));
            assert_eq!(first.power_on, second.power_on);
            assert_eq!(first.inputs, second.inputs);
            let id = boundary::ImageId([0; 32]);
            assert_eq!(boundary::Media::image(&first, id), boundary::Media::image(&second, id));
        }
    }
}
