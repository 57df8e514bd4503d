//! The board (placeholder while its devices are written).

use super::{Access, Acknowledged, Signals};
use boundary::{Output, PowerEvent, PowerOn, VirtualTime};

/// All devices.
#[derive(Debug)]
pub struct Platform {}

#[allow(missing_docs, unused_variables, clippy::unused_self)]
impl Platform {
    pub fn new(power_on: &PowerOn) -> Platform {
        Platform {}
    }
    pub fn port_read(&mut self, at: Access, port: u16, size: u8) -> u32 {
        0
    }
    pub fn port_write(&mut self, at: Access, port: u16, size: u8, value: u32) {}
    pub fn mmio_read(&mut self, at: Access, paddr: u64, size: u8) -> u64 {
        0
    }
    pub fn mmio_write(&mut self, at: Access, paddr: u64, size: u8, value: u64) {}
    pub fn apic_msr_read(&mut self, at: Access, msr: u32) -> Option<u64> {
        None
    }
    pub fn apic_msr_write(&mut self, at: Access, msr: u32, value: u64) -> Option<()> {
        None
    }
    pub fn set_tsc_deadline(&mut self, vcpu: u8, deadline: Option<VirtualTime>) {}
    pub fn tsc_deadline(&self, vcpu: u8) -> Option<VirtualTime> {
        None
    }
    pub fn task_priority(&self, vcpu: u8) -> u8 {
        0
    }
    pub fn set_task_priority(&mut self, vcpu: u8, priority: u8) {}
    pub fn next_deadline(&self) -> Option<VirtualTime> {
        None
    }
    pub fn advance(&mut self, now: VirtualTime) {}
    pub fn signals(&self, vcpu: u8) -> Signals {
        Signals::default()
    }
    pub fn acknowledge(&mut self, vcpu: u8) -> Option<Acknowledged> {
        None
    }
    pub fn take_nmi(&mut self, vcpu: u8) -> bool {
        false
    }
    pub fn take_init(&mut self, vcpu: u8) -> bool {
        false
    }
    pub fn take_sipi(&mut self, vcpu: u8) -> Option<u8> {
        None
    }
    pub fn console_input(&mut self, now: VirtualTime, bytes: &[u8]) {}
    pub fn power_button(&mut self, now: VirtualTime) {}
    pub fn window_size(&mut self, columns: u16, rows: u16) {}
    pub fn drain_outputs(&mut self, outputs: &mut Vec<Output>) {}
    pub fn take_power(&mut self) -> Option<PowerEvent> {
        None
    }
    pub fn take_ipi_sent(&mut self) -> bool {
        false
    }
    pub fn fold_read(&mut self, value: u64) {}
    pub fn take_reads_hash(&mut self) -> u32 {
        0
    }
}
