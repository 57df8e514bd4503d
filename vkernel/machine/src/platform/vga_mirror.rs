//! The mirror: what a kernel writes to the VGA text screen becomes lines on the console, for a kernel that
//! never uses the serial port.
//!
//! A screen is not a stream, so the mirror compares the screen with what it has already told, at three
//! moments: when the guest begins to write at the top after it wrote further down (it scrolls or clears),
//! when it is about to move the start address, and when it has not written for a while. A scroll is
//! recognised by the told lines standing further up. All of it follows from guest writes and guest time, so a
//! replay emits the same bytes.

use super::board::emit_console;
use super::vga::{COLUMNS, ROWS, TEXT_BYTES, TEXT_OFFSET, Vga};
use crate::persist;
use boundary::{Output, VirtualTime};

/// Silence after which the screen is taken to be complete.
const SETTLE_NS: u64 = 20_000_000;

/// What was told of the screen, and what has happened to it since.
#[derive(Debug, Clone, Default)]
pub struct VgaMirror {
    silenced: bool,
    dirty: bool,
    scrolls: bool,
    last_row: usize,
    settles_at: Option<VirtualTime>,
    told: Vec<String>,
    /// Whether the last line told still lacks its end.
    line_open: bool,
    /// The row of that line, while it is on the screen.
    open_row: Option<usize>,
}

persist!(VgaMirror { silenced, dirty, scrolls, last_row, settles_at, told, line_open, open_row });

impl VgaMirror {
    /// The guest uses another console: the mirror is not needed any more.
    pub fn silence(&mut self) {
        if !self.silenced {
            *self = VgaMirror { silenced: true, ..VgaMirror::default() };
        }
    }

    /// Whether the screen is the guest's console: it wrote there, and nowhere else.
    #[must_use]
    pub fn is_console(&self) -> bool {
        self.line_open
    }

    /// The guest is about to write at `offset` of the memory window.
    pub fn before_memory_write(
        &mut self,
        now: VirtualTime,
        vga: &Vga,
        offset: usize,
        outputs: &mut Vec<Output>,
    ) {
        if self.silenced || offset < TEXT_OFFSET {
            return;
        }
        let character = ((offset - TEXT_OFFSET) / 2 + TEXT_BYTES / 2).wrapping_sub(vga.start_address());
        let row = character % (TEXT_BYTES / 2) / COLUMNS;
        if row == 0 && self.last_row > 0 {
            self.tell(vga, outputs);
            self.scrolls = true;
        }
        self.last_row = row;
        self.dirty = true;
        self.settles_at = Some(now.plus(SETTLE_NS));
    }

    /// The guest is about to move the start address.
    pub fn before_scroll(&mut self, vga: &Vga, outputs: &mut Vec<Output>) {
        if !self.silenced && self.dirty {
            self.tell(vga, outputs);
            self.scrolls = true;
        }
    }

    /// Tells what is new when the screen has settled.
    pub fn advance(&mut self, now: VirtualTime, vga: &Vga, outputs: &mut Vec<Output>) {
        if self.settles_at.is_some_and(|at| at <= now) {
            self.tell(vga, outputs);
        }
    }

    /// When the screen has settled.
    #[must_use]
    pub fn deadline(&self) -> Option<VirtualTime> {
        self.settles_at
    }

    /// Tells what is new on the screen.
    pub fn tell(&mut self, vga: &Vga, outputs: &mut Vec<Output>) {
        self.settles_at = None;
        if self.silenced || !std::mem::take(&mut self.dirty) {
            return;
        }
        let rows = vga.screen_text();
        self.told.resize(ROWS, String::new());
        let scrolled = self.scrolled_rows(&rows);
        let mut text = String::new();
        for (row, new) in rows.iter().enumerate() {
            let old = self.told.get(row + scrolled).map_or("", String::as_str);
            match new.strip_prefix(old) {
                Some("") => {}
                Some(rest) if self.open_row == Some(row + scrolled) => text.push_str(rest),
                _ if new.is_empty() => {}
                _ => {
                    if std::mem::replace(&mut self.line_open, true) {
                        text.push_str("\r\n");
                    }
                    text.push_str(new);
                    self.open_row = Some(row + scrolled);
                }
            }
        }
        self.open_row = self.open_row.and_then(|row| row.checked_sub(scrolled));
        self.told = rows;
        self.scrolls = false;
        emit_console(outputs, text.as_bytes());
    }

