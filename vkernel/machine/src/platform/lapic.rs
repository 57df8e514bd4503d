//! The local APIC of one processor, as xAPIC (MMIO) and as x2APIC (MSRs).
//!
//! Intel SDM volume 3, chapter 12. Thermal and performance-counter entries exist as registers; nothing here
//! raises them. Left out: CMCI (the version register says six LVT entries), SMI, and the arbitration ID of
//! the old serial bus. Interrupt sources are remembered beside the IRR, for the landmarks.

use super::Signals;
use super::apic_message::{Delivery, Destination, Message, Source};
use super::lapic_timer::{LapicTimer, Mode};
use super::layout;
use super::vectors::Vectors;
use boundary::VirtualTime;

/// `IA32_APIC_BASE` bits.
const BASE_BSP: u64 = 1 << 8;
const BASE_X2APIC: u64 = 1 << 10;
const BASE_ENABLED: u64 = 1 << 11;
/// Bits a guest may set: the flags, and an address of up to 52 bits.
const BASE_WRITABLE: u64 = 0x000f_ffff_ffff_f000 | BASE_BSP | BASE_X2APIC | BASE_ENABLED;

/// Version 0x14, six LVT entries, EOI broadcast suppression.
const VERSION: u32 = 0x0105_0014;
const SVR_ENABLED: u32 = 1 << 8;
const SVR_SUPPRESS_EOI_BROADCAST: u32 = 1 << 12;
const SVR_WRITABLE: u32 = 0x11ff;

const LVT_REMOTE_IRR: u32 = 1 << 14;
const LVT_LEVEL: u32 = 1 << 15;
const LVT_MASKED: u32 = 1 << 16;
/// Read-only bits of an LVT entry: delivery status and remote IRR.
const LVT_READ_ONLY: u32 = 1 << 12 | LVT_REMOTE_IRR;

/// LVT entries in register order, from 0x32 on.
const TIMER: usize = 0;
const LINT0: usize = 3;
const ERROR: usize = 5;
/// Bits that exist in each entry.
const LVT_VALID: [u32; 6] = [0x7_10ff, 0x1_17ff, 0x1_17ff, 0x1_f7ff, 0x1_f7ff, 0x1_10ff];

/// Bits of the ICR's lower half that exist, without the read-only delivery status.
const ICR_WRITABLE: u32 = 0x000c_cfff;
const ICR_DELIVERY_STATUS: u32 = 1 << 12;

/// Error status bits.
const ESR_SEND_ILLEGAL_VECTOR: u32 = 1 << 5;
const ESR_RECEIVED_ILLEGAL_VECTOR: u32 = 1 << 6;
const ESR_ILLEGAL_REGISTER: u32 = 1 << 7;

/// Register numbers: the MMIO offset divided by 16, and the MSR less 0x800.
mod register {
    pub const ID: u32 = 0x02;
    pub const VERSION: u32 = 0x03;
    pub const TPR: u32 = 0x08;
    pub const PPR: u32 = 0x0a;
    pub const EOI: u32 = 0x0b;
    pub const LDR: u32 = 0x0d;
    pub const DFR: u32 = 0x0e;
    pub const SVR: u32 = 0x0f;
    pub const ISR: u32 = 0x10;
    pub const TMR: u32 = 0x18;
    pub const IRR: u32 = 0x20;
    pub const ESR: u32 = 0x28;
    pub const ICR_LOW: u32 = 0x30;
    pub const ICR_HIGH: u32 = 0x31;
    pub const LVT: u32 = 0x32;
    pub const LVT_LAST: u32 = 0x37;
    pub const INITIAL_COUNT: u32 = 0x38;
    pub const CURRENT_COUNT: u32 = 0x39;
    pub const DIVIDE: u32 = 0x3e;
    pub const SELF_IPI: u32 = 0x3f;
}

/// Who an IPI goes to beside or instead of its destination field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shorthand {
    /// The destination field decides.
    None,
    /// The sender.
    Oneself,
    /// Everybody.
    All,
    /// Everybody but the sender.
    Others,
}

/// What a register write causes outside of this local APIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// A level-triggered vector ended: the I/O APIC must hear of it.
    EndOfInterrupt(u8),
    /// An IPI to send.
    Ipi(Message, Shorthand),
}

