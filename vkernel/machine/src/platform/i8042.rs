//! The keyboard controller 8042 with an AT keyboard (IBM PS/2 Technical Reference, keyboard and auxiliary
//! device controller).
//!
//! Every response comes at once except that a byte which waits behind another follows it after a pause:
//! IRQ 1 must fall between two bytes, or an edge-triggered controller would miss the second.
//!
//! Left out: the auxiliary device (its tests fail at once, so that probing is short), scan code sets other
//! than 2 with its translation to set 1, and typematic repetition.

use super::registers::Bits;
use super::scan_codes::keystrokes;
use crate::persist;
use boundary::{PowerEvent, VirtualTime};
use std::collections::VecDeque;

/// Data port.
pub const DATA: u16 = 0x60;
/// Status (read) and command (write) port.
pub const COMMAND: u16 = 0x64;
/// The keyboard's interrupt.
pub const KEYBOARD_IRQ: u8 = 1;

/// From reading one byte until the next is there.
const NEXT_BYTE_NS: u64 = 50_000;
/// From one typed character to the next: a fast typist, and no overrun in a small kernel's buffer.
const TYPING_NS: u64 = 5_000_000;
/// No guest may make the host store more than this.
const QUEUE_BYTES: usize = 64;

const STATUS_OUTPUT_FULL: u8 = 1 << 0;
const STATUS_SYSTEM: u8 = 1 << 2;
const STATUS_COMMAND: u8 = 1 << 3;
const STATUS_UNLOCKED: u8 = 1 << 4;

const CONFIG_KEYBOARD_INTERRUPT: u8 = 1 << 0;
const CONFIG_SYSTEM: u8 = 1 << 2;
const CONFIG_KEYBOARD_DISABLED: u8 = 1 << 4;
const CONFIG_AUXILIARY_DISABLED: u8 = 1 << 5;
const CONFIG_TRANSLATE: u8 = 1 << 6;

const OUTPUT_PORT_NOT_RESET: u8 = 1 << 0;
const OUTPUT_PORT_A20: u8 = 1 << 1;

const ACKNOWLEDGE: u8 = 0xfa;
const RESEND: u8 = 0xfe;

/// The controller and its keyboard.
#[derive(Debug, Clone)]
pub struct I8042 {
    config: u8,
    output_port: u8,
    /// The controller command that waits for its data byte, or 0.
    controller_command: u8,
    /// The keyboard command that waits for its data byte, or 0.
    keyboard_command: u8,
    last_write_was_command: bool,
    /// The byte the guest can read.
    output: Option<u8>,
    last_output: u8,
    /// What follows it.
    queue: VecDeque<u8>,
    next_byte_at: VirtualTime,
    /// Characters still to be typed.
    typed: VecDeque<u8>,
    next_character_at: VirtualTime,
}

persist!(I8042 {
    config,
    output_port,
    controller_command,
    keyboard_command,
    last_write_was_command,
    output,
    last_output,
    queue,
    next_byte_at,
    typed,
    next_character_at
});

impl Default for I8042 {
    /// As firmware leaves it: tested, translating, its interrupt on.
    fn default() -> I8042 {
        I8042 {
            config: CONFIG_KEYBOARD_INTERRUPT | CONFIG_SYSTEM | CONFIG_AUXILIARY_DISABLED | CONFIG_TRANSLATE,
            output_port: OUTPUT_PORT_NOT_RESET | OUTPUT_PORT_A20,
            controller_command: 0,
            keyboard_command: 0,
            last_write_was_command: false,
            output: None,
            last_output: 0,
            queue: VecDeque::new(),
            next_byte_at: VirtualTime(0),
            typed: VecDeque::new(),
            next_character_at: VirtualTime(0),
        }
    }
}

