//! Interrupt routing: the PIC pair, the I/O APIC and every local APIC, wired as on a PC.
//!
//! An ISA line drives the PIC and the pin of the same number of the I/O APIC, except that IRQ 0 drives pin 2
//! (ACPI override) and pin 0 is the PIC's INTR, which also is the boot processor's LINT0. What a vCPU is
//! asked most often, [`Interrupts::signals`] and [`Interrupts::deadline`], is kept ready.

use super::apic_message::{Delivery, Message, Source};
use super::ioapic::IoApic;
use super::lapic::{Effect, Lapic, Shorthand};
use super::pic::Pic;
use super::{Access, Acknowledged, Signals, layout};
use crate::archive::{Archive, Persist};
use boundary::{LandmarkKind, VirtualTime};

const IA32_APIC_BASE: u32 = 0x1b;
const X2APIC_MSRS: u32 = 0x800;
const PAGE: u64 = !0xfff;
/// The I/O APIC pin that IRQ 0 drives, and the one that the PIC drives.
const TIMER_PIN: u8 = 2;
const PIC_PIN: u8 = 0;

/// Every interrupt controller of the machine.
#[derive(Debug)]
pub struct Interrupts {
    pic: Pic,
    ioapic: IoApic,
    lapics: Vec<Lapic>,
    /// Where the last request of each ISA line began.
    isa_sources: [Source; 16],
    ipi_sent: bool,
    /// Cache: vCPUs that see the PIC's INTR, while it is high.
    pic_waits: u16,
    /// Cache: vCPUs that would see the PIC's INTR.
    pic_routes: u16,
    /// Cache: the earliest of the timers.
    deadline: Option<VirtualTime>,
}

impl Persist for Interrupts {
    fn persist(&mut self, archive: &mut Archive) {
        let Interrupts {
            pic,
            ioapic,
            lapics,
            isa_sources,
            ipi_sent,
            pic_waits: _,
            pic_routes: _,
            deadline: _,
        } = self;
        archive.field(pic);
        archive.field(ioapic);
        // How many there are is configuration, not state.
        lapics.iter_mut().for_each(|lapic| archive.field(lapic));
        archive.field(isa_sources);
        archive.field(ipi_sent);
        if archive.is_loading() {
            self.lapics.iter_mut().for_each(Lapic::refresh);
            self.refresh_pic_routes();
            self.refresh_deadline();
        }
    }
}

impl Interrupts {
    /// Controllers for `vcpus` processors (1 to 16), as at power-on.
    ///
    /// # Panics
    /// When the number is not in that range: the command line has checked it.
    #[must_use]
    pub fn new(vcpus: u8) -> Interrupts {
        assert!((1..=16).contains(&vcpus), "the machine has 1 to 16 processors");
        let mut interrupts = Interrupts {
            pic: Pic::new(),
            ioapic: IoApic::new(),
            lapics: (0..vcpus).map(|id| Lapic::new(id, id == 0)).collect(),
            isa_sources: [Source::Device; 16],
            ipi_sent: false,
            pic_waits: 0,
            pic_routes: 0,
            deadline: None,
        };
        interrupts.refresh_pic_routes();
        interrupts
    }

    /// The local APIC of a vCPU, to be looked at.
    #[must_use]
    pub fn local_apic(&self, vcpu: u8) -> &Lapic {
        &self.lapics[usize::from(vcpu)]
    }

    /// The I/O APIC, to be looked at.
    #[must_use]
    pub fn io_apic(&self) -> &IoApic {
        &self.ioapic
    }

    fn lapic(&mut self, vcpu: u8) -> &mut Lapic {
        &mut self.lapics[usize::from(vcpu)]
    }

