//! The I/O APIC: 24 pins, each with a redirection entry that says where its interrupt goes.
//!
//! Intel 82093AA data sheet, with the EOI register of the later versions (0x20): a kernel that sees that
//! version acknowledges through it. An edge on a masked pin is lost, as on the chip. Left out: the interrupt
//! message bus and its arbitration, whose ID register only stores.

use super::apic_message::{Delivery, Destination, Message, Route, Source};

/// Number of interrupt pins.
pub const PINS: u8 = 24;
const VERSION: u32 = 0x20 | ((PINS as u32 - 1) << 16);

/// Redirection entry bits.
const DELIVERY_STATUS: u64 = 1 << 12;
const REMOTE_IRR: u64 = 1 << 14;
const LEVEL: u64 = 1 << 15;
const MASKED: u64 = 1 << 16;
/// Bits of an entry that exist: vector to mask, and the destination.
const WRITABLE: u64 = 0xff00_0000_0001_ffff & !(DELIVERY_STATUS | REMOTE_IRR);

/// The I/O APIC. Its pins are driven by what the lines mean (asserted or not): the polarity bit only
/// stores, because wiring and tables of this machine agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IoApic {
    id: u32,
    selected: u8,
    entries: [u64; PINS as usize],
    /// Pins that are asserted, one bit each.
    lines: u32,
    /// Where each pin's interrupt began.
    sources: [Source; PINS as usize],
}

crate::persist!(IoApic { id, selected, entries, lines, sources });

impl Default for IoApic {
    fn default() -> IoApic {
        IoApic::new()
    }
}

impl IoApic {
    /// The I/O APIC after reset: every pin masked.
    #[must_use]
    pub fn new() -> IoApic {
        IoApic {
            id: 0,
            selected: 0,
            entries: [MASKED; PINS as usize],
            lines: 0,
            sources: [Source::Device; PINS as usize],
        }
    }

    /// Whether the guest has masked a pin.
    #[must_use]
    pub fn is_masked(&self, pin: u8) -> bool {
        self.entries[usize::from(pin)] & MASKED != 0
    }

    /// The ID that the guest gave it.
    #[must_use]
    pub fn id(&self) -> u8 {
        (self.id >> 24) as u8
    }

    /// Whether a pin's redirection entry is as after reset.
    #[must_use]
    pub fn is_at_reset(&self, pin: u8) -> bool {
        self.entries[usize::from(pin)] == MASKED
    }

    /// What a pin's redirection entry says, and where it sends to.
    #[must_use]
    pub fn route(&self, pin: u8) -> (Route, Destination) {
        let entry = self.entries[usize::from(pin)];
        (Route::decode(entry as u32), destination(entry))
    }

    /// Whether a pin is asserted.
    #[must_use]
    pub fn is_asserted(&self, pin: u8) -> bool {
        self.lines & 1 << pin != 0
    }

    /// Drives a pin; the message to send, if that makes one.
    pub fn set_pin(&mut self, pin: u8, level: bool, source: Source) -> Option<Message> {
        if pin >= PINS {
            return None;
        }
        let bit = 1 << pin;
        let rises = level && self.lines & bit == 0;
        if level {
            self.lines |= bit;
            self.sources[usize::from(pin)] = source;
        } else {
            self.lines &= !bit;
        }
        let entry = self.entries[usize::from(pin)];
        if !rises || entry & MASKED != 0 {
            return None;
        }
        if is_level(entry) { self.service_level(pin) } else { Some(message(entry, self.source(pin))) }
    }

    /// The register selected by offset 0, at offset 0x10; offset 0 itself.
    #[must_use]
    pub fn read(&self, offset: u64) -> u32 {
        match offset {
            0 => u32::from(self.selected),
            0x10 => match self.selected {
                0 | 2 => self.id,
                1 => VERSION,
                index @ 0x10..0x40 => {
                    let entry = self.entries[usize::from(index - 0x10) / 2];
                    if index & 1 == 0 { entry as u32 } else { (entry >> 32) as u32 }
                }
                _ => 0,
            },
            _ => 0,
        }
    }

    /// Writes the index (offset 0), the selected register (0x10) or the EOI register (0x40), and hands the
    /// messages that result to `send`.
    pub fn write(&mut self, offset: u64, value: u32, send: &mut dyn FnMut(Message)) {
        match offset {
            0 => self.selected = value as u8,
            0x10 => match self.selected {
                0 => self.id = value & 0x0f00_0000,
                index @ 0x10..0x40 => {
                    if let Some(message) = self.write_entry((index - 0x10) / 2, index & 1 != 0, value) {
                        send(message);
                    }
                }
                _ => {}
            },
            0x40 => self.end_of_interrupt(value as u8, send),
            _ => {}
        }
    }

