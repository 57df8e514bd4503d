//! Stacks made by hand, and one of a real guest.

use super::guess::ends_with_call;
use super::*;
use crate::testing::{DEMO, demo_until};
use machine::cpu::state::{RBP, RSP, Vcpu};
use machine::{Exit, PeekError};

const CALLER: u64 = 0xffff_ffff_8100_0000;
const MIDDLE: u64 = CALLER + 0x1000;
const LEAF: u64 = CALLER + 0x2000;
const STACK: u64 = 0xffff_c900_0000_4000;
const STACK_BYTES: u64 = 0x1000;

/// A page of code and a page of stack.
struct Guest {
    code: Vec<u8>,
    stack: Vec<u8>,
}

impl Guest {
    fn new() -> Guest {
        let mut guest = Guest { code: vec![0x90; 0x3000], stack: vec![0; STACK_BYTES as usize] };
        // A frame in each function, CALL rel32 in the outer function, CALL [RAX+8] in the middle one.
        for function in [CALLER, MIDDLE, LEAF] {
            guest.put_code(function, &[0x55, 0x48, 0x89, 0xe5]);
        }
        guest.put_code(CALLER + 0x10, &[0xe8, 0, 0, 0, 0]);
        guest.put_code(MIDDLE + 0x20, &[0xff, 0x50, 0x08]);
        guest
    }

    fn put_code(&mut self, vaddr: u64, bytes: &[u8]) {
        self.code[(vaddr - CALLER) as usize..][..bytes.len()].copy_from_slice(bytes);
    }

    /// Writes a word `offset` bytes into the stack page.
    fn push(&mut self, offset: u64, word: u64) {
        self.stack[offset as usize..][..8].copy_from_slice(&word.to_le_bytes());
    }

    /// The backtrace, one string for each frame.
    fn trace(&self, rip: u64, rsp_offset: u64, rbp: u64) -> Vec<String> {
        let symbols = Symbols::of_functions(&[
            ("caller", CALLER, 0x100),
            ("middle", MIDDLE, 0x100),
            ("leaf", LEAF, 0x100),
        ]);
        let mut registers = Registers::of(&Vcpu::new(0));
        registers.gpr[RSP] = Some(STACK + rsp_offset);
        registers.gpr[RBP] = Some(rbp);
        let registers = Registers { rip, word_bytes: 8, ..registers };
        backtrace_from(&registers, self, &symbols).iter().map(Frame::to_string).collect()
    }
}

impl GuestMemory for Guest {
    fn read(&self, vaddr: u64, into: &mut [u8]) -> Result<(), PeekError> {
        let parts = [(CALLER, &self.code), (STACK, &self.stack)];
        let found = parts.iter().find_map(|(base, bytes)| {
            let at = usize::try_from(vaddr.checked_sub(*base)?).ok()?;
            bytes.get(at..at.checked_add(into.len())?)
        });
        let bytes = found.ok_or(PeekError::NotPresent { vaddr, level: 1, entry: 0 })?;
        into.copy_from_slice(bytes);
        Ok(())
    }
}

const IN_CALLER: u64 = CALLER + 0x15;
const IN_MIDDLE: u64 = MIDDLE + 0x23;

#[test]
fn frame_pointers_are_followed_to_their_end() {
    let mut guest = Guest::new();
    guest.push(0x40, STACK + 0x80);
    guest.push(0x48, IN_MIDDLE);
    guest.push(0x80, 0);
    guest.push(0x88, IN_CALLER);
    // A left-over that a scan would find.
    guest.push(0x60, IN_CALLER);
    let trace = guest.trace(LEAF + 0x30, 0x10, STACK + 0x40);
    assert_eq!(trace, ["leaf+0x30/0x100", "middle+0x23/0x100", "caller+0x15/0x100"]);
}

#[test]
fn under_a_function_without_a_frame_of_its_own_the_stack_is_scanned_up_to_the_next_frame() {
    let mut guest = Guest::new();
    guest.put_code(LEAF, &[0x53, 0x90, 0x90, 0x90]);
    guest.push(0x20, IN_MIDDLE);
    guest.push(0x80, 0);
    guest.push(0x88, IN_CALLER);
    let trace = guest.trace(LEAF + 0x30, 0x10, STACK + 0x80);
    assert_eq!(trace, ["leaf+0x30/0x100", "? middle+0x23/0x100", "caller+0x15/0x100"]);
}

