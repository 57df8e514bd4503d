//! Cases by the million: each batch is one encoding on several states, made from one number.

use crate::classify::Family;
use crate::compare::{End, data_difference, differences};
use crate::exceptions::{Exempt, exempt};
use crate::generate::{self, Encoding};
use crate::guest::Guest;
use crate::native::{self, Native};
use crate::operands::Operands;
use crate::random::Random;
use crate::rules::{self, Case, Host, Vendor};
use crate::state::{DATA_BYTES, Data, Outcome, State};
use machine::EngineKind;
use std::collections::BTreeMap;
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
    vendor: Vendor,
    reference: Guest,
    interp: Guest,
    operands: Operands,
    template: Box<Data>,
    data: Box<Data>,
    /// Cases run.
    pub cases: u64,
    /// How many of them differed from the host as a rule says, by its name.
    pub explained: BTreeMap<&'static str, u64>,
}

impl Default for Bench {
    fn default() -> Bench {
        let mut random = Random::new(1);
        let mut template = Box::new([0; DATA_BYTES]);
        template.iter_mut().for_each(|byte| *byte = random.byte());
        Bench {
            native: Native::new(),
            vendor: native::host_vendor(),
            reference: Guest::new(EngineKind::Reference),
            interp: Guest::new(EngineKind::Interp),
            operands: Operands::default(),
            data: template.clone(),
            template,
            cases: 0,
            explained: BTreeMap::new(),
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
        let bytes = &encoding.bytes;
        self.native.set_instruction(&bytes[..rules::bytes_on_host(self.vendor, bytes)]);
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
        let mut reference = End { outcome: Outcome::Next, state: before.clone() };
        let mut interp = reference.clone();
        reference.outcome = self.reference.run(&mut reference.state);
        interp.outcome = self.interp.run(&mut interp.state);
        let what = self.against_host(encoding, before, &reference);
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

    /// What the host leaves otherwise than `found`, and no rule explains.
    fn against_host(&mut self, encoding: &Encoding, before: &State, found: &End) -> Vec<String> {
        let (bytes, instruction) = (encoding.bytes.as_slice(), &encoding.instruction);
        if rules::is_another_instruction(self.vendor, bytes, instruction) {
            *self.explained.entry("another instruction").or_default() += 1;
            return Vec::new();
        }
        let mut native = End { outcome: Outcome::Next, state: before.clone() };
        native.outcome = self.native.run(&mut native.state);
        let exempt = exempt(instruction, before, native.outcome);
        let what = self.compare(&native, self.native.data_now(), found, &exempt);
        if what.is_empty() {
            return what;
        }
        let case = Case { bytes, instruction, before, data: &self.data, found };
        let mut host = Host { end: native, data: Box::new(*self.native.data_now()) };
        let names = rules::explain(self.vendor, &case, &mut host);
        let what = self.compare(&host.end, &host.data, found, &exempt);
        if what.is_empty() {
            names.into_iter().for_each(|name| *self.explained.entry(name).or_default() += 1);
        }
        what
    }

    fn compare(&self, expected: &End, data: &Data, found: &End, exempt: &Exempt) -> Vec<String> {
        let mut what = differences(expected, found, exempt);
        if !exempt.memory {
            what.extend(data_difference(data, self.reference.data_pages()));
        }
        what
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules;

    /// Cases of each family: a second or two.
    const CASES: u64 = 30_000;

    fn run(family: Family, cases: u64) {
        let mut bench = Bench::default();
        let mut random = Random::new(0x5eed);
        let mut found = Vec::new();
        while bench.cases < cases {
            found.extend(bench.batch(family, random.next()));
        }
        let listed: Vec<String> = found.iter().take(10).map(|mismatch| mismatch.to_string()).collect();
        assert!(
            found.is_empty(),
            "{} mismatches; see one by `cargo run --release -p fuzz --` and its options\n{}",
            found.len(),
            listed.join("\n")
        );
    }

    #[test]
    fn integer_instructions_agree_with_the_host() {
        run(Family::Integer, CASES);
    }

    #[test]
    fn string_instructions_agree_with_the_host() {
        run(Family::String, CASES / 3);
    }

    #[test]
    fn sse_instructions_agree_with_the_host() {
        run(Family::Sse, CASES);
    }

    #[test]
    fn mmx_instructions_agree_with_the_host() {
        run(Family::Mmx, CASES);
    }

    #[test]
    fn x87_instructions_agree_with_the_host() {
        run(Family::X87, CASES);
    }

    #[test]
    fn encodings_without_a_meaning_agree_with_the_host() {
        run(Family::Illegal, CASES / 3);
    }

    /// Batches that once showed a mistake of the machine or a difference of vendors.
    #[test]
    fn batches_of_old_mistakes_stay_clean() {
        const BATCHES: &[(Family, u64)] = &[
            // interp raised #GP for a misaligned operand whose stack reference was not canonical: #SS.
            (Family::Sse, 0x2582_f996_4ba8_3911),
            (Family::Sse, 0x2eb8_252d_f2c7_9848),
            (Family::Sse, 0x130e_86cc_630a_0332),
            (Family::Integer, 0x790b_6d3f_032e_8597),
            (Family::Integer, 0xc527_4f02_d82e_43d9),
            (Family::Sse, 0xcb8d_4cad_2e85_299e),
            (Family::Sse, 0xee17_4255_813f_cfaa),
            (Family::Illegal, 0x0b67_2a7a_98c6_af6a),
            (Family::Illegal, 0x8538_39c5_d0bf_0678),
            (Family::Illegal, 0x02cc_5c0a_5471_2a6a),
            (Family::Illegal, 0xf4f4_1662_e2a4_d3fb),
            (Family::Illegal, 0xc207_82a6_da10_217c),
            // Overrides that 64-bit mode ignores chose between #SS and #GP.
            (Family::Integer, 0x13fc_9804_8a1a_d7eb),
            (Family::Integer, 0x1d5a_a26e_c875_8a4d),
            (Family::Sse, 0xf526_640a_54ad_77ee),
            // Addresses of the kernel of the host.
            (Family::Sse, 0xe83c_78c1_103f_abf7),
            (Family::Sse, 0x5b0a_47ad_6111_ef4d),
            // A read-only page, then none.
            (Family::Sse, 0x49bf_bc5c_fdf2_065e),
            // LOCK VERW.
            (Family::Illegal, 0x6a25_fd0c_06e7_f257),
            (Family::Illegal, 0x4636_150f_3b36_cff6),
            // What Intel of family 6, model CFH does.
            (Family::Integer, 0xf09f_33e0_5274_9c21),
            (Family::String, 0x71c1_8690_ee42_c90b),
            (Family::String, 0x853e_db19_dba3_46f9),
            (Family::Sse, 0x609d_7fa0_3a61_ced5),
            (Family::Mmx, 0xe4c5_d49c_354c_679f),
            (Family::X87, 0x92c8_1918_610f_ab14),
            (Family::X87, 0xebaf_1228_4d52_a12e),
        ];
        let mut bench = Bench::default();
        let found: Vec<String> = BATCHES
            .iter()
            .filter_map(|&(family, seed)| bench.batch(family, seed))
            .map(|mismatch| mismatch.to_string())
            .collect();
        assert!(found.is_empty(), "{}", found.join("\n"));
    }

    #[test]
    fn the_rules_have_names_of_their_own_and_stand_in_the_docs() {
        let page = include_str!("../../../docs/vendor-differences.md");
        let mut names: Vec<&str> = rules::all().map(|rule| rule.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count, "two rules share a name");
        for name in names {
            assert!(page.contains(&format!("| {name} |")), "docs/vendor-differences.md has no row {name:?}");
        }
    }
}
