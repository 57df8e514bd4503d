//! Linux's own symbol table (kernel/kallsyms.c, scripts/kallsyms.c), found in guest RAM.
//!
//! A distribution's kernel is stripped, but carries the names of all its functions, compressed: each name is a
//! row of tokens, each token stands for a short string. The tables are arrays in read-only data, one behind the
//! other, each aligned to 8 bytes, from 7 on to 4. What is called *index* here is `kallsyms_token_index`:
//!
//! | kernels    | order |
//! |------------|-------|
//! | 5.10 - 6.1 | offsets, base, count, names, markers, tokens, index |
//! | 6.2 - 6.3  | offsets, base, count, names, markers, seqs, tokens, index |
//! | from 6.4   | count, names, markers, tokens, index, offsets, base, seqs |
//! | from 7     | count, names, markers, tokens, index, offsets, seqs: the offsets are from their own places ([`relative`]) |
//!
//! The token table is recognised by its digits (every digit is a token of itself), proved by the index, and
//! the rest is found from there and proved by the markers, so that chance finds are no danger. The base is
//! relocated with the kernel: the addresses contain the KASLR slide.
//!
//! RAM is the guest's and may be hostile: every offset is checked and all searches have a budget. Left out:
//! 32-bit kernels, kernels with absolute addresses instead of offsets, symbols of modules.

mod relative;

use super::table::{Builder, Rank, SymbolTable};
use crate::memory::GuestRam;
use crate::registers::KERNEL_SPACE;
use std::ops::Range;

const PAGE_BYTES: usize = 4096;

const DIGITS: &[u8; 20] = b"0\x001\x002\x003\x004\x005\x006\x007\x008\x009\0";
const TOKENS: usize = 256;
/// What the tables are aligned to, in bytes.
const ALIGNMENTS: [usize; 2] = [8, 4];
/// Tables smaller than this are no kernel's.
const COUNT_MIN: usize = 16;
/// Kernels have 100 000 to 300 000 symbols.
const COUNT_MAX: usize = 1 << 20;
/// How far the count lies before the tokens at most: 1 to 4 MiB in real kernels.
const NAMES_BYTES_MAX: usize = 32 << 20;
/// How often the digits may occur before a table is found: each costs a look at a few kilobytes.
const DIGITS_MAX: usize = 1 << 12;
/// Names looked at in search of the count, over all candidates.
const NAMES_BUDGET: usize = 1 << 26;
/// Bytes of all decoded names together; 150 000 symbols have 4 MiB.
const TEXT_BYTES_MAX: usize = 64 << 20;
/// `KSYM_NAME_LEN`, with the type letter.
const NAME_BYTES_MAX: usize = 512;
/// Every so many names there is a marker.
const MARKER_SPACING: usize = 256;

/// The symbols of the first kernel in a guest's RAM. Pages that are known to hold zeros are not looked at.
pub(super) fn find_kallsyms(guest: &dyn GuestRam) -> Option<SymbolTable> {
    let mut budget = NAMES_BUDGET;
    let mut from = 0;
    let ram = guest.bytes();
    for _ in 0..DIGITS_MAX {
        let digits = find_digits(guest, from)?;
        from = digits + DIGITS.len();
        let table = ALIGNMENTS.into_iter().find_map(|alignment| {
            let tokens = Tokens::around(ram, digits, alignment)?;
            let names = Names::before(ram, &tokens, &mut budget)?;
            let addresses = addresses(guest, &tokens, &names)?;
            Some(decode(ram, &tokens, &names, &addresses))
        });
        if table.is_some() {
            return table;
        }
    }
    None
}

fn read_u16(ram: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*ram.get(at..)?.first_chunk()?))
}

fn read_u32(ram: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*ram.get(at..)?.first_chunk()?))
}

fn read_u64(ram: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*ram.get(at..)?.first_chunk()?))
}

