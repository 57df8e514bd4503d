//! Cases by the million: each batch is one encoding on several states, made from one number.

use crate::classify::Family;
use crate::compare::{End, data_difference, differences};
use crate::exceptions::exempt;
use crate::generate::{self, Encoding};
use crate::guest::Guest;
use crate::native::Native;
use crate::operands::Operands;
use crate::random::Random;
use crate::state::{DATA_BYTES, Data, State};
use machine::EngineKind;
use std::fmt;

/// States on which each encoding runs.
const STATES: usize = 8;

/// One difference, with all that is needed to see it again.
#[derive(Clone, Debug)]
pub struct Mismatch {
    /// The batch.
    pub seed: u64,
    /// The family it was made for.
    pub family: Family,
    /// The instruction.
    pub encoding: Encoding,
    /// Which engine differs, and from what.
    pub between: &'static str,
    /// The registers before.
    pub before: State,
    /// What differs.
    pub what: Vec<String>,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let instruction = &self.encoding.instruction;
        write!(
            f,
            "--family {} --batch {:#x}: {:02x?} {:?} ({}): {}",
            self.family,
            self.seed,
            self.encoding.bytes,
            instruction.code(),
            self.between,
            self.what.join("; ")
        )
    }
}

/// The host, and the machine on both engines.
#[derive(Debug)]
pub struct Bench {
    native: Native,
    reference: Guest,
    interp: Guest,
    operands: Operands,
    template: Box<Data>,
    data: Box<Data>,
    /// Cases run.
    pub cases: u64,
}

impl Default for Bench {
    fn default() -> Bench {
        let mut random = Random::new(1);
        let mut template = Box::new([0; DATA_BYTES]);
        template.iter_mut().for_each(|byte| *byte = random.byte());
        Bench {
            native: Native::new(),
            reference: Guest::new(EngineKind::Reference),
            interp: Guest::new(EngineKind::Interp),
            operands: Operands::default(),
            data: template.clone(),
            template,
            cases: 0,
        }
    }
}

impl Bench {
    /// Runs one batch; gives its first difference.
    pub fn batch(&mut self, family: Family, seed: u64) -> Option<Box<Mismatch>> {
        let mut random = Random::new(seed);
        let encoding = generate::draw(&mut random, family);
        let repeats = family == Family::String
            && (encoding.instruction.has_rep_prefix() || encoding.instruction.has_repne_prefix());
        self.native.set_instruction(&encoding.bytes);
        self.reference.set_instruction(&encoding.bytes, repeats);
        self.interp.set_instruction(&encoding.bytes, repeats);
        self.data.copy_from_slice(&*self.template);
        for _ in 0..STATES {
            let Some(before) = self.operands.draw(&mut random, &encoding, &mut self.data) else { continue };
            self.cases += 1;
            if let Some((between, what)) = self.case(&encoding, &before) {
                return Some(Box::new(Mismatch { seed, family, encoding, between, before, what }));
            }
        }
        None
    }

    fn case(&mut self, encoding: &Encoding, before: &State) -> Option<(&'static str, Vec<String>)> {
        self.native.data().copy_from_slice(&*self.data);
        self.reference.set_data(&self.data);
        self.interp.set_data(&self.data);
        let mut native = End { outcome: crate::state::Outcome::Next, state: before.clone() };
        let mut reference = native.clone();
        let mut interp = native.clone();
        native.outcome = self.native.run(&mut native.state);
        reference.outcome = self.reference.run(&mut reference.state);
        interp.outcome = self.interp.run(&mut interp.state);
        let exempt = exempt(&encoding.instruction, before, native.outcome);
        let mut what = differences(&native, &reference, &exempt);
        if !exempt.memory {
            what.extend(data_difference(self.native.data(), self.reference.data_pages()));
        }
        if !what.is_empty() {
            return Some(("reference and host", what));
        }
        let mut what = differences(&reference, &interp, &Default::default());
        if self.reference.data_pages().zip(self.interp.data_pages()).any(|(a, b)| a != b) {
            what.push("memory".to_owned());
        }
        if self.reference.sys.icount != self.interp.sys.icount {
            what.push(format!("icount {} not {}", self.interp.sys.icount, self.reference.sys.icount));
            self.interp.sys.icount = self.reference.sys.icount;
        }
        (!what.is_empty()).then_some(("interp and reference", what))
    }
}
