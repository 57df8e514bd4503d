//! Blocks: runs of lowered operations, and the cache that finds them by where their bytes lie.
//!
//! A block never spans pages, so that it is valid exactly as long as the bytes of its page are: it is found
//! by (RAM offset, RIP, mode), and dropped when a store hits the chunks it was decoded from. Whether RIP
//! still maps to that RAM offset is asked of the translation cache each time, never assumed.

use super::op::Op;
use iced_x86::Instruction;

/// Operations in a block at most. Small, so that a budget ends within few blocks.
pub const MAX_OPS: usize = 48;
/// Blocks kept at most; then all are dropped and decoding starts over.
const MAX_BLOCKS: usize = 1 << 18;
const NONE: u32 = u32::MAX;
const JUMP_SLOTS: usize = 1 << 14;

/// What besides the bytes decides how they decode and execute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModeKey {
    /// 16, 32 or 64.
    pub code_bits: u8,
    /// Outside 64-bit mode, the limit of CS: a block ends at it.
    pub cs_limit: u32,
}

/// A run of instructions that is executed from its start.
pub struct Block {
    /// Operations, executed in turn.
    pub ops: Box<[Op]>,
    /// The decoded instructions, for those that the specification executes.
    pub instructions: Box<[Instruction]>,
    /// Address of the first instruction.
    pub rip: u64,
    /// RAM offset of the first instruction.
    pub offset: usize,
    /// The mode it was decoded for.
    pub mode: ModeKey,
    next_in_page: u32,
}

impl Block {
    /// The address of the instruction at place `index`.
    #[inline(always)]
    pub fn address(&self, index: usize) -> u64 {
        self.rip.wrapping_add(u64::from(self.ops[index].rip_offset))
    }
}

/// All blocks.
pub struct BlockCache {
    blocks: Vec<Block>,
    free: Vec<u32>,
    /// First block of each RAM page.
    pages: Vec<u32>,
    /// Likely blocks by RIP.
    jumps: Box<[u32]>,
    /// How many blocks were built, for statistics.
    pub built: u64,
}

impl Default for BlockCache {
    fn default() -> BlockCache {
        BlockCache {
            blocks: Vec::new(),
            free: Vec::new(),
            pages: Vec::new(),
            jumps: vec![NONE; JUMP_SLOTS].into_boxed_slice(),
            built: 0,
        }
    }
}

#[inline(always)]
fn jump_slot(rip: u64) -> usize {
    (rip ^ rip >> 14) as usize & (JUMP_SLOTS - 1)
}

impl BlockCache {
    /// The block at (`rip`, `offset`, `mode`), if it is cached.
    #[inline(always)]
    pub fn find(&mut self, rip: u64, offset: usize, mode: ModeKey) -> Option<u32> {
        let id = self.jumps[jump_slot(rip)];
        if let Some(block) = self.blocks.get(id as usize)
            && block.rip == rip
            && block.offset == offset
            && block.mode == mode
        {
            return Some(id);
        }
        self.find_in_page(rip, offset, mode)
    }

    #[inline(never)]
    fn find_in_page(&mut self, rip: u64, offset: usize, mode: ModeKey) -> Option<u32> {
        let mut id = *self.pages.get(offset >> 12)?;
        while id != NONE {
            let block = &self.blocks[id as usize];
            if block.rip == rip && block.offset == offset && block.mode == mode {
                self.jumps[jump_slot(rip)] = id;
                return Some(id);
            }
            id = block.next_in_page;
        }
        None
    }

    /// A block by its number.
    #[inline(always)]
    pub fn get(&self, id: u32) -> &Block {
        &self.blocks[id as usize]
    }

    /// Whether so many blocks are cached that all should be dropped.
    pub fn is_full(&self) -> bool {
        self.blocks.len() - self.free.len() >= MAX_BLOCKS
    }

    /// Caches a block.
    pub fn insert(
        &mut self,
        ops: Vec<Op>,
        instructions: Vec<Instruction>,
        rip: u64,
        offset: usize,
        mode: ModeKey,
    ) -> u32 {
        let page = offset >> 12;
        if self.pages.len() <= page {
            self.pages.resize(page + 1, NONE);
        }
        let block = Block {
            ops: ops.into_boxed_slice(),
            instructions: instructions.into_boxed_slice(),
            rip,
            offset,
            mode,
            next_in_page: self.pages[page],
        };
        let id = match self.free.pop() {
            Some(id) => {
                self.blocks[id as usize] = block;
                id
            }
            None => {
                self.blocks.push(block);
                (self.blocks.len() - 1) as u32
            }
        };
        self.pages[page] = id;
        self.jumps[jump_slot(rip)] = id;
        self.built += 1;
        id
    }

    /// Drops the blocks of the page at RAM offset `offset`.
    pub fn drop_page(&mut self, offset: usize) {
        let Some(head) = self.pages.get_mut(offset >> 12) else { return };
        let mut id = std::mem::replace(head, NONE);
        while id != NONE {
            let block = &mut self.blocks[id as usize];
            // An offset that is found nowhere makes the block unreachable until its number is used again.
            block.offset = usize::MAX;
            let next = std::mem::replace(&mut block.next_in_page, NONE);
            self.free.push(id);
            id = next;
        }
    }

    /// Drops the blocks that hold any of these addresses.
    pub fn drop_around(&mut self, addresses: &[u64]) {
        for block in &mut self.blocks {
            let Some(last) = block.ops.last() else { continue };
            let length = u64::from(last.rip_offset) + u64::from(last.length);
            if addresses.iter().any(|address| address.wrapping_sub(block.rip) < length) {
                // Unreachable, but still a link in the chain of its page, until that is dropped.
                block.offset = usize::MAX;
            }
        }
    }

    /// Drops all blocks.
    pub fn clear(&mut self) {
        *self = BlockCache { built: self.built, ..BlockCache::default() };
    }
}