    /// Drives an interrupt line: an ISA IRQ (0 to 15) or a GSI from 16 to 23. `kind` says what drives it.
    pub fn set_irq(&mut self, irq: u8, level: bool, kind: LandmarkKind) {
        let source = Source::from(kind);
        if let Some(isa_source) = self.isa_sources.get_mut(usize::from(irq)) {
            if level {
                *isa_source = source;
            }
            self.pic.set_irq(irq, level);
            self.follow_pic(source);
        }
        let pin = match irq {
            0 => TIMER_PIN,
            // The cascade of the PICs is not a line.
            2 => return,
            _ => irq,
        };
        if let Some(message) = self.ioapic.set_pin(pin, level, source) {
            post(&mut self.lapics, &message);
        }
    }

    /// A message-signalled interrupt: a write of `data` to `address` in 0xfeexxxxx.
    pub fn msi(&mut self, address: u64, data: u32) {
        if let Some(message) = Message::from_msi(address, data) {
            post(&mut self.lapics, &message);
        }
    }

    /// What waits for a vCPU.
    #[must_use]
    #[inline]
    pub fn signals(&self, vcpu: u8) -> Signals {
        let mut signals = self.lapics[usize::from(vcpu)].signals();
        signals.interrupt |= self.pic_waits >> vcpu & 1 != 0;
        signals
    }

    /// The interrupt acknowledge cycle. The PIC goes first, as LINT0 does on a processor.
    pub fn acknowledge(&mut self, vcpu: u8) -> Option<Acknowledged> {
        let (vector, source) = if self.pic_waits >> vcpu & 1 != 0 {
            let (vector, irq) = self.pic.acknowledge();
            let source = self.isa_sources[usize::from(irq)];
            self.follow_pic(source);
            (vector, source)
        } else {
            self.lapic(vcpu).acknowledge()?
        };
        Some(Acknowledged { vector, kind: source.into() })
    }

    /// Takes a pending NMI.
    pub fn take_nmi(&mut self, vcpu: u8) -> bool {
        self.lapic(vcpu).take_nmi()
    }

    /// Takes a pending INIT; the caller then calls [`Interrupts::reset_vcpu`].
    pub fn take_init(&mut self, vcpu: u8) -> bool {
        self.lapic(vcpu).take_init()
    }

    /// Takes the vector of a pending start-up IPI.
    pub fn take_sipi(&mut self, vcpu: u8) -> Option<u8> {
        self.lapic(vcpu).take_start_up()
    }

    /// Resets the local APIC of a vCPU as INIT does.
    pub fn reset_vcpu(&mut self, vcpu: u8) {
        self.lapic(vcpu).reset();
        self.refresh_pic_routes();
        self.refresh_deadline();
    }

    /// Whether `paddr` belongs to the local APIC page of this vCPU or to the I/O APIC page.
    #[must_use]
    pub fn claims(&self, vcpu: u8, paddr: u64) -> bool {
        paddr & PAGE == layout::IOAPIC || self.is_lapic(vcpu, paddr)
    }

    fn is_lapic(&self, vcpu: u8, paddr: u64) -> bool {
        self.lapics[usize::from(vcpu)].page() == Some(paddr & PAGE)
    }

    /// Reads `size` bytes at `paddr`, which [`Interrupts::claims`] accepted. A register is 32 bits at a
    /// multiple of 16; other places read as its bytes, and zero behind it.
    pub fn mmio_read(&mut self, access: Access, paddr: u64, size: u8) -> u64 {
        let offset = paddr & !PAGE;
        let (slot, byte) = (offset & !0xf, offset & 0xf);
        let register = if self.is_lapic(access.vcpu, paddr) {
            let value = self.lapic(access.vcpu).mmio_read((slot >> 4) as u32, access.now);
            self.refresh_deadline();
            value
        } else {
            self.ioapic.read(slot)
        };
        let bits = if byte < 8 { u64::from(register) >> (8 * byte) } else { 0 };
        if size >= 8 { bits } else { bits & ((1 << (8 * u32::from(size))) - 1) }
    }

