//! PCI configuration space: mechanism 1 (PCI Local Bus 3.0, 3.2.2.3.2) and the memory-mapped window of PCI
//! Express (ECAM, PCI Express Base 7.2.2), both onto the same functions of bus 0.
//!
//! A function is its 256 configuration bytes and the mask of those a guest may write; a device with behaviour
//! of its own adds its function to the table and reads back what the guest configured. Left out: bridges to
//! other buses and extended capabilities, which read as zero.

use super::registers::{all_ones, read_bytes};
use crate::persist;

/// The address register of mechanism 1.
pub const CONFIG_ADDRESS: u16 = 0xcf8;
/// The data register of mechanism 1: four bytes.
pub const CONFIG_DATA: u16 = 0xcfc;

const ADDRESS_ENABLE: u32 = 1 << 31;
/// The bits of the address register that exist.
const ADDRESS_MASK: u32 = 0x80ff_fffc;
const CONFIG_BYTES: usize = 256;

const COMMAND: usize = 0x04;
/// I/O space, memory space, bus master, SERR, interrupt disable.
const COMMAND_WRITABLE: u16 = 0x0507;
const INTERRUPT_LINE: usize = 0x3c;

/// Number of GSIs that PCI interrupts are spread over with the I/O APIC, from [`FIRST_GSI`] on.
const GSI_COUNT: u8 = 8;
const FIRST_GSI: u8 = 16;
/// The IRQs that PCI interrupts share with the PIC.
const PIC_IRQS: [u8; 2] = [10, 11];

/// The GSI of an interrupt pin (0 is INTA) of a device with the I/O APIC. The ACPI and MP tables say the same.
#[must_use]
pub fn pin_gsi(device: u8, pin: u8) -> u8 {
    FIRST_GSI + device.wrapping_add(pin) % GSI_COUNT
}

/// The IRQ of an interrupt pin of a device with the PIC.
#[must_use]
pub fn pin_irq(device: u8, pin: u8) -> u8 {
    PIC_IRQS[usize::from(device.wrapping_add(pin) % 2)]
}

/// One function: its configuration space.
#[derive(Debug, Clone)]
pub struct Function {
    device: u8,
    function: u8,
    bytes: [u8; CONFIG_BYTES],
    writable: [u8; CONFIG_BYTES],
}

persist!(Function { device, function, bytes; skip: writable });

/// What identifies a function.
#[derive(Debug, Clone, Copy)]
pub struct Identity {
    /// Vendor.
    pub vendor: u16,
    /// Device, as the vendor numbers them.
    pub device: u16,
    /// Class, subclass and programming interface: `0x060000` is a host bridge.
    pub class: u32,
    /// Revision.
    pub revision: u8,
}

impl Function {
    /// A function of bus 0 with a type 0 header, no base address registers and no interrupt pin.
    #[must_use]
    pub fn new(device: u8, function: u8, identity: Identity) -> Function {
        let (bytes, writable) = ([0; CONFIG_BYTES], [0; CONFIG_BYTES]);
        let mut space = Function { device: device & 0x1f, function: function & 7, bytes, writable };
        space.set(0x00, &identity.vendor.to_le_bytes());
        space.set(0x02, &identity.device.to_le_bytes());
        space.set(0x08, &(identity.class << 8 | u32::from(identity.revision)).to_le_bytes());
        space.writable[COMMAND..COMMAND + 2].copy_from_slice(&COMMAND_WRITABLE.to_le_bytes());
        space.writable[INTERRUPT_LINE] = 0xff;
        space
    }

    /// Its number on bus 0: device and function.
    #[must_use]
    pub fn number(&self) -> (u8, u8) {
        (self.device, self.function)
    }

    /// Its configuration space.
    #[must_use]
    pub fn configuration(&self) -> &[u8] {
        &self.bytes
    }