/// The offset of the next [`DIGITS`] at or after `from`. Pages of zeros, most of a fresh guest's RAM, are
/// stepped over whole.
fn find_digits(guest: &dyn GuestRam, from: usize) -> Option<usize> {
    static ZEROS: [u8; PAGE_BYTES] = [0; PAGE_BYTES];
    let ram = guest.bytes();
    let first_page = from / PAGE_BYTES * PAGE_BYTES;
    let pages = (first_page..).step_by(PAGE_BYTES).zip(ram[first_page..].chunks(PAGE_BYTES));
    pages
        .filter(|(at, page)| !guest.is_blank(at / PAGE_BYTES) && **page != ZEROS[..page.len()])
        .find_map(|(at, page)| find_digits_in_page(ram, at, page, from))
}

/// Looks at aligned words only: wherever the digits begin, one of the first two words consists of four of them
/// and four zeros.
fn find_digits_in_page(ram: &[u8], at: usize, page: &[u8], from: usize) -> Option<usize> {
    const EVEN: u64 = 0x00ff_00ff_00ff_00ff;
    let (words, _) = page.as_chunks::<8>();
    words.iter().enumerate().find_map(|(index, bytes)| {
        let word = u64::from_le_bytes(*bytes);
        if word == 0 || (word & EVEN != 0 && word & !EVEN != 0) {
            return None;
        }
        let phase = usize::from(word & EVEN == 0);
        let digit = usize::from(bytes[phase].checked_sub(b'0')?);
        let start = (at + index * 8 + phase).checked_sub(2 * digit)?;
        (start >= from && ram.get(start..)?.starts_with(DIGITS)).then_some(start)
    })
}

/// The token table and its index.
struct Tokens {
    /// Where the table starts.
    start: usize,
    /// Where each token starts, and how long it is.
    spans: Vec<(usize, usize)>,
    /// Where the index ends.
    index_end: usize,
    /// What all tables are aligned to.
    alignment: usize,
}

impl Tokens {
    /// The table whose tokens for digits lie at `digits`, if it is one.
    fn around(ram: &[u8], digits: usize, alignment: usize) -> Option<Tokens> {
        let tail = token_spans(ram, digits, TOKENS - usize::from(b'0'))?;
        let (last_start, last_length) = *tail.last()?;
        let index = (last_start + last_length + 1).next_multiple_of(alignment);
        let start = digits.checked_sub(usize::from(read_u16(ram, index + usize::from(b'0') * 2)?))?;
        let spans = token_spans(ram, start, TOKENS)?;
        let agrees = spans.iter().enumerate().all(|(token, &(at, _))| {
            read_u16(ram, index + token * 2).is_some_and(|offset| start + usize::from(offset) == at)
        });
        let index_end = index + TOKENS * 2;
        (agrees && start % alignment == 0).then_some(Tokens { start, spans, index_end, alignment })
    }

    /// Where a table begins that follows what ends here.
    fn align(&self, offset: usize) -> usize {
        offset.next_multiple_of(self.alignment)
    }

    fn text<'ram>(&self, ram: &'ram [u8], token: u8) -> &'ram [u8] {
        let (start, length) = self.spans[usize::from(token)];
        &ram[start..start + length]
    }
}

/// `count` zero-terminated strings from `start` on.
fn token_spans(ram: &[u8], start: usize, count: usize) -> Option<Vec<(usize, usize)>> {
    let mut at = start;
    let mut spans = Vec::with_capacity(count);
    for _ in 0..count {
        let rest = ram.get(at..)?;
        let length = rest.iter().take(NAME_BYTES_MAX).position(|&byte| byte == 0)?;
        spans.push((at, length));
        at += length + 1;
    }
    Some(spans)
}

/// The compressed names.
struct Names {
    /// Where the count lies, the head of this part.
    head: usize,
    count: usize,
    /// Where the first name lies.
    first: usize,
}