    /// Writes `size` bytes at `paddr`, which [`Interrupts::claims`] accepted. Only whole registers can be
    /// written; the rest is ignored.
    pub fn mmio_write(&mut self, access: Access, paddr: u64, size: u8, value: u64) {
        let offset = paddr & !PAGE;
        if size < 4 && !(offset == 0 && paddr & PAGE == layout::IOAPIC) || offset & 0xf != 0 {
            return;
        }
        if self.is_lapic(access.vcpu, paddr) {
            let effect = self.lapic(access.vcpu).mmio_write((offset >> 4) as u32, value as u32, access.now);
            self.carry_out(access.vcpu, effect);
        } else {
            let lapics = &mut self.lapics;
            let mut send = |message: Message| post(lapics, &message);
            self.ioapic.write(offset, value as u32, &mut send);
            self.refresh_pic_routes();
        }
    }

    /// Reads a PIC port: 0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1.
    pub fn port_read(&mut self, port: u16) -> u8 {
        let value = self.pic.read(port);
        self.follow_pic(Source::Device);
        value
    }

    /// Whether the guest wants interrupts of an ISA line, other than 0, from the PIC or the I/O APIC.
    #[must_use]
    pub fn hears(&self, irq: u8) -> bool {
        !self.pic.is_masked(irq) || !self.ioapic.is_masked(irq)
    }

    /// Writes a PIC port.
    pub fn port_write(&mut self, port: u16, value: u8) {
        self.pic.write(port, value);
        self.follow_pic(Source::Device);
    }

    /// RDMSR of `IA32_APIC_BASE` (0x1b) or 0x800..=0x8ff; `None` is #GP.
    pub fn msr_read(&mut self, vcpu: u8, msr: u32, now: VirtualTime) -> Option<u64> {
        let lapic = self.lapic(vcpu);
        if msr == IA32_APIC_BASE {
            return Some(lapic.base());
        }
        let value = lapic.msr_read(msr.wrapping_sub(X2APIC_MSRS), now);
        self.refresh_deadline();
        value
    }

    /// WRMSR of the same registers; `None` is #GP.
    pub fn msr_write(&mut self, vcpu: u8, msr: u32, value: u64, now: VirtualTime) -> Option<()> {
        let lapic = self.lapic(vcpu);
        let effect = if msr == IA32_APIC_BASE {
            lapic.set_base(value)?;
            Effect::None
        } else {
            lapic.msr_write(msr.wrapping_sub(X2APIC_MSRS), value, now)?
        };
        self.carry_out(vcpu, effect);
        Some(())
    }

    /// Puts every local APIC into x2APIC mode, before the first instruction.
    pub fn enter_x2apic_mode(&mut self) {
        for vcpu in 0..self.lapics.len() as u8 {
            self.lapic(vcpu).enter_x2apic_mode();
            self.carry_out(vcpu, Effect::None);
        }
    }

    /// Sets or clears the TSC deadline, already converted to guest time. Ignored outside of that timer mode.
    pub fn set_tsc_deadline(&mut self, vcpu: u8, deadline: Option<VirtualTime>) {
        self.lapic(vcpu).set_tsc_deadline(deadline);
        self.refresh_deadline();
    }

    /// The armed TSC deadline.
    #[must_use]
    pub fn tsc_deadline(&self, vcpu: u8) -> Option<VirtualTime> {
        self.lapics[usize::from(vcpu)].tsc_deadline()
    }

    /// CR8: the task priority class, 0 to 15.
    #[must_use]
    pub fn task_priority(&self, vcpu: u8) -> u8 {
        self.lapics[usize::from(vcpu)].task_priority()
    }

    /// Sets CR8.
    pub fn set_task_priority(&mut self, vcpu: u8, class: u8) {
        self.lapic(vcpu).set_task_priority(class);
    }

    /// The next time at which a local APIC timer expires.
    #[must_use]
    #[inline]
    pub fn deadline(&self) -> Option<VirtualTime> {
        self.deadline
    }

