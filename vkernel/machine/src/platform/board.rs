//! The board: which device answers at which port and address, and which interrupt line it drives.
//!
//! [`Platform`] is all of the PC that the processors see. After every port access and every step of time each
//! interrupt line is computed anew from its device's state; a line is never toggled, so nothing can be out of
//! step after a load. What a guest reads is folded into a hash, by which a replay proves
//! at the next landmark that it read the same.

use super::debug_ports::{DebugPorts, Effect};
use super::fw_cfg::{self, FwCfg};
use super::i8042::{self, I8042};
use super::interrupts::Interrupts;
use super::memory_map::memory_map;
use super::pci::Pci;
use super::power::{self, Power};
use super::registers::all_ones;
use super::rtc::Rtc;
use super::timers::Timers;
use super::uart::Uart;
use super::vga::{self, Vga};
use super::vga_mirror::VgaMirror;
use super::{Access, Acknowledged, Signals, layout};
use crate::archive::{Archive, Persist};
use boundary::{LandmarkKind, Output, PowerEvent, PowerOn, VirtualTime};

/// COM1.
pub const COM1: u16 = 0x3f8;
/// COM1's interrupt.
pub const COM1_IRQ: u8 = 4;
/// The ACPI PM timer, 32 bits.
pub const PM_TIMER: u16 = 0x608;

/// How many interrupt lines the devices of this module drive; the timers drive theirs themselves.
const LINES: usize = 3;

/// The devices of one machine and the wires between them.
#[derive(Debug)]
pub struct Platform {
    interrupts: Interrupts,
    timers: Timers,
    uart: Uart,
    keyboard: I8042,
    power: Power,
    debug_ports: DebugPorts,
    pci: Pci,
    fw_cfg: FwCfg,
    vga: Vga,
    mirror: VgaMirror,
    /// Cache: the earliest of all devices' deadlines.
    deadline: Option<VirtualTime>,
    /// Cache: the levels that the interrupt lines were last driven to.
    driven: [bool; LINES],
    reads_hash: u32,
    outputs: Vec<Output>,
    power_event: Option<PowerEvent>,
    vcpus: u8,
    rtc_start_s: u64,
    ram_bytes: u64,
}

impl Persist for Platform {
    /// Outputs and the power event are on their way out: whoever saves has taken them, so that no state
    /// depends on when the driver looks.
    fn persist(&mut self, archive: &mut Archive) {
        let Self {
            interrupts,
            timers,
            uart,
            keyboard,
            power,
            debug_ports,
            pci,
            fw_cfg,
            vga,
            mirror,
            deadline: _,
            driven: _,
            reads_hash,
            outputs,
            power_event,
            vcpus: _,
            rtc_start_s: _,
            ram_bytes: _,
        } = self;
        archive.field(interrupts);
        archive.field(timers);
        archive.field(uart);
        archive.field(keyboard);
        archive.field(power);
        archive.field(debug_ports);
        archive.field(pci);
        archive.field(fw_cfg);
        archive.field(vga);
        archive.field(mirror);
        archive.field(reads_hash);
        if archive.is_loading() {
            outputs.clear();
            *power_event = None;
            // What was saved was in step.
            self.driven = self.lines().map(|(_, level)| level);
            self.refresh_deadline();
        }
    }
}

impl Platform {
    /// The platform of a machine at power-on.
    #[must_use]
    pub fn new(power_on: &PowerOn) -> Platform {
        let (vcpus, ram_bytes) = (power_on.topology.vcpus, power_on.ram_bytes);
        let mut platform = Platform {
            interrupts: Interrupts::new(vcpus),
            timers: Timers::new(power_on.rtc_start_s),
            uart: Uart::default(),
            keyboard: I8042::default(),
            power: Power::default(),
            debug_ports: DebugPorts::default(),
            pci: Pci::default(),
            fw_cfg: FwCfg::new(vcpus, ram_bytes, memory_map(ram_bytes)),
            vga: Vga::default(),
            mirror: VgaMirror::default(),
            deadline: None,
            driven: [false; LINES],
            reads_hash: 0,
            outputs: Vec::new(),
            power_event: None,
            vcpus,
            rtc_start_s: power_on.rtc_start_s,
            ram_bytes,
        };
        platform.set_cmos_memory_size();
        platform.sync();
        platform
    }

