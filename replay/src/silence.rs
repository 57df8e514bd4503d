//! Noticing that a guest has stopped printing. A boot that stays silent for long says where it is, once; what is said
//! goes to stderr and nowhere else, so the host's clock may have its part in it.

use boundary::VirtualTime;

/// How long a guest may be silent, in its own time or, while it computes, in the host's.
const PATIENCE_NS: u64 = 5_000_000_000;

/// Where a run is, as far as silence goes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moment {
    pub now: VirtualTime,
    pub icount: u64,
    /// `None` if only guest time counts.
    pub host_ns: Option<u64>,
}

/// Measures silence.
#[derive(Debug, Default)]
pub(crate) struct Silence {
    since: Moment,
    /// Something was printed after `since` was taken.
    is_broken: bool,
    is_said: bool,
    /// The last line printed has no end: it may be a prompt.
    is_at_prompt: bool,
}

impl Silence {
    /// The guest printed something.
    pub fn printed(&mut self, bytes: &[u8]) {
        if let Some(last) = bytes.last() {
            self.is_at_prompt = *last != b'\n';
            self.is_broken = true;
        }
    }

    /// Whether it is time to say that the guest is silent: `guest` or `host` time.
    pub fn is_long(&mut self, moment: Moment) -> Option<&'static str> {
        if std::mem::take(&mut self.is_broken) {
            self.since = moment;
            self.is_said = false;
        }
        let since = self.since;
        let guest_ns = moment.now.0 - since.now.0;
        let host_ns = moment.host_ns.zip(since.host_ns).map_or(0, |(now, then)| now.saturating_sub(then));
        // A vCPU that computes counts about one a nanosecond.
        let is_busy = moment.icount - since.icount > guest_ns / 2;
        let whose = match (guest_ns >= PATIENCE_NS, host_ns >= PATIENCE_NS && is_busy) {
            (true, _) => "guest",
            (false, true) => "host",
            (false, false) => return None,
        };
        // Somebody who idles at a prompt is not stuck.
        if self.is_said || (self.is_at_prompt && !is_busy) {
            return None;
        }
        self.is_said = true;
        Some(whose)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn at(guest_s: u64, counts_s: u64, host_s: Option<u64>) -> Moment {
        Moment {
            now: VirtualTime(guest_s * SECOND),
            icount: counts_s * SECOND,
            host_ns: host_s.map(|seconds| seconds * SECOND),
        }
    }

    #[test]
    fn silence_is_said_once_until_output_comes_again() {
        let mut silence = Silence::default();
        assert_eq!(silence.is_long(at(4, 4, None)), None);
        assert_eq!(silence.is_long(at(5, 5, None)), Some("guest"));
        assert_eq!(silence.is_long(at(60, 60, None)), None);
        silence.printed(b"hello\n");
        assert_eq!(silence.is_long(at(61, 61, None)), None);
        assert_eq!(silence.is_long(at(65, 65, None)), None);
        assert_eq!(silence.is_long(at(66, 66, None)), Some("guest"));
    }

    #[test]
    fn a_guest_that_idles_is_silent_too_but_not_at_a_prompt() {
        let mut silence = Silence::default();
        silence.printed(b"Waiting for root device\n");
        silence.is_long(at(1, 0, None));
        assert_eq!(silence.is_long(at(6, 0, None)), Some("guest"));
        silence.printed(b"login: ");
        silence.is_long(at(7, 0, None));
        assert_eq!(silence.is_long(at(60, 1, None)), None);
        assert_eq!(silence.is_long(at(61, 58, None)), Some("guest"), "but it computes");
    }

    #[test]
    fn the_hosts_time_counts_while_the_guest_computes() {
        let mut silence = Silence::default();
        silence.printed(b"\n");
        silence.is_long(at(0, 0, Some(100)));
        assert_eq!(silence.is_long(at(1, 1, Some(104))), None);
        assert_eq!(silence.is_long(at(1, 0, Some(106))), None, "idle");
        assert_eq!(silence.is_long(at(1, 1, Some(106))), Some("host"));
    }
}