impl I8042 {
    /// Resets controller and keyboard; what is still to be typed is not forgotten.
    pub fn reset(&mut self) {
        let typed = std::mem::take(&mut self.typed);
        *self = I8042 { typed, next_character_at: self.next_character_at, ..I8042::default() };
    }

    /// Reads [`DATA`] or [`COMMAND`].
    pub fn read(&mut self, now: VirtualTime, port: u16) -> u8 {
        self.advance(now);
        if port == DATA { self.read_data(now) } else { self.status() }
    }

    /// Writes [`DATA`] or [`COMMAND`].
    pub fn write(&mut self, now: VirtualTime, port: u16, value: u8) -> Option<PowerEvent> {
        self.advance(now);
        self.last_write_was_command = port == COMMAND;
        let event = if port == COMMAND {
            self.command(value)
        } else if self.controller_command != 0 {
            self.controller_data(value)
        } else {
            self.keyboard(value);
            None
        };
        self.advance(now);
        event
    }

    /// Types the next character when it is time, and moves a waiting byte into the output buffer.
    pub fn advance(&mut self, now: VirtualTime) {
        if self.can_type()
            && self.next_character_at <= now
            && let Some(character) = self.typed.pop_front()
        {
            keystrokes(character).into_iter().for_each(|code| self.respond(code));
            self.next_character_at = now.plus(TYPING_NS);
        }
        if self.output.is_none() && self.next_byte_at <= now {
            self.output = self.queue.pop_front();
        }
    }

    /// When [`I8042::advance`] next changes anything.
    #[must_use]
    pub fn deadline(&self) -> Option<VirtualTime> {
        if self.can_type() {
            (!self.typed.is_empty()).then_some(self.next_character_at)
        } else {
            (self.output.is_none() && !self.queue.is_empty()).then_some(self.next_byte_at)
        }
    }

    /// Gives the keyboard characters to type, one after the other, as the guest reads them. The codes are
    /// those of set 1, as the controller translates them.
    pub fn type_characters(&mut self, now: VirtualTime, characters: &VecDeque<u8>) {
        if self.typed.is_empty() {
            self.next_character_at = self.next_character_at.max(now.plus(TYPING_NS));
        }
        self.typed.extend(characters);
    }

    /// How many characters are still to be typed.
    #[must_use]
    pub fn untyped_characters(&self) -> usize {
        self.typed.len()
    }

    /// Whether the guest has read everything that the keyboard sent before.
    fn can_type(&self) -> bool {
        self.output.is_none() && self.queue.is_empty() && !self.config.has(CONFIG_KEYBOARD_DISABLED)
    }

    /// The level of IRQ 1.
    #[must_use]
    pub fn interrupt(&self) -> bool {
        self.output.is_some() && self.config.has(CONFIG_KEYBOARD_INTERRUPT)
    }

    fn status(&self) -> u8 {
        let mut status = STATUS_UNLOCKED | self.config & STATUS_SYSTEM;
        if self.output.is_some() {
            status |= STATUS_OUTPUT_FULL;
        }
        if self.last_write_was_command {
            status |= STATUS_COMMAND;
        }
        status
    }

    fn read_data(&mut self, now: VirtualTime) -> u8 {
        if let Some(byte) = self.output.take() {
            self.last_output = byte;
            self.next_byte_at = now.plus(NEXT_BYTE_NS);
        }
        self.last_output
    }

    fn respond(&mut self, byte: u8) {
        if self.queue.len() < QUEUE_BYTES {
            self.queue.push_back(byte);
        }
    }

    /// A response of the controller itself replaces whatever the keyboard had to say.
    fn answer(&mut self, byte: u8) {
        self.queue.clear();
        self.output = Some(byte);
    }