/// One local APIC.
#[derive(Debug, Clone)]
pub struct Lapic {
    id: u8,
    base: u64,
    task_priority: u8,
    logical_destination: u32,
    destination_format: u32,
    spurious: u32,
    in_service: Vectors,
    requests: Vectors,
    level: Vectors,
    /// Requests that came from a timer, and from an IPI; of the others a device is the source.
    from_timer: Vectors,
    from_ipi: Vectors,
    errors: u32,
    /// Errors since the last write of the ESR; a write shows them.
    new_errors: u32,
    command: u64,
    lvt: [u32; 6],
    timer: LapicTimer,
    lint0: bool,
    nmi: bool,
    init: bool,
    start_up: Option<u8>,
    /// Cache of what follows from the above, see [`Lapic::refresh`].
    signals: Signals,
    processor_priority: u8,
}

crate::persist!(Lapic {
    id, base, task_priority, logical_destination, destination_format, spurious, in_service, requests, level,
    from_timer, from_ipi, errors, new_errors, command, lvt, timer, lint0, nmi, init, start_up;
    skip: signals, processor_priority
});

impl Lapic {
    /// The local APIC at power-on. The boot processor's LINT0 is open for the PIC (`ExtINT`), as firmware
    /// leaves it for a kernel that knows no APIC.
    #[must_use]
    pub fn new(id: u8, is_bsp: bool) -> Lapic {
        let bsp = if is_bsp { BASE_BSP } else { 0 };
        let mut lapic = Lapic {
            id,
            base: layout::LAPIC | BASE_ENABLED | bsp,
            task_priority: 0,
            logical_destination: 0,
            destination_format: u32::MAX,
            spurious: 0xff,
            in_service: Vectors::default(),
            requests: Vectors::default(),
            level: Vectors::default(),
            from_timer: Vectors::default(),
            from_ipi: Vectors::default(),
            errors: 0,
            new_errors: 0,
            command: 0,
            lvt: [LVT_MASKED; 6],
            timer: LapicTimer::default(),
            lint0: false,
            nmi: false,
            init: false,
            start_up: None,
            signals: Signals::default(),
            processor_priority: 0,
        };
        if is_bsp {
            lapic.lvt[LINT0] = 0x700;
        }
        lapic.refresh();
        lapic
    }

    /// INIT: everything but the ID, `IA32_APIC_BASE` and a start-up IPI that came after the INIT.
    pub fn reset(&mut self) {
        let fresh = Lapic::new(self.id, self.base & BASE_BSP != 0);
        *self = Lapic { base: self.base, start_up: self.start_up, lint0: self.lint0, ..fresh };
        if self.is_x2apic() {
            self.logical_destination = self.x2apic_logical_id();
        }
        self.refresh();
    }

    /// What waits for the processor.
    #[must_use]
    pub fn signals(&self) -> Signals {
        self.signals
    }

    /// The processor priority register, which also decides lowest-priority arbitration.
    #[must_use]
    pub fn processor_priority(&self) -> u8 {
        self.processor_priority
    }

    /// `IA32_APIC_BASE`.
    #[must_use]
    pub fn base(&self) -> u64 {
        self.base
    }

    fn is_enabled(&self) -> bool {
        self.base & BASE_ENABLED != 0
    }

    fn is_x2apic(&self) -> bool {
        self.base & BASE_X2APIC != 0
    }

    fn is_software_enabled(&self) -> bool {
        self.spurious & SVR_ENABLED != 0
    }

    fn x2apic_logical_id(&self) -> u32 {
        u32::from(self.id >> 4) << 16 | 1 << (self.id & 0xf)
    }

    /// Address of the register page, while it is mapped.
    #[must_use]
    pub fn page(&self) -> Option<u64> {
        (self.is_enabled() && !self.is_x2apic()).then_some(self.base & 0x000f_ffff_ffff_f000)
    }

