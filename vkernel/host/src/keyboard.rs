//! A single key from a terminal: what a pager waits for.

use nix::sys::termios::{LocalFlags, SetArg, SpecialCharacterIndices, tcgetattr, tcsetattr};
use std::fs::File;
use std::io::Read;

/// Waits for a key, without its echo and without the end of a line. `None` if the terminal has gone.
pub fn read_key(mut terminal: &File) -> Option<char> {
    let before = tcgetattr(terminal).ok()?;
    let mut modes = before.clone();
    modes.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG);
    modes.control_chars[SpecialCharacterIndices::VMIN as usize] = 1;
    modes.control_chars[SpecialCharacterIndices::VTIME as usize] = 0;
    tcsetattr(terminal, SetArg::TCSANOW, &modes).ok()?;
    let mut byte = [0];
    let length = terminal.read(&mut byte);
    tcsetattr(terminal, SetArg::TCSANOW, &before).ok()?;
    (length.ok()? == 1).then(|| char::from(byte[0]))
}
