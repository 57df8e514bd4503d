//! Which of gdb's bytes are ^C, and which only have its value in the data of a packet (gdb manual, "Interrupts" and "Overview"
//! of the remote protocol).

/// The byte that gdb sends for ^C.
pub const INTERRUPT: u8 = 3;

/// Where in the stream of packets, `$DATA#CHECKSUM`, the next byte is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// Between packets, where acknowledgements and ^C are.
    #[default]
    Between,
    /// In the data, in which `#` is escaped.
    Data,
    /// In the checksum: so many of its two digits have come.
    Checksum(u8),
}

impl Framing {
    /// Whether this byte, the next one, is a ^C.
    pub fn is_interrupt(&mut self, byte: u8) -> bool {
        let is_interrupt = *self == Framing::Between && byte == INTERRUPT;
        *self = match (*self, byte) {
            (Framing::Between, b'$') => Framing::Data,
            (Framing::Data, b'#') => Framing::Checksum(0),
            (Framing::Checksum(0), _) => Framing::Checksum(1),
            (Framing::Checksum(_), _) => Framing::Between,
            (at, _) => at,
        };
        is_interrupt
    }
}
