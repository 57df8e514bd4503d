//! COM1: a 16550A UART (National Semiconductor PC16550D data sheet, chapter 8).
//!
//! Transmission takes no guest time: the holding register is empty again as soon as it was written, so its
//! interrupt follows every write at once. Reception is paced: the bytes that the outside typed wait in a
//! backlog without limit and enter the FIFO one character time apart, only while there is room and only
//! while the guest listens, so that neither a paste nor a driver's initialisation loses one.
//!
//! Left out: the line itself (parity, framing and break errors cannot happen), the effect of the divisor on
//! speed, and the gating of the interrupt by OUT2, which many small kernels forget to set.

use super::registers::Bits;
use crate::persist;
use boundary::VirtualTime;
use std::collections::VecDeque;

/// Depth of the receive FIFO.
const FIFO_BYTES: usize = 16;
/// The time from one arriving byte to the next: ten bits at 115200 baud.
const CHARACTER_NS: u64 = 86_806;
/// Four character times of silence raise the receive time-out.
const TIMEOUT_NS: u64 = 4 * CHARACTER_NS;
/// So many reads of LSR in a row, and no other access, are a guest that waits for input by polling. A driver that only
/// prints or initialises the device comes to a few: Linux reads it at the end of one message and at the start of
/// the next, and then empties the receive buffer, which must not cost a byte that was typed early.
const POLLS_TO_LISTEN: u8 = 16;

const IER_RECEIVED: u8 = 1 << 0;
const IER_TRANSMITTER_EMPTY: u8 = 1 << 1;
const IER_LINE_STATUS: u8 = 1 << 2;
const IER_MODEM_STATUS: u8 = 1 << 3;

const IIR_NONE: u8 = 0x01;
const IIR_MODEM_STATUS: u8 = 0x00;
const IIR_TRANSMITTER_EMPTY: u8 = 0x02;
const IIR_RECEIVED: u8 = 0x04;
const IIR_LINE_STATUS: u8 = 0x06;
const IIR_TIMEOUT: u8 = 0x0c;
const IIR_FIFO_ENABLED: u8 = 0xc0;

const FCR_ENABLE: u8 = 1 << 0;
const FCR_CLEAR_RECEIVER: u8 = 1 << 1;

const LCR_DIVISOR_LATCH: u8 = 1 << 7;

const MCR_LOOPBACK: u8 = 1 << 4;

const LSR_DATA_READY: u8 = 1 << 0;
const LSR_OVERRUN: u8 = 1 << 1;
const LSR_TRANSMITTER_EMPTY: u8 = 0x60;

const MSR_DELTA: u8 = 0x0f;
/// Clear to send, data set ready, carrier: the terminal is always there.
const MSR_CONNECTED: u8 = 0xb0;

/// The registers of one 16550A and the bytes around them.
#[derive(Debug, Clone)]
pub struct Uart {
    interrupt_enable: u8,
    fifo_control: u8,
    line_control: u8,
    modem_control: u8,
    modem_status: u8,
    scratch: u8,
    divisor: u16,
    receive_fifo: VecDeque<u8>,
    backlog: VecDeque<u8>,
    overrun: bool,
    transmitter_interrupt: bool,
    timed_out: bool,
    /// When the receive FIFO was last filled or read.
    last_activity: VirtualTime,
    /// When the line is free for the next byte.
    next_arrival: VirtualTime,
    status_polls: u8,
    /// Whether the guest ever listened.
    was_used: bool,
    transmitted: Vec<u8>,
}

persist!(Uart {
    interrupt_enable, fifo_control, line_control, modem_control, modem_status, scratch, divisor, receive_fifo,
    backlog, overrun, transmitter_interrupt, timed_out, last_activity, next_arrival, status_polls, was_used; skip: transmitted
});

impl Default for Uart {
    fn default() -> Uart {
        Uart {
            interrupt_enable: 0,
            fifo_control: 0,
            line_control: 0,
            modem_control: 0,
            modem_status: MSR_CONNECTED,
            scratch: 0,
            divisor: 12,
            receive_fifo: VecDeque::new(),
            backlog: VecDeque::new(),
            overrun: false,
            transmitter_interrupt: false,
            timed_out: false,
            last_activity: VirtualTime(0),
            next_arrival: VirtualTime(0),
            status_polls: 0,
            was_used: false,
            transmitted: Vec::new(),
        }
    }
}

impl Uart {
    /// Master reset: the registers go to their reset values; what the outside typed is not forgotten.
    pub fn reset(&mut self) {
        self.return_fifo_to_backlog();
        let backlog = std::mem::take(&mut self.backlog);
        let transmitted = std::mem::take(&mut self.transmitted);
        *self = Uart {
            backlog,
            transmitted,
            was_used: self.was_used,
            next_arrival: self.next_arrival,
            ..Uart::default()
        };
    }