    fn write_entry(&mut self, pin: u8, high: bool, value: u32) -> Option<Message> {
        let entry = &mut self.entries[usize::from(pin)];
        let merged = if high {
            (*entry & 0xffff_ffff) | (u64::from(value) << 32)
        } else {
            (*entry & !0xffff_ffff) | u64::from(value)
        };
        *entry = (merged & WRITABLE) | (*entry & REMOTE_IRR);
        if *entry & LEVEL == 0 {
            // Kernels clear a stuck remote IRR by making the pin edge triggered for a moment.
            *entry &= !REMOTE_IRR;
        }
        self.service_level(pin)
    }

    /// An EOI of `vector`, broadcast by a local APIC or written to the EOI register: level pins that are
    /// still asserted interrupt again.
    pub fn end_of_interrupt(&mut self, vector: u8, send: &mut dyn FnMut(Message)) {
        for pin in 0..PINS {
            let entry = &mut self.entries[usize::from(pin)];
            if *entry & REMOTE_IRR != 0 && *entry as u8 == vector {
                *entry &= !REMOTE_IRR;
                if let Some(message) = self.service_level(pin) {
                    send(message);
                }
            }
        }
    }

    /// The destination of a pin that passes the PIC's INTR on (`ExtINT`), when it is not masked.
    #[must_use]
    pub fn ext_int_destination(&self, pin: u8) -> Option<Destination> {
        let entry = *self.entries.get(usize::from(pin))?;
        let open = entry & MASKED == 0 && Delivery::decode(entry as u32) == Delivery::ExtInt;
        open.then(|| destination(entry))
    }

    fn source(&self, pin: u8) -> Source {
        self.sources[usize::from(pin)]
    }

    fn service_level(&mut self, pin: u8) -> Option<Message> {
        let entry = &mut self.entries[usize::from(pin)];
        let asserted = self.lines & (1 << pin) != 0;
        if !asserted || !is_level(*entry) || *entry & (MASKED | REMOTE_IRR) != 0 {
            return None;
        }
        *entry |= REMOTE_IRR;
        Some(message(*entry, self.sources[usize::from(pin)]))
    }
}

/// Level triggered counts only where an EOI follows; NMI, INIT and the like are edges whatever the bit says.
fn is_level(entry: u64) -> bool {
    entry & LEVEL != 0 && matches!(Delivery::decode(entry as u32), Delivery::Fixed | Delivery::LowestPriority)
}

fn destination(entry: u64) -> Destination {
    Destination::narrow((entry >> 56) as u8, entry & (1 << 11) != 0)
}

