//! fw_cfg: how firmware and small kernels ask the machine about itself (QEMU's `docs/specs/fw_cfg`).
//!
//! The two-port interface only: a 16-bit selector and an 8-bit data port. The DMA interface is left out, and
//! the id says so.

use super::memory_map::MemoryRegion;
use crate::persist;

/// The selector, 16 bits wide.
pub const SELECTOR: u16 = 0x510;
/// The data port, 8 bits wide.
pub const DATA: u16 = 0x511;

const KEY_SIGNATURE: u16 = 0x00;
const KEY_ID: u16 = 0x01;
const KEY_RAM_BYTES: u16 = 0x03;
const KEY_CPUS: u16 = 0x05;
const KEY_MAX_CPUS: u16 = 0x0f;
const KEY_DIRECTORY: u16 = 0x19;
const KEY_FIRST_FILE: u16 = 0x20;

/// Id bit 0: the traditional interface exists. Bit 1, DMA, is clear.
const ID_TRADITIONAL: u32 = 1;
const FILE_NAME_BYTES: usize = 56;

/// The selector, the item it chose, and what the items are made from.
#[derive(Debug, Clone)]
pub struct FwCfg {
    selector: u16,
    item: Vec<u8>,
    offset: usize,
    columns: u16,
    rows: u16,
    vcpus: u8,
    ram_bytes: u64,
    memory_map: Vec<MemoryRegion>,
}

persist!(FwCfg { selector, item, offset, columns, rows; skip: vcpus, ram_bytes, memory_map });

impl FwCfg {
    /// The items of a machine; the window is 80 by 24 until somebody says otherwise.
    #[must_use]
    pub fn new(vcpus: u8, ram_bytes: u64, memory_map: Vec<MemoryRegion>) -> FwCfg {
        let (columns, rows) = (80, 24);
        FwCfg { selector: 0, item: Vec::new(), offset: 0, columns, rows, vcpus, ram_bytes, memory_map }
    }

    /// Forgets the selection, as at reset.
    pub fn reset(&mut self) {
        self.select(0);
    }

    /// The size of the terminal's window, for `opt/org.vkernel/window-size`.
    pub fn set_window_size(&mut self, columns: u16, rows: u16) {
        (self.columns, self.rows) = (columns, rows);
    }

    /// Chooses an item and goes to its beginning.
    pub fn select(&mut self, selector: u16) {
        self.selector = selector;
        self.item = self.item(selector);
        self.offset = 0;
    }

    /// The next byte of the chosen item; zero beyond its end.
    pub fn read_data(&mut self) -> u8 {
        let byte = self.item.get(self.offset).copied().unwrap_or(0);
        self.offset = self.offset.saturating_add(1);
        byte
    }

    fn item(&self, selector: u16) -> Vec<u8> {
        match selector {
            KEY_SIGNATURE => b"QEMU".to_vec(),
            KEY_ID => ID_TRADITIONAL.to_le_bytes().to_vec(),
            KEY_RAM_BYTES => self.ram_bytes.to_le_bytes().to_vec(),
            KEY_CPUS | KEY_MAX_CPUS => u16::from(self.vcpus).to_le_bytes().to_vec(),
            KEY_DIRECTORY => self.directory(),
            _ => {
                let file = selector.checked_sub(KEY_FIRST_FILE).map(usize::from);
                file.and_then(|index| self.files().into_iter().nth(index))
                    .map_or(Vec::new(), |(_, bytes)| bytes)
            }
        }
    }

    fn files(&self) -> [(&'static str, Vec<u8>); 2] {
        let e820 = self.memory_map.iter().flat_map(MemoryRegion::e820_entry).collect();
        // The order and form of stty(1)'s `size`.
        let window_size = format!("{} {}\n", self.rows, self.columns).into_bytes();
        [("etc/e820", e820), ("opt/org.vkernel/window-size", window_size)]
    }

    /// The number of files, then size, selector, a reserved word and the name of each, all big-endian.
    fn directory(&self) -> Vec<u8> {
        let files = self.files();
        let mut directory = (files.len() as u32).to_be_bytes().to_vec();
        for ((name, bytes), selector) in files.iter().zip(KEY_FIRST_FILE..) {
            directory.extend((bytes.len() as u32).to_be_bytes());
            directory.extend(selector.to_be_bytes());
            directory.extend([0; 2]);
            let mut field = [0; FILE_NAME_BYTES];
            field[..name.len()].copy_from_slice(name.as_bytes());
            directory.extend(field);
        }
        directory
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory_map::memory_map;
    use super::*;

    fn read(fw_cfg: &mut FwCfg, selector: u16, length: usize) -> Vec<u8> {
        fw_cfg.select(selector);
        (0..length).map(|_| fw_cfg.read_data()).collect()
    }

    /// Finds a file as a guest does: by name in the directory.
    fn file(fw_cfg: &mut FwCfg, name: &str) -> Option<Vec<u8>> {
        let header = read(fw_cfg, KEY_DIRECTORY, 4);
        let count = u32::from_be_bytes(header.try_into().ok()?);
        let directory = read(fw_cfg, KEY_DIRECTORY, 4 + 64 * count as usize);
        let entry = directory[4..].chunks(64).find(|entry| entry[8..].starts_with(name.as_bytes()))?;
        let length = u32::from_be_bytes(entry[..4].try_into().ok()?);
        Some(read(fw_cfg, u16::from_be_bytes([entry[4], entry[5]]), length as usize))
    }

    fn machine() -> FwCfg {
        FwCfg::new(3, 512 << 20, memory_map(512 << 20))
    }

    #[test]
    fn the_signature_and_the_id_are_those_of_the_traditional_interface() {
        assert_eq!(read(&mut machine(), KEY_SIGNATURE, 5), b"QEMU\0");
        assert_eq!(read(&mut machine(), KEY_ID, 4), [1, 0, 0, 0]);
    }

    #[test]
    fn processors_and_memory_are_reported() {
        assert_eq!(read(&mut machine(), KEY_CPUS, 2), [3, 0]);
        assert_eq!(read(&mut machine(), KEY_RAM_BYTES, 8), (512_u64 << 20).to_le_bytes());
    }

    #[test]
    fn the_memory_map_is_a_file() {
        let e820 = file(&mut machine(), "etc/e820").expect("it is in the directory");
        assert_eq!(e820.len(), 20 * memory_map(512 << 20).len());
        assert_eq!(e820[16], 1, "the first region is RAM");
    }

    #[test]
    fn the_window_size_follows_the_terminal() {
        let mut fw_cfg = machine();
        fw_cfg.set_window_size(132, 43);
        assert_eq!(file(&mut fw_cfg, "opt/org.vkernel/window-size").as_deref(), Some(&b"43 132\n"[..]));
    }

    #[test]
    fn unknown_items_read_zero() {
        assert_eq!(read(&mut machine(), 0xffff, 2), [0, 0]);
    }
}
