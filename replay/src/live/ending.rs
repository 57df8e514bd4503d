//! How a live run ends: what was the reason, and what is written down of it.

use super::{Live, Outcome};
use crate::watch::Failure;
use recorder::{End, Ending, FailureKind};

impl Live<'_> {
    /// A failure whose last words never ended is still the reason, whatever ended the run; and the reason may stand
    /// in the kernel's log only, if its console was silent.
    fn with_reason(&mut self, ending: Ending) -> Ending {
        let is_effect = match &ending {
            Ending::Reset | Ending::Hang | Ending::Limit => true,
            Ending::Failure { kind, .. } => matches!(kind, FailureKind::TripleFault | FailureKind::ResetLoop),
            Ending::PowerOff | Ending::DebugExit(_) => false,
            Ending::Quit | Ending::Signal(_) | Ending::HostTrouble { .. } => return ending,
        };
        let watch = &mut self.options.watch;
        if watch.is_wordless() || (is_effect && watch.failure().is_none()) {
            let place = self.machine.mark();
            for line in self.inspector.unprinted_log(&self.machine) {
                watch.logged(place, &line);
            }
        }
        match watch.failure().cloned() {
            Some(Failure { kind, title, place }) => Ending::Failure { kind, title, place },
            None => ending,
        }
    }

    /// What a copy of the recording so far is to end with: as if the run were quit here.
    pub fn end_here(&mut self) -> End {
        End {
            mark: self.machine.mark(),
            virtual_time: self.machine.now(),
            digest: Some(self.machine.digest_from_scratch()),
            console: self.console,
            exit_status: 0,
            ending: Ending::Quit,
        }
    }

    /// Ends the run, for the reason for which it ended or as one that was quit, and finishes the trace. `judge` says
    /// the exit status of an ending.
    pub fn finish(mut self, judge: impl FnOnce(&Ending) -> u8) -> Outcome {
        let ending = self.finale.take().unwrap_or(Ending::Quit);
        let mut ending = self.with_reason(ending);
        if self.options.watch.misses_expected()
            && matches!(ending, Ending::PowerOff | Ending::Reset | Ending::DebugExit(_))
        {
            let title = "the run is over and the text of --expect was not seen".to_owned();
            ending = Ending::Failure { kind: FailureKind::ExpectMissing, title, place: self.machine.mark() };
        }
        let mark = self.machine.mark();
        let virtual_time = self.machine.now();
        let digest = self.machine.digest_from_scratch();
        if let Some(writer) = self.writer.take() {
            let end = End {
                mark,
                virtual_time,
                digest: Some(digest),
                console: self.console,
                exit_status: judge(&ending),
                ending: ending.clone(),
            };
            let result = writer.finish(&end);
            self.note_trouble(Some(result));
        }
        Outcome {
            ending,
            mark,
            virtual_time,
            digest,
            console: self.console,
            task: self.options.watch.task().map(str::to_owned),
            machine: self.machine,
            triple_fault: self.triple_fault,
            mismatch: self.mismatch,
            trace_trouble: self.trace_trouble,
        }
    }
}
