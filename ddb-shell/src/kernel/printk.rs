//! The kernel's log, read from its memory: Linux 5.10 and later (kernel/printk/printk_ringbuffer.c).
//!
//! A record is a descriptor (its state and id in one word, and where its text lies), an info (length, time), and a
//! block of the data ring that begins with the id. Ids count up; what lies at a place of the rings belongs to the
//! record asked for only if the id agrees. Left out: structured properties, dictionaries, the formats before 5.10.

use super::Guest;
use crate::symbols::Symbols;
use machine::Machine;

/// The upper two bits of a descriptor's word are its state.
const STATE_SHIFT: u32 = 62;
const ID_MASK: u64 = (1 << STATE_SHIFT) - 1;
/// States in which the text is whole: committed and finalized.
const WHOLE: [u64; 2] = [1, 2];
/// More records or bytes than any kernel is configured for are somebody's joke.
const COUNT_BITS_MAX: u32 = 22;
const SIZE_BITS_MAX: u32 = 28;
/// `LOG_LINE_MAX` is 1000, `PRINTKRB_RECORD_MAX` 1024.
const TEXT_BYTES_MAX: u64 = 4096;

/// The rings' places.
struct Rings {
    count_mask: u64,
    descriptors: u64,
    infos: u64,
    tail_id: u64,
    head_id: u64,
    data: u64,
    size_bits: u32,
}

/// The lines of the kernel's log, each with its time as the console shows it. `None` if there is none to be found.
#[must_use]
pub fn log(machine: &Machine, symbols: &Symbols<'_>) -> Option<Vec<String>> {
    let guest = Guest::find(machine, symbols)?;
    let variable = guest.layout.get("prb()")?;
    let rings = Rings::read(&guest, guest.u64(variable)?)?;
    let mut lines = Vec::new();
    let mut id = rings.tail_id;
    for _ in 0..=rings.count_mask {
        if let Some((time_ns, text)) = rings.record(&guest, id) {
            let stamp = format!("[{:5}.{:06}]", time_ns / 1_000_000_000, time_ns / 1000 % 1_000_000);
            lines.extend(text.lines().map(|line| format!("{stamp} {line}")));
        }
        if id == rings.head_id {
            break;
        }
        id = (id + 1) & ID_MASK;
    }
    Some(lines)
}

impl Rings {
    fn read(guest: &Guest<'_, '_>, ring_buffer: u64) -> Option<Rings> {
        let descriptor_ring = guest.member(ring_buffer, "printk_ringbuffer.desc_ring")?;
        let data_ring = guest.member(ring_buffer, "printk_ringbuffer.text_data_ring")?;
        let of_descriptors = |name: &str| guest.member(descriptor_ring, &format!("prb_desc_ring.{name}"));
        let count_bits = guest.u32(of_descriptors("count_bits")?)?;
        let size_bits = guest.u32(guest.member(data_ring, "prb_data_ring.size_bits")?)?;
        if count_bits > COUNT_BITS_MAX || size_bits > SIZE_BITS_MAX {
            return None;
        }
        Some(Rings {
            count_mask: (1 << count_bits) - 1,
            descriptors: guest.u64(of_descriptors("descs")?)?,
            infos: guest.u64(of_descriptors("infos")?)?,
            tail_id: guest.u64(of_descriptors("tail_id")?)? & ID_MASK,
            head_id: guest.u64(of_descriptors("head_id")?)? & ID_MASK,
            data: guest.u64(guest.member(data_ring, "prb_data_ring.data")?)?,
            size_bits,
        })
    }

    /// Time and text of a record; `None` if it is not whole, or not there any more.
    fn record(&self, guest: &Guest<'_, '_>, id: u64) -> Option<(u64, String)> {
        let index = id & self.count_mask;
        let descriptor = self.descriptors.wrapping_add(index * guest.layout.get("prb_desc")?);
        let word = guest.u64(guest.member(descriptor, "prb_desc.state_var")?)?;
        if word & ID_MASK != id || !WHOLE.contains(&(word >> STATE_SHIFT)) {
            return None;
        }
        let info = self.infos.wrapping_add(index * guest.layout.get("printk_info")?);
        let time_ns = guest.u64(guest.member(info, "printk_info.ts_nsec")?)?;
        let length = u16::from_le_bytes(guest.read(guest.member(info, "printk_info.text_len")?)?);
        let position = guest.member(descriptor, "prb_desc.text_blk_lpos")?;
        let begin = guest.u64(guest.member(position, "prb_data_blk_lpos.begin")?)?;
        let next = guest.u64(guest.member(position, "prb_data_blk_lpos.next")?)?;
        // An odd position stands for no text.
        if begin & 1 == 1 {
            return Some((time_ns, String::new()));
        }
        let mask = (1 << self.size_bits) - 1;
        // A block that would reach over the end begins at the start of the ring instead.
        let is_wrapped = begin >> self.size_bits != next >> self.size_bits && next & mask != 0;
        let start = if is_wrapped { 0 } else { begin & mask };
        let block_bytes = if is_wrapped { next & mask } else { next.wrapping_sub(begin) };
        let block = self.data.wrapping_add(start);
        let length = u64::from(length).min(block_bytes.checked_sub(8)?).min(TEXT_BYTES_MAX);
        if guest.u64(block)? != id {
            return None;
        }
        let text = guest.bytes(block.wrapping_add(8), length as usize)?;
        Some((time_ns, String::from_utf8_lossy(&text).into_owned()))
    }
}

/// The lines of a log behind the last one that the console, whose latest output is `console`, has shown.
#[must_use]
pub fn unprinted(mut lines: Vec<String>, console: &str) -> Vec<String> {
    let without_stamp = |line: &str| line.split_once("] ").map_or("", |(_, text)| text).to_owned();
    let is_shown = |line: &String| console.contains(line.as_str());
    // With printk.time=0 there are no stamps; short texts would be found by chance.
    let is_shown_bare = |line: &String| {
        let text = without_stamp(line);
        text.len() >= 8 && console.contains(&text)
    };
    let last = lines.iter().rposition(is_shown).or_else(|| lines.iter().rposition(is_shown_bare));
    lines.drain(..last.map_or(0, |last| last + 1));
    lines
}