    /// Writes `IA32_APIC_BASE`; `None` is #GP: a reserved bit, or a transition the manual forbids.
    pub fn set_base(&mut self, value: u64) -> Option<()> {
        const MODE: u64 = BASE_ENABLED | BASE_X2APIC;
        if value & !BASE_WRITABLE != 0 {
            return None;
        }
        let (old, new) = (self.base & MODE, value & MODE);
        let legal = match new {
            BASE_X2APIC => false,
            MODE => old != 0,
            BASE_ENABLED => old != MODE,
            _ => true,
        };
        if !legal {
            return None;
        }
        self.base = value;
        if new == 0 && old != 0 {
            // Disabling loses the state; enabling again finds it as after power-on.
            let lint0 = self.lint0;
            *self = Lapic { base: value, lint0, ..Lapic::new(self.id, false) };
        }
        if new == MODE && old != MODE {
            self.logical_destination = self.x2apic_logical_id();
            self.command &= 0xffff_ffff;
        }
        self.refresh();
        Some(())
    }

    /// x2APIC mode, as a boot loader that was asked for it leaves it.
    pub fn enter_x2apic_mode(&mut self) {
        let is_legal = self.set_base(self.base | BASE_ENABLED | BASE_X2APIC).is_some();
        assert!(is_legal, "x2APIC mode can be entered from every mode but a disabled one");
    }

    /// Whether the PIC's INTR reaches the processor through LINT0: virtual wire mode, or the APIC is off.
    #[must_use]
    pub fn passes_pic(&self) -> bool {
        let lint0 = self.lvt[LINT0];
        !self.is_enabled() || lint0 & LVT_MASKED == 0 && Delivery::decode(lint0) == Delivery::ExtInt
    }

    /// Drives LINT0 by the PIC's INTR, for the delivery modes other than `ExtINT`.
    pub fn set_lint0(&mut self, level: bool, source: Source) {
        let rises = level && !self.lint0;
        self.lint0 = level;
        if self.is_enabled() {
            if self.lvt[LINT0] & LVT_LEVEL != 0 {
                self.service_lint0(source);
            } else if rises {
                self.deliver_local(LINT0, source);
            }
            self.refresh();
        }
    }

    /// A level-triggered LINT0 interrupts while it is high and no EOI is outstanding.
    fn service_lint0(&mut self, source: Source) {
        let entry = self.lvt[LINT0];
        let fixed = Delivery::decode(entry) == Delivery::Fixed && entry & LVT_LEVEL != 0;
        if fixed && self.lint0 && entry & (LVT_MASKED | LVT_REMOTE_IRR) == 0 {
            self.lvt[LINT0] |= LVT_REMOTE_IRR;
            self.accept_vector(entry as u8, true, source);
        }
    }

    /// An interrupt from a local source, as its LVT entry says.
    fn deliver_local(&mut self, entry: usize, source: Source) {
        let lvt = self.lvt[entry];
        if lvt & LVT_MASKED != 0 {
            return;
        }
        match if entry == TIMER { Delivery::Fixed } else { Delivery::decode(lvt) } {
            Delivery::Fixed => self.accept_vector(lvt as u8, false, source),
            Delivery::Nmi => self.nmi = true,
            Delivery::Init => self.accept_init(),
            _ => {}
        }
    }

    /// Whether a message with this destination is for this local APIC.
    #[must_use]
    pub fn matches(&self, destination: &Destination) -> bool {
        if !self.is_enabled() {
            return false;
        }
        let id = destination.id;
        if destination.is_broadcast() {
            true
        } else if !destination.logical {
            id == u32::from(self.id)
        } else if self.is_x2apic() {
            id >> 16 == self.logical_destination >> 16 && id & self.logical_destination & 0xffff != 0
        } else if id > 0xff {
            false
        } else if self.destination_format >> 28 == 0xf {
            id & (self.logical_destination >> 24) != 0
        } else {
            let own = self.logical_destination >> 24;
            (id >> 4 == own >> 4 || id >> 4 == 0xf) && id & own & 0xf != 0
        }
    }

    /// Whether fixed interrupts are accepted; the candidates of lowest-priority delivery.
    #[must_use]
    pub fn accepts_fixed(&self) -> bool {
        self.is_enabled() && self.is_software_enabled()
    }

    /// Receives a message that [`Lapic::matches`].
    pub fn accept(&mut self, message: &Message) {
        match message.delivery {
            Delivery::Fixed | Delivery::LowestPriority if self.accepts_fixed() => {
                self.accept_vector(message.vector, message.level, message.source);
            }
            Delivery::Nmi => self.nmi = true,
            Delivery::Init => self.accept_init(),
            Delivery::StartUp => self.start_up = Some(message.vector),
            _ => {}
        }
        self.refresh();
    }

