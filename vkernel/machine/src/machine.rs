//! The machine as its driver sees it: run, apply an input, advance while idle, save, load, digest.
//!
//! Passive. The driver (the timeline in crate `replay`) says until where to run; the machine says why it came
//! back. At one count happenings are ordered: inputs as the driver applies them, then timers, then the
//! schedule; `Mark::seq` numbers them.

use crate::boot;
use crate::clock::Clock;
use crate::cpu::core::Core;
use crate::cpu::state::{Activity, Shadow, Vcpu, rflags};
use crate::cpu::system;
use crate::engine::{self, CacheLimits, Engine, EngineKind};
use crate::lockstep::{Mismatch, Shadow as LockstepShadow};
use crate::mem::Memory;
use crate::platform::firmware::firmware_tables;
use crate::platform::memory_map::memory_map;
use crate::schedule::Schedule;
use crate::stop::{StopReason, StopSet};
use crate::system::System;
use boundary::{
    Icount, Input, Landmark, LandmarkKind, Mark, Media, Operator, Output, PowerEvent, PowerOn, VirtualTime,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use xxhash_rust::xxh3::xxh3_64;

/// Why [`Machine::run`] returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The place asked for is reached.
    Budget,
    /// No vCPU can run before `next_deadline`, or ever, if there is none.
    Idle {
        /// When the next timer is due.
        next_deadline: Option<VirtualTime>,
    },
    /// A condition of the stop set holds.
    Stop {
        /// The vCPU that reached it.
        vcpu: u8,
        /// Its RIP.
        rip: u64,
        /// The condition.
        reason: StopReason,
    },
    /// The driver's [`Interrupt`] was raised.
    Interrupted,
    /// Enough output waits to be taken.
    Output,
    /// The machine switched itself off, or wants to be reset.
    Power(PowerEvent),
    /// In lockstep: the engines differ.
    Mismatch(Box<Mismatch>),
}

/// Asks a running machine to come back. Not an input: it changes nothing.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Asks.
    pub fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// The flag behind it, for a signal handler.
    #[must_use]
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }

    /// Takes the request back.
    pub fn clear(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// Whether somebody asked.
    #[must_use]
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Something the machine did, for the driver to take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A landmark.
    Landmark(Landmark),
    /// An output.
    Output(Output),
}

/// A PC with 1 to 16 processors.
#[derive(Debug)]
pub struct Machine {
    pub(crate) cpus: Vec<Vcpu>,
    pub(crate) sys: System,
    pub(crate) engine: Box<dyn Engine>,
    pub(crate) schedule: Schedule,
    pub(crate) mark: Mark,
    /// How many times timers fired, the key of their perturbation.
    pub(crate) timer_ordinal: u64,
    pub(crate) events: Vec<(Mark, Event)>,
    /// The same machine on the reference engine, in lockstep.
    pub(crate) shadow: Option<LockstepShadow>,
}

/// So many events not yet taken make `run` return with [`Exit::Output`].
const OUTPUT_EVENTS: usize = 64;

/// The flags that an operator can write.
const OPERATOR_FLAGS: u64 = rflags::STATUS
    | rflags::TF
    | rflags::IF
    | rflags::DF
    | rflags::IOPL
    | rflags::NT
    | rflags::RF
    | rflags::AC
    | rflags::ID;

impl Machine {
    /// Builds the machine that `power_on` describes and loads its images.
    ///
    /// # Errors
    /// An image is missing, is no kernel, or does not fit, or the host has too little memory.
    pub fn new(
        power_on: &PowerOn,
        media: &dyn Media,
        engine: EngineKind,
    ) -> Result<Machine, boot::BootError> {
        if !Memory::can_be_had(power_on.ram_bytes) {
            return Err(boot::BootError::NoHostMemory { ram_mib: power_on.ram_bytes >> 20 });
        }
        let mut machine = Machine {
            cpus: power_on_cpus(power_on),
            sys: System::new(power_on),
            engine: engine::build(engine),
            schedule: Schedule::new(power_on),
            mark: Mark::default(),
            timer_ordinal: 0,
            events: Vec::new(),
            shadow: None,
        };
        machine.load_boot_images(media)?;
        if let EngineKind::Lockstep { slice_counts } = engine {
            let shadow = Machine::new(power_on, media, EngineKind::Reference)?;
            machine.shadow = Some(LockstepShadow::new(shadow, slice_counts));
        }
        Ok(machine)
    }

