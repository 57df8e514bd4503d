//! Small synthetic kernels, and a memory and media to load them with, for the tests of the loaders.

use super::{BootError, Entry, GuestMemory, Start};
use crate::platform::layout;
use crate::platform::memory_map::{MemoryRegion, RAM, RESERVED};
use boundary::{Boot, BootProtocol, Image, ImageId, Media, PowerOn, Role, Rules, Topology};
use std::sync::Arc;

pub(super) const MIB: u64 = 1 << 20;

/// RAM that is all zero and knows its holes from a memory map; only pages written exist.
pub(super) struct SampleMemory {
    map: Vec<MemoryRegion>,
    pages: std::collections::BTreeMap<u64, Box<[u8; 4096]>>,
}

impl SampleMemory {
    /// `ram_bytes` of RAM with the PC's usual holes.
    pub(super) fn new(ram_bytes: u64) -> SampleMemory {
        let entry = |range: std::ops::Range<u64>, kind| MemoryRegion {
            start: range.start,
            length_bytes: range.end - range.start,
            kind,
        };
        let map = vec![
            entry(0..layout::LOW_RAM_END, RAM),
            entry(layout::FIRMWARE_TABLES, RESERVED),
            entry(MIB..ram_bytes.max(MIB), RAM),
        ];
        SampleMemory { map, pages: Default::default() }
    }

    pub(super) fn map(&self) -> Vec<MemoryRegion> {
        self.map.clone()
    }

    pub(super) fn bytes(&self, paddr: u64, length_bytes: usize) -> Vec<u8> {
        let mut bytes = vec![0; length_bytes];
        assert!(self.read(paddr, &mut bytes), "{paddr:#x} is not RAM");
        bytes
    }

    pub(super) fn u32(&self, paddr: u64) -> u32 {
        u32::from_le_bytes(self.bytes(paddr, 4).try_into().unwrap())
    }

    pub(super) fn u64(&self, paddr: u64) -> u64 {
        u64::from_le_bytes(self.bytes(paddr, 8).try_into().unwrap())
    }

    /// The string at an address, up to its terminating zero.
    pub(super) fn string(&self, paddr: u64) -> String {
        let bytes = (paddr..).map(|at| self.bytes(at, 1)[0]).take_while(|&byte| byte != 0).collect();
        String::from_utf8(bytes).unwrap()
    }

    fn is_ram(&self, paddr: u64, length_bytes: u64) -> bool {
        let holds = |entry: &MemoryRegion| {
            paddr >= entry.start && paddr.saturating_add(length_bytes) <= entry.start + entry.length_bytes
        };
        self.map.iter().any(holds)
    }
}

impl GuestMemory for SampleMemory {
    fn write(&mut self, paddr: u64, bytes: &[u8]) -> bool {
        if !self.is_ram(paddr, bytes.len() as u64) {
            return false;
        }
        for (at, &byte) in (paddr..).zip(bytes) {
            self.pages.entry(at >> 12).or_insert_with(|| Box::new([0; 4096]))[(at & 0xfff) as usize] = byte;
        }
        true
    }

    fn read(&self, paddr: u64, into: &mut [u8]) -> bool {
        if !self.is_ram(paddr, into.len() as u64) {
            return false;
        }
        for (at, byte) in (paddr..).zip(into) {
            *byte = self.pages.get(&(at >> 12)).map_or(0, |page| page[(at & 0xfff) as usize]);
        }
        true
    }
}

/// Images by their place in the list.
struct SampleMedia(Vec<Arc<Vec<u8>>>);

impl Media for SampleMedia {
    fn image(&self, id: ImageId) -> Option<Arc<Vec<u8>>> {
        self.0.get(usize::from(id.0[0])).cloned()
    }
}

/// A machine to boot: what a test varies, with defaults for the rest.
pub(super) struct Setup {
    pub(super) ram_bytes: u64,
    pub(super) command_line: String,
    pub(super) tables: Vec<u8>,
    power_on: PowerOn,
    media: SampleMedia,
}

impl Setup {
    pub(super) fn new(protocol: BootProtocol, kernel: Vec<u8>) -> Setup {
        let power_on = PowerOn {
            model: 1,
            seed: 0,
            rtc_start_s: 0,
            ram_bytes: 0,
            topology: Topology { vcpus: 1, thread_bits: 0, core_bits: 0 },
            cpuid: Vec::new(),
            rules: Rules {
                quantum_counts: 1,
                pauses_per_quantum: 1,
                pause_ns: 0,
                port_ns: 0,
                mmio_ns: 0,
                hlt_ns: 0,
                perturb: false,
            },
            acpi_hash: 0,
            boot: Boot { protocol, command_line: String::new(), images: Vec::new() },
        };
        let mut tables = vec![0; 64];
        tables[32..40].copy_from_slice(b"RSD PTR ");
        Setup {
            ram_bytes: 64 * MIB,
            command_line: "console=ttyS0".to_owned(),
            tables,
            power_on,
            media: SampleMedia(Vec::new()),
        }
        .image(Role::Kernel, &kernel, "")
    }