    fn accept_init(&mut self) {
        self.init = true;
        self.start_up = None;
    }

    fn accept_vector(&mut self, vector: u8, level: bool, source: Source) {
        if vector < 16 {
            return self.error(ESR_RECEIVED_ILLEGAL_VECTOR);
        }
        self.requests.set(vector, true);
        self.level.set(vector, level);
        self.from_timer.set(vector, source == Source::Timer);
        self.from_ipi.set(vector, source == Source::Ipi);
    }

    fn error(&mut self, bit: u32) {
        let vector = self.lvt[ERROR] as u8;
        let raise = self.lvt[ERROR] & LVT_MASKED == 0 && self.new_errors & bit == 0;
        self.new_errors |= bit;
        if vector < 16 {
            // The error interrupt itself cannot be sent; that is an error too, but not one more interrupt.
            self.new_errors |= if raise { ESR_RECEIVED_ILLEGAL_VECTOR } else { 0 };
        } else if raise {
            self.accept_vector(vector, false, Source::Device);
        }
    }

    /// Recomputes the processor priority and what waits. Every change of the state ends here, and so must a
    /// load.
    pub fn refresh(&mut self) {
        let served = self.in_service.highest().unwrap_or(0);
        self.processor_priority =
            if self.task_priority >> 4 >= served >> 4 { self.task_priority } else { served & 0xf0 };
        let request = self.requests.highest().unwrap_or(0);
        self.signals = Signals {
            interrupt: self.is_enabled() && request >> 4 > self.processor_priority >> 4,
            nmi: self.nmi,
            init: self.init,
            sipi: self.start_up.is_some(),
        };
    }

    /// The acknowledge cycle: the highest request goes into service.
    pub fn acknowledge(&mut self) -> Option<(u8, Source)> {
        if !self.signals.interrupt {
            return None;
        }
        let vector = self.requests.highest()?;
        self.requests.set(vector, false);
        self.in_service.set(vector, true);
        let source = if self.from_timer.contains(vector) {
            Source::Timer
        } else if self.from_ipi.contains(vector) {
            Source::Ipi
        } else {
            Source::Device
        };
        self.refresh();
        Some((vector, source))
    }

    /// Takes a pending NMI.
    pub fn take_nmi(&mut self) -> bool {
        let taken = std::mem::take(&mut self.nmi);
        self.refresh();
        taken
    }

    /// Takes a pending INIT.
    pub fn take_init(&mut self) -> bool {
        let taken = std::mem::take(&mut self.init);
        self.refresh();
        taken
    }

    /// Takes the vector of a pending start-up IPI.
    pub fn take_start_up(&mut self) -> Option<u8> {
        let taken = self.start_up.take();
        self.refresh();
        taken
    }

    /// The task priority class, which is CR8.
    #[must_use]
    pub fn task_priority(&self) -> u8 {
        self.task_priority >> 4
    }

    /// Writes CR8.
    pub fn set_task_priority(&mut self, class: u8) {
        self.task_priority = class << 4;
        self.refresh();
    }

    /// The next time at which the timer needs [`Lapic::advance`]. A masked timer does nothing anybody could
    /// see until then, except in TSC-deadline mode, where the MSR falls to 0.
    #[must_use]
    pub fn deadline(&self) -> Option<VirtualTime> {
        let silent = self.lvt[TIMER] & LVT_MASKED != 0 && self.timer.mode() != Mode::TscDeadline;
        if silent { None } else { self.timer.expires() }
    }

    /// Lets the timer expire.
    pub fn advance(&mut self, now: VirtualTime) {
        if self.timer.expire(now) {
            self.deliver_local(TIMER, Source::Timer);
            self.refresh();
        }
    }

    /// The armed TSC deadline.
    #[must_use]
    pub fn tsc_deadline(&self) -> Option<VirtualTime> {
        self.timer.expires().filter(|_| self.timer.mode() == Mode::TscDeadline)
    }

    /// Arms or disarms the TSC deadline.
    pub fn set_tsc_deadline(&mut self, deadline: Option<VirtualTime>) {
        self.timer.set_deadline(deadline);
    }
}

mod access;
mod view;
pub use view::ApicMode;

#[cfg(test)]
mod tests;