#[test]
fn a_function_without_its_frame_yet_does_not_hide_its_caller() {
    let mut guest = Guest::new();
    guest.put_code(LEAF, &[0xf3, 0x0f, 0x1e, 0xfa, 0x55, 0x48, 0x89, 0xe5]);
    guest.push(0x10, IN_MIDDLE);
    guest.push(0x80, 0);
    guest.push(0x88, IN_CALLER);
    let expected = ["middle+0x23/0x100", "caller+0x15/0x100"];
    assert_eq!(guest.trace(LEAF, 0x10, STACK + 0x80)[1..], expected);
    assert_eq!(guest.trace(LEAF + 4, 0x10, STACK + 0x80)[1..], expected);
    guest.push(0x08, STACK + 0x80);
    assert_eq!(guest.trace(LEAF + 5, 0x08, STACK + 0x80)[1..], expected);
    guest.put_code(LEAF + 0x50, &[0xc3]);
    assert_eq!(guest.trace(LEAF + 0x50, 0x10, STACK + 0x80)[1..], expected);
}

#[test]
fn a_call_through_a_bad_pointer_shows_who_called() {
    let mut guest = Guest::new();
    guest.push(0x10, IN_MIDDLE);
    let trace = guest.trace(0, 0x10, 0);
    assert_eq!(trace, ["0x0000000000000000", "middle+0x23/0x100"]);
}

#[test]
fn without_frame_pointers_the_stack_is_scanned_and_its_finds_are_marked() {
    let mut guest = Guest::new();
    guest.push(0x18, LEAF + 0x40); // in a function, but behind no call
    guest.push(0x20, IN_MIDDLE);
    guest.push(0x28, CALLER + 0xf00); // in no function
    guest.push(0x30, IN_CALLER);
    for general_register in [0, 7, 0xffff_8880_0000_1000, STACK - 0x1000] {
        let trace = guest.trace(LEAF + 0x30, 0x10, general_register);
        assert_eq!(trace, ["leaf+0x30/0x100", "? middle+0x23/0x100", "? caller+0x15/0x100"]);
    }
}

#[test]
fn a_chain_that_leads_nowhere_is_left_where_it_breaks() {
    let mut guest = Guest::new();
    guest.push(0x40, STACK + 0x20); // downwards: a loop
    guest.push(0x48, IN_MIDDLE);
    guest.push(0x58, IN_CALLER);
    let trace = guest.trace(LEAF + 0x30, 0x10, STACK + 0x40);
    assert_eq!(trace, ["leaf+0x30/0x100", "middle+0x23/0x100", "? caller+0x15/0x100"]);
}

#[test]
fn a_stack_full_of_return_addresses_gives_64_frames() {
    let mut guest = Guest::new();
    (0..STACK_BYTES).step_by(8).for_each(|offset| guest.push(offset, IN_MIDDLE));
    assert_eq!(guest.trace(LEAF + 0x30, 0, 0).len(), FRAMES_MAX);
    guest.put_code(LEAF, &[0x53, 0x90, 0x90, 0x90]);
    guest.push(0xf00, 0);
    assert_eq!(guest.trace(LEAF + 0x30, 0, STACK + 0xf00).len(), FRAMES_MAX);
}

#[test]
fn call_instructions_are_told_from_others_by_their_last_bytes() {
    let calls: [&[u8]; 8] = [
        &[0xe8, 1, 2, 3, 4],
        &[0xff, 0xd0],                   // call rax
        &[0xff, 0x10],                   // call [rax]
        &[0xff, 0x50, 8],                // call [rax+8]
        &[0xff, 0x14, 0xc8],             // call [rax+rcx*8]
        &[0xff, 0x15, 1, 2, 3, 4],       // call [rip+...]
        &[0xff, 0x54, 0x24, 8],          // call [rsp+8]
        &[0xff, 0x14, 0xc5, 1, 2, 3, 4], // call [rax*8+...]
    ];
    for call in calls {
        assert!(ends_with_call(call), "{call:02x?}");
    }
    let others: [&[u8]; 5] =
        [&[0xe9, 1, 2, 3, 4], &[0xff, 0xe0], &[0xff, 0x10, 0], &[0xff, 0x14], &[0xff, 0x30]];
    for other in others {
        assert!(!ends_with_call(other), "{other:02x?}");
    }
}

#[test]
fn a_guest_stopped_at_its_panic_shows_the_way_there() {
    let symbols = Symbols::parse(&DEMO).expect("symbols");
    let panic = symbols.address_of("panic").expect("panic");
    let (mut machine, exit) = demo_until("panic", Some(panic));
    let Exit::Stop { vcpu, rip, .. } = exit else { panic!("{exit:?}") };
    assert_eq!(rip, panic);
    let digest = machine.digest();
    let frames = backtrace(&machine, usize::from(vcpu), &symbols);
    let names: Vec<&str> =
        frames.iter().filter_map(|frame| Some(frame.function.as_ref()?.name.as_str())).collect();
    assert_eq!(names[0], "panic");
    assert!(names.len() >= 3 && frames.iter().all(Frame::is_certain), "{frames:#?}");
    let caller = frames[1].lines.last().expect("a line");
    assert!(caller.file.ends_with("demo/main.c") && caller.line > 0, "{caller}");
    assert_eq!(machine.digest_from_scratch(), digest, "looking changes nothing");
}
