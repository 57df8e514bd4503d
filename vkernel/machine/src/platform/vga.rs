//! A VGA in text mode (IBM VGA Technical Reference): 128 KiB of memory, the register files, the cursor.
//!
//! Registers are stored and read back; those that change what a text screen shows (start address, offset,
//! cursor) are obeyed by [`Vga::screen_text`]. The input status is derived from guest time. Left out:
//! graphics modes, planes (memory is linear), fonts and the palette's effect.

use super::registers::{Bits, read_bytes};
use crate::archive::{Archive, Persist};
use crate::persist;
use boundary::VirtualTime;

/// Length of the memory window at 0xa0000.
pub const MEMORY_BYTES: usize = 0x2_0000;
/// Where the text buffer starts in the window: 0xb8000.
pub const TEXT_OFFSET: usize = 0x1_8000;
/// Length of the text buffer: 32 KiB, which the start address wraps in.
pub const TEXT_BYTES: usize = 0x8000;
/// Characters a line of the text mode.
pub const COLUMNS: usize = 80;
/// Lines of the text mode.
pub const ROWS: usize = 25;

const CRTC_START_HIGH: usize = 0x0c;
const CRTC_CURSOR_HIGH: usize = 0x0e;
const CRTC_OFFSET: usize = 0x13;

/// One frame at 70 Hz, its vertical retrace, one line and its horizontal blanking.
const FRAME_NS: u64 = 14_268_000;
const RETRACE_NS: u64 = 64_000;
const BLANK_NS: u64 = 1_557_000;
const LINE_NS: u64 = 31_778;
const LINE_BLANK_NS: u64 = 6_356;

const STATUS_BLANK: u8 = 1 << 0;
const STATUS_RETRACE: u8 = 1 << 3;

/// An index register and the registers behind it.
#[derive(Debug, Clone)]
struct Indexed {
    index: u8,
    registers: [u8; 32],
}

persist!(Indexed { index, registers });

impl Indexed {
    fn new(initial: &[(usize, u8)]) -> Indexed {
        let mut registers = [0; 32];
        initial.iter().for_each(|(index, value)| registers[*index] = *value);
        Indexed { index: 0, registers }
    }

    fn selected(&mut self) -> &mut u8 {
        &mut self.registers[usize::from(self.index & 0x1f)]
    }
}

/// The memory window. Its length is fixed, so it is saved as one block.
#[derive(Debug, Clone)]
struct Memory(Vec<u8>);

impl Persist for Memory {
    fn persist(&mut self, archive: &mut Archive) {
        archive.raw(&mut self.0);
    }
}

/// The adapter.
#[derive(Debug, Clone)]
pub struct Vga {
    memory: Memory,
    crtc: Indexed,
    sequencer: Indexed,
    graphics: Indexed,
    attribute: Indexed,
    /// Whether the next write to 0x3c0 is data.
    attribute_data_next: bool,
    miscellaneous: u8,
    dac_mask: u8,
    dac_read_index: u16,
    dac_write_index: u16,
    dac: Vec<u8>,
}

persist!(Vga {
    memory,
    crtc,
    sequencer,
    graphics,
    attribute,
    attribute_data_next,
    miscellaneous,
    dac_mask,
    dac_read_index,
    dac_write_index,
    dac
});

impl Default for Vga {
    /// As firmware leaves it: 80 by 25 text, colour, a line cursor in the upper left corner, blank.
    fn default() -> Vga {
        let blank = [b' ', 0x07].repeat(TEXT_BYTES / 2);
        let mut memory = vec![0; MEMORY_BYTES];
        memory[TEXT_OFFSET..].copy_from_slice(&blank);
        let crtc = [
            (0x00, 0x5f),
            (0x01, 0x4f),
            (0x07, 0x1f),
            (0x09, 0x4f),
            (0x0a, 0x0d),
            (0x0b, 0x0e),
            (0x12, 0x8f),
            (CRTC_OFFSET, 0x28),
            (0x17, 0xa3),
            (0x18, 0xff),
        ];
        Vga {
            memory: Memory(memory),
            crtc: Indexed::new(&crtc),
            sequencer: Indexed::new(&[(0, 0x03), (2, 0x03), (4, 0x02)]),
            graphics: Indexed::new(&[(5, 0x10), (6, 0x0e), (8, 0xff)]),
            attribute: Indexed::new(&[(0x10, 0x0c), (0x12, 0x0f), (0x13, 0x08)]),
            attribute_data_next: false,
            miscellaneous: 0x67,
            dac_mask: 0xff,
            dac_read_index: 0,
            dac_write_index: 0,
            dac: vec![0; 768],
        }
    }
}