    fn command(&mut self, command: u8) -> Option<PowerEvent> {
        self.controller_command = 0;
        match command {
            0x20 => self.answer(self.config),
            0x60 | 0xd1..=0xd4 => self.controller_command = command,
            0xa7 => self.config |= CONFIG_AUXILIARY_DISABLED,
            0xa8 => self.config &= !CONFIG_AUXILIARY_DISABLED,
            // "Auxiliary clock line stuck low": there is no such device.
            0xa9 => self.answer(0x01),
            0xaa => {
                self.config |= CONFIG_SYSTEM;
                self.answer(0x55);
            }
            0xab => self.answer(0x00),
            0xad => self.config |= CONFIG_KEYBOARD_DISABLED,
            0xae => self.config &= !CONFIG_KEYBOARD_DISABLED,
            // The input port: keyboard not locked.
            0xc0 => self.answer(0x80),
            0xd0 => self.answer(self.output_port),
            0xdd => self.output_port &= !OUTPUT_PORT_A20,
            0xdf => self.output_port |= OUTPUT_PORT_A20,
            // The test inputs: clock and data idle.
            0xe0 => self.answer(0x00),
            // Pulses the output lines whose bit is zero; line 0 is reset.
            0xf0..=0xff if !command.has(OUTPUT_PORT_NOT_RESET) => return Some(PowerEvent::Reset),
            _ => {}
        }
        None
    }

    fn controller_data(&mut self, value: u8) -> Option<PowerEvent> {
        match std::mem::take(&mut self.controller_command) {
            0x60 => self.config = value,
            0xd1 => {
                self.output_port = value;
                if !value.has(OUTPUT_PORT_NOT_RESET) {
                    return Some(PowerEvent::Reset);
                }
            }
            // Loop-back into the output buffer. The auxiliary form (0xd3) comes back as a keyboard byte, by
            // which a driver sees at once that there is no auxiliary port.
            0xd2 | 0xd3 => self.answer(value),
            // To the auxiliary device, which does not answer: report the time-out as "resend".
            _ => self.answer(RESEND),
        }
        None
    }

    fn keyboard(&mut self, value: u8) {
        // Sending to the keyboard enables its clock line.
        self.config &= !CONFIG_KEYBOARD_DISABLED;
        match std::mem::take(&mut self.keyboard_command) {
            0 => self.keyboard_command_byte(value),
            // "Which scan code set?"
            0xf0 if value == 0 => [ACKNOWLEDGE, 0x02].into_iter().for_each(|byte| self.respond(byte)),
            _ => self.respond(ACKNOWLEDGE),
        }
    }