    /// The interrupt controllers, to be looked at.
    #[must_use]
    pub fn interrupts(&self) -> &Interrupts {
        &self.interrupts
    }

    /// The clock chip, to be looked at.
    #[must_use]
    pub fn rtc(&self) -> &Rtc {
        self.timers.rtc()
    }

    /// The PCI functions, to be looked at.
    #[must_use]
    pub fn pci(&self) -> &Pci {
        &self.pci
    }

    /// Puts every local APIC into x2APIC mode, before the first instruction.
    pub fn enter_x2apic_mode(&mut self) {
        self.interrupts.enter_x2apic_mode();
    }

    /// Resets every device, as a guest's reset does. Typed bytes, the window size and what the mirror has
    /// shown outlive it, because they belong to the outside.
    pub fn reset(&mut self) {
        self.interrupts = Interrupts::new(self.vcpus);
        self.timers = Timers::new(self.rtc_start_s);
        self.uart.reset();
        self.keyboard.reset();
        self.power = Power::default();
        self.debug_ports = DebugPorts::default();
        self.pci = Pci::default();
        self.fw_cfg.reset();
        self.vga = Vga::default();
        self.driven = [false; LINES];
        self.set_cmos_memory_size();
        self.sync();
    }

    /// Reads `size` bytes (1, 2 or 4) from a port. Nothing there: all ones.
    pub fn port_read(&mut self, at: Access, port: u16, size: u8) -> u32 {
        let value = match port {
            PM_TIMER..=0x60b => {
                let shifted = u64::from(self.timers.pm_timer(at.now)) >> (8 * u32::from(port - PM_TIMER));
                (shifted & all_ones(size)) as u32
            }
            0xcf8 | 0xcfc..=0xcff => self.pci.port_read(port, size),
            fw_cfg::SELECTOR if size > 1 => all_ones(size) as u32,
            _ => (0..size.min(4)).fold(0, |value, index| {
                value | u32::from(self.byte_read(at, port.wrapping_add(u16::from(index)))) << (8 * index)
            }),
        };
        self.fold_read(u64::from(value));
        self.sync();
        value
    }

    /// Writes `size` bytes (1, 2 or 4) to a port. Nothing there: lost.
    pub fn port_write(&mut self, at: Access, port: u16, size: u8, value: u32) {
        let value = value & all_ones(size) as u32;
        match port {
            _ if DebugPorts::decodes(port) => self.debug_write(port, value),
            _ if Power::decodes(port) => {
                let event = self.power.write(port, size, value);
                self.raise(event);
            }
            0xcf8 | 0xcfc..=0xcff => self.pci.port_write(port, size, value),
            fw_cfg::SELECTOR => self.fw_cfg.select(value as u16),
            _ => {
                let bytes = value.to_le_bytes();
                for (index, byte) in (0_u16..).zip(bytes).take(usize::from(size)) {
                    self.byte_write(at, port.wrapping_add(index), byte);
                }
            }
        }
        self.type_unheard(at.now);
        self.sync();
    }

    /// Reads `size` bytes (1, 2, 4 or 8) of device memory. Nothing there: all ones.
    pub fn mmio_read(&mut self, at: Access, paddr: u64, size: u8) -> u64 {
        let value = if self.interrupts.claims(at.vcpu, paddr) {
            let value = self.interrupts.mmio_read(at, paddr, size);
            self.refresh_deadline();
            value
        } else if let Some(offset) = offset_in(paddr, layout::HPET, HPET_BYTES) {
            self.timers.hpet_read(at, offset, size)
        } else if let Some(offset) = offset_in(paddr, layout::ECAM, layout::ECAM_LENGTH) {
            self.pci.ecam_read(offset, size)
        } else if let Some(offset) = offset_in(paddr, layout::VGA_MEMORY.start, vga::MEMORY_BYTES as u64) {
            self.vga.memory_read(offset as usize, size)
        } else {
            all_ones(size)
        };
        self.fold_read(value);
        value
    }