    fn load_boot_images(&mut self, media: &dyn Media) -> Result<(), boot::BootError> {
        let power_on = self.sys.power_on.clone();
        let map = memory_map(power_on.ram_bytes);
        let tables = firmware_tables(&power_on);
        let start = boot::load(&power_on, media, &mut self.sys.mem, &map, &tables)?;
        for (entry, cpu) in std::iter::once(&start.boot).chain(&start.others).zip(&mut self.cpus) {
            entry.enter(cpu);
        }
        if start.x2apic {
            self.sys.platform.enter_x2apic_mode();
        }
        Ok(())
    }

    /// Restarts after a reset: processors, devices and RAM as at power-on, time and counts going on.
    ///
    /// # Errors
    /// As [`Machine::new`].
    pub fn reset(&mut self, media: &dyn Media) -> Result<(), boot::BootError> {
        let now = self.sys.now();
        let icount = self.sys.icount;
        let power_on = self.sys.power_on.clone();
        let old = std::mem::replace(&mut self.sys, System::new(&power_on));
        self.sys.tlbs.keep_at_most(old.tlbs.limit());
        self.sys.platform = old.platform;
        self.sys.platform.reset();
        self.sys.icount = icount;
        self.sys.clock = Clock::restarted(icount, now);
        self.sys.platform.advance(now);
        self.cpus = power_on_cpus(&power_on);
        self.schedule = Schedule::new(&power_on);
        self.engine.forget();
        self.happened();
        if let Some(shadow) = &mut self.shadow {
            shadow.machine().reset(media)?;
        }
        self.load_boot_images(media)
    }

    /// The place the machine is at.
    #[must_use]
    pub fn mark(&self) -> Mark {
        self.mark
    }

    /// Guest time.
    #[must_use]
    pub fn now(&self) -> VirtualTime {
        self.sys.now()
    }

    /// The vCPUs, for looking.
    #[must_use]
    pub fn cpus(&self) -> &[Vcpu] {
        &self.cpus
    }

    /// Whose quantum it is: the vCPU that executed the last count, unless the next one's has begun.
    #[must_use]
    pub fn running_vcpu(&self) -> usize {
        self.schedule.current
    }

    /// Memory and devices, for looking.
    #[must_use]
    pub fn system(&self) -> &System {
        &self.sys
    }

    /// Remembers no more than this while executing. Nothing of it shows in the guest.
    pub fn limit_caches(&mut self, limits: CacheLimits) {
        self.engine.keep_at_most(limits.operations.max(CacheLimits::LEAST.operations));
        self.sys.tlbs.keep_at_most(limits.translations.max(CacheLimits::LEAST.translations));
    }

    /// Touches all of RAM, so that the host backs it before the guest runs.
    pub fn prefault(&mut self) {
        self.sys.mem.prefault();
    }

    /// For tests that damage a machine on purpose: RAM, behind all bookkeeping.
    pub fn ram_behind_the_tracking(&mut self) -> &mut [u8] {
        self.sys.mem.ram_mut()
    }

    /// What happened since the last call.
    pub fn take_events(&mut self) -> Vec<(Mark, Event)> {
        self.collect_outputs();
        std::mem::take(&mut self.events)
    }

    /// What happened and was not yet taken.
    pub(crate) fn events(&self) -> &[(Mark, Event)] {
        &self.events
    }

    fn collect_outputs(&mut self) {
        if !self.sys.platform.has_outputs() {
            return;
        }
        let mut outputs = Vec::new();
        self.sys.platform.drain_outputs(&mut outputs);
        self.events.extend(outputs.into_iter().map(|output| (self.mark, Event::Output(output))));
    }

    /// Something happened without a count.
    fn happened(&mut self) {
        self.mark.seq += 1;
    }

    /// Takes over the count that the system has reached.
    fn sync_mark(&mut self) {
        if self.mark.icount.0 != self.sys.icount {
            self.mark = Mark::before(Icount(self.sys.icount));
        }
    }