    /// Delivers the timers that expired up to `now`.
    pub fn advance(&mut self, now: VirtualTime) {
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.lapics.iter_mut().for_each(|lapic| lapic.advance(now));
            self.refresh_deadline();
        }
    }

    /// Whether an IPI to another vCPU was sent since the last call.
    pub fn take_ipi_sent(&mut self) -> bool {
        std::mem::take(&mut self.ipi_sent)
    }

    /// What a register write of a local APIC causes elsewhere.
    fn carry_out(&mut self, vcpu: u8, effect: Effect) {
        match effect {
            Effect::None => {}
            Effect::EndOfInterrupt(vector) => {
                let lapics = &mut self.lapics;
                let mut send = |message: Message| post(lapics, &message);
                self.ioapic.end_of_interrupt(vector, &mut send);
            }
            Effect::Ipi(message, shorthand) => self.send_ipi(vcpu, message, shorthand),
        }
        self.refresh_pic_routes();
        self.refresh_deadline();
    }

    fn send_ipi(&mut self, sender: u8, mut message: Message, shorthand: Shorthand) {
        let oneself = 1u16 << sender;
        let allowed = match shorthand {
            Shorthand::None => u16::MAX,
            Shorthand::Oneself => oneself,
            Shorthand::All => u16::MAX,
            Shorthand::Others => !oneself,
        };
        if shorthand != Shorthand::None {
            message.destination.id = u32::MAX;
            message.destination.wide = true;
        }
        let reached = deliver(&mut self.lapics, &message, allowed);
        self.ipi_sent |= reached & !oneself != 0;
    }

    /// After any change of the PIC: its output drives pin 0 of the I/O APIC and LINT0 of the boot processor.
    fn follow_pic(&mut self, source: Source) {
        let level = self.pic.interrupt();
        self.pic_waits = if level { self.pic_routes } else { 0 };
        self.lapics[0].set_lint0(level, source);
        if let Some(message) = self.ioapic.set_pin(PIC_PIN, level, source) {
            post(&mut self.lapics, &message);
        }
    }

    /// After any change of a LINT0 entry or of pin 0: who sees the PIC's INTR by an `ExtINT` route.
    fn refresh_pic_routes(&mut self) {
        let mut routes = u16::from(self.lapics[0].passes_pic());
        if let Some(destination) = self.ioapic.ext_int_destination(PIC_PIN) {
            for (vcpu, lapic) in self.lapics.iter().enumerate() {
                routes |= u16::from(lapic.matches(&destination)) << vcpu;
            }
        }
        self.pic_routes = routes;
        self.pic_waits = if self.pic.interrupt() { routes } else { 0 };
    }

    fn refresh_deadline(&mut self) {
        self.deadline = self.lapics.iter().filter_map(Lapic::deadline).min();
    }
}

/// Hands a message to whoever its destination names.
fn post(lapics: &mut [Lapic], message: &Message) {
    deliver(lapics, message, u16::MAX);
}

/// Hands a message to its receivers among the vCPUs of the mask `allowed`; returns who received it.
fn deliver(lapics: &mut [Lapic], message: &Message, allowed: u16) -> u16 {
    let is_candidate =
        |vcpu: usize, lapic: &Lapic| allowed >> vcpu & 1 != 0 && lapic.matches(&message.destination);
    if message.delivery == Delivery::LowestPriority {
        // Arbitration by processor priority; the lowest number wins a tie, so that it is reproducible.
        let winner = (0..lapics.len())
            .filter(|vcpu| is_candidate(*vcpu, &lapics[*vcpu]) && lapics[*vcpu].accepts_fixed())
            .min_by_key(|vcpu| lapics[*vcpu].processor_priority());
        let Some(winner) = winner else { return 0 };
        lapics[winner].accept(message);
        return 1 << winner;
    }
    let mut reached = 0;
    for (vcpu, lapic) in lapics.iter_mut().enumerate() {
        if is_candidate(vcpu, lapic) {
            lapic.accept(message);
            reached |= 1 << vcpu;
        }
    }
    reached
}

#[cfg(test)]
mod tests;
