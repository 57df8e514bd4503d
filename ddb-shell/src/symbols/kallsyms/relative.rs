//! Offsets from where they lie themselves, as Linux has them from 7 on: they say where everything is in RAM, wherever the
//! kernel runs. Where that is in its address space is in a variable of its own, `phys_base` (arch/x86/kernel/head_64.S), and
//! is proved by the first task, which is its own parent and the leader of its own group.
//!
//! Left out: kernels without the names of variables (`CONFIG_KALLSYMS_ALL`).

use super::{Names, PAGE_BYTES, Tokens, find_names, read_u64};
use crate::memory::GuestRam;

/// `__START_KERNEL_map`: where physical address 0 would be if the kernel had not been moved.
const START_KERNEL_MAP: u64 = 0xffff_ffff_8000_0000;
/// How far into a task its pointers to itself lie at most.
const TASK_BYTES: usize = 16 << 10;

/// The address of every symbol, by offsets that begin at `start`.
pub(super) fn addresses(
    guest: &dyn GuestRam,
    tokens: &Tokens,
    names: &Names,
    start: usize,
) -> Option<Vec<u64>> {
    let ram = guest.bytes();
    let (offsets, _) = ram.get(start..start + names.count * 4)?.as_chunks::<4>();
    let place = |(own, bytes): (usize, &[u8; 4])| own.checked_add_signed(i32::from_le_bytes(*bytes) as isize);
    let places: Vec<usize> = (start..).step_by(4).zip(offsets).map_while(place).collect();
    let is_plausible = places.len() == names.count
        && places.is_sorted()
        && places.first() != places.last()
        && places.last().is_some_and(|last| *last < ram.len());
    if !is_plausible {
        return None;
    }
    let [phys_base, init_task] = find_names(ram, tokens, names, ["phys_base", "init_task"]);
    let moved = read_u64(ram, places[phys_base?.0])?;
    let address = |place: usize| {
        let paddr = guest.page_paddr(place / PAGE_BYTES) + (place % PAGE_BYTES) as u64;
        paddr.wrapping_add(START_KERNEL_MAP).wrapping_sub(moved)
    };
    let task = places[init_task?.0];
    let (words, _) = ram[task..ram.len().min(task + TASK_BYTES)].as_chunks::<8>();
    let is_itself = |word: &&[u8; 8]| u64::from_le_bytes(**word) == address(task);
    (words.iter().filter(is_itself).count() >= 2)
        .then(|| places.iter().map(|&place| address(place)).collect())
}
