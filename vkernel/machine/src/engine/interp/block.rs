//! Blocks: runs of lowered operations, and the cache that finds them by where their bytes lie.
//!
//! A block never spans pages, so that it is valid exactly as long as the bytes of its page are: it is found
//! by (RAM offset, RIP, mode), and dropped when a store hits the chunks it was decoded from. Whether RIP
//! still maps to that RAM offset is asked of the translation cache each time, never assumed.
//!
//! The operations of all blocks lie in one array. Those of a dropped block stay there unused; when the array
//! is full, everything is dropped and decoding starts over.

use super::lower::Lowered;
use super::op::Op;
use iced_x86::Instruction;

/// Operations in a block at most. Small, so that a budget ends within few blocks.
pub const MAX_OPS: usize = 48;
/// Operations kept at most, if nobody asks for less: 72 MiB of them, with their instructions.
const MAX_CACHED_OPS: usize = 1 << 20;
/// Ends a list.
const NONE: u32 = u32::MAX;
/// Likely blocks: 1 MiB of them, about what a second-level cache holds.
const JUMP_SLOTS: usize = 1 << 15;

/// What besides the bytes decides how they decode and execute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModeKey {
    /// Outside 64-bit mode, the limit of CS: a block ends at it.
    pub cs_limit: u32,
    /// 16, 32 or 64.
    pub code_bits: u8,
}

/// A run of instructions that is executed from its start. Valid until the next call that changes the cache.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    /// Address of the first instruction.
    pub rip: u64,
    /// RAM offset of the first instruction.
    offset: usize,
    mode: ModeKey,
    /// Where its operations begin in the array of all.
    first: u32,
    /// How many there are.
    count: u8,
}

const _: () = assert!(size_of::<Block>() == 32, "two to a cache line");

/// Found nowhere: no RAM lies at this offset.
const NO_BLOCK: Block =
    Block { rip: 0, offset: usize::MAX, mode: ModeKey { cs_limit: 0, code_bits: 0 }, first: 0, count: 0 };

impl Block {
    #[inline(always)]
    fn is_at(&self, rip: u64, offset: usize, mode: ModeKey) -> bool {
        self.rip == rip && self.offset == offset && self.mode == mode
    }
}

/// A block in the list of its page.
#[derive(Clone, Copy)]
struct Listed {
    block: Block,
    next_in_page: u32,
}

/// All blocks.
pub struct BlockCache {
    ops: Vec<Op>,
    /// The decoded instruction behind each, for those that the specification executes.
    instructions: Vec<Instruction>,
    listed: Vec<Listed>,
    /// First block of each RAM page, in `listed`.
    pages: Vec<u32>,
    /// Likely blocks by RIP.
    jumps: Box<[Block]>,
    /// How many blocks were built, for statistics.
    pub built: u64,
    /// Operations kept at most.
    max_ops: usize,
}

impl Default for BlockCache {
    fn default() -> BlockCache {
        BlockCache {
            ops: Vec::new(),
            instructions: Vec::new(),
            listed: Vec::new(),
            pages: Vec::new(),
            jumps: vec![NO_BLOCK; JUMP_SLOTS].into_boxed_slice(),
            built: 0,
            max_ops: MAX_CACHED_OPS,
        }
    }
}

#[inline(always)]
fn jump_slot(rip: u64) -> usize {
    (rip ^ rip >> 15) as usize & (JUMP_SLOTS - 1)
}

/// Takes a block that is being dropped out of the likely ones.
fn forget_jump(jumps: &mut [Block], block: &Block) {
    let likely = &mut jumps[jump_slot(block.rip)];
    if likely.first == block.first {
        *likely = NO_BLOCK;
    }
}

impl BlockCache {
    /// The block at (`rip`, `offset`, `mode`), if it is cached.
    #[inline(always)]
    pub fn find(&mut self, rip: u64, offset: usize, mode: ModeKey) -> Option<Block> {
        let likely = &self.jumps[jump_slot(rip)];
        if likely.is_at(rip, offset, mode) {
            return Some(*likely);
        }
        self.find_in_page(rip, offset, mode)
    }

    #[inline(never)]
    fn find_in_page(&mut self, rip: u64, offset: usize, mode: ModeKey) -> Option<Block> {
        let mut id = *self.pages.get(offset >> 12)?;
        while id != NONE {
            let Listed { block, next_in_page } = &self.listed[id as usize];
            if block.is_at(rip, offset, mode) {
                self.jumps[jump_slot(rip)] = *block;
                return Some(*block);
            }
            id = *next_in_page;
        }
        None
    }

    /// The operations of a block.
    #[inline(always)]
    pub fn ops(&self, block: &Block) -> &[Op] {
        &self.ops[block.first as usize..][..usize::from(block.count)]
    }

    /// The decoded instruction at place `index` of a block.
    pub fn instruction(&self, block: &Block, index: usize) -> &Instruction {
        &self.instructions[block.first as usize + index]
    }

    /// Whether so much is cached that all should be dropped.
    pub fn is_full(&self) -> bool {
        self.ops.len() + MAX_OPS > self.max_ops
    }

    /// Caches a block, which is not empty.
    pub fn insert(&mut self, lowered: Lowered, rip: u64, offset: usize, mode: ModeKey) -> Block {
        let page = offset >> 12;
        if self.pages.len() <= page {
            self.pages.resize(page + 1, NONE);
        }
        let block = Block { rip, offset, mode, first: self.ops.len() as u32, count: lowered.ops.len() as u8 };
        self.ops.extend(lowered.ops);
        self.instructions.extend(lowered.instructions);
        let id = self.listed.len() as u32;
        self.listed.push(Listed { block, next_in_page: self.pages[page] });
        self.pages[page] = id;
        self.jumps[jump_slot(rip)] = block;
        self.built += 1;
        block
    }

    /// Drops the blocks of the page at RAM offset `offset`.
    pub fn drop_page(&mut self, offset: usize) {
        let Some(head) = self.pages.get_mut(offset >> 12) else { return };
        let mut id = std::mem::replace(head, NONE);
        while id != NONE {
            let Listed { block, next_in_page } = self.listed[id as usize];
            forget_jump(&mut self.jumps, &block);
            id = next_in_page;
        }
    }

    /// Drops the blocks that hold any of these addresses.
    pub fn drop_around(&mut self, addresses: &[u64]) {
        for Listed { block, .. } in &mut self.listed {
            let last = &self.ops[block.first as usize + usize::from(block.count) - 1];
            let length_bytes = u64::from(last.rip_offset) + u64::from(last.length);
            if addresses.iter().any(|address| address.wrapping_sub(block.rip) < length_bytes) {
                forget_jump(&mut self.jumps, block);
                // Unreachable, but still a link in the chain of its page, until that is dropped.
                block.offset = usize::MAX;
            }
        }
    }

    /// Drops all blocks.
    pub fn clear(&mut self) {
        *self = BlockCache { built: self.built, max_ops: self.max_ops, ..BlockCache::default() };
    }

    /// Keeps at most `operations` from now on, and at least a block.
    pub fn keep_at_most(&mut self, operations: usize) {
        self.max_ops = operations.clamp(MAX_OPS, MAX_CACHED_OPS);
        self.clear();
    }
}
