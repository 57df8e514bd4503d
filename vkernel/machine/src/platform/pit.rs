//! The 8254 interval timer with its three counters, and port 0x61 beside it.
//!
//! Intel 8254 data sheet (231164). Nothing is stepped: a counter keeps the tick at which it was loaded, and
//! its count and output follow from the tick asked about. Ticks are numbered from power-on at exactly
//! 1193182 Hz, by rational arithmetic, so nothing drifts. One simplification: in mode 3 a new count takes
//! effect at the end of the full period, not of the half.

use boundary::VirtualTime;

/// Input frequency of the counters.
pub const PIT_HZ: u64 = 1_193_182;
const NS_PER_S: u64 = 1_000_000_000;

/// The tick in progress at a time.
fn tick_at(now: VirtualTime) -> u64 {
    (u128::from(now.0) * u128::from(PIT_HZ) / u128::from(NS_PER_S)) as u64
}

/// The first time at which a tick is in progress.
fn time_of(tick: u64) -> VirtualTime {
    let ns = (u128::from(tick) * u128::from(NS_PER_S)).div_ceil(u128::from(PIT_HZ));
    VirtualTime(u64::try_from(ns).unwrap_or(u64::MAX))
}

/// Which bytes of a count are read and written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Bytes {
    #[default]
    Both,
    Low,
    High,
}

crate::persist_enum!(Bytes { Both, Low, High });

/// One counter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Counter {
    /// Modes 0 to 5.
    mode: u8,
    bytes: Bytes,
    bcd: bool,
    gate: bool,
    /// Period in ticks, 1 to 65536; 0 before the first count is written.
    count: u32,
    /// The tick at which counting began. `None`: nothing counts, for lack of a count or of a trigger.
    started: Option<u64>,
    /// Ticks counted when the gate went low (modes 0 and 4).
    paused: Option<u64>,
    /// A new period that begins when the current one ends (modes 2 and 3).
    next_count: Option<u32>,
    /// First byte of a count of two.
    written_low: Option<u8>,
    /// The next byte read is the high one.
    read_high: bool,
    latched_count: Option<u16>,
    latched_status: Option<u8>,
}

crate::persist!(Counter {
    mode,
    bytes,
    bcd,
    gate,
    count,
    started,
    paused,
    next_count,
    written_low,
    read_high,
    latched_count,
    latched_status,
});

impl Counter {
    /// Ticks counted since the start.
    fn elapsed(&self, tick: u64) -> Option<u64> {
        self.paused.or_else(|| self.started.map(|started| tick.saturating_sub(started)))
    }

    /// Level of OUT.
    fn output(&self, tick: u64) -> bool {
        let count = u64::from(self.count.max(1));
        let Some(elapsed) = self.elapsed(tick) else { return self.mode != 0 };
        // The pulse of a mode begins one tick after the load; before it, `started` is in the future.
        let begun = self.paused.is_some() || self.started.is_some_and(|started| tick >= started);
        match self.mode {
            0 => begun && elapsed >= count,
            1 => !begun || elapsed >= count,
            2 => !begun || elapsed % count != count - 1 || count == 1,
            3 => !begun || elapsed % count < count.div_ceil(2),
            _ => elapsed != count,
        }
    }

    /// The tick after `tick` at which OUT rises next.
    fn next_rise(&self, tick: u64) -> Option<u64> {
        if self.paused.is_some() {
            return None;
        }
        let started = self.started?;
        let count = u64::from(self.count.max(1));
        let first = started + count;
        match self.mode {
            0 | 1 => (first > tick).then_some(first),
            2 | 3 if first > tick => Some(first),
            2 | 3 => {
                // The pending period counts from the end of the current one.
                let (from, period) = match self.next_count {
                    Some(next) => (first, u64::from(next.max(1))),
                    None => (started, count),
                };
                Some(from + ((tick - from) / period + 1) * period)
            }
            // The strobe is low for one tick.
            _ => (first + 1 > tick).then_some(first + 1),
        }
    }

    /// Lets a pending period begin, if the current one is over.
    fn settle(&mut self, tick: u64) {
        let (Some(next), Some(started)) = (self.next_count, self.started) else { return };
        if self.mode != 2 && self.mode != 3 {
            return;
        }
        let end = started + u64::from(self.count.max(1));
        if tick >= end {
            self.started = Some(end);
            self.count = next;
            self.next_count = None;
        }
    }