    /// Writes `size` bytes (1, 2, 4 or 8) of device memory. Nothing there: lost.
    pub fn mmio_write(&mut self, at: Access, paddr: u64, size: u8, value: u64) {
        let value = value & all_ones(size);
        if self.interrupts.claims(at.vcpu, paddr) {
            self.interrupts.mmio_write(at, paddr, size, value);
        } else if let Some(offset) = offset_in(paddr, layout::HPET, HPET_BYTES) {
            self.timers.hpet_write(at, offset, size, value, &mut self.interrupts);
        } else if let Some(offset) = offset_in(paddr, layout::ECAM, layout::ECAM_LENGTH) {
            self.pci.ecam_write(offset, size, value);
        } else if let Some(offset) = offset_in(paddr, layout::VGA_MEMORY.start, vga::MEMORY_BYTES as u64) {
            self.mirror.before_memory_write(at.now, &self.vga, offset as usize, &mut self.outputs);
            self.vga.memory_write(offset as usize, size, value);
        }
        self.type_unheard(at.now);
        self.refresh_deadline();
    }

    /// RDMSR of `IA32_APIC_BASE` or an x2APIC register; `None` is #GP.
    pub fn apic_msr_read(&mut self, at: Access, msr: u32) -> Option<u64> {
        let value = self.interrupts.msr_read(at.vcpu, msr, at.now)?;
        self.fold_read(value);
        Some(value)
    }

    /// WRMSR of the same registers; `None` is #GP.
    pub fn apic_msr_write(&mut self, at: Access, msr: u32, value: u64) -> Option<()> {
        let written = self.interrupts.msr_write(at.vcpu, msr, value, at.now);
        self.refresh_deadline();
        written
    }

    /// Arms or disarms the TSC deadline timer of a vCPU, in guest time.
    pub fn set_tsc_deadline(&mut self, vcpu: u8, deadline: Option<VirtualTime>) {
        self.interrupts.set_tsc_deadline(vcpu, deadline);
        self.refresh_deadline();
    }

    /// The armed TSC deadline.
    #[must_use]
    pub fn tsc_deadline(&self, vcpu: u8) -> Option<VirtualTime> {
        self.interrupts.tsc_deadline(vcpu)
    }

    /// CR8.
    #[must_use]
    pub fn task_priority(&self, vcpu: u8) -> u8 {
        self.interrupts.task_priority(vcpu)
    }

    /// Sets CR8.
    pub fn set_task_priority(&mut self, vcpu: u8, class: u8) {
        self.interrupts.set_task_priority(vcpu, class);
    }

    /// The next guest time at which a device does something by itself.
    #[must_use]
    #[inline]
    pub fn next_deadline(&self) -> Option<VirtualTime> {
        self.deadline
    }

    /// Lets everything happen that is due up to `now`, in order of (deadline, device).
    pub fn advance(&mut self, now: VirtualTime) {
        while let Some(due) = self.deadline.filter(|due| *due <= now) {
            // Devices in the order of this list; one that has nothing due at this moment does nothing.
            self.timers.advance(due, &mut self.interrupts);
            self.interrupts.advance(due);
            self.uart.advance(due);
            self.keyboard.advance(due);
            self.mirror.advance(due, &self.vga, &mut self.outputs);
            self.type_unheard(due);
            self.sync();
            assert!(
                self.deadline.is_none_or(|next| next > due),
                "a device does not leave its deadline behind"
            );
        }
    }

    /// What waits for a vCPU.
    #[must_use]
    #[inline]
    pub fn signals(&self, vcpu: u8) -> Signals {
        self.interrupts.signals(vcpu)
    }

    /// The interrupt acknowledge cycle.
    pub fn acknowledge(&mut self, vcpu: u8) -> Option<Acknowledged> {
        self.interrupts.acknowledge(vcpu)
    }

    /// Takes a pending NMI.
    pub fn take_nmi(&mut self, vcpu: u8) -> bool {
        self.interrupts.take_nmi(vcpu)
    }

    /// Takes a pending INIT and resets the vCPU's local APIC.
    pub fn take_init(&mut self, vcpu: u8) -> bool {
        let taken = self.interrupts.take_init(vcpu);
        if taken {
            self.interrupts.reset_vcpu(vcpu);
            self.refresh_deadline();
        }
        taken
    }

    /// Takes the vector of a pending start-up IPI.
    pub fn take_sipi(&mut self, vcpu: u8) -> Option<u8> {
        self.interrupts.take_sipi(vcpu)
    }

