//! Characters as a typist would produce them: set 1 scan codes of a US keyboard.

const SHIFT: u8 = 0x2a;
const CONTROL: u8 = 0x1d;
/// Added to a key's code when it is released.
const RELEASE: u8 = 0x80;

/// Runs of keys with consecutive codes: the first code, the characters, the same with Shift.
const KEYS: [(u8, &str, &str); 6] = [
    (0x02, "1234567890-=\x08\t", "!@#$%^&*()_+"),
    (0x10, "qwertyuiop[]\r", "QWERTYUIOP{}"),
    (0x1e, "asdfghjkl;'`", "ASDFGHJKL:\"~"),
    (0x2b, "\\zxcvbnm,./", "|ZXCVBNM<>?"),
    (0x01, "\x1b", ""),
    (0x39, " ", ""),
];

/// The presses and releases that type `character`; none for what the keyboard does not have.
#[must_use]
pub fn keystrokes(character: u8) -> Vec<u8> {
    let character = match character {
        b'\n' => b'\r',
        0x7f => 0x08,
        other => other,
    };
    if let Some(code) = find(character, |(_, plain, _)| plain) {
        return vec![code, code | RELEASE];
    }
    if let Some(code) = find(character, |(_, _, shifted)| shifted) {
        return with(SHIFT, code);
    }
    let letter = character.wrapping_add(b'a' - 1);
    match find(letter, |(_, plain, _)| plain) {
        Some(code) if letter.is_ascii_lowercase() => with(CONTROL, code),
        _ => Vec::new(),
    }
}

fn with(modifier: u8, code: u8) -> Vec<u8> {
    vec![modifier, code, code | RELEASE, modifier | RELEASE]
}

fn find(character: u8, layer: fn((u8, &'static str, &'static str)) -> &'static str) -> Option<u8> {
    KEYS.into_iter().find_map(|run| {
        let index = layer(run).bytes().position(|candidate| candidate == character)?;
        Some(run.0 + index as u8)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_shifted_and_control_characters_have_their_keys() {
        assert_eq!(keystrokes(b'a'), [0x1e, 0x9e]);
        assert_eq!(keystrokes(b'A'), [0x2a, 0x1e, 0x9e, 0xaa]);
        assert_eq!(keystrokes(3), [0x1d, 0x2e, 0xae, 0x9d], "control C");
        assert_eq!(keystrokes(b'\n'), [0x1c, 0x9c]);
        assert_eq!(keystrokes(0x7f), [0x0e, 0x8e]);
        assert_eq!(keystrokes(b'/'), [0x35, 0xb5]);
        assert_eq!(keystrokes(b'?'), [0x2a, 0x35, 0xb5, 0xaa]);
    }

    #[test]
    fn every_printable_character_can_be_typed_in_its_own_way() {
        let mut all: Vec<Vec<u8>> = (b' '..=b'~').map(keystrokes).collect();
        assert!(all.iter().all(|codes| !codes.is_empty()));
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 95);
    }

    #[test]
    fn what_is_not_on_the_keyboard_types_nothing() {
        assert!(keystrokes(0xc3).is_empty());
        assert!(keystrokes(0).is_empty());
    }
}
