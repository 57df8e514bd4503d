//! Whole instructions, as bytes, on a small machine.

use crate::cpu::exception::Exception;
use crate::cpu::state::{RAX, RBP, RBX, RCX, RDI, RDX, RSI, RSP, rflags};
use crate::cpu::testing::{ABSENT, Bench, CODE, DATA, READ_ONLY, STACK};

const CF: u64 = rflags::CF;
const PF: u64 = rflags::PF;
const AF: u64 = rflags::AF;
const ZF: u64 = rflags::ZF;
const SF: u64 = rflags::SF;
const OF: u64 = rflags::OF;

/// The fault that was raised by the page walker at `vaddr`.
fn page_fault_at(bench: &Bench, result: Result<(), Exception>) -> u64 {
    assert_eq!(result.expect_err("the access faults").vector, 14);
    bench.sys.fault_vaddr
}

#[test]
fn a_32_bit_result_clears_the_upper_half_and_shorter_ones_do_not() {
    let mut bench = Bench::long();
    bench.cpu.gpr[RAX] = u64::MAX;
    bench.cpu.gpr[RBX] = 0x1122_3344_5566_7788;
    bench.run(&[0x88, 0xd8]).unwrap(); // mov al, bl
    assert_eq!(bench.cpu.gpr[RAX], 0xffff_ffff_ffff_ff88);
    bench.run(&[0x88, 0xdc]).unwrap(); // mov ah, bl
    assert_eq!(bench.cpu.gpr[RAX], 0xffff_ffff_ffff_8888);
    bench.run(&[0x66, 0x89, 0xd8]).unwrap(); // mov ax, bx
    assert_eq!(bench.cpu.gpr[RAX], 0xffff_ffff_ffff_7788);
    bench.run(&[0x89, 0xd8]).unwrap(); // mov eax, ebx
    assert_eq!(bench.cpu.gpr[RAX], 0x5566_7788);
    bench.run(&[0x48, 0xc7, 0xc0, 0, 0, 0, 0x80]).unwrap(); // mov rax, -0x80000000
    assert_eq!(bench.cpu.gpr[RAX], 0xffff_ffff_8000_0000);
}

#[test]
fn push_of_the_stack_pointer_stores_its_old_value() {
    let mut bench = Bench::long();
    bench.run(&[0x54]).unwrap(); // push rsp
    assert_eq!(bench.cpu.gpr[RSP], STACK - 8);
    assert_eq!(bench.peek_u64(STACK - 8), STACK);
}

#[test]
fn pop_to_memory_uses_the_incremented_stack_pointer() {
    let mut bench = Bench::long();
    bench.cpu.gpr[RSP] = STACK - 64;
    bench.poke(STACK - 64, &7u64.to_le_bytes());
    bench.run(&[0x8f, 0x44, 0x24, 0x08]).unwrap(); // pop [rsp+8]
    assert_eq!(bench.cpu.gpr[RSP], STACK - 56);
    assert_eq!(bench.peek_u64(STACK - 48), 7);
}

#[test]
fn a_call_pushes_the_next_instruction_and_ret_goes_there() {
    let mut bench = Bench::long();
    bench.run(&[0xe8, 0x10, 0, 0, 0]).unwrap();
    assert_eq!(bench.cpu.rip, CODE + 5 + 0x10);
    bench.run(&[0xc2, 0x10, 0]).unwrap(); // ret 16
    assert_eq!((bench.cpu.rip, bench.cpu.gpr[RSP]), (CODE + 5, STACK + 16));
}

#[test]
fn a_repeated_store_is_one_iteration_at_a_time() {
    let mut bench = Bench::long();
    bench.cpu.gpr[RCX] = 3;
    bench.cpu.gpr[RDI] = DATA;
    bench.cpu.gpr[RAX] = 0x5a;
    for left in [2, 1] {
        bench.run(&[0xf3, 0xaa]).unwrap();
        assert_eq!((bench.cpu.rip, bench.cpu.gpr[RCX]), (CODE, left));
    }
    bench.run(&[0xf3, 0xaa]).unwrap();
    assert_eq!((bench.cpu.rip, bench.cpu.gpr[RCX], bench.cpu.gpr[RDI]), (CODE + 2, 0, DATA + 3));
    assert_eq!(bench.peek::<4>(DATA), [0x5a, 0x5a, 0x5a, 0]);
}