    pub(super) fn image(mut self, role: Role, bytes: &[u8], command_line: &str) -> Setup {
        let index = self.media.0.len() as u8;
        self.power_on.boot.images.push(Image {
            role,
            id: ImageId([index; 32]),
            length_bytes: bytes.len() as u64,
            name: format!("image{index}"),
            command_line: command_line.to_owned(),
        });
        self.media.0.push(Arc::new(bytes.to_vec()));
        self
    }

    pub(super) fn ram(mut self, ram_bytes: u64) -> Setup {
        self.ram_bytes = ram_bytes;
        self
    }

    pub(super) fn command_line(mut self, command_line: &str) -> Setup {
        self.command_line = command_line.to_owned();
        self
    }

    /// Forgets the bytes of the images, as if the store had lost them.
    pub(super) fn without_media(mut self) -> Setup {
        self.media.0.clear();
        self
    }

    pub(super) fn load(self) -> Result<(Entry, SampleMemory), BootError> {
        self.start().map(|(start, memory)| (start.boot, memory))
    }

    pub(super) fn vcpus(mut self, vcpus: u8) -> Setup {
        self.power_on.topology.vcpus = vcpus;
        self
    }

    /// All processors' states, not only the boot processor's.
    pub(super) fn start(mut self) -> Result<(Start, SampleMemory), BootError> {
        let mut memory = SampleMemory::new(self.ram_bytes);
        let map = memory.map();
        self.power_on.ram_bytes = self.ram_bytes;
        self.power_on.boot.command_line = self.command_line;
        super::load(&self.power_on, &self.media, &mut memory, &map, &self.tables).map(|start| (start, memory))
    }
}

/// A bzImage of one setup sector, with the header fields that a test varies.
pub(super) struct BzImage {
    pub(super) version: u16,
    pub(super) xloadflags: u16,
    pub(super) initrd_addr_max: u32,
    pub(super) relocatable: u8,
    pub(super) cmdline_size: u32,
    pub(super) pref_address: u64,
    pub(super) init_size: u32,
    pub(super) code: Vec<u8>,
}

impl Default for BzImage {
    fn default() -> BzImage {
        BzImage {
            version: 0x020f,
            xloadflags: 0x3f,
            initrd_addr_max: 0x7fff_ffff,
            relocatable: 1,
            cmdline_size: 2047,
            pref_address: 0x100_0000,
            init_size: 0x20_0000,
            code: (0..0x800_u32).map(|index| (index % 251) as u8).collect(),
        }
    }
}

impl BzImage {
    pub(super) fn build(&self) -> Vec<u8> {
        let mut bytes = vec![0; 1024];
        let mut put =
            |offset: usize, value: &[u8]| bytes[offset..offset + value.len()].copy_from_slice(value);
        put(0, b"MZ");
        put(0x1f1, &[1]);
        put(0x1fe, &[0x55, 0xaa, 0xeb, 0x6a]);
        put(0x202, b"HdrS");
        put(0x206, &self.version.to_le_bytes());
        put(0x211, &[1]);
        put(0x22c, &self.initrd_addr_max.to_le_bytes());
        put(0x230, &0x20_0000_u32.to_le_bytes());
        put(0x234, &[self.relocatable]);
        put(0x236, &self.xloadflags.to_le_bytes());
        put(0x238, &self.cmdline_size.to_le_bytes());
        put(0x248, &0x10_u32.to_le_bytes());
        put(0x24c, &0x700_u32.to_le_bytes());
        put(0x258, &self.pref_address.to_le_bytes());
        put(0x260, &self.init_size.to_le_bytes());
        bytes.extend_from_slice(&self.code);
        bytes
    }
}