impl Names {
    /// The names whose markers lie before the token table, with or without seqs in between.
    fn before(ram: &[u8], tokens: &Tokens, budget: &mut usize) -> Option<Names> {
        let lowest = tokens.start.saturating_sub(NAMES_BYTES_MAX);
        let highest = tokens.align(tokens.start.checked_sub(16)?);
        for head in (tokens.align(lowest)..=highest).rev().step_by(tokens.alignment) {
            let count = read_u32(ram, head)? as usize;
            let first = head + tokens.alignment;
            // A name takes at least two bytes, and the padding behind the count is zero.
            let is_possible = (COUNT_MIN..=COUNT_MAX).contains(&count)
                && ram[head + 4..first].iter().all(|&byte| byte == 0)
                && first + 2 * count <= tokens.start;
            if is_possible && names_reach_tokens(ram, first, count, tokens, budget)? {
                return Some(Names { head, count, first });
            }
        }
        None
    }
}

/// Whether `count` names from `start` on, and their markers, end where the tokens start. `None` when the budget is
/// used up.
fn names_reach_tokens(
    ram: &[u8],
    start: usize,
    count: usize,
    tokens: &Tokens,
    budget: &mut usize,
) -> Option<bool> {
    let mut at = start;
    let mut markers = Vec::new();
    for index in 0..count {
        *budget = budget.checked_sub(1)?;
        if index % MARKER_SPACING == 0 {
            markers.push(at - start);
        }
        let Some((first, length)) = name_span(ram, at) else { return Some(false) };
        at = first + length;
        if at > tokens.start {
            return Some(false);
        }
    }
    let markers_start = tokens.align(at);
    let seqs_start = tokens.align(markers_start + markers.len() * 4);
    let ends_at_tokens = seqs_start == tokens.start || tokens.align(seqs_start + 3 * count) == tokens.start;
    let agree = markers
        .iter()
        .zip((markers_start..).step_by(4))
        .all(|(&marker, at)| read_u32(ram, at).is_some_and(|value| value as usize == marker));
    Some(ends_at_tokens && agree)
}

/// Where the tokens of the name at `at` start, and how many there are. From 6.1 on a length of 128 and more
/// takes two bytes, seven bits in the first.
fn name_span(ram: &[u8], at: usize) -> Option<(usize, usize)> {
    let low = usize::from(*ram.get(at)?);
    let (first, length) = match low {
        0..128 => (at + 1, low),
        _ => (at + 2, low & 0x7f | usize::from(*ram.get(at + 1)?) << 7),
    };
    (1..=NAME_BYTES_MAX).contains(&length).then_some((first, length))
}

/// The address of every symbol, from whichever place the offsets lie at.
fn addresses(guest: &dyn GuestRam, tokens: &Tokens, names: &Names) -> Option<Vec<u64>> {
    let ram = guest.bytes();
    let offsets_bytes = tokens.align(names.count * 4);
    let before = names.head.checked_sub(8).and_then(|base| Some((base.checked_sub(offsets_bytes)?, base)));
    let after = tokens.align(tokens.index_end);
    let places = before.into_iter().chain([(after, after + offsets_bytes)]);
    let with_base =
        places.into_iter().find_map(|(offsets, base)| addresses_at(ram, names.count, offsets, base));
    with_base.or_else(|| relative::addresses(guest, tokens, names, after))
}

