//! Which vCPU runs, for how long (docs/determinism.md, "The schedule").
//!
//! Round robin by counts: a quantum ends at its count, at HLT, at the k-th PAUSE, or when an IPI was sent, and at
//! nothing else. With a seed it may last a little longer than the IPI: that is the IPI's latency. The lengths of the quanta are a value: all equal for seed 0, otherwise a keyed
//! function of (seed, kind, vCPU, ordinal), so that taking one perturbation away leaves the others where they
//! were.

use crate::persist;
use boundary::{PowerOn, Rules};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The schedule's place in its round.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// The vCPU whose quantum it is.
    pub current: usize,
    /// Counts left in the quantum.
    pub counts_left: u64,
    pauses_left: u32,
    /// What is left of the quantum at most, once an IPI was sent in it.
    ipi_counts: u64,
    /// How many quanta each vCPU has begun.
    ordinals: Vec<u64>,
    rules: Rules,
    seed: u64,
}
persist!(Schedule { current, counts_left, pauses_left, ipi_counts, ordinals; skip: rules, seed });

/// Logarithm of the shortest perturbed quantum.
const SHORTEST_LOG2: u32 = 4;

/// Logarithm of the longest perturbed latency of an IPI, in counts of its sender.
const LONGEST_IPI_LOG2: u64 = 11;

/// What a perturbation applies to; part of its key.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Quantum = 1,
    Pauses = 2,
    Timer = 3,
    Ipi = 4,
}

/// The keyed function behind every perturbation.
fn draw(seed: u64, kind: Kind, vcpu: usize, ordinal: u64) -> u64 {
    let mut key = [0; 24];
    key[..8].copy_from_slice(&(kind as u64).to_le_bytes());
    key[8..16].copy_from_slice(&(vcpu as u64).to_le_bytes());
    key[16..].copy_from_slice(&ordinal.to_le_bytes());
    xxh3_64_with_seed(&key, seed)
}

impl Schedule {
    /// At power-on: the boot processor begins its first quantum.
    #[must_use]
    pub fn new(power_on: &PowerOn) -> Schedule {
        let mut schedule = Schedule {
            current: 0,
            counts_left: 0,
            pauses_left: 0,
            ipi_counts: 0,
            ordinals: vec![0; usize::from(power_on.topology.vcpus)],
            rules: power_on.rules,
            seed: power_on.seed,
        };
        schedule.begin(0);
        schedule
    }

    /// `vcpu` begins a quantum.
    pub fn begin(&mut self, vcpu: usize) {
        let ordinal = self.ordinals[vcpu];
        self.ordinals[vcpu] += 1;
        self.current = vcpu;
        let base = u64::from(self.rules.quantum_counts);
        if !self.rules.perturb {
            self.counts_left = base;
            self.pauses_left = self.rules.pauses_per_quantum;
            self.ipi_counts = 0;
            return;
        }
        // Evenly in the logarithm, from a handful of counts to twice the base: close races need short quanta,
        // starvation needs long ones, and neither is rare.
        let quantum = draw(self.seed, Kind::Quantum, vcpu, ordinal);
        let octaves = u64::from((2 * base).ilog2().saturating_sub(SHORTEST_LOG2).max(1));
        let octave = 1 << (u64::from(SHORTEST_LOG2) + quantum % octaves);
        self.counts_left = octave + (quantum >> 32) % octave;
        let pauses = draw(self.seed, Kind::Pauses, vcpu, ordinal);
        let pauses_max = self.rules.pauses_per_quantum.saturating_mul(2);
        self.pauses_left = 1 + (pauses % u64::from(pauses_max)) as u32;
        // Half of them at once: the place right after the IPI is where its receiver races with its sender.
        let latency = draw(self.seed, Kind::Ipi, vcpu, ordinal);
        self.ipi_counts = if latency & 1 == 0 { 0 } else { 1 << ((latency >> 1) % LONGEST_IPI_LOG2) };
    }

    /// The vCPU sent an IPI.
    pub fn ipi_sent(&mut self) {
        self.counts_left = self.counts_left.min(self.ipi_counts);
    }

    /// `counts` were executed in the quantum.
    pub fn consume(&mut self, counts: u64) {
        self.counts_left = self.counts_left.saturating_sub(counts);
    }

    /// The vCPU executed a PAUSE.
    pub fn pause(&mut self) {
        self.pauses_left = self.pauses_left.saturating_sub(1);
        if self.pauses_left == 0 {
            self.counts_left = 0;
        }
    }

    /// How late the timers due now are served, in nanoseconds: 0, or with a seed up to two microseconds.
    #[must_use]
    pub fn timer_delay_ns(&self, ordinal: u64) -> u64 {
        if self.rules.perturb { draw(self.seed, Kind::Timer, 0, ordinal) % 2_000 } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use boundary::{Boot, BootProtocol, Topology};

    fn schedule(seed: u64) -> Schedule {
        let boot = Boot { protocol: BootProtocol::Pvh, command_line: String::new(), images: vec![] };
        let topology = Topology { vcpus: 16, thread_bits: 0, core_bits: 4 };
        Schedule::new(&crate::power_on(topology, 64 << 20, seed, 0, boot))
    }

    #[test]
    fn an_ipi_ends_the_quantum() {
        let mut schedule = schedule(0);
        schedule.ipi_sent();
        assert_eq!(schedule.counts_left, 0);
    }

    #[test]
    fn rules_of_any_size_make_quanta() {
        let mut schedule = schedule(1);
        for counts in [1, 7, u32::MAX] {
            (schedule.rules.quantum_counts, schedule.rules.pauses_per_quantum) = (counts, counts);
            for _ in 0..100 {
                schedule.begin(3);
                assert!(schedule.counts_left > 0 && schedule.pauses_left > 0);
            }
        }
    }

    #[test]
    fn with_a_seed_ipis_take_different_times() {
        let mut schedule = schedule(1);
        let mut seen: Vec<u64> = (0..100)
            .map(|_| {
                schedule.begin(3);
                schedule.ipi_counts
            })
            .collect();
        seen.sort_unstable();
        assert!(seen[20] == 0 && seen[99] >= 1 << (LONGEST_IPI_LOG2 - 2), "{seen:?}");
    }
}