    /// Runs until the place `until`, a stop, or something the driver must see. A place behind the last happening
    /// at its count is reached when all of these are over. `interrupt` makes it return early and changes nothing.
    pub fn run(&mut self, until: Mark, stops: &StopSet, interrupt: &Interrupt) -> Exit {
        let Some(mut shadow) = self.shadow.take() else { return self.run_alone(until, stops, interrupt) };
        let exit = loop {
            let agreed = self.mark;
            let exit = self.run_alone(shadow.slice(agreed, until), stops, interrupt);
            if let Some(mismatch) = shadow.follow(self, agreed, &exit) {
                break Exit::Mismatch(mismatch);
            }
            if exit != Exit::Budget || self.mark >= until || self.mark == agreed {
                break exit;
            }
        };
        self.shadow = Some(shadow);
        exit
    }

    fn run_alone(&mut self, until: Mark, stops: &StopSet, interrupt: &Interrupt) -> Exit {
        self.replace_stops(stops);
        loop {
            if let Some(reason) = self.stop_met() {
                let cpu = &self.cpus[self.schedule.current];
                return Exit::Stop { vcpu: cpu.id, rip: cpu.rip, reason };
            }
            if self.mark >= until {
                return Exit::Budget;
            }
            if interrupt.is_raised() {
                return Exit::Interrupted;
            }
            if let Some(event) = self.power_event() {
                self.happened();
                return Exit::Power(event);
            }
            if self.events.len() >= OUTPUT_EVENTS {
                return Exit::Output;
            }
            if self.fire_timers() {
                continue;
            }
            if self.schedule.counts_left == 0 || !self.is_runnable(self.schedule.current) {
                match self.next_runnable() {
                    Some(vcpu) => self.switch_to(vcpu),
                    None => return Exit::Idle { next_deadline: self.deadline() },
                }
                continue;
            }
            if self.mark.icount == until.icount {
                // All that happens here without a count has happened.
                return Exit::Budget;
            }
            if !self.deliver_signal() {
                self.execute(until);
            }
        }
    }

    fn replace_stops(&mut self, stops: &StopSet) {
        let (breakpoints, watches) = self.sys.stops.replace(stops);
        if !breakpoints.is_empty() {
            self.engine.forget_code_at(&breakpoints);
        }
        if watches {
            self.sys.tlbs.evict_all();
        }
    }

    /// A condition of the stop set that holds now.
    fn stop_met(&mut self) -> Option<StopReason> {
        let counted = self.sys.stops.set().own_counts;
        if counted.is_some_and(|(vcpu, counts)| self.cpus[usize::from(vcpu)].own_counts == counts) {
            return Some(StopReason::OwnCounts);
        }
        self.sys.stops.take_met()
    }

    fn power_event(&mut self) -> Option<PowerEvent> {
        if let Some(fault) = self.sys.triple_fault.take() {
            return Some(PowerEvent::TripleFault(fault));
        }
        self.sys.platform.take_power()
    }

    /// When the next timer is due, perturbation included.
    fn deadline(&self) -> Option<VirtualTime> {
        let delay = self.schedule.timer_delay_ns(self.timer_ordinal);
        self.sys.platform.next_deadline().map(|deadline| deadline.plus(delay))
    }

    fn fire_timers(&mut self) -> bool {
        let now = self.sys.now();
        if self.deadline().is_none_or(|deadline| deadline > now) {
            return false;
        }
        self.sys.platform.advance(now);
        self.timer_ordinal += 1;
        self.happened();
        true
    }

    /// Whether a vCPU would execute something, or take something that makes it.
    fn is_runnable(&self, vcpu: usize) -> bool {
        let cpu = &self.cpus[vcpu];
        match cpu.activity {
            Activity::Running => true,
            Activity::Halted => {
                let signals = self.sys.platform.signals(cpu.id);
                let takes_nmi = signals.nmi && system::accepts_nmi(cpu);
                takes_nmi || signals.init || (signals.interrupt && cpu.flag(rflags::IF))
            }
            Activity::WaitForSipi => {
                let signals = self.sys.platform.signals(cpu.id);
                signals.sipi || signals.init
            }
            Activity::Shutdown => false,
        }
    }