impl Vga {
    /// Whether `port` is one of the adapter's.
    #[must_use]
    pub fn decodes(port: u16) -> bool {
        matches!(port, 0x3c0..=0x3cf | 0x3d4 | 0x3d5 | 0x3da)
    }

    /// Reads a byte from a port.
    pub fn port_read(&mut self, now: VirtualTime, port: u16) -> u8 {
        match port {
            0x3c0 => self.attribute.index,
            0x3c1 => *self.attribute.selected(),
            0x3c4 => self.sequencer.index,
            0x3c5 => *self.sequencer.selected(),
            0x3c6 => self.dac_mask,
            0x3c8 => (self.dac_write_index / 3) as u8,
            0x3c9 => self.read_dac(),
            0x3cc => self.miscellaneous,
            0x3ce => self.graphics.index,
            0x3cf => *self.graphics.selected(),
            0x3d4 => self.crtc.index,
            0x3d5 => *self.crtc.selected(),
            0x3da => {
                self.attribute_data_next = false;
                input_status(now)
            }
            _ => 0,
        }
    }

    /// Writes a byte to a port.
    pub fn port_write(&mut self, port: u16, value: u8) {
        match port {
            0x3c0 => {
                let target = if self.attribute_data_next {
                    self.attribute.selected()
                } else {
                    &mut self.attribute.index
                };
                *target = value;
                self.attribute_data_next = !self.attribute_data_next;
            }
            0x3c2 => self.miscellaneous = value,
            0x3c4 => self.sequencer.index = value,
            0x3c5 => *self.sequencer.selected() = value,
            0x3c6 => self.dac_mask = value,
            0x3c7 => self.dac_read_index = u16::from(value) * 3,
            0x3c8 => self.dac_write_index = u16::from(value) * 3,
            0x3c9 => self.write_dac(value),
            0x3ce => self.graphics.index = value,
            0x3cf => *self.graphics.selected() = value,
            0x3d4 => self.crtc.index = value,
            0x3d5 => *self.crtc.selected() = value,
            _ => {}
        }
    }

    /// Reads `size_bytes` bytes at `offset` of the memory window.
    #[must_use]
    pub fn memory_read(&self, offset: usize, size_bytes: u8) -> u64 {
        read_bytes(&self.memory.0, offset, size_bytes)
    }

    /// Writes `size_bytes` bytes at `offset` of the memory window.
    pub fn memory_write(&mut self, offset: usize, size_bytes: u8, value: u64) {
        let bytes = value.to_le_bytes();
        for (index, byte) in bytes.iter().enumerate().take(usize::from(size_bytes)) {
            if let Some(cell) = self.memory.0.get_mut(offset + index) {
                *cell = *byte;
            }
        }
    }

    /// Whether a write to `port` now would move the start address.
    #[must_use]
    pub fn moves_start_address(&self, port: u16) -> bool {
        let index = usize::from(self.crtc.index);
        port == 0x3d5 && (CRTC_START_HIGH..CRTC_START_HIGH + 2).contains(&index)
    }

    /// The position of the first character shown, in characters from the start of the text buffer.
    #[must_use]
    pub fn start_address(&self) -> usize {
        self.crtc_word(CRTC_START_HIGH)
    }

    /// Column and row of the cursor, if it is on the screen.
    #[must_use]
    pub fn cursor(&self) -> Option<(usize, usize)> {
        let position = self.crtc_word(CRTC_CURSOR_HIGH).checked_sub(self.start_address())?;
        let (column, row) = (position % COLUMNS, position / COLUMNS);
        (row < ROWS).then_some((column, row))
    }

    /// The lines of the screen, without trailing blanks; what is not printable ASCII shows as `?`.
    #[must_use]
    pub fn screen_text(&self) -> Vec<String> {
        (0..ROWS).map(|row| self.row_text(row)).collect()
    }

    fn row_text(&self, row: usize) -> String {
        // The offset register counts in two characters.
        let pitch = match usize::from(self.crtc.registers[CRTC_OFFSET]) * 2 {
            0 => COLUMNS,
            pitch => pitch,
        };
        let first = self.start_address() + row * pitch;
        let character = |column: usize| match self.memory.0[TEXT_OFFSET + (first + column) * 2 % TEXT_BYTES] {
            0 | 0xff => ' ',
            byte @ 0x20..=0x7e => char::from(byte),
            _ => '?',
        };
        let mut text: String = (0..COLUMNS).map(character).collect();
        text.truncate(text.trim_end().len());
        text
    }