    /// Reads register `offset` (0 to 7).
    pub fn read(&mut self, now: VirtualTime, offset: u16) -> u8 {
        self.advance(now);
        self.status_polls = if offset == 5 { self.status_polls.saturating_add(1) } else { 0 };
        let divisor_latch = self.line_control.has(LCR_DIVISOR_LATCH);
        let value = match offset {
            0 if divisor_latch => self.divisor.to_le_bytes()[0],
            1 if divisor_latch => self.divisor.to_le_bytes()[1],
            0 => self.read_receive_buffer(now),
            1 => self.interrupt_enable,
            2 => self.read_interrupt_identification(),
            3 => self.line_control,
            4 => self.modem_control,
            5 => self.read_line_status(now),
            6 => self.read_modem_status(),
            _ => self.scratch,
        };
        // A byte that was read makes room for the next.
        self.advance(now);
        value
    }

    /// Writes register `offset` (0 to 7).
    pub fn write(&mut self, now: VirtualTime, offset: u16, value: u8) {
        self.advance(now);
        self.status_polls = 0;
        let divisor_latch = self.line_control.has(LCR_DIVISOR_LATCH);
        let [low, high] = self.divisor.to_le_bytes();
        match offset {
            0 if divisor_latch => self.divisor = u16::from_le_bytes([value, high]),
            1 if divisor_latch => self.divisor = u16::from_le_bytes([low, value]),
            0 => self.transmit(now, value),
            1 => self.write_interrupt_enable(value),
            2 => self.write_fifo_control(value),
            3 => self.line_control = value,
            4 => self.write_modem_control(value),
            7 => self.scratch = value,
            // LSR and MSR are for factory tests when written.
            _ => {}
        }
        self.advance(now);
    }

    /// Bytes typed outside.
    pub fn receive(&mut self, now: VirtualTime, bytes: &[u8]) {
        self.backlog.extend(bytes);
        self.advance(now);
    }

    /// Lets time pass until `now`: bytes arrive, silence becomes a time-out.
    pub fn advance(&mut self, now: VirtualTime) {
        self.was_used |= self.is_listening();
        if self.can_receive()
            && self.next_arrival <= now
            && let Some(byte) = self.backlog.pop_front()
        {
            self.receive_fifo.push_back(byte);
            self.next_arrival = now.plus(CHARACTER_NS);
            self.last_activity = now;
            self.timed_out = false;
        }
        if self.fifo_enabled() && !self.receive_fifo.is_empty() && now >= self.last_activity.plus(TIMEOUT_NS)
        {
            self.timed_out = true;
        }
    }

    /// The next time at which [`Uart::advance`] changes anything that the guest can be told by interrupt.
    #[must_use]
    pub fn deadline(&self) -> Option<VirtualTime> {
        let arrival = self.can_receive().then_some(self.next_arrival);
        let waits = self.fifo_enabled()
            && self.interrupt_enable.has(IER_RECEIVED)
            && !self.timed_out
            && !self.receive_fifo.is_empty()
            && self.receive_fifo.len() < self.trigger_bytes();
        let timeout = waits.then(|| self.last_activity.plus(TIMEOUT_NS));
        [arrival, timeout].into_iter().flatten().min()
    }

    /// The level of the interrupt output.
    #[must_use]
    pub fn interrupt(&self) -> bool {
        self.pending() != IIR_NONE
    }

