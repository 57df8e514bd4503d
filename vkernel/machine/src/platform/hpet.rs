//! The high precision event timer: a 64-bit counter of 100 MHz and three comparators.
//!
//! IA-PC HPET specification 1.0a. Every comparator can be periodic and 64 bits wide. Left out: FSB (MSI)
//! delivery, which the capability bits deny. Comparators can be routed to GSI 20 to 23 or, by legacy
//! replacement, to IRQ 0 and IRQ 8.

use boundary::VirtualTime;

/// Length of a tick: 10 ns, 10 000 000 fs.
const TICK_NS: u64 = 10;
const PERIOD_FS: u64 = 10_000_000;
/// Number of comparators.
pub const COMPARATORS: usize = 3;
/// Revision 1, three comparators, 64 bits, legacy replacement, Intel.
const CAPABILITIES: u64 =
    PERIOD_FS << 32 | 0x8086 << 16 | 1 << 15 | 1 << 13 | (COMPARATORS as u64 - 1) << 8 | 1;

const ENABLE: u64 = 1;
const LEGACY: u64 = 2;

const T_LEVEL: u64 = 1 << 1;
const T_INTERRUPT: u64 = 1 << 2;
const T_PERIODIC: u64 = 1 << 3;
const T_SET_VALUE: u64 = 1 << 6;
const T_32_BIT: u64 = 1 << 8;
const T_ROUTE: u64 = 0x1f << 9;
const T_WRITABLE: u64 = T_LEVEL | T_INTERRUPT | T_PERIODIC | T_SET_VALUE | T_32_BIT | T_ROUTE;
/// Periodic and 64-bit capable, routable to GSI 20 to 23.
const T_CAPABILITIES: u64 = 0x00f0_0000 << 32 | 1 << 5 | 1 << 4;

/// One comparator.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Comparator {
    config: u64,
    value: u64,
    period: u64,
    /// When the counter reaches the value, while it runs.
    expires: Option<VirtualTime>,
}

crate::persist!(Comparator { config, value, period, expires });

impl Comparator {
    fn is_narrow(&self) -> bool {
        self.config & T_32_BIT != 0
    }

    fn is_periodic(&self) -> bool {
        self.config & T_PERIODIC != 0
    }

    fn width_mask(&self) -> u64 {
        if self.is_narrow() { 0xffff_ffff } else { u64::MAX }
    }

    /// Ticks from `counter` to the next match; a full turn when it matches now, because that match is over.
    fn ticks_to_match(&self, counter: u64) -> u64 {
        let distance = self.value.wrapping_sub(counter) & self.width_mask();
        if distance == 0 { self.width_mask().saturating_add(1) } else { distance }
    }

    /// The match was `ticks` ago: where the next one is. All the periods that passed are one match.
    fn step(&mut self, ticks: u64) {
        if self.is_periodic() && self.period != 0 {
            let steps = ticks / self.period + 1;
            self.value = self.value.wrapping_add(steps.wrapping_mul(self.period)) & self.width_mask();
        }
    }
}

/// An interrupt the HPET causes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HpetEvent {
    /// ISA IRQ 0 or 8 under legacy replacement, else the GSI.
    pub irq: u8,
    /// Whether the line stays asserted until the status bit is cleared; else it is a pulse.
    pub level: bool,
}

/// The register block.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hpet {
    config: u64,
    /// Status bits of level-triggered comparators.
    status: u64,
    /// The counter when it was last stopped or written, and when that was.
    base: u64,
    since: VirtualTime,
    comparators: [Comparator; COMPARATORS],
}

crate::persist!(Hpet { config, status, base, since, comparators });

impl Hpet {
    fn is_running(&self) -> bool {
        self.config & ENABLE != 0
    }

    /// Whether IRQ 0 and IRQ 8 belong to comparators 0 and 1, not to the PIT and the RTC.
    #[must_use]
    pub fn is_legacy(&self) -> bool {
        self.config & LEGACY != 0
    }

    /// The main counter.
    #[must_use]
    pub fn counter(&self, now: VirtualTime) -> u64 {
        if self.is_running() {
            self.base.wrapping_add(now.0.saturating_sub(self.since.0) / TICK_NS)
        } else {
            self.base
        }
    }

    /// Reads `size` bytes at `offset`.
    #[must_use]
    pub fn read(&self, offset: u64, size: u8, now: VirtualTime) -> u64 {
        let register = self.register(offset & !7, now) >> (8 * (offset & 7));
        if size >= 8 { register } else { register & ((1 << (8 * u32::from(size))) - 1) }
    }

    fn register(&self, offset: u64, now: VirtualTime) -> u64 {
        match offset {
            0 => CAPABILITIES,
            0x10 => self.config,
            0x20 => self.status,
            0xf0 => self.counter(now),
            _ => match self.comparator_at(offset) {
                Some((index, 0)) => self.comparators[index].config | T_CAPABILITIES,
                Some((index, 8)) => self.comparators[index].value,
                _ => 0,
            },
        }
    }

    /// Which comparator, and which of its registers, an offset names.
    fn comparator_at(&self, offset: u64) -> Option<(usize, u64)> {
        let index = offset.checked_sub(0x100)? as usize / 0x20;
        (index < COMPARATORS).then_some((index, offset & 0x18))
    }

