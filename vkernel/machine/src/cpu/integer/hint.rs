//! Instructions that change nothing here: NOP and the hints that are NOP on processors without them, fences,
//! prefetches, CLFLUSH, PAUSE; and UD0, UD1, UD2, which are undefined by definition.
//!
//! Memory is always coherent and ordered, so fences have nothing to do.

use crate::cpu::core::Core;
use crate::cpu::exception::{Exception, Exec};
use crate::cpu::mmu::Intent;
use iced_x86::{Instruction, Mnemonic};

pub(super) fn execute(core: &mut Core<'_>, instruction: &Instruction) -> Option<Exec> {
    use Mnemonic as M;
    Some(match instruction.mnemonic() {
        M::Nop
        | M::Reservednop
        | M::Endbr32
        | M::Endbr64
        | M::Rdsspd
        | M::Rdsspq
        | M::Cldemote
        | M::Prefetch
        | M::Prefetchw
        | M::Prefetchwt1
        | M::Prefetchnta
        | M::Prefetcht0
        | M::Prefetcht1
        | M::Prefetcht2
        | M::Prefetchit0
        | M::Prefetchit1
        | M::Lfence
        | M::Mfence
        | M::Sfence => Ok(()),
        M::Pause => pause(core),
        M::Clflush => flush_line(core, instruction),
        M::Ud0 | M::Ud1 | M::Ud2 => Err(Exception::UD),
        _ => return None,
    })
}

/// PAUSE: the guest spins. The schedule decides what that means and charges time for it.
fn pause(core: &mut Core<'_>) -> Exec {
    core.sys.leave.paused = true;
    Ok(())
}

/// CLFLUSH is checked like a byte load; there is no cache to flush.
fn flush_line(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    let (segment, offset) = core.effective_address(instruction);
    core.locate(segment, offset, 1, Intent::Read)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::cpu::exception::Exception;
    use crate::cpu::state::RBX;
    use crate::cpu::testing::{ABSENT, Bench, DATA};

    #[test]
    fn hints_change_nothing_but_rip() {
        let mut bench = Bench::long();
        bench.cpu.gpr[RBX] = ABSENT;
        let instructions: [&[u8]; 9] = [
            &[0x90],
            &[0x0f, 0x1f, 0x03],             // nop [rbx]
            &[0xf3, 0x0f, 0x1e, 0xfa],       // endbr64
            &[0xf3, 0x48, 0x0f, 0x1e, 0xc8], // rdsspq rax
            &[0x0f, 0x18, 0x0b],             // prefetcht0 [rbx]
            &[0x0f, 0x0d, 0x0b],             // prefetchw [rbx]
            &[0x0f, 0x1c, 0x03],             // cldemote [rbx]
            &[0x0f, 0xae, 0xe8],             // lfence
            &[0x0f, 0xae, 0xf0],             // mfence
        ];
        for bytes in instructions {
            let mut expected = bench.cpu.clone();
            bench.run(bytes).unwrap();
            expected.rip += bytes.len() as u64;
            expected.next_rip = bench.cpu.next_rip;
            assert_eq!(bench.cpu, expected, "{bytes:02x?}");
        }
        assert!(!bench.sys.leave.any());
    }

    #[test]
    fn pause_tells_the_schedule() {
        let mut bench = Bench::long();
        bench.run(&[0xf3, 0x90]).unwrap();
        assert!(bench.sys.leave.paused);
    }

    #[test]
    fn clflush_checks_its_address() {
        let mut bench = Bench::long();
        bench.cpu.gpr[RBX] = DATA;
        assert_eq!(bench.run(&[0x0f, 0xae, 0x3b]), Ok(()));
        bench.cpu.gpr[RBX] = ABSENT;
        assert_eq!(bench.run(&[0x0f, 0xae, 0x3b]), Err(Exception::pf(0)));
    }

    #[test]
    fn undefined_instructions_are_undefined() {
        let mut bench = Bench::long();
        for bytes in [&[0x0f, 0x0b][..], &[0x0f, 0xb9, 0xc0], &[0x0f, 0xff, 0xc0]] {
            assert_eq!(bench.run(bytes), Err(Exception::UD), "{bytes:02x?}");
        }
    }
}