fn message(entry: u64, source: Source) -> Message {
    Message {
        vector: entry as u8,
        delivery: Delivery::decode(entry as u32),
        level: is_level(entry),
        destination: destination(entry),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::law::assert_saves_and_loads;

    fn write_register(ioapic: &mut IoApic, index: u8, value: u32) -> Vec<Message> {
        let mut sent = Vec::new();
        ioapic.write(0, u32::from(index), &mut |_| {});
        ioapic.write(0x10, value, &mut |message| sent.push(message));
        sent
    }

    fn read_register(ioapic: &mut IoApic, index: u8) -> u32 {
        ioapic.write(0, u32::from(index), &mut |_| {});
        ioapic.read(0x10)
    }

    fn eoi(ioapic: &mut IoApic, vector: u8) -> Vec<Message> {
        let mut sent = Vec::new();
        ioapic.write(0x40, u32::from(vector), &mut |message| sent.push(message));
        sent
    }

    #[test]
    fn version_says_24_pins_and_an_eoi_register() {
        assert_eq!(read_register(&mut IoApic::new(), 1), 0x0017_0020);
    }

    #[test]
    fn edge_pin_sends_on_each_rise() {
        let mut ioapic = IoApic::new();
        assert_eq!(ioapic.set_pin(4, true, Source::Device), None, "masked, the edge is lost");
        write_register(&mut ioapic, 0x19, 0x0300_0000);
        assert!(write_register(&mut ioapic, 0x18, 0x31).is_empty());
        assert_eq!(ioapic.set_pin(4, true, Source::Device), None, "no rise");
        ioapic.set_pin(4, false, Source::Device);
        let message = ioapic.set_pin(4, true, Source::Timer).unwrap();
        assert_eq!((message.vector, message.level, message.source), (0x31, false, Source::Timer));
        assert_eq!(message.destination, Destination::narrow(3, false));
    }

    #[test]
    fn level_pin_waits_for_eoi_and_repeats_while_asserted() {
        let mut ioapic = IoApic::new();
        write_register(&mut ioapic, 0x10 + 2 * 10, 0x8041);
        assert!(ioapic.set_pin(10, true, Source::Device).unwrap().level);
        assert_eq!(read_register(&mut ioapic, 0x10 + 2 * 10), 0xc041);
        ioapic.set_pin(10, false, Source::Device);
        assert_eq!(ioapic.set_pin(10, true, Source::Device), None, "remote IRR is set");
        assert!(eoi(&mut ioapic, 0x40).is_empty());
        assert_eq!(eoi(&mut ioapic, 0x41).len(), 1);
        ioapic.set_pin(10, false, Source::Device);
        assert!(eoi(&mut ioapic, 0x41).is_empty());
        assert_eq!(read_register(&mut ioapic, 0x10 + 2 * 10), 0x8041);
    }

    #[test]
    fn looking_from_outside_shows_what_the_guest_wrote_and_the_pin() {
        let mut ioapic = IoApic::new();
        write_register(&mut ioapic, 0, 0x0500_0000);
        write_register(&mut ioapic, 0x11 + 2 * 9, 0x0300_0000);
        write_register(&mut ioapic, 0x10 + 2 * 9, 0xa941);
        assert!(!ioapic.is_asserted(9));
        ioapic.set_pin(9, true, Source::Device);
        let route = Route {
            vector: 0x41,
            delivery: Delivery::LowestPriority,
            active_low: true,
            remote_irr: true,
            level: true,
            masked: false,
        };
        assert_eq!(ioapic.route(9), (route, Destination::narrow(3, true)));
        assert_eq!((ioapic.id(), ioapic.is_asserted(9), ioapic.is_at_reset(9)), (5, true, false));
        assert_eq!((ioapic.is_asserted(8), ioapic.is_at_reset(8)), (false, true));
    }

    #[test]
    fn unmasking_an_asserted_level_pin_sends() {
        let mut ioapic = IoApic::new();
        write_register(&mut ioapic, 0x10 + 2 * 17, 0x1_8050);
        assert_eq!(ioapic.set_pin(17, true, Source::Device), None);
        assert_eq!(write_register(&mut ioapic, 0x10 + 2 * 17, 0x8050).len(), 1);
    }

    #[test]
    fn edge_mode_clears_a_stuck_remote_irr() {
        let mut ioapic = IoApic::new();
        write_register(&mut ioapic, 0x10 + 2 * 9, 0x8041);
        ioapic.set_pin(9, true, Source::Device);
        write_register(&mut ioapic, 0x10 + 2 * 9, 0x1_0041);
        ioapic.set_pin(9, false, Source::Device);
        write_register(&mut ioapic, 0x10 + 2 * 9, 0x8041);
        assert!(ioapic.set_pin(9, true, Source::Device).is_some());
    }

    #[test]
    fn status_bits_are_read_only_and_reserved_bits_stay_zero() {
        let mut ioapic = IoApic::new();
        write_register(&mut ioapic, 0x10, 0xffff_ffff);
        assert_eq!(read_register(&mut ioapic, 0x10), 0x0001_afff);
        write_register(&mut ioapic, 0x11, 0xffff_ffff);
        assert_eq!(read_register(&mut ioapic, 0x11), 0xff00_0000);
    }

    #[test]
    fn nmi_and_ext_int_are_not_level() {
        let mut ioapic = IoApic::new();
        write_register(&mut ioapic, 0x12, 0x8400);
        let message = ioapic.set_pin(1, true, Source::Device).unwrap();
        assert_eq!((message.delivery, message.level), (Delivery::Nmi, false));
        write_register(&mut ioapic, 0x10, 0x700);
        assert_eq!(ioapic.ext_int_destination(0), Some(Destination::narrow(0, false)));
        write_register(&mut ioapic, 0x10, 0x1_0700);
        assert_eq!(ioapic.ext_int_destination(0), None);
    }

    #[test]
    fn every_index_and_pin_is_harmless() {
        let mut ioapic = IoApic::new();
        for index in 0..=255 {
            write_register(&mut ioapic, index, 0xffff_ffff);
            read_register(&mut ioapic, index);
            assert_eq!(ioapic.set_pin(index.max(24), true, Source::Device), None);
        }
    }

    #[test]
    fn state_survives() {
        let mut ioapic = IoApic::new();
        write_register(&mut ioapic, 0x10 + 2 * 10, 0x8041);
        ioapic.set_pin(10, true, Source::Device);
        assert_saves_and_loads(&mut ioapic, &mut IoApic::new());
    }
}