    /// By how many rows the told lines have moved up. Without any evidence they have not.
    fn scrolled_rows(&self, rows: &[String]) -> usize {
        let moved_by = |scrolled: &usize| {
            let mut pairs =
                self.told[*scrolled..].iter().zip(rows).filter(|(old, _)| !old.is_empty()).peekable();
            (*scrolled == 0 || pairs.peek().is_some())
                && pairs.all(|(old, new)| new.starts_with(old.as_str()))
        };
        // Equal lines fit in several ways; a guest that began to write at the top has probably scrolled.
        let first = usize::from(self.scrolls);
        (first..ROWS).find(moved_by).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A guest with a text console that scrolls by copying.
    #[derive(Default)]
    struct Guest {
        vga: Vga,
        mirror: VgaMirror,
        outputs: Vec<Output>,
        row: usize,
        column: usize,
    }

    impl Guest {
        fn store(&mut self, offset: usize, value: u64) {
            let at = TEXT_OFFSET + offset;
            self.mirror.before_memory_write(VirtualTime(0), &self.vga, at, &mut self.outputs);
            self.vga.memory_write(at, 2, value);
        }

        fn scroll(&mut self) {
            for offset in (0..(ROWS - 1) * COLUMNS * 2).step_by(2) {
                let value = self.vga.memory_read(TEXT_OFFSET + offset + COLUMNS * 2, 2);
                self.store(offset, value);
            }
            for column in 0..COLUMNS {
                self.store(((ROWS - 1) * COLUMNS + column) * 2, 0x0720);
            }
        }

        fn print(&mut self, text: &str) {
            for byte in text.bytes() {
                if byte == b'\n' {
                    (self.row, self.column) = (self.row + 1, 0);
                    if self.row == ROWS {
                        self.row -= 1;
                        self.scroll();
                    }
                } else {
                    self.store((self.row * COLUMNS + self.column) * 2, 0x0700 | u64::from(byte));
                    self.column += 1;
                }
            }
        }

        fn told(&mut self) -> String {
            self.mirror.advance(VirtualTime(SETTLE_NS), &self.vga, &mut self.outputs);
            let outputs = std::mem::take(&mut self.outputs);
            let bytes = outputs.into_iter().flat_map(|output| match output {
                Output::Console(bytes) => bytes,
                other => panic!("{other:?}"),
            });
            String::from_utf8(bytes.collect()).expect("ASCII")
        }
    }

    #[test]
    fn lines_are_told_once() {
        let mut guest = Guest::default();
        guest.print("one\ntwo\n");
        assert_eq!(guest.told(), "one\r\ntwo");
        guest.print("three\n");
        assert_eq!(guest.told(), "\r\nthree");
        assert_eq!(guest.told(), "");
    }

    #[test]
    fn a_prompt_is_told_and_what_is_typed_behind_it_continues_its_line() {
        let mut guest = Guest::default();
        guest.print("ready\n$ ");
        assert_eq!(guest.told(), "ready\r\n$");
        guest.print("ls");
        assert_eq!(guest.told(), " ls");
    }

    #[test]
    fn no_line_is_lost_or_repeated_while_the_screen_scrolls() {
        let mut guest = Guest::default();
        let lines: Vec<String> = (0..200).map(|number| format!("line {number}")).collect();
        guest.print(&lines.join("\n"));
        assert_eq!(guest.told(), lines.join("\r\n"));
    }

    #[test]
    fn equal_lines_are_told_as_often_as_they_were_written() {
        let mut guest = Guest::default();
        guest.print(&"same\n".repeat(60));
        assert_eq!(guest.told().matches("same").count(), 60);
    }

    #[test]
    fn a_cleared_screen_starts_anew() {
        let mut guest = Guest::default();
        guest.print("old\nrubbish\n");
        guest.told();
        (0..ROWS * COLUMNS).for_each(|cell| guest.store(cell * 2, 0x0720));
        (guest.row, guest.column) = (0, 0);
        guest.print("new\n");
        assert_eq!(guest.told(), "\r\nnew");
    }

    #[test]
    fn a_guest_with_a_serial_port_is_not_mirrored() {
        let mut guest = Guest::default();
        guest.mirror.silence();
        guest.print("hidden\n");
        assert_eq!(guest.told(), "");
        assert_eq!(guest.mirror.deadline(), None);
    }
}