    fn crtc_word(&self, high: usize) -> usize {
        usize::from(u16::from_be_bytes([self.crtc.registers[high], self.crtc.registers[high + 1]]))
    }

    fn read_dac(&mut self) -> u8 {
        let byte = self.dac.get(usize::from(self.dac_read_index)).copied().unwrap_or(0);
        self.dac_read_index = (self.dac_read_index + 1) % 768;
        byte
    }

    fn write_dac(&mut self, value: u8) {
        if let Some(byte) = self.dac.get_mut(usize::from(self.dac_write_index)) {
            *byte = value & 0x3f;
        }
        self.dac_write_index = (self.dac_write_index + 1) % 768;
    }
}

/// Input status 1: whether the beam is in a blank or in the vertical retrace.
fn input_status(now: VirtualTime) -> u8 {
    let in_frame_ns = now.0 % FRAME_NS;
    let blank_starts_ns = FRAME_NS - BLANK_NS;
    let line_blank = in_frame_ns % LINE_NS >= LINE_NS - LINE_BLANK_NS;
    let mut status = 0;
    if in_frame_ns >= blank_starts_ns || line_blank {
        status |= STATUS_BLANK;
    }
    if (blank_starts_ns..blank_starts_ns + RETRACE_NS).contains(&in_frame_ns) {
        status |= STATUS_RETRACE;
    }
    debug_assert!(!status.has(STATUS_RETRACE) || status.has(STATUS_BLANK));
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write_text(vga: &mut Vga, row: usize, text: &str) {
        for (column, byte) in text.bytes().enumerate() {
            let offset = TEXT_OFFSET + (row * COLUMNS + column) * 2;
            vga.memory_write(offset, 2, 0x0700 | u64::from(byte));
        }
    }

    fn write_crtc(vga: &mut Vga, index: u8, value: u8) {
        vga.port_write(0x3d4, index);
        vga.port_write(0x3d5, value);
    }

    #[test]
    fn text_written_to_memory_is_on_the_screen() {
        let mut vga = Vga::default();
        write_text(&mut vga, 3, "Hello, kernel");
        assert_eq!(vga.screen_text()[3], "Hello, kernel");
        assert_eq!(vga.memory_read(TEXT_OFFSET + 480, 4), 0x0765_0748);
    }

    #[test]
    fn the_start_address_scrolls_the_screen_and_wraps() {
        let mut vga = Vga::default();
        write_text(&mut vga, 2, "third");
        write_text(&mut vga, 0, "first");
        write_crtc(&mut vga, 0x0d, 160);
        assert_eq!(vga.screen_text()[0], "third");
        let last_row = (TEXT_BYTES / 2 - COLUMNS) as u16;
        write_crtc(&mut vga, 0x0c, last_row.to_be_bytes()[0]);
        write_crtc(&mut vga, 0x0d, last_row.to_be_bytes()[1]);
        assert_eq!(vga.screen_text()[1], "first");
    }

    #[test]
    fn the_cursor_reads_back() {
        let mut vga = Vga::default();
        write_crtc(&mut vga, 0x0f, 165);
        vga.port_write(0x3d4, 0x0f);
        assert_eq!(vga.port_read(VirtualTime(0), 0x3d5), 165);
        assert_eq!(vga.cursor(), Some((5, 2)));
    }

    #[test]
    fn reading_the_status_resets_the_attribute_flip_flop() {
        let mut vga = Vga::default();
        vga.port_write(0x3c0, 0x10);
        vga.port_read(VirtualTime(0), 0x3da);
        vga.port_write(0x3c0, 0x11);
        vga.port_write(0x3c0, 0x3f);
        assert_eq!(
            (vga.port_read(VirtualTime(0), 0x3c0), vga.port_read(VirtualTime(0), 0x3c1)),
            (0x11, 0x3f)
        );
    }

    #[test]
    fn a_guest_that_waits_for_the_retrace_sees_it_begin_and_end() {
        let status: Vec<bool> = (0..FRAME_NS / 10_000)
            .map(|step| input_status(VirtualTime(step * 10_000)).has(STATUS_RETRACE))
            .collect();
        assert!(status.contains(&true) && status.contains(&false));
    }

    #[test]
    fn accesses_at_the_end_of_the_window_stay_inside() {
        let mut vga = Vga::default();
        vga.memory_write(MEMORY_BYTES - 1, 8, u64::MAX);
        assert_eq!(vga.memory_read(MEMORY_BYTES - 1, 8), 0xff);
    }
}