    /// The counting element as it reads.
    fn current(&self, tick: u64) -> u16 {
        let count = u64::from(self.count);
        let Some(elapsed) = self.elapsed(tick) else { return self.encode(self.count) };
        let value = match self.mode {
            2 => count - elapsed % count.max(1),
            // Mode 3 counts down by two, twice in a period.
            3 => {
                let half = count.div_ceil(2).max(1);
                (count & !1).saturating_sub(2 * (elapsed % count.max(1) % half))
            }
            // The others go on through zero.
            _ => {
                let modulus = if self.bcd { 10_000 } else { 65_536 };
                (count + modulus - elapsed % modulus) % modulus
            }
        };
        self.encode(value as u32)
    }

    fn encode(&self, value: u32) -> u16 {
        if !self.bcd {
            return value as u16;
        }
        (0..4).fold(0, |word, digit| word | ((value / 10u32.pow(digit) % 10) as u16) << (4 * digit))
    }

    fn decode(&self, word: u16) -> u32 {
        let value = if self.bcd {
            // A digit above 9 counts as it stands, so that no value is out of range.
            (0..4).fold(0, |value, digit| value + u32::from(word >> (4 * digit) & 0xf) * 10u32.pow(digit))
        } else {
            u32::from(word)
        };
        match (value, self.bcd) {
            (0, true) => 10_000,
            (0, false) => 65_536,
            _ => value,
        }
    }

    fn control(&mut self, value: u8) {
        let mode = (value >> 1) & 7;
        *self = Counter {
            // Modes 6 and 7 are other names of 2 and 3.
            mode: if mode > 5 { mode - 4 } else { mode },
            bytes: match (value >> 4) & 3 {
                1 => Bytes::Low,
                2 => Bytes::High,
                _ => Bytes::Both,
            },
            bcd: value & 1 != 0,
            gate: self.gate,
            ..Counter::default()
        };
    }

    fn write(&mut self, value: u8, tick: u64) {
        let word = match (self.bytes, self.written_low) {
            (Bytes::Low, _) => u16::from(value),
            (Bytes::High, _) => u16::from(value) << 8,
            (Bytes::Both, Some(low)) => u16::from(value) << 8 | u16::from(low),
            (Bytes::Both, None) => {
                self.written_low = Some(value);
                if self.mode == 0 {
                    // The first byte of two stops mode 0 and its output is low.
                    self.started = None;
                    self.paused = None;
                }
                return;
            }
        };
        self.written_low = None;
        self.load(self.decode(word), tick);
    }

    /// A complete count was written. The chip loads it at the next tick.
    fn load(&mut self, count: u32, tick: u64) {
        match self.mode {
            2 | 3 if self.started.is_some() => self.next_count = Some(count),
            // Modes 1 and 5 wait for a trigger; a running pulse goes on undisturbed.
            1 | 5 if self.started.is_none() => self.count = count,
            1 | 5 => self.next_count = Some(count),
            _ => {
                self.count = count;
                self.paused = (!self.gate && self.mode != 2 && self.mode != 3).then_some(0);
                self.started = (self.gate || self.paused.is_some()).then_some(tick + 1);
            }
        }
    }

    fn set_gate(&mut self, gate: bool, tick: u64) {
        let rises = gate && !self.gate;
        let falls = !gate && self.gate;
        self.gate = gate;
        match self.mode {
            0 | 4 if falls && self.started.is_some() => self.paused = self.elapsed(tick),
            0 | 4 if rises => {
                if let Some(paused) = self.paused.take() {
                    self.started = Some((tick + 1).saturating_sub(paused));
                }
            }
            2 | 3 if falls => self.started = None,
            1 | 2 | 3 | 5 if rises => {
                self.count = self.next_count.take().unwrap_or(self.count);
                self.started = (self.count != 0).then_some(tick + 1);
            }
            _ => {}
        }
    }

    fn status(&self, tick: u64) -> u8 {
        let bytes = match self.bytes {
            Bytes::Low => 1,
            Bytes::High => 2,
            Bytes::Both => 3,
        };
        let loaded = self.started.is_some_and(|started| tick >= started) || self.paused.is_some();
        let null_count = !loaded || self.next_count.is_some();
        u8::from(self.output(tick)) << 7
            | u8::from(null_count) << 6
            | bytes << 4
            | self.mode << 1
            | u8::from(self.bcd)
    }