    fn keyboard_command_byte(&mut self, command: u8) {
        let response: &[u8] = match command {
            0xed | 0xf0 | 0xf3 => {
                self.keyboard_command = command;
                &[ACKNOWLEDGE]
            }
            0xee => &[0xee],
            // An MF2 keyboard behind a translating controller.
            0xf2 if self.config.has(CONFIG_TRANSLATE) => &[ACKNOWLEDGE, 0xab, 0x41],
            0xf2 => &[ACKNOWLEDGE, 0xab, 0x83],
            0xf4..=0xf6 => &[ACKNOWLEDGE],
            // Reset: acknowledged, then the self test has passed.
            0xff => &[ACKNOWLEDGE, 0xaa],
            _ => &[RESEND],
        };
        response.iter().for_each(|byte| self.respond(*byte));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads what the controller has to say, waiting as a driver does.
    fn read_all(controller: &mut I8042) -> Vec<u8> {
        let (mut now, mut bytes) = (VirtualTime(0), Vec::new());
        loop {
            if controller.read(now, COMMAND).has(STATUS_OUTPUT_FULL) {
                bytes.push(controller.read(now, DATA));
            }
            match controller.deadline() {
                Some(deadline) => now = deadline,
                None => return bytes,
            }
        }
    }

    fn command(controller: &mut I8042, command: u8) -> Vec<u8> {
        assert_eq!(controller.write(VirtualTime(0), COMMAND, command), None);
        read_all(controller)
    }

    fn keyboard(controller: &mut I8042, byte: u8) -> Vec<u8> {
        assert_eq!(controller.write(VirtualTime(0), DATA, byte), None);
        read_all(controller)
    }

    #[test]
    fn the_controller_tests_itself_and_its_port() {
        let mut controller = I8042::default();
        assert_eq!(command(&mut controller, 0xaa), [0x55]);
        assert_eq!(command(&mut controller, 0xab), [0x00]);
    }

    #[test]
    fn the_command_byte_reads_back() {
        let mut controller = I8042::default();
        command(&mut controller, 0x60);
        controller.write(VirtualTime(0), DATA, 0x47);
        assert_eq!(command(&mut controller, 0x20), [0x47]);
    }

    #[test]
    fn the_keyboard_resets_and_identifies_itself() {
        let mut controller = I8042::default();
        assert_eq!(keyboard(&mut controller, 0xff), [0xfa, 0xaa]);
        assert_eq!(keyboard(&mut controller, 0xf2), [0xfa, 0xab, 0x41]);
        assert_eq!(keyboard(&mut controller, 0xed), [0xfa]);
        assert_eq!(keyboard(&mut controller, 0x02), [0xfa]);
        assert_eq!(keyboard(&mut controller, 0x12), [0xfe]);
    }

    #[test]
    fn the_interrupt_falls_between_two_bytes() {
        let mut controller = I8042::default();
        command(&mut controller, 0x60);
        controller.write(VirtualTime(0), DATA, 0x45);
        controller.write(VirtualTime(0), DATA, 0xff);
        assert!(controller.interrupt());
        assert_eq!(controller.read(VirtualTime(0), DATA), 0xfa);
        assert!(!controller.interrupt());
        controller.advance(controller.deadline().expect("the self test result follows"));
        assert!(controller.interrupt());
    }

    #[test]
    fn there_is_no_auxiliary_port_and_a_driver_sees_it_at_once() {
        let mut controller = I8042::default();
        command(&mut controller, 0xd3);
        controller.write(VirtualTime(0), DATA, 0x5a);
        assert_eq!(controller.read(VirtualTime(0), COMMAND) & 0x21, 0x01, "data, but not auxiliary data");
        read_all(&mut controller);
        assert_eq!(command(&mut controller, 0xa9), [0x01]);
    }

    #[test]
    fn pulsing_line_zero_or_clearing_its_bit_resets_the_machine() {
        let mut controller = I8042::default();
        assert_eq!(controller.write(VirtualTime(0), COMMAND, 0xfe), Some(PowerEvent::Reset));
        assert_eq!(controller.write(VirtualTime(0), COMMAND, 0xff), None);
        controller.write(VirtualTime(0), COMMAND, 0xd1);
        assert_eq!(controller.write(VirtualTime(0), DATA, 0x02), Some(PowerEvent::Reset));
    }

    #[test]
    fn typed_characters_arrive_as_the_guest_reads_them() {
        let mut controller = I8042::default();
        controller.type_characters(VirtualTime(0), &VecDeque::from(*b"aB"));
        assert_eq!(read_all(&mut controller), [0x1e, 0x9e, 0x2a, 0x30, 0xb0, 0xaa]);
        assert_eq!(controller.untyped_characters(), 0);
    }

    #[test]
    fn a_disabled_keyboard_types_nothing() {
        let mut controller = I8042::default();
        command(&mut controller, 0xad);
        controller.type_characters(VirtualTime(0), &VecDeque::from(*b"a"));
        assert_eq!(controller.deadline(), None);
        assert_eq!(command(&mut controller, 0xae), [0x1e, 0x9e]);
    }

    #[test]
    fn a_guest_that_never_reads_cannot_fill_the_hosts_memory() {
        let mut controller = I8042::default();
        for _ in 0..10_000 {
            controller.write(VirtualTime(0), DATA, 0xff);
        }
        assert!(controller.queue.len() <= QUEUE_BYTES);
    }
}
