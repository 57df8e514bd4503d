//! Reading and writing the registers, by MMIO and by MSR.
//!
//! Intel SDM volume 3, 12.4.1 (memory map), 12.12.1 (MSR map and reserved bits), 12.6 (ICR).

use super::*;

impl Lapic {
    /// Reads a register of the page; reserved ones read as zero and set an error.
    pub fn mmio_read(&mut self, index: u32, now: VirtualTime) -> u32 {
        self.advance(now);
        let value = match index {
            register::ID => Some(u32::from(self.id) << 24),
            register::DFR => Some(self.destination_format),
            register::EOI => Some(0),
            register::ICR_LOW => Some(self.command as u32),
            register::ICR_HIGH => Some((self.command >> 32) as u32),
            _ => self.read_common(index, now),
        };
        value.unwrap_or_else(|| {
            self.error(ESR_ILLEGAL_REGISTER);
            self.refresh();
            0
        })
    }

    /// Writes a register of the page.
    pub fn mmio_write(&mut self, index: u32, value: u32, now: VirtualTime) -> Effect {
        self.advance(now);
        let effect = match index {
            // The ID of this processor is fixed, and the count and status registers are read only.
            register::ID | register::VERSION | register::PPR | register::CURRENT_COUNT => Effect::None,
            register::ISR..register::ESR => Effect::None,
            register::LDR => {
                self.logical_destination = value & 0xff00_0000;
                Effect::None
            }
            register::DFR => {
                self.destination_format = value | 0x0fff_ffff;
                Effect::None
            }
            register::ICR_HIGH => {
                self.command = (self.command & 0xffff_ffff) | u64::from(value & 0xff00_0000) << 32;
                Effect::None
            }
            register::ICR_LOW => {
                self.command = (self.command & !0xffff_ffff) | u64::from(value & ICR_WRITABLE);
                self.send(Destination::narrow((self.command >> 56) as u8, value & 1 << 11 != 0))
            }
            register::SVR => self.write_common(index, value & SVR_WRITABLE, now),
            register::TPR
            | register::EOI
            | register::ESR
            | register::LVT..=register::LVT_LAST
            | register::INITIAL_COUNT
            | register::DIVIDE => self.write_common(index, value, now),
            _ => {
                self.error(ESR_ILLEGAL_REGISTER);
                Effect::None
            }
        };
        self.refresh();
        effect
    }

    /// RDMSR of 0x800 + `index`; `None` is #GP.
    pub fn msr_read(&mut self, index: u32, now: VirtualTime) -> Option<u64> {
        if !self.is_enabled() || !self.is_x2apic() {
            return None;
        }
        self.advance(now);
        match index {
            register::ID => Some(u64::from(self.id)),
            register::ICR_LOW => Some(self.command),
            _ => self.read_common(index, now).map(u64::from),
        }
    }

    /// WRMSR of 0x800 + `index`; `None` is #GP: no such register, read only, or a reserved bit.
    pub fn msr_write(&mut self, index: u32, value: u64, now: VirtualTime) -> Option<Effect> {
        if !self.is_enabled() || !self.is_x2apic() || value & !writable_in_x2apic(index)? != 0 {
            return None;
        }
        self.advance(now);
        let effect = match index {
            register::ICR_LOW => {
                self.command = value & !u64::from(ICR_DELIVERY_STATUS);
                let destination =
                    Destination { id: (value >> 32) as u32, logical: value & 1 << 11 != 0, wide: true };
                self.send(destination)
            }
            register::SELF_IPI => self.send_fixed_to_oneself(value as u8),
            _ => self.write_common(index, value as u32, now),
        };
        self.refresh();
        Some(effect)
    }

    /// Registers that read the same in both modes.
    fn read_common(&self, index: u32, now: VirtualTime) -> Option<u32> {
        Some(match index {
            register::VERSION => VERSION,
            register::TPR => u32::from(self.task_priority),
            register::PPR => u32::from(self.processor_priority),
            register::LDR => self.logical_destination,
            register::SVR => self.spurious,
            register::ISR..register::TMR => self.in_service.word(index - register::ISR),
            register::TMR..register::IRR => self.level.word(index - register::TMR),
            register::IRR..register::ESR => self.requests.word(index - register::IRR),
            register::ESR => self.errors,
            register::LVT..=register::LVT_LAST => self.lvt[(index - register::LVT) as usize],
            register::INITIAL_COUNT => self.timer.initial(),
            register::CURRENT_COUNT => self.timer.current(now),
            register::DIVIDE => self.timer.divide(),
            _ => return None,
        })
    }