    fn read(&mut self, tick: u64) -> u8 {
        if let Some(status) = self.latched_status.take() {
            return status;
        }
        let value = self.latched_count.unwrap_or_else(|| self.current(tick));
        let high = match self.bytes {
            Bytes::Low => false,
            Bytes::High => true,
            Bytes::Both => {
                self.read_high = !self.read_high;
                !self.read_high
            }
        };
        if high || self.bytes == Bytes::Low {
            self.latched_count = None;
        }
        (if high { value >> 8 } else { value }) as u8
    }
}

/// The chip and port 0x61.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pit {
    counters: [Counter; 3],
    /// Port 0x61 bit 1: the speaker hears counter 2.
    speaker: bool,
    /// The tick up to which counter 0's edges were reported.
    reported: u64,
}

crate::persist!(Pit { counters, speaker, reported });

impl Default for Pit {
    fn default() -> Pit {
        Pit::new()
    }
}

impl Pit {
    /// The chip at power-on: nothing counts until it is programmed.
    #[must_use]
    pub fn new() -> Pit {
        let open = Counter { gate: true, mode: 3, ..Counter::default() };
        let gated = Counter { gate: false, ..open.clone() };
        Pit { counters: [open.clone(), open, gated], speaker: false, reported: 0 }
    }

    /// Reads 0x40 to 0x43 or 0x61.
    pub fn read(&mut self, port: u16, now: VirtualTime) -> u8 {
        let tick = self.settle(now);
        match port {
            0x40..=0x42 => self.counters[usize::from(port - 0x40)].read(tick),
            0x61 => {
                // Bit 4 is the memory refresh, toggling every 15 microseconds.
                let refresh = (now.0 / 15_085) as u8 & 1;
                u8::from(self.counters[2].gate)
                    | u8::from(self.speaker) << 1
                    | refresh << 4
                    | u8::from(self.counters[2].output(tick)) << 5
            }
            _ => 0xff,
        }
    }

    /// Writes 0x40 to 0x43 or 0x61.
    pub fn write(&mut self, port: u16, value: u8, now: VirtualTime) {
        let tick = self.settle(now);
        match port {
            0x40..=0x42 => self.counters[usize::from(port - 0x40)].write(value, tick),
            0x43 => self.command(value, tick),
            0x61 => {
                self.counters[2].set_gate(value & 1 != 0, tick);
                self.speaker = value & 2 != 0;
            }
            _ => {}
        }
    }

    fn command(&mut self, value: u8, tick: u64) {
        let select = usize::from(value >> 6);
        if let Some(counter) = self.counters.get_mut(select) {
            if value & 0x30 != 0 {
                counter.control(value);
            } else if counter.latched_count.is_none() {
                counter.latched_count = Some(counter.current(tick));
            }
            return;
        }
        // Read-back of several counters at once.
        for (index, counter) in self.counters.iter_mut().enumerate() {
            if value & 2 << index == 0 {
                continue;
            }
            if value & 0x20 == 0 && counter.latched_count.is_none() {
                counter.latched_count = Some(counter.current(tick));
            }
            if value & 0x10 == 0 && counter.latched_status.is_none() {
                counter.latched_status = Some(counter.status(tick));
            }
        }
    }

    fn settle(&mut self, now: VirtualTime) -> u64 {
        let tick = tick_at(now);
        self.counters.iter_mut().for_each(|counter| counter.settle(tick));
        tick
    }

    /// Level of counter 0's output, which is IRQ 0.
    #[must_use]
    pub fn output(&self, now: VirtualTime) -> bool {
        self.counters[0].output(tick_at(now))
    }

    /// When counter 0's output rises next.
    #[must_use]
    pub fn deadline(&self) -> Option<VirtualTime> {
        self.counters[0].next_rise(self.reported).map(time_of)
    }

    /// Whether counter 0's output rose since the last call, up to `now`; several rises count as one.
    pub fn advance(&mut self, now: VirtualTime) -> bool {
        let rise = self.counters[0].next_rise(self.reported);
        let tick = self.settle(now);
        self.reported = self.reported.max(tick);
        rise.is_some_and(|rise| rise <= tick)
    }
}

#[cfg(test)]
mod tests;
