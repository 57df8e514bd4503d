//! What a debugger is not meant to be told: lines for its prompt, packets for its gdb server.
//!
//! A right line or packet is the best beginning of a wrong one, so most of them are right ones with a mistake. The same
//! dice make the same nonsense.

mod c;
mod lines;
mod packets;

use crate::Dice;
pub use lines::{Scope, lines};
pub use packets::{expect_sane_server, nuisance};

/// Numbers where something begins or ends.
const EDGES: [&str; 17] = [
    "0",
    "1",
    "7",
    "0fff",
    "1000",
    "7fff",
    "7fffffff",
    "80000000",
    "0ffffffff",
    "7fffffffffff",
    "0ffff800000000000",
    "0ffffffff80000000",
    "7fffffffffffffff",
    "8000000000000000",
    "0fffffffffffff000",
    "0ffffffffffffffff",
    "10000000000000000",
];

/// Makes up to three mistakes; `pieces` are what may be put in.
fn mutate(text: &mut Vec<u8>, pieces: &[&str], dice: &mut Dice) {
    for _ in 0..1 + dice.below(3) {
        let at = dice.below(text.len() as u64 + 1) as usize;
        let end = (at + 1 + dice.below(4) as usize).min(text.len());
        match dice.below(6) {
            0 => drop(text.drain(at..end)),
            1 => {
                let again = text[at..end].to_vec();
                drop(text.splice(at..at, again));
            }
            2 => text.insert(at, dice.below(256) as u8),
            3 => drop(text.splice(at..end, [dice.below(256) as u8])),
            4 => text.truncate(at),
            _ => drop(text.splice(at..at, dice.pick(pieces).bytes())),
        }
    }
}

/// A length that is short in most cases, and sometimes far beyond what anybody types.
fn length(dice: &mut Dice) -> usize {
    let longest = [4, 30, 300, 5000, 200_000][(dice.below(100) as usize + 20) / 30];
    1 + dice.below(longest) as usize
}
