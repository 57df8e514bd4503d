//! Ports that exist only for people who debug: POST codes (0x80), Bochs' console (0xe9), the debug exit
//! (0xf4 and 0x501, as QEMU's isa-debug-exit), pvpanic (0x505, as QEMU's pvpanic-isa).

use crate::persist;
use boundary::{Output, PowerEvent};

/// POST codes.
pub const POST_CODE: u16 = 0x80;
/// The console of Bochs and QEMU.
pub const CONSOLE: u16 = 0xe9;
/// The debug exit ports. The value written, of any width, decides the exit status.
pub const DEBUG_EXIT: [u16; 2] = [0xf4, 0x501];
/// pvpanic.
pub const PVPANIC: u16 = 0x505;
/// The events pvpanic takes: bit 0 the guest panicked, bit 1 it loaded a crash kernel.
const PVPANIC_EVENTS: u8 = 3;

/// What a write to one of these ports does.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    /// It leaves the machine.
    Output(Output),
    /// It ends the machine.
    Power(PowerEvent),
}

/// The latch behind port 0x80; everything else is without state.
#[derive(Debug, Clone, Default)]
pub struct DebugPorts {
    post_code: u8,
}

persist!(DebugPorts { post_code });

impl DebugPorts {
    /// Whether these ports include `port`.
    #[must_use]
    pub fn decodes(port: u16) -> bool {
        matches!(port, POST_CODE | CONSOLE | PVPANIC) || DEBUG_EXIT.contains(&port)
    }

    /// Reads a byte.
    #[must_use]
    pub fn read(&self, port: u16) -> u8 {
        match port {
            POST_CODE => self.post_code,
            // How a guest finds out that the port is there.
            CONSOLE => 0xe9,
            PVPANIC => PVPANIC_EVENTS,
            _ => 0,
        }
    }

    /// Writes a value of any width.
    pub fn write(&mut self, port: u16, value: u32) -> Option<Effect> {
        let [byte, ..] = value.to_le_bytes();
        match port {
            POST_CODE => {
                self.post_code = byte;
                Some(Effect::Output(Output::PostCode(byte)))
            }
            CONSOLE => Some(Effect::Output(Output::Console(vec![byte]))),
            PVPANIC => Some(Effect::Output(Output::Pvpanic(byte))),
            _ if DEBUG_EXIT.contains(&port) => Some(Effect::Power(PowerEvent::DebugExit(value))),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_can_detect_the_console_and_pvpanic() {
        let ports = DebugPorts::default();
        assert_eq!((ports.read(CONSOLE), ports.read(PVPANIC)), (0xe9, 3));
    }

    #[test]
    fn the_post_code_is_shown_and_reads_back() {
        let mut ports = DebugPorts::default();
        assert_eq!(ports.write(POST_CODE, 0x3c), Some(Effect::Output(Output::PostCode(0x3c))));
        assert_eq!(ports.read(POST_CODE), 0x3c);
    }

    #[test]
    fn both_exit_ports_keep_the_whole_value() {
        let mut ports = DebugPorts::default();
        for port in DEBUG_EXIT {
            assert_eq!(
                ports.write(port, 0x1234_5678),
                Some(Effect::Power(PowerEvent::DebugExit(0x1234_5678)))
            );
        }
    }

    #[test]
    fn pvpanic_reports_what_was_written() {
        assert_eq!(DebugPorts::default().write(PVPANIC, 1), Some(Effect::Output(Output::Pvpanic(1))));
    }
}
