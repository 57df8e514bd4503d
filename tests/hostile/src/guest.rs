//! From a number to a guest.

use crate::code::{Bits, Code};
use crate::image::{BLOCK_BYTES, BLOCKS, Image, dispatcher};
use crate::layout::{BLOCK_TABLES, CODE, RAM_BYTES};
use crate::snippets::Class;
use boundary::{Boot, BootProtocol, Image as BootImage, ImageId, Input, Media, PowerOn, Role, Topology};
use fuzz::random::Random;
use std::sync::Arc;

/// Counts after which a guest has shown what it can.
pub const LIMIT_COUNTS: u64 = 100_000;

/// The mode in which a processor begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Real mode.
    Real,
    /// Protected mode without paging.
    Protected,
    /// Protected mode with 32-bit paging.
    Paged,
    /// Protected mode with PAE paging.
    Pae,
    /// 64-bit mode.
    Long,
}

impl Mode {
    const ALL: [Mode; 5] = [Mode::Real, Mode::Protected, Mode::Paged, Mode::Pae, Mode::Long];

    /// The width of its code.
    #[must_use]
    pub fn bits(self) -> Bits {
        match self {
            Mode::Real => Bits::B16,
            Mode::Long => Bits::B64,
            _ => Bits::B32,
        }
    }
}

/// What the dispatcher repairs after each block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Healing {
    /// Nothing: damage stays.
    None,
    /// The registers of the descriptor tables.
    Tables,
    /// Those, and the translations.
    Pages,
}

/// One hostile guest.
#[derive(Debug)]
pub struct Guest {
    /// The number that it is made from.
    pub number: u64,
    /// What it is mostly made of, the first being what it is counted as.
    pub classes: Vec<Class>,
    /// In which mode its boot processor begins.
    pub mode: Mode,
    /// The machine it runs on.
    pub power_on: PowerOn,
    /// What comes in, and at which count.
    pub inputs: Vec<(u64, Input)>,
    file: Arc<Vec<u8>>,
}

impl Guest {
    /// The guest that `number` makes.
    #[must_use]
    pub fn new(number: u64) -> Guest {
        let mut random = Random::new(number ^ 0x4057_11e5);
        let random = &mut random;
        let mode = random.pick(&Mode::ALL);
        let vcpus = random.pick(&[1, 1, 2, 3, 4]);
        let others = (vcpus > 1).then(|| if random.chance(60) { mode } else { random.pick(&Mode::ALL) });
        // Every class is the first of as many guests.
        let first = Class::ALL[(number % Class::ALL.len() as u64) as usize];
        let mut classes = vec![first];
        classes.extend((0..1 + random.below(3)).map(|_| random.pick(&Class::ALL)));
        let mut image = Image::new();
        let healing = random.pick(&[Healing::None, Healing::Tables, Healing::Pages]);
        image.put_tables(healing, random);
        for bits in Bits::ALL {
            put_blocks(&mut image, bits, &classes, random);
        }
        image.put_start(mode, others, random);
        let file = Arc::new(image.finish());
        let power_on = power_on(vcpus, file.len() as u64, random);
        Guest { number, classes, mode, power_on, inputs: inputs(random), file }
    }
}

impl Media for Guest {
    fn image(&self, _: ImageId) -> Option<Arc<Vec<u8>>> {
        Some(Arc::clone(&self.file))
    }
}

fn put_blocks(image: &mut Image, bits: Bits, classes: &[Class], random: &mut Random) {
    /// The jump at the end of a block, and its longest snippet.
    const RESERVE_BYTES: u64 = 0x100;
    let width = if bits == Bits::B64 { 8 } else { 4 };
    for block in 0..BLOCKS {
        let start = CODE[bits.index()] + block * BLOCK_BYTES;
        let snippets = 2 + random.below(7);
        let mut code = Code::new(bits, start, random);
        for _ in 0..snippets {
            let class = if code.random.chance(75) {
                code.random.pick(classes)
            } else {
                code.random.pick(&Class::ALL)
            };
            class.write(&mut code);
            if code.bytes.len() as u64 > BLOCK_BYTES - RESERVE_BYTES {
                break;
            }
        }
        code.jump(dispatcher(bits));
        let bytes = code.bytes;
        assert!(bytes.len() as u64 <= BLOCK_BYTES, "a block has {} bytes", bytes.len());
        image.put(start, &bytes);
        image.put(BLOCK_TABLES[bits.index()] + width * block, &start.to_le_bytes()[..width as usize]);
    }
}

fn power_on(vcpus: u8, length_bytes: u64, random: &mut Random) -> PowerOn {
    let kernel = BootImage {
        role: Role::Kernel,
        id: ImageId([0; 32]),
        length_bytes,
        name: "hostile".to_owned(),
        command_line: String::new(),
    };
    let boot = Boot { protocol: BootProtocol::Multiboot1, command_line: String::new(), images: vec![kernel] };
    let topology = Topology { vcpus, thread_bits: 0, core_bits: 2 };
    let seed = if random.chance(50) { 0 } else { random.next() };
    let mut power_on = machine::power_on(topology, RAM_BYTES, seed, 1_700_000_000, boot);
    power_on.rules.quantum_counts = random.pick(&[20_000, 1000, 97, 11]);
    power_on
}

/// A few things that are typed, and now and then the power button.
fn inputs(random: &mut Random) -> Vec<(u64, Input)> {
    let mut inputs = Vec::new();
    for _ in 0..random.below(4) {
        let input = match random.below(8) {
            0 => Input::PowerButton,
            1 => Input::WindowSize { columns: random.next() as u16, rows: random.next() as u16 },
            _ => Input::Console((0..random.below(40)).map(|_| random.byte()).collect()),
        };
        inputs.push((random.below(LIMIT_COUNTS), input));
    }
    inputs.sort_by_key(|(icount, _)| *icount);
    inputs
}