    fn set(&mut self, offset: usize, bytes: &[u8]) {
        self.bytes[offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    fn read(&self, offset: usize, size_bytes: u8) -> u64 {
        read_bytes(&self.bytes, offset, size_bytes)
    }

    fn write(&mut self, offset: usize, size_bytes: u8, value: u64) {
        let written = value.to_le_bytes();
        for (index, new) in written.iter().enumerate().take(usize::from(size_bytes)) {
            if let Some(byte) = self.bytes.get_mut(offset + index) {
                let mask = self.writable[offset + index];
                *byte = *byte & !mask | new & mask;
            }
        }
    }
}

/// Bus 0 and the two ways to its configuration spaces.
#[derive(Debug, Clone)]
pub struct Pci {
    address: u32,
    functions: Vec<Function>,
}

impl crate::archive::Persist for Pci {
    /// Which functions exist follows from the power-on description, so only their contents are saved.
    fn persist(&mut self, archive: &mut crate::archive::Archive) {
        let Self { address, functions } = self;
        archive.field(address);
        functions.iter_mut().for_each(|function| archive.field(function));
    }
}

impl Default for Pci {
    /// A Q35's host bridge and the LPC bridge of an ICH9, whose drivers every kernel has and needs no more of.
    fn default() -> Pci {
        let host = Identity { vendor: 0x8086, device: 0x29c0, class: 0x06_0000, revision: 0 };
        let lpc = Identity { vendor: 0x8086, device: 0x2918, class: 0x06_0100, revision: 2 };
        Pci { address: 0, functions: vec![Function::new(0, 0, host), Function::new(0x1f, 0, lpc)] }
    }
}

impl Pci {
    /// The functions of bus 0.
    #[must_use]
    pub fn functions(&self) -> &[Function] {
        &self.functions
    }

    /// Reads within the address or data register of mechanism 1.
    #[must_use]
    pub fn port_read(&self, port: u16, size_bytes: u8) -> u32 {
        if port == CONFIG_ADDRESS && size_bytes == 4 {
            return self.address;
        }
        let value = match self.data_offset(port) {
            Some((bus, device, function, offset)) => self.read(bus, device, function, offset, size_bytes),
            None => all_ones(size_bytes),
        };
        value as u32
    }

    /// Writes within the address or data register of mechanism 1.
    pub fn port_write(&mut self, port: u16, size_bytes: u8, value: u32) {
        if port == CONFIG_ADDRESS && size_bytes == 4 {
            self.address = value & ADDRESS_MASK;
        } else if let Some((bus, device, function, offset)) = self.data_offset(port) {
            self.write(bus, device, function, offset, size_bytes, u64::from(value));
        }
    }

    /// Reads at `offset` of the ECAM window.
    #[must_use]
    pub fn ecam_read(&self, offset: u64, size_bytes: u8) -> u64 {
        let (bus, device, function, register) = ecam_address(offset);
        self.read(bus, device, function, register, size_bytes)
    }

    /// Writes at `offset` of the ECAM window.
    pub fn ecam_write(&mut self, offset: u64, size_bytes: u8, value: u64) {
        let (bus, device, function, register) = ecam_address(offset);
        self.write(bus, device, function, register, size_bytes, value);
    }

    /// What the data register shows now: bus, device, function, register.
    fn data_offset(&self, port: u16) -> Option<(u8, u8, u8, usize)> {
        if !(CONFIG_DATA..CONFIG_DATA + 4).contains(&port) || self.address & ADDRESS_ENABLE == 0 {
            return None;
        }
        let [register, device_function, bus, _] = self.address.to_le_bytes();
        let offset = usize::from(register) + usize::from(port - CONFIG_DATA);
        Some((bus, device_function >> 3, device_function & 7, offset))
    }

    fn read(&self, bus: u8, device: u8, function: u8, offset: usize, size_bytes: u8) -> u64 {
        let is_it = |space: &&Function| bus == 0 && space.device == device && space.function == function;
        match self.functions.iter().find(is_it) {
            Some(space) => space.read(offset, size_bytes),
            None => all_ones(size_bytes),
        }
    }

    fn write(&mut self, bus: u8, device: u8, function: u8, offset: usize, size_bytes: u8, value: u64) {
        let is_it = |space: &&mut Function| bus == 0 && space.device == device && space.function == function;
        if let Some(space) = self.functions.iter_mut().find(is_it) {
            space.write(offset, size_bytes, value);
        }
    }
}

/// Bus, device, function and register of an offset in the ECAM window.
fn ecam_address(offset: u64) -> (u8, u8, u8, usize) {
    let [bus, device, function] =
        [offset >> 20, offset >> 15 & 0x1f, offset >> 12 & 7].map(|field| field as u8);
    (bus, device, function, (offset & 0xfff) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn select(pci: &mut Pci, bus: u32, device: u32, function: u32, register: u32) {
        let address = ADDRESS_ENABLE | bus << 16 | device << 11 | function << 8 | register;
        pci.port_write(CONFIG_ADDRESS, 4, address);
    }

    #[test]
    fn both_mechanisms_show_the_same_functions() {
        let mut pci = Pci::default();
        select(&mut pci, 0, 0x1f, 0, 8);
        assert_eq!(pci.port_read(CONFIG_DATA, 4), 0x0601_0002);
        assert_eq!(pci.port_read(CONFIG_DATA + 2, 2), 0x0601);
        assert_eq!(pci.ecam_read(0x1f << 15 | 8, 4), 0x0601_0002);
        assert_eq!(pci.ecam_read(0, 4), 0x29c0_8086);
    }

    #[test]
    fn absent_functions_read_all_ones() {
        let mut pci = Pci::default();
        for (bus, device, function) in [(0, 1, 0), (0, 0, 1), (1, 0, 0), (255, 31, 7)] {
            select(&mut pci, bus, device, function, 0);
            assert_eq!(pci.port_read(CONFIG_DATA, 4), u32::MAX);
            pci.port_write(CONFIG_DATA, 4, 0);
            assert_eq!(pci.port_read(CONFIG_DATA, 1), 0xff);
        }
        assert_eq!(pci.ecam_read(1 << 20, 2), 0xffff);
    }

    #[test]
    fn the_address_register_is_its_own_test_for_mechanism_1() {
        let mut pci = Pci::default();
        pci.port_write(CONFIG_ADDRESS, 4, 0x8000_0000);
        assert_eq!(pci.port_read(CONFIG_ADDRESS, 4), 0x8000_0000);
        pci.port_write(CONFIG_ADDRESS, 4, 0);
        assert_eq!(pci.port_read(CONFIG_DATA, 4), u32::MAX, "not enabled");
    }

    #[test]
    fn only_writable_bits_change() {
        let mut pci = Pci::default();
        pci.ecam_write(0, 4, 0);
        pci.ecam_write(4, 4, u64::from(u32::MAX));
        pci.ecam_write(0x3c, 1, 0x5a);
        assert_eq!(pci.ecam_read(0, 4), 0x29c0_8086);
        assert_eq!(pci.ecam_read(4, 4), u64::from(COMMAND_WRITABLE));
        assert_eq!(pci.ecam_read(0x3c, 4), 0x5a);
    }

    #[test]
    fn extended_configuration_space_reads_zero_and_ignores_writes() {
        let mut pci = Pci::default();
        pci.ecam_write(0xffe, 8, u64::MAX);
        assert_eq!([0x100, 0xfff].map(|offset| pci.ecam_read(offset, 8)), [0, 0]);
    }
}