    /// Registers that write the same in both modes.
    fn write_common(&mut self, index: u32, value: u32, now: VirtualTime) -> Effect {
        match index {
            register::TPR => self.task_priority = value as u8,
            register::EOI => return self.end_of_interrupt(),
            register::SVR => self.write_spurious(value),
            register::ESR => self.errors = std::mem::take(&mut self.new_errors),
            register::LVT..=register::LVT_LAST => self.write_lvt((index - register::LVT) as usize, value),
            register::INITIAL_COUNT => self.timer.set_initial(value, now),
            register::DIVIDE => self.timer.set_divide(value, now),
            _ => {}
        }
        Effect::None
    }

    fn write_spurious(&mut self, value: u32) {
        self.spurious = value;
        if !self.is_software_enabled() {
            self.lvt.iter_mut().for_each(|entry| *entry |= LVT_MASKED);
        }
    }

    fn write_lvt(&mut self, entry: usize, value: u32) {
        let read_only = self.lvt[entry] & LVT_READ_ONLY & LVT_VALID[entry];
        let mut new = (value & LVT_VALID[entry] & !LVT_READ_ONLY) | read_only;
        if !self.is_software_enabled() {
            new |= LVT_MASKED;
        }
        if new & LVT_LEVEL == 0 {
            new &= !LVT_REMOTE_IRR;
        }
        self.lvt[entry] = new;
        match entry {
            TIMER => self.timer.set_mode(Mode::decode(new)),
            LINT0 => self.service_lint0(Source::Device),
            _ => {}
        }
    }

    fn end_of_interrupt(&mut self) -> Effect {
        let Some(vector) = self.in_service.highest() else { return Effect::None };
        self.in_service.set(vector, false);
        if self.lvt[LINT0] & LVT_REMOTE_IRR != 0 && self.lvt[LINT0] as u8 == vector {
            self.lvt[LINT0] &= !LVT_REMOTE_IRR;
            self.service_lint0(Source::Device);
        }
        if self.level.contains(vector) && self.spurious & SVR_SUPPRESS_EOI_BROADCAST == 0 {
            Effect::EndOfInterrupt(vector)
        } else {
            Effect::None
        }
    }

    /// Sends what the ICR says. The trigger mode of an IPI is always edge, and an INIT level de-assert,
    /// which only old multiprocessor systems needed, sends nothing.
    fn send(&mut self, destination: Destination) -> Effect {
        let low = self.command as u32;
        let delivery = Delivery::decode(low);
        let shorthand = match (low >> 18) & 3 {
            0 => Shorthand::None,
            1 => Shorthand::Oneself,
            2 => Shorthand::All,
            _ => Shorthand::Others,
        };
        let vectored = matches!(delivery, Delivery::Fixed | Delivery::LowestPriority);
        if vectored && low as u8 <= 15 {
            self.error(ESR_SEND_ILLEGAL_VECTOR);
            return Effect::None;
        }
        let level_deassert = low & 1 << 14 == 0 && low & 1 << 15 != 0;
        let reaches_oneself = matches!(shorthand, Shorthand::Oneself | Shorthand::All);
        let invalid = reaches_oneself && delivery != Delivery::Fixed
            || matches!(delivery, Delivery::Smi | Delivery::Reserved | Delivery::ExtInt)
            || delivery == Delivery::Init && level_deassert;
        if invalid {
            return Effect::None;
        }
        let message = Message { vector: low as u8, delivery, level: false, destination, source: Source::Ipi };
        Effect::Ipi(message, shorthand)
    }

    fn send_fixed_to_oneself(&mut self, vector: u8) -> Effect {
        if vector < 16 {
            self.error(ESR_SEND_ILLEGAL_VECTOR);
            return Effect::None;
        }
        let destination = Destination { id: u32::from(self.id), logical: false, wide: true };
        let message =
            Message { vector, delivery: Delivery::Fixed, level: false, destination, source: Source::Ipi };
        Effect::Ipi(message, Shorthand::Oneself)
    }
}

/// The bits a WRMSR may set; `None` for a register that does not exist or is read only.
fn writable_in_x2apic(index: u32) -> Option<u64> {
    Some(match index {
        register::TPR | register::SELF_IPI => 0xff,
        register::EOI | register::ESR => 0,
        register::SVR => u64::from(SVR_WRITABLE),
        register::ICR_LOW => 0xffff_ffff_0000_0000 | u64::from(ICR_WRITABLE | ICR_DELIVERY_STATUS),
        register::LVT..=register::LVT_LAST => u64::from(LVT_VALID[(index - register::LVT) as usize]),
        register::INITIAL_COUNT => 0xffff_ffff,
        register::DIVIDE => 0xb,
        _ => return None,
    })
}
