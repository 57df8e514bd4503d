//! The pair of 8259A interrupt controllers of a PC/AT: the master at 0x20, the slave at 0xa0 on its IR2, and
//! the ELCR at 0x4d0.
//!
//! Intel 8259A data sheet (231468). In 8086 mode only: an MCS-80 call address (ICW4 bit 0 clear) still
//! delivers the vector of ICW2, because nothing here executes 8080 code. One deliberate difference: an edge
//! stays latched until it is acknowledged even if the line falls before, as chipsets since the PIIX do, so
//! that a short pulse of the PIT is never lost while interrupts are off.

/// One 8259A.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Chip {
    /// Requests latched by edges.
    latched: u8,
    /// Levels of the eight inputs.
    lines: u8,
    /// Interrupt mask register.
    mask: u8,
    /// In-service register.
    in_service: u8,
    /// Inputs that are level triggered.
    level_triggered: u8,
    /// Level triggered as a whole, by ICW1 bit 3.
    all_level: bool,
    /// ICW2: the vector of IR0.
    vector_base: u8,
    /// Which initialisation word comes next at the odd port; 0 when initialised.
    next_icw: u8,
    /// ICW1 promised an ICW4.
    expect_icw4: bool,
    /// ICW1 said there is no cascade, so that no ICW3 comes.
    single: bool,
    /// ICW4: the in-service bit is reset by the acknowledge itself.
    auto_eoi: bool,
    /// ICW4: the master lets a higher request of a slave in service through.
    fully_nested: bool,
    /// OCW2: rotate at each automatic EOI.
    rotate_on_auto_eoi: bool,
    /// OCW3: special mask mode.
    special_mask: bool,
    /// OCW3: the even port reads the ISR instead of the IRR.
    reads_in_service: bool,
    /// OCW3: the next read is a poll.
    poll: bool,
    /// The input with the highest priority; changes by rotation.
    first: u8,
    /// This chip is the master: IR2 is the slave.
    is_master: bool,
}

crate::persist!(Chip {
    latched,
    lines,
    mask,
    in_service,
    level_triggered,
    all_level,
    vector_base,
    next_icw,
    expect_icw4,
    single,
    auto_eoi,
    fully_nested,
    rotate_on_auto_eoi,
    special_mask,
    reads_in_service,
    poll,
    first,
    is_master,
});

/// IR2 of the master, where the slave is.
const CASCADE: u8 = 2;

impl Chip {
    fn level_inputs(&self) -> u8 {
        if self.all_level { 0xff } else { self.level_triggered }
    }

    /// The interrupt request register.
    fn requests(&self) -> u8 {
        (self.lines & self.level_inputs()) | (self.latched & !self.level_inputs())
    }

    fn set_line(&mut self, input: u8, level: bool) {
        let bit = 1 << input;
        if level {
            if self.lines & bit == 0 {
                self.latched |= bit;
            }
            self.lines |= bit;
        } else {
            self.lines &= !bit;
        }
    }

    /// How far `input` is from the highest priority: 0 is the highest.
    fn rank(&self, input: u8) -> u8 {
        input.wrapping_sub(self.first) & 7
    }

    fn highest(&self, set: u8) -> Option<u8> {
        (0..8).map(|rank| (self.first + rank) & 7).find(|input| set & (1 << input) != 0)
    }

    /// The input whose request would be acknowledged now; INTR is high while there is one.
    fn pending(&self) -> Option<u8> {
        let mut blocking = self.in_service;
        if self.special_mask {
            // An in-service input that is masked blocks nobody.
            blocking &= !self.mask;
        }
        if self.fully_nested && self.is_master {
            blocking &= !(1 << CASCADE);
        }
        let request = self.highest(self.requests() & !self.mask)?;
        match self.highest(blocking) {
            Some(busy) if self.rank(request) >= self.rank(busy) => None,
            _ => Some(request),
        }
    }

    /// The acknowledge of `input`.
    fn acknowledge(&mut self, input: u8) {
        let bit = 1 << input;
        self.latched &= !bit;
        if self.auto_eoi {
            if self.rotate_on_auto_eoi {
                self.first = (input + 1) & 7;
            }
        } else {
            self.in_service |= bit;
        }
    }

    /// Initialisation by ICW1.
    fn begin_initialisation(&mut self, icw1: u8) {
        *self = Chip {
            lines: self.lines,
            level_triggered: self.level_triggered,
            vector_base: self.vector_base,
            is_master: self.is_master,
            all_level: icw1 & 8 != 0,
            single: icw1 & 2 != 0,
            expect_icw4: icw1 & 1 != 0,
            next_icw: 2,
            ..Chip::default()
        };
    }

    fn write_odd(&mut self, value: u8) {
        match self.next_icw {
            2 => {
                self.vector_base = value & 0xf8;
                self.next_icw = match (self.single, self.expect_icw4) {
                    (false, _) => 3,
                    (true, true) => 4,
                    (true, false) => 0,
                };
            }
            3 => self.next_icw = if self.expect_icw4 { 4 } else { 0 },
            4 => {
                self.auto_eoi = value & 2 != 0;
                self.fully_nested = value & 0x10 != 0;
                self.next_icw = 0;
            }
            _ => self.mask = value,
        }
    }

    fn write_even(&mut self, value: u8) {
        if value & 0x10 != 0 {
            self.begin_initialisation(value);
        } else if value & 8 != 0 {
            self.operation_3(value);
        } else {
            self.operation_2(value);
        }
    }