/// Decodes offsets, if they are any. With `CONFIG_KALLSYMS_ABSOLUTE_PERCPU` (on x86-64 until 6.14) an offset
/// from the base is stored as its complement, a negative number, and per-CPU symbols are stored as they are.
/// Symbols are sorted by address, which proves that the numbers are what they are taken for.
fn addresses_at(ram: &[u8], count: usize, offsets: usize, base: usize) -> Option<Vec<u64>> {
    let base = read_u64(ram, base)?;
    if base < KERNEL_SPACE {
        return None;
    }
    let (offsets, _) = ram.get(offsets..offsets + count * 4)?.as_chunks::<4>();
    let offsets: Vec<i32> = offsets.iter().map(|bytes| i32::from_le_bytes(*bytes)).collect();
    let negatives = offsets.iter().filter(|&&offset| offset < 0).count();
    let has_absolute_percpu = negatives > count / 2;
    let address = |offset: i32| match offset {
        _ if !has_absolute_percpu => base.wrapping_add(u64::from(offset as u32)),
        0.. => offset as u64,
        _ => base.wrapping_add(u64::from(!offset as u32)),
    };
    let addresses: Vec<u64> = offsets.into_iter().map(address).collect();
    let is_plausible = addresses.is_sorted() && addresses.first() != addresses.last();
    is_plausible.then_some(addresses)
}

/// Expands the name at `at`, its type letter first; gives where the next one lies.
fn expand(ram: &[u8], tokens: &Tokens, at: usize, name: &mut Vec<u8>) -> Option<usize> {
    let (first, length) = name_span(ram, at)?;
    name.clear();
    for &token in ram.get(first..first + length)? {
        name.extend_from_slice(tokens.text(ram, token));
    }
    Some(first + length)
}

/// The numbers of the symbols that have these names, with the letters of their types.
fn find_names<const N: usize>(
    ram: &[u8],
    tokens: &Tokens,
    names: &Names,
    wanted: [&str; N],
) -> [Option<(usize, u8)>; N] {
    let mut found = [None; N];
    let (mut at, mut name) = (names.first, Vec::new());
    for index in 0..names.count {
        let Some(next) = expand(ram, tokens, at, &mut name) else { break };
        at = next;
        let Some((letter, text)) = name.split_first() else { continue };
        if let Some(which) = wanted.iter().position(|wanted| text == wanted.as_bytes()) {
            found[which].get_or_insert((index, *letter));
        }
    }
    found
}

/// Where code lies, by the linker script's own symbols, in a kernel that gives the letter of code to all that it has, as
/// Linux 7 does. `None` where letters tell.
fn sections_of_code(
    ram: &[u8],
    tokens: &Tokens,
    names: &Names,
    addresses: &[u64],
) -> Option<[Range<u64>; 2]> {
    let wanted = ["_sdata", "_text", "_etext", "_sinittext", "_einittext"];
    let [data, bounds @ ..] = find_names(ram, tokens, names, wanted);
    let (_, letter) = data?;
    let [start, end, init_start, init_end] = bounds.map(|found| addresses.get(found?.0).copied());
    is_code(letter).then_some([start?..end?, init_start?..init_end?])
}

/// Whether a letter stands for code, strong or weak.
fn is_code(letter: u8) -> bool {
    matches!(letter, b'T' | b't' | b'W' | b'w')
}

/// Expands every name.
fn decode(ram: &[u8], tokens: &Tokens, names: &Names, addresses: &[u64]) -> SymbolTable {
    let sections = sections_of_code(ram, tokens, names, addresses);
    let lies_in_code = |address| {
        sections.as_ref().is_none_or(|sections| sections.iter().any(|section| section.contains(&address)))
    };
    let mut builder = Builder::default();
    let mut text_bytes = 0;
    let mut at = names.first;
    let mut name = Vec::new();
    for &address in addresses {
        let Some(next) = expand(ram, tokens, at, &mut name) else { break };
        at = next;
        text_bytes += name.len();
        if text_bytes > TEXT_BYTES_MAX {
            break;
        }
        let Some((letter, name)) = name.split_first().filter(|_| name.len() <= NAME_BYTES_MAX) else {
            continue;
        };
        let name = String::from_utf8_lossy(name);
        if is_code(*letter) && lies_in_code(address) {
            // All of one rank: of several names for an address Linux prints the first, and so do we.
            builder.code(&name, address, 0, Rank::Global);
        } else {
            builder.data(&name, address);
        }
    }
    builder.finish()
}

#[cfg(test)]
mod tests;