    /// Whether any vCPU can still be woken: one that waits for a start-up IPI, or halted with interrupts
    /// disabled, cannot be by the devices of this machine.
    #[must_use]
    pub fn can_wake(&self) -> bool {
        let wakes = |cpu: &Vcpu| cpu.activity == Activity::Halted && cpu.flag(rflags::IF);
        self.cpus.iter().any(|cpu| wakes(cpu) || cpu.activity == Activity::Running)
    }

    fn next_runnable(&self) -> Option<usize> {
        let count = self.cpus.len();
        (1..=count).map(|step| (self.schedule.current + step) % count).find(|&vcpu| self.is_runnable(vcpu))
    }

    fn switch_to(&mut self, vcpu: usize) {
        let begins_round = vcpu <= self.schedule.current;
        if begins_round {
            let runnable = (0..self.cpus.len()).filter(|&vcpu| self.is_runnable(vcpu)).count();
            self.sys.clock.set_runnable(self.sys.icount, runnable);
        }
        self.schedule.begin(vcpu);
        self.sys.tlbs.switch(vcpu);
        self.happened();
    }

    /// Gives the current vCPU one thing that waits at its local APIC, if it can be taken now.
    fn deliver_signal(&mut self) -> bool {
        let vcpu = self.schedule.current;
        let cpu = &mut self.cpus[vcpu];
        let signals = self.sys.platform.signals(cpu.id);
        if signals.init && self.sys.platform.take_init(cpu.id) {
            self.landmark(LandmarkKind::Ipi, 0);
            self.cpus[vcpu].init();
            self.sys.tlbs.current.evict_all();
        } else if signals.sipi
            && let Some(vector) = self.sys.platform.take_sipi(cpu.id)
        {
            if cpu.activity == Activity::WaitForSipi {
                self.landmark(LandmarkKind::Ipi, vector);
                system::start_up(&mut self.cpus[vcpu], vector);
            }
        } else if signals.nmi && system::accepts_nmi(cpu) && self.sys.platform.take_nmi(cpu.id) {
            self.landmark(LandmarkKind::Ipi, 2);
            self.wake(vcpu);
            system::deliver_nmi(&mut Core { cpu: &mut self.cpus[vcpu], sys: &mut self.sys });
        } else if signals.interrupt && system::accepts_interrupt(cpu) {
            let Some(interrupt) = self.sys.platform.acknowledge(cpu.id) else { return false };
            self.landmark(interrupt.kind, interrupt.vector);
            self.wake(vcpu);
            system::deliver_interrupt(
                &mut Core { cpu: &mut self.cpus[vcpu], sys: &mut self.sys },
                interrupt.vector,
            );
        } else {
            return false;
        }
        self.sys.heed_stops();
        self.sys.icount += 1;
        self.cpus[vcpu].own_counts += 1;
        self.schedule.consume(1);
        self.sync_mark();
        self.after_leave();
        true
    }

    fn wake(&mut self, vcpu: usize) {
        if self.cpus[vcpu].activity == Activity::Halted {
            self.cpus[vcpu].activity = Activity::Running;
        }
    }

    fn landmark(&mut self, kind: LandmarkKind, vector: u8) {
        let cpu = &self.cpus[self.schedule.current];
        let landmark = Landmark {
            kind,
            vcpu: cpu.id,
            vector,
            registers_hash: registers_hash(cpu),
            reads_hash: self.sys.platform.take_reads_hash(),
        };
        self.events.push((self.mark, Event::Landmark(landmark)));
    }

    /// Lets the engine execute the current vCPU up to the next happening.
    fn execute(&mut self, until: Mark) {
        let vcpu = self.schedule.current;
        let before = self.sys.icount;
        let mut budget = (until.icount.0 - before).min(self.schedule.counts_left);
        if let Some(deadline) = self.deadline() {
            budget = budget.min(self.sys.clock.counts_until(before, deadline));
        }
        if let Some((counted, counts)) = self.sys.stops.set().own_counts
            && usize::from(counted) == vcpu
        {
            budget = budget.min(counts.wrapping_sub(self.cpus[vcpu].own_counts));
        }
        if self.cpus[vcpu].shadow != Shadow::None {
            // Interrupts are looked at again right after the one instruction that a shadow covers.
            budget = budget.min(1);
        }
        debug_assert!(budget > 0, "a due timer or ended quantum was handled before");
        self.sys.leave = Default::default();
        self.engine.run(&mut self.cpus[vcpu], &mut self.sys, budget);
        let counts = self.sys.icount - before;
        assert!(counts <= budget, "an engine overran its budget");
        self.cpus[vcpu].own_counts += counts;
        self.schedule.consume(counts);
        self.sync_mark();
        self.after_leave();
    }