    /// OCW2: ends of interrupt and rotation.
    fn operation_2(&mut self, value: u8) {
        let named = value & 7;
        let served = match self.special_mask {
            // A non-specific EOI must not end what the special mask mode stepped over.
            true => self.highest(self.in_service & !self.mask),
            false => self.highest(self.in_service),
        };
        match value >> 5 {
            0 => self.rotate_on_auto_eoi = false,
            4 => self.rotate_on_auto_eoi = true,
            command @ (1 | 5) => {
                if let Some(input) = served {
                    self.in_service &= !(1 << input);
                    if command == 5 {
                        self.first = (input + 1) & 7;
                    }
                }
            }
            3 => self.in_service &= !(1 << named),
            6 => self.first = (named + 1) & 7,
            7 => {
                self.in_service &= !(1 << named);
                self.first = (named + 1) & 7;
            }
            _ => {}
        }
    }

    /// OCW3: special mask, poll, and which register is read.
    fn operation_3(&mut self, value: u8) {
        if value & 0x40 != 0 {
            self.special_mask = value & 0x20 != 0;
        }
        self.poll = value & 4 != 0;
        if value & 2 != 0 {
            self.reads_in_service = value & 1 != 0;
        }
    }
}

/// Both controllers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pic {
    master: Chip,
    slave: Chip,
}

crate::persist!(Pic { master, slave });

impl Default for Pic {
    fn default() -> Pic {
        Pic::new()
    }
}

impl Pic {
    /// Both chips as PC firmware leaves them: vectors 0x08 and 0x70, every input masked.
    #[must_use]
    pub fn new() -> Pic {
        let chip = Chip { mask: 0xff, ..Chip::default() };
        Pic {
            master: Chip { is_master: true, vector_base: 0x08, mask: 0xfb, ..chip.clone() },
            slave: Chip { vector_base: 0x70, ..chip },
        }
    }

    /// Drives an ISA line. IRQ 2 is the cascade and cannot be driven.
    pub fn set_irq(&mut self, irq: u8, level: bool) {
        match irq {
            CASCADE => {}
            0..8 => self.master.set_line(irq, level),
            8..16 => {
                self.slave.set_line(irq - 8, level);
                self.cascade();
            }
            _ => {}
        }
    }

    /// Whether the guest has masked an IRQ.
    #[must_use]
    pub fn is_masked(&self, irq: u8) -> bool {
        let (chip, input) = if irq < 8 { (&self.master, irq) } else { (&self.slave, irq - 8) };
        chip.mask >> input & 1 != 0
    }

    /// Level of INTR, the output of the master.
    #[must_use]
    pub fn interrupt(&self) -> bool {
        self.master.pending().is_some()
    }

    /// The interrupt acknowledge cycle: the vector, and the IRQ it belongs to. With nothing pending it is
    /// the spurious vector, IR7 of the master, or of the slave when only the slave's request vanished.
    pub fn acknowledge(&mut self) -> (u8, u8) {
        let Some(input) = self.master.pending() else {
            return (self.master.vector_base | 7, 7);
        };
        self.master.acknowledge(input);
        if input != CASCADE {
            return (self.master.vector_base | input, input);
        }
        let served = match self.slave.pending() {
            Some(slave_input) => {
                self.slave.acknowledge(slave_input);
                slave_input
            }
            None => 7,
        };
        self.cascade();
        (self.slave.vector_base | served, 8 + served)
    }

    /// Reads 0x20, 0x21, 0xa0, 0xa1, 0x4d0 or 0x4d1.
    pub fn read(&mut self, port: u16) -> u8 {
        let value = match port {
            0x4d0 => self.master.level_triggered,
            0x4d1 => self.slave.level_triggered,
            0x20 | 0x21 | 0xa0 | 0xa1 => {
                let chip = if port < 0x80 { &mut self.master } else { &mut self.slave };
                if std::mem::take(&mut chip.poll) {
                    // A poll is an acknowledge: it sets the in-service bit and tells the input.
                    match chip.pending() {
                        Some(input) => {
                            chip.acknowledge(input);
                            0x80 | input
                        }
                        None => 0,
                    }
                } else if port & 1 != 0 {
                    chip.mask
                } else if chip.reads_in_service {
                    chip.in_service
                } else {
                    chip.requests()
                }
            }
            _ => 0xff,
        };
        self.cascade();
        value
    }

    /// Writes one of the same ports.
    pub fn write(&mut self, port: u16, value: u8) {
        match port {
            0x20 => self.master.write_even(value),
            0x21 => self.master.write_odd(value),
            0xa0 => self.slave.write_even(value),
            0xa1 => self.slave.write_odd(value),
            // The timer, the keyboard, the cascade, the RTC and the FPU are edge triggered for good.
            0x4d0 => self.master.level_triggered = value & 0xf8,
            0x4d1 => self.slave.level_triggered = value & 0xde,
            _ => {}
        }
        self.cascade();
    }

    /// The slave's INT drives IR2 of the master as a level: the pair behaves as if IR2 followed it, so that
    /// a second slave interrupt after the master's EOI is seen without an edge of its own.
    fn cascade(&mut self) {
        let level = self.slave.pending().is_some();
        self.master.set_line(CASCADE, false);
        self.master.latched &= !(1 << CASCADE);
        self.master.set_line(CASCADE, level);
    }
}

#[cfg(test)]
mod tests;