    /// Bytes transmitted since the last call.
    pub fn take_transmitted(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.transmitted)
    }

    /// Whether anything was transmitted since [`Uart::take_transmitted`].
    #[must_use]
    pub fn has_transmitted(&self) -> bool {
        !self.transmitted.is_empty()
    }

    /// Typed bytes that the guest has not read yet.
    #[must_use]
    pub fn unread_bytes(&self) -> usize {
        self.backlog.len() + self.receive_fifo.len()
    }

    /// What was typed for a guest that never listened here; nothing once it has.
    pub fn take_unheard(&mut self) -> VecDeque<u8> {
        if self.was_used { VecDeque::new() } else { std::mem::take(&mut self.backlog) }
    }

    fn fifo_enabled(&self) -> bool {
        self.fifo_control.has(FCR_ENABLE)
    }

    fn capacity_bytes(&self) -> usize {
        if self.fifo_enabled() { FIFO_BYTES } else { 1 }
    }

    fn trigger_bytes(&self) -> usize {
        if !self.fifo_enabled() {
            return 1;
        }
        [1, 4, 8, 14][usize::from(self.fifo_control >> 6)]
    }

    /// Whether a typed byte may enter the FIFO. A driver that initialises the device reads the data register
    /// to empty it, so a byte comes only to a guest that enabled the interrupt or waits by polling.
    fn can_receive(&self) -> bool {
        self.is_listening()
            && !self.backlog.is_empty()
            && !self.modem_control.has(MCR_LOOPBACK)
            && self.receive_fifo.len() < self.capacity_bytes()
    }

    fn is_listening(&self) -> bool {
        self.interrupt_enable.has(IER_RECEIVED) || self.status_polls >= POLLS_TO_LISTEN
    }

    /// The identification of the enabled cause with the highest priority.
    fn pending(&self) -> u8 {
        let enabled = |bit: u8| self.interrupt_enable.has(bit);
        if enabled(IER_LINE_STATUS) && self.overrun {
            IIR_LINE_STATUS
        } else if enabled(IER_RECEIVED) && self.receive_fifo.len() >= self.trigger_bytes() {
            IIR_RECEIVED
        } else if enabled(IER_RECEIVED) && self.timed_out && !self.receive_fifo.is_empty() {
            IIR_TIMEOUT
        } else if enabled(IER_TRANSMITTER_EMPTY) && self.transmitter_interrupt {
            IIR_TRANSMITTER_EMPTY
        } else if enabled(IER_MODEM_STATUS) && self.modem_status & MSR_DELTA != 0 {
            IIR_MODEM_STATUS
        } else {
            IIR_NONE
        }
    }

    fn read_receive_buffer(&mut self, now: VirtualTime) -> u8 {
        let byte = self.receive_fifo.pop_front().unwrap_or(0);
        self.last_activity = now;
        self.timed_out = false;
        byte
    }

    /// Reading IIR clears the transmitter cause, and only if that is what it reports.
    fn read_interrupt_identification(&mut self) -> u8 {
        let identification = self.pending();
        if identification == IIR_TRANSMITTER_EMPTY {
            self.transmitter_interrupt = false;
        }
        identification | if self.fifo_enabled() { IIR_FIFO_ENABLED } else { 0 }
    }

    fn read_line_status(&mut self, now: VirtualTime) -> u8 {
        // This very read may be the poll that tells that the guest listens.
        self.advance(now);
        let mut status = LSR_TRANSMITTER_EMPTY;
        if !self.receive_fifo.is_empty() {
            status |= LSR_DATA_READY;
        }
        if std::mem::take(&mut self.overrun) {
            status |= LSR_OVERRUN;
        }
        status
    }

    fn read_modem_status(&mut self) -> u8 {
        let status = self.modem_status;
        self.modem_status &= !MSR_DELTA;
        status
    }

    fn transmit(&mut self, now: VirtualTime, byte: u8) {
        self.transmitter_interrupt = true;
        if !self.modem_control.has(MCR_LOOPBACK) {
            self.transmitted.push(byte);
        } else if self.receive_fifo.len() < self.capacity_bytes() {
            self.receive_fifo.push_back(byte);
            self.last_activity = now;
            self.timed_out = false;
        } else {
            self.overrun = true;
        }
    }

    /// Enabling the transmitter interrupt raises it, because the transmitter is always empty.
    fn write_interrupt_enable(&mut self, value: u8) {
        let raised = value & !self.interrupt_enable;
        self.interrupt_enable = value & 0x0f;
        if raised.has(IER_TRANSMITTER_EMPTY) {
            self.transmitter_interrupt = true;
        }
    }

    fn write_fifo_control(&mut self, value: u8) {
        let mode_changes = (value ^ self.fifo_control).has(FCR_ENABLE);
        if mode_changes || value.has(FCR_CLEAR_RECEIVER) {
            self.return_fifo_to_backlog();
        }
        // Trigger levels can be written only together with the enable bit; the clear bits clear themselves.
        self.fifo_control = if value.has(FCR_ENABLE) { value & 0xc1 } else { 0 };
    }

    fn write_modem_control(&mut self, value: u8) {
        if (value ^ self.modem_control).has(MCR_LOOPBACK) {
            self.return_fifo_to_backlog();
        }
        self.modem_control = value & 0x1f;
        let lines = if self.modem_control.has(MCR_LOOPBACK) {
            // RTS drives CTS, DTR drives DSR, OUT1 drives RI, OUT2 drives DCD.
            let [dtr, rts, outputs] = [value & 1, value >> 1 & 1, value >> 2 & 3];
            rts << 4 | dtr << 5 | outputs << 6
        } else {
            MSR_CONNECTED
        };
        let changed = lines ^ (self.modem_status & 0xf0);
        // The ring indicator latches only its trailing edge.
        let ring_ended = self.modem_status & !lines & 0x40;
        let deltas = (changed & 0xb0) >> 4 | ring_ended >> 4;
        self.modem_status = lines | (self.modem_status & MSR_DELTA) | deltas;
    }

    /// Empties the receive FIFO. Bytes from outside are not lost, they come again; looped-back bytes are.
    fn return_fifo_to_backlog(&mut self) {
        let looped = self.modem_control.has(MCR_LOOPBACK);
        while let Some(byte) = self.receive_fifo.pop_back() {
            if !looped {
                self.backlog.push_front(byte);
            }
        }
        self.timed_out = false;
    }
}

#[cfg(test)]
#[path = "uart_tests.rs"]
mod tests;