    /// Whether an IPI to another vCPU was sent since the last call.
    pub fn take_ipi_sent(&mut self) -> bool {
        self.interrupts.take_ipi_sent()
    }

    /// Bytes typed at the console.
    pub fn console_input(&mut self, now: VirtualTime, bytes: &[u8]) {
        self.uart.receive(now, bytes);
        self.type_unheard(now);
        self.sync();
    }

    /// Somebody pressed the power button.
    pub fn power_button(&mut self, _now: VirtualTime) {
        self.power.press_button();
        self.sync();
    }

    /// The terminal's size changed.
    pub fn window_size(&mut self, columns: u16, rows: u16) {
        self.fw_cfg.set_window_size(columns, rows);
    }

    /// Typed bytes that the guest has not read yet.
    #[must_use]
    pub fn console_bytes_pending(&self) -> usize {
        self.uart.unread_bytes() + self.keyboard.untyped_characters()
    }

    /// Moves everything emitted to `outputs`, in order.
    pub fn drain_outputs(&mut self, outputs: &mut Vec<Output>) {
        outputs.append(&mut self.outputs);
    }

    /// Emits what the screen mirror still holds back. For the end of a run: a shut-down processor or a hang.
    pub fn flush_screen(&mut self) {
        self.mirror.tell(&self.vga, &mut self.outputs);
        self.refresh_deadline();
    }

    /// Whether [`Platform::drain_outputs`] has anything to move.
    #[must_use]
    #[inline]
    pub fn has_outputs(&self) -> bool {
        !self.outputs.is_empty()
    }

    /// Takes what the guest did to the machine's power.
    pub fn take_power(&mut self) -> Option<PowerEvent> {
        self.power_event.take()
    }

    /// Folds a value that the guest read (a port, device memory, an MSR, the TSC) into the reads hash.
    #[inline]
    pub fn fold_read(&mut self, value: u64) {
        self.reads_hash = fold(self.reads_hash, value);
    }

    /// The hash of everything read since the last call, and starts a new one.
    pub fn take_reads_hash(&mut self) -> u32 {
        std::mem::take(&mut self.reads_hash)
    }

    /// The lines of the VGA text screen.
    #[must_use]
    pub fn screen_text(&self) -> Vec<String> {
        self.vga.screen_text()
    }

    fn byte_read(&mut self, at: Access, port: u16) -> u8 {
        match port {
            0x20 | 0x21 | 0xa0 | 0xa1 | 0x4d0 | 0x4d1 => self.interrupts.port_read(port),
            0x40..=0x43 | 0x61 | 0x70 | 0x71 => self.timers.port_read(at, port, &mut self.interrupts),
            i8042::DATA | i8042::COMMAND => {
                self.type_on_keyboard(at.now);
                self.keyboard.read(at.now, port)
            }
            COM1..=0x3ff => self.uart.read(at.now, port - COM1),
            PM_TIMER..=0x60b => self.timers.pm_timer(at.now).to_le_bytes()[usize::from(port - PM_TIMER)],
            fw_cfg::DATA => self.fw_cfg.read_data(),
            _ if Power::decodes(port) => self.power.read(port),
            _ if DebugPorts::decodes(port) => self.debug_ports.read(port),
            _ if Vga::decodes(port) => self.vga.port_read(at.now, port),
            _ => 0xff,
        }
    }

    fn byte_write(&mut self, at: Access, port: u16, value: u8) {
        match port {
            0x20 | 0x21 | 0xa0 | 0xa1 | 0x4d0 | 0x4d1 => self.interrupts.port_write(port, value),
            0x40..=0x43 | 0x61 | 0x70 | 0x71 => self.timers.port_write(at, port, value, &mut self.interrupts),
            i8042::DATA | i8042::COMMAND => {
                let event = self.keyboard.write(at.now, port, value);
                self.raise(event);
            }
            COM1..=0x3ff => {
                self.uart.write(at.now, port - COM1, value);
                self.forward_transmitted();
            }
            _ if Vga::decodes(port) => {
                if self.vga.moves_start_address(port) {
                    self.mirror.before_scroll(&self.vga, &mut self.outputs);
                }
                self.vga.port_write(port, value);
            }
            _ => {}
        }
    }