    /// Writes 4 aligned or 8 aligned bytes at `offset`; other sizes are ignored. The owner first calls
    /// [`Hpet::expire`] up to `now`, and then reads [`Hpet::level_lines`].
    pub fn write(&mut self, offset: u64, size: u8, value: u64, now: VirtualTime) {
        if size != 4 && size != 8 || !offset.is_multiple_of(u64::from(size)) {
            return;
        }
        let (shift, mask) = match (size, offset & 4) {
            (8, _) => (0, u64::MAX),
            (_, 0) => (0, 0xffff_ffff),
            _ => (32, 0xffff_ffff << 32),
        };
        let written = (value << shift) & mask;
        let merge = |old: u64| (old & !mask) | written;
        match offset & !7 {
            0x10 => self.configure(merge(self.config), now),
            // Writing a one clears a status bit.
            0x20 => self.status &= !written,
            0xf0 => {
                self.base = merge(self.counter(now));
                self.since = now;
            }
            register => match self.comparator_at(register) {
                Some((index, 0)) => self.configure_comparator(index, merge(self.comparators[index].config)),
                Some((index, 8)) => self.write_comparator(index, mask, written),
                _ => {}
            },
        }
        self.rearm(now);
    }

    fn configure(&mut self, value: u64, now: VirtualTime) {
        if (self.config ^ value) & ENABLE != 0 {
            self.base = self.counter(now);
            self.since = now;
        }
        self.config = value & (ENABLE | LEGACY);
    }

    fn configure_comparator(&mut self, index: usize, value: u64) {
        let comparator = &mut self.comparators[index];
        comparator.config = value & T_WRITABLE;
        if comparator.is_narrow() {
            comparator.value &= 0xffff_ffff;
            comparator.period &= 0xffff_ffff;
        }
        if comparator.config & T_LEVEL == 0 {
            self.status &= !(1 << index);
        }
    }

    /// A periodic comparator takes a write as its period, and as its value only after the set-value bit.
    fn write_comparator(&mut self, index: usize, mask: u64, written: u64) {
        let comparator = &mut self.comparators[index];
        let width = comparator.width_mask();
        let merge = |old: u64| ((old & !mask) | written) & width;
        if !comparator.is_periodic() || comparator.config & T_SET_VALUE != 0 {
            comparator.value = merge(comparator.value);
        }
        if comparator.is_periodic() {
            comparator.period = merge(comparator.period);
        }
        comparator.config &= !T_SET_VALUE;
    }

    /// After any change of the counter or a comparator: when each one matches.
    fn rearm(&mut self, now: VirtualTime) {
        let counter = self.counter(now);
        let running = self.is_running();
        // The tick in progress began up to 10 ns ago.
        let tick_start = VirtualTime(now.0 - now.0.saturating_sub(self.since.0) % TICK_NS);
        for comparator in &mut self.comparators {
            comparator.expires = running
                .then(|| tick_start.plus(comparator.ticks_to_match(counter).saturating_mul(TICK_NS)))
                .filter(|time| time.0 != u64::MAX);
        }
    }

    /// Where a comparator's interrupt goes.
    fn route(&self, index: usize) -> u8 {
        match index {
            0 if self.is_legacy() => 0,
            1 if self.is_legacy() => 8,
            _ => ((self.comparators[index].config & T_ROUTE) >> 9) as u8,
        }
    }

    /// Whether a route is one the comparator can drive.
    fn is_routed(&self, index: usize) -> bool {
        self.is_legacy() && index < 2 || (20..24).contains(&self.route(index))
    }

    /// The next time at which a comparator causes an interrupt.
    #[must_use]
    pub fn deadline(&self) -> Option<VirtualTime> {
        (0..COMPARATORS)
            .filter(|index| self.interrupts(*index))
            .filter_map(|index| self.comparators[index].expires)
            .min()
    }

    fn interrupts(&self, index: usize) -> bool {
        let config = self.comparators[index].config;
        let outstanding = config & T_LEVEL != 0 && self.status & 1 << index != 0;
        config & T_INTERRUPT != 0 && self.is_routed(index) && !outstanding
    }

    /// Lets comparators match up to `now`, in order of time, and hands each interrupt to `raise`.
    pub fn expire(&mut self, now: VirtualTime, raise: &mut dyn FnMut(HpetEvent)) {
        let mut due: Vec<(VirtualTime, usize)> = (0..COMPARATORS)
            .filter_map(|index| self.comparators[index].expires.map(|time| (time, index)))
            .filter(|(time, _)| *time <= now)
            .collect();
        if due.is_empty() {
            return;
        }
        due.sort_unstable();
        for (time, index) in due {
            self.comparators[index].step((now.0 - time.0) / TICK_NS);
            let level = self.comparators[index].config & T_LEVEL != 0;
            if self.interrupts(index) {
                raise(HpetEvent { irq: self.route(index), level });
            }
            if level {
                self.status |= 1 << index;
            }
        }
        self.rearm(now);
    }

    /// The lines that level-triggered comparators hold asserted, one bit for each IRQ or GSI.
    #[must_use]
    pub fn level_lines(&self) -> u32 {
        (0..COMPARATORS)
            .filter(|index| {
                let enabled = self.comparators[*index].config & (T_INTERRUPT | T_LEVEL);
                enabled == T_INTERRUPT | T_LEVEL && self.status & 1 << index != 0 && self.is_routed(*index)
            })
            .fold(0, |lines, index| lines | 1 << self.route(index))
    }
}

#[cfg(test)]
mod tests;