/// A note as it stands in a note segment. The owner has its terminating zero.
pub(super) fn note(owner: &[u8], kind: u32, contents: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&(owner.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&(contents.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&kind.to_le_bytes());
    for part in [owner, contents] {
        bytes.extend_from_slice(part);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    bytes
}

/// A Multiboot header with these flags and no addresses.
pub(super) fn multiboot_header(flags: u32) -> Vec<u8> {
    let magic = 0x1bad_b002_u32;
    let checksum = 0_u32.wrapping_sub(magic).wrapping_sub(flags);
    [magic, flags, checksum].iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// A Multiboot 2 header with these tags, each a type, flags and contents, and the end tag.
pub(super) fn multiboot2_header(tags: &[(u16, u16, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![0; 16];
    for (kind, flags, contents) in tags.iter().chain(&[(0, 0, &[] as &[u8])]) {
        bytes.extend_from_slice(&kind.to_le_bytes());
        bytes.extend_from_slice(&flags.to_le_bytes());
        bytes.extend_from_slice(&(8 + contents.len() as u32).to_le_bytes());
        bytes.extend_from_slice(contents);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
    }
    let (magic, length) = (0xe852_50d6_u32, bytes.len() as u32);
    let checksum = 0_u32.wrapping_sub(magic).wrapping_sub(length);
    let words = [magic, 0, length, checksum];
    bytes[..16].copy_from_slice(&words.map(u32::to_le_bytes).concat());
    bytes
}

/// What page tables map an address to: the physical address and the entry.
pub(super) fn translate(memory: &SampleMemory, root: u64, vaddr: u64) -> Option<(u64, u64)> {
    const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
    let mut table = root;
    for shift in [39, 30, 21, 12] {
        let entry = memory.u64(table + ((vaddr >> shift) & 0x1ff) * 8);
        if entry & 1 == 0 {
            return None;
        }
        if shift == 12 || (shift == 21 && entry & 0x80 != 0) {
            let offset = vaddr & ((1 << shift) - 1);
            return Some(((entry & ADDRESS & !((1 << shift) - 1)) + offset, entry));
        }
        table = entry & ADDRESS;
    }
    None
}

/// An ELF file made segment by segment.
#[derive(Clone)]
pub(super) struct ElfSample {
    is_64: bool,
    kind: u16,
    machine: u16,
    entry: Option<u64>,
    segments: Vec<SampleSegment>,
}

#[derive(Clone)]
struct SampleSegment {
    kind: u32,
    paddr: u64,
    vaddr: u64,
    contents: Vec<u8>,
    memory_bytes: u64,
    flags: u32,
}

impl ElfSample {
    pub(super) fn new(is_64: bool) -> ElfSample {
        ElfSample { is_64, kind: 2, machine: if is_64 { 62 } else { 3 }, entry: None, segments: Vec::new() }
    }

    pub(super) fn segment(self, paddr: u64, vaddr: u64, contents: &[u8], memory_bytes: u64) -> ElfSample {
        self.push(1, paddr, vaddr, contents, memory_bytes)
    }

    pub(super) fn notes(self, notes: &[u8]) -> ElfSample {
        self.push(4, 0, 0, notes, notes.len() as u64)
    }

    fn push(mut self, kind: u32, paddr: u64, vaddr: u64, contents: &[u8], memory_bytes: u64) -> ElfSample {
        self.segments.push(SampleSegment {
            kind,
            paddr,
            vaddr,
            contents: contents.to_vec(),
            memory_bytes,
            flags: 7,
        });
        self
    }

    pub(super) fn entry(mut self, entry: u64) -> ElfSample {
        self.entry = Some(entry);
        self
    }

    /// The flags of the segment before.
    pub(super) fn flags(mut self, flags: u32) -> ElfSample {
        self.segments.last_mut().expect("a segment").flags = flags;
        self
    }

    pub(super) fn machine(mut self, machine: u16) -> ElfSample {
        self.machine = machine;
        self
    }

    pub(super) fn kind(mut self, kind: u16) -> ElfSample {
        self.kind = kind;
        self
    }

    pub(super) fn build(&self) -> Vec<u8> {
        let (header_bytes, entry_bytes) = if self.is_64 { (64_u64, 56_u64) } else { (52, 32) };
        let entry = self.entry.unwrap_or_else(|| self.segments.first().map_or(0, |first| first.paddr));
        let mut bytes = b"\x7fELF".to_vec();
        bytes.extend_from_slice(&[if self.is_64 { 2 } else { 1 }, 1, 1]);
        bytes.resize(16, 0);
        bytes.extend_from_slice(&self.kind.to_le_bytes());
        bytes.extend_from_slice(&self.machine.to_le_bytes());
        bytes.extend_from_slice(&1_u32.to_le_bytes());
        for word in [entry, header_bytes, 0] {
            self.word(&mut bytes, word);
        }
        bytes.extend_from_slice(&0_u32.to_le_bytes());
        for half in [header_bytes as u16, entry_bytes as u16, self.segments.len() as u16, 0, 0, 0] {
            bytes.extend_from_slice(&half.to_le_bytes());
        }
        let mut offset = header_bytes + entry_bytes * self.segments.len() as u64;
        for segment in &self.segments {
            self.program_header(&mut bytes, segment, offset);
            offset += segment.contents.len() as u64;
        }
        for segment in &self.segments {
            bytes.extend_from_slice(&segment.contents);
        }
        bytes
    }

    fn program_header(&self, bytes: &mut Vec<u8>, segment: &SampleSegment, offset: u64) {
        bytes.extend_from_slice(&segment.kind.to_le_bytes());
        if self.is_64 {
            bytes.extend_from_slice(&segment.flags.to_le_bytes());
        }
        let file_bytes = segment.contents.len() as u64;
        for word in [offset, segment.vaddr, segment.paddr, file_bytes, segment.memory_bytes] {
            self.word(bytes, word);
        }
        if !self.is_64 {
            bytes.extend_from_slice(&segment.flags.to_le_bytes());
        }
        self.word(bytes, 4);
    }

    fn word(&self, bytes: &mut Vec<u8>, word: u64) {
        if self.is_64 {
            bytes.extend_from_slice(&word.to_le_bytes());
        } else {
            bytes.extend_from_slice(&(word as u32).to_le_bytes());
        }
    }
}