    fn debug_write(&mut self, port: u16, value: u32) {
        match self.debug_ports.write(port, value) {
            Some(Effect::Output(Output::Console(bytes))) => {
                self.mirror.silence();
                emit_console(&mut self.outputs, &bytes);
            }
            Some(Effect::Output(output)) => self.outputs.push(output),
            Some(Effect::Power(event)) => self.raise(Some(event)),
            None => {}
        }
    }

    fn forward_transmitted(&mut self) {
        if self.uart.has_transmitted() {
            self.mirror.silence();
            emit_console(&mut self.outputs, &self.uart.take_transmitted());
        }
    }

    /// The first event counts: what a guest does after it switched itself off cannot happen.
    fn raise(&mut self, event: Option<PowerEvent>) {
        if event.is_some() && self.power_event.is_none() {
            self.power_event = event;
            self.flush_screen();
        }
    }

    /// The interrupt lines of the devices here, and their levels now.
    fn lines(&self) -> [(u8, bool); LINES] {
        [
            (i8042::KEYBOARD_IRQ, self.keyboard.interrupt()),
            (COM1_IRQ, self.uart.interrupt()),
            (power::SCI_IRQ, self.power.interrupt()),
        ]
    }

    /// Drives every interrupt line from its device's state and finds the next deadline.
    fn sync(&mut self) {
        for (index, (irq, level)) in self.lines().into_iter().enumerate() {
            if self.driven[index] != level {
                self.driven[index] = level;
                self.interrupts.set_irq(irq, level, LandmarkKind::Device);
            }
        }
        self.refresh_deadline();
    }

    /// A guest whose console is the screen is typed to on the keyboard, unless it has ever listened to the
    /// serial port; and not before it listens to the keyboard, by its interrupt or by polling, for a kernel may
    /// begin on the screen and go on with the serial port.
    fn type_unheard(&mut self, now: VirtualTime) {
        if self.interrupts.hears(i8042::KEYBOARD_IRQ) {
            self.type_on_keyboard(now);
        }
    }

    fn type_on_keyboard(&mut self, now: VirtualTime) {
        if self.mirror.is_console() {
            self.keyboard.type_characters(now, &self.uart.take_unheard());
        }
    }

    fn refresh_deadline(&mut self) {
        let deadlines = [
            self.timers.deadline(),
            self.interrupts.deadline(),
            self.uart.deadline(),
            self.keyboard.deadline(),
            self.mirror.deadline(),
        ];
        self.deadline = deadlines.into_iter().flatten().min();
    }

    /// The memory sizes in CMOS, where kernels without a memory map look: base, extended up to 64 MiB in KiB,
    /// above 16 MiB in 64 KiB blocks.
    fn set_cmos_memory_size(&mut self) {
        const MIB: u64 = 1 << 20;
        let low_bytes = self.ram_bytes.min(layout::PCI_HOLE);
        let extended_kib = (low_bytes.saturating_sub(MIB) / 1024).min(0xffff) as u16;
        let blocks = (low_bytes.saturating_sub(16 * MIB) / 0x1_0000).min(0xffff) as u16;
        let words = [(0x15, 640), (0x17, extended_kib), (0x30, extended_kib), (0x34, blocks)];
        for (index, word) in words {
            let [low, high] = u16::to_le_bytes(word);
            self.timers.set_cmos(index, low);
            self.timers.set_cmos(index + 1, high);
        }
    }
}

const HPET_BYTES: u64 = 0x400;

/// The offset of `paddr` in a window.
fn offset_in(paddr: u64, start: u64, length_bytes: u64) -> Option<u64> {
    paddr.checked_sub(start).filter(|offset| *offset < length_bytes)
}

/// Appends console bytes to the outputs, joining them with console bytes just before.
pub(super) fn emit_console(outputs: &mut Vec<Output>, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    match outputs.last_mut() {
        Some(Output::Console(last)) => last.extend_from_slice(bytes),
        _ => outputs.push(Output::Console(bytes.to_vec())),
    }
}

/// One step of the reads hash: a multiplication mixes all bits of the value upwards, the shift brings them back.
#[inline]
fn fold(hash: u32, value: u64) -> u32 {
    let mixed =
        (value ^ u64::from(hash).rotate_left(32) ^ u64::from(hash)).wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = mixed.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ mixed >> 32) as u32
}

#[cfg(test)]
#[path = "board_tests.rs"]
mod tests;