    /// What an instruction asked the schedule for.
    fn after_leave(&mut self) {
        self.cpus[self.schedule.current].next_rip = 0;
        if self.sys.leave.paused {
            self.sys.clock.charge(self.sys.icount, u64::from(self.sys.rules().pause_ns));
            self.schedule.pause();
        }
        if self.sys.platform.take_ipi_sent() {
            self.schedule.ipi_sent();
        }
        self.collect_outputs();
        self.sys.leave = Default::default();
    }

    /// Lets one input in, at the current place.
    pub fn apply(&mut self, input: &Input) {
        if let Some(shadow) = &mut self.shadow {
            shadow.machine().apply(input);
        }
        let now = self.sys.now();
        match input {
            Input::Console(bytes) => self.sys.platform.console_input(now, bytes),
            Input::WindowSize { columns, rows } => self.sys.platform.window_size(*columns, *rows),
            Input::PowerButton => self.sys.platform.power_button(now),
            Input::Wake(time) => {
                self.sys.clock.jump(self.sys.icount, *time);
            }
            Input::Operator(operator) => self.operate(operator),
            // No device of this model has these sources yet; a trace that holds them is of a newer model
            // and is refused by its number.
            Input::Frame { .. } | Input::DiskStatus(_) | Input::External(_) => {
                unreachable!("model {} has no such input", self.sys.power_on.model)
            }
        }
        self.happened();
    }

    fn operate(&mut self, operator: &Operator) {
        match operator {
            Operator::WriteMemory { paddr, bytes } => {
                for (at, byte) in (*paddr..).zip(bytes) {
                    self.sys.store_phys(0, at, std::slice::from_ref(byte));
                }
                self.engine.forget();
            }
            Operator::WriteRegister { vcpu, register, value } => {
                let cpu = &mut self.cpus[usize::from(*vcpu)];
                match register {
                    0..=15 => cpu.gpr[usize::from(*register)] = *value,
                    16 => cpu.rip = *value,
                    // What POPF could change at privilege level 0, and nothing that a mode depends on.
                    _ => {
                        cpu.rflags = cpu.rflags & !OPERATOR_FLAGS | value & OPERATOR_FLAGS;
                    }
                }
            }
        }
    }

    /// All vCPUs are idle: guest time jumps to `to`.
    pub fn advance_idle(&mut self, to: VirtualTime) {
        if let Some(shadow) = &mut self.shadow {
            shadow.machine().advance_idle(to);
        }
        self.sys.clock.jump(self.sys.icount, to);
        self.happened();
    }
}

/// The vCPUs at power-on, as firmware leaves them.
fn power_on_cpus(power_on: &PowerOn) -> Vec<Vcpu> {
    let mut cpus: Vec<Vcpu> = (0..power_on.topology.vcpus).map(Vcpu::new).collect();
    cpus.iter_mut().for_each(system::msr::set_firmware_mtrrs);
    cpus
}

/// A 32-bit hash of what an instruction of a vCPU can depend on.
#[must_use]
pub fn registers_hash(cpu: &Vcpu) -> u32 {
    let mut words = [0; 26];
    words[..16].copy_from_slice(&cpu.gpr);
    words[16] = cpu.rip;
    words[17] = cpu.rflags;
    words[18] = cpu.cr0;
    words[19] = cpu.cr2;
    words[20] = cpu.cr3;
    words[21] = cpu.cr4;
    words[22] = cpu.own_counts;
    words[23] = cpu.xmm.iter().fold(0, |sum: u128, xmm| sum.rotate_left(7) ^ xmm) as u64;
    words[24] = cpu.segments[crate::cpu::state::FS].base;
    words[25] = cpu.segments[crate::cpu::state::GS].base;
    let mut bytes = [0; 26 * 8];
    for (bytes, word) in bytes.chunks_exact_mut(8).zip(words) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    xxh3_64(&bytes) as u32
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
