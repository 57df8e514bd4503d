//! The oracle: executes one instruction on the host's processor, on registers and memory as given.
//!
//! The instruction lies at a fixed address, followed (and its branches met) by jumps into a stub that saves
//! everything; no register is free for that, so the stub addresses its memory relative to RIP. An exception
//! becomes a signal on a stack of its own, whose handler notes what the kernel tells of it and goes on in the
//! same stub, so that every end is captured in the same way.
//!
//! The only file of this package with `unsafe`. What makes it sound is that the generator lets no
//! instruction access memory of this process other than the pages mapped here (see `operands`), enter the
//! kernel, or change segments.
#![allow(unsafe_code)]

use crate::rules::Vendor;
use crate::state::{CODE, DATA, DATA_BYTES, Data, FLAGS, Fx, INSTRUCTION, Outcome, READ_ONLY, State, TARGET};
use std::arch::global_asm;
use std::arch::x86_64::__cpuid;
use std::cell::UnsafeCell;
use std::mem::offset_of;
use std::ptr;
use std::sync::{Mutex, MutexGuard, PoisonError};

const PAGE_BYTES: usize = 4096;
const SIGNAL_STACK_BYTES: usize = 64 << 10;
const SIGNALS: [i32; 5] = [libc::SIGSEGV, libc::SIGILL, libc::SIGFPE, libc::SIGBUS, libc::SIGTRAP];

/// What the stub, the handler and Rust share.
#[repr(C, align(64))]
struct Exchange {
    /// Loaded before the instruction, then stored after it.
    fx: Fx,
    gpr: [u64; 16],
    rflags: u64,
    entry: u64,
    host_rsp: u64,
    host_mxcsr: u32,
    /// The end was at [`TARGET`].
    taken: u8,
    /// A signal belongs to the instruction under test.
    armed: u8,
    faulted: u8,
    vector: u8,
    error_code: u32,
    fault_rip: u64,
    fault_vaddr: u64,
}

struct Cell(UnsafeCell<Exchange>);

// SAFETY: used only by the owner of the one `Native` (see `OWNER`), and by the handler of signals that its
// own instruction raises.
unsafe impl Sync for Cell {}

static EXCHANGE: Cell = Cell(UnsafeCell::new(Exchange {
    fx: Fx([0; 512]),
    gpr: [0; 16],
    rflags: 0,
    entry: INSTRUCTION,
    host_rsp: 0,
    host_mxcsr: 0x1f80,
    taken: 0,
    armed: 0,
    faulted: 0,
    vector: 0,
    error_code: 0,
    fault_rip: 0,
    fault_vaddr: 0,
}));

/// Addresses are fixed and there is one [`EXCHANGE`], so there is one [`Native`] at a time.
static OWNER: Mutex<()> = Mutex::new(());

unsafe extern "sysv64" {
    fn fuzz_native_enter();
    fn fuzz_native_taken();
    fn fuzz_native_leave();
}

global_asm!(
    ".text",
    "fuzz_native_enter:",
    "push rbx",
    "push rbp",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "mov [rip + {x} + {host_rsp}], rsp",
    "fxrstor64 [rip + {x}]",
    "push qword ptr [rip + {x} + {rflags}]",
    "popfq",
    "mov rax, [rip + {x} + {gpr} + 0]",
    "mov rcx, [rip + {x} + {gpr} + 8]",
    "mov rdx, [rip + {x} + {gpr} + 16]",
    "mov rbx, [rip + {x} + {gpr} + 24]",
    "mov rsp, [rip + {x} + {gpr} + 32]",
    "mov rbp, [rip + {x} + {gpr} + 40]",
    "mov rsi, [rip + {x} + {gpr} + 48]",
    "mov rdi, [rip + {x} + {gpr} + 56]",
    "mov r8, [rip + {x} + {gpr} + 64]",
    "mov r9, [rip + {x} + {gpr} + 72]",
    "mov r10, [rip + {x} + {gpr} + 80]",
    "mov r11, [rip + {x} + {gpr} + 88]",
    "mov r12, [rip + {x} + {gpr} + 96]",
    "mov r13, [rip + {x} + {gpr} + 104]",
    "mov r14, [rip + {x} + {gpr} + 112]",
    "mov r15, [rip + {x} + {gpr} + 120]",
    "jmp qword ptr [rip + {x} + {entry}]",
    "fuzz_native_taken:",
    "mov byte ptr [rip + {x} + {taken}], 1",
    "fuzz_native_leave:",
    "mov [rip + {x} + {gpr} + 0], rax",
    "mov [rip + {x} + {gpr} + 8], rcx",
    "mov [rip + {x} + {gpr} + 16], rdx",
    "mov [rip + {x} + {gpr} + 24], rbx",
    "mov [rip + {x} + {gpr} + 32], rsp",
    "mov [rip + {x} + {gpr} + 40], rbp",
    "mov [rip + {x} + {gpr} + 48], rsi",
    "mov [rip + {x} + {gpr} + 56], rdi",
    "mov [rip + {x} + {gpr} + 64], r8",
    "mov [rip + {x} + {gpr} + 72], r9",
    "mov [rip + {x} + {gpr} + 80], r10",
    "mov [rip + {x} + {gpr} + 88], r11",
    "mov [rip + {x} + {gpr} + 96], r12",
    "mov [rip + {x} + {gpr} + 104], r13",
    "mov [rip + {x} + {gpr} + 112], r14",
    "mov [rip + {x} + {gpr} + 120], r15",
    "mov rsp, [rip + {x} + {host_rsp}]",
    "pushfq",
    "pop qword ptr [rip + {x} + {rflags}]",
    "fxsave64 [rip + {x}]",
    "fninit",
    "ldmxcsr [rip + {x} + {host_mxcsr}]",
    "push 0x202",
    "popfq",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbp",
    "pop rbx",
    "ret",
    x = sym EXCHANGE,
    gpr = const offset_of!(Exchange, gpr),
    rflags = const offset_of!(Exchange, rflags),
    entry = const offset_of!(Exchange, entry),
    host_rsp = const offset_of!(Exchange, host_rsp),
    host_mxcsr = const offset_of!(Exchange, host_mxcsr),
    taken = const offset_of!(Exchange, taken),
);

/// The host's processor with its pages of code and data.
#[derive(Debug)]
pub struct Native {
    old_actions: Vec<(i32, libc::sigaction)>,
    old_stack: libc::stack_t,
    signal_stack: Box<[u8]>,
    _owner: MutexGuard<'static, ()>,
}

impl Native {
    /// Maps the pages and installs the signal handlers, for this thread; waits while another has them.
    ///
    /// # Panics
    /// When the host does not let this process map pages at fixed low addresses.
    #[must_use]
    pub fn new() -> Native {
        let owner = OWNER.lock().unwrap_or_else(PoisonError::into_inner);
        map(CODE, PAGE_BYTES, libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC);
        map(DATA, DATA_BYTES, libc::PROT_READ | libc::PROT_WRITE);
        map(READ_ONLY, PAGE_BYTES, libc::PROT_READ | libc::PROT_WRITE);
        // SAFETY: the page was just mapped, writable; filling it makes it present before it is read-only.
        unsafe {
            ptr::write_bytes(READ_ONLY as *mut u8, READ_ONLY_BYTE, PAGE_BYTES);
            assert_eq!(libc::mprotect(READ_ONLY as *mut _, PAGE_BYTES, libc::PROT_READ), 0);
        }
        put_jump(TARGET, fuzz_native_taken as *const () as u64);
        let mut signal_stack = vec![0; SIGNAL_STACK_BYTES].into_boxed_slice();
        let mut old_stack = empty_stack();
        let stack = libc::stack_t {
            ss_sp: signal_stack.as_mut_ptr().cast(),
            ss_flags: 0,
            ss_size: SIGNAL_STACK_BYTES,
        };
        // SAFETY: the stack lives as long as `Native`, which puts the old one back.
        assert_eq!(unsafe { libc::sigaltstack(&raw const stack, &raw mut old_stack) }, 0);
        let old_actions = SIGNALS.map(|signal| (signal, install(signal))).to_vec();
        Native { old_actions, old_stack, signal_stack, _owner: owner }
    }

    /// Puts the instruction under test in its place.
    ///
    /// # Panics
    /// When it is longer than an instruction can be.
    pub fn set_instruction(&mut self, bytes: &[u8]) {
        assert!(bytes.len() <= 15, "an instruction has at most 15 bytes");
        // SAFETY: the code page is ours and writable, and nothing executes in it now.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), INSTRUCTION as *mut u8, bytes.len()) };
        put_jump(INSTRUCTION + bytes.len() as u64, fuzz_native_leave as *const () as u64);
    }

    /// The data pages.
    pub fn data(&mut self) -> &mut Data {
        // SAFETY: mapped, aligned, of that size, and borrowed from the only `Native`.
        unsafe { &mut *(DATA as *mut Data) }
    }

    /// The data pages, to look at.
    #[must_use]
    pub fn data_now(&self) -> &Data {
        // SAFETY: as for `data`; nothing executes now.
        unsafe { &*(DATA as *const Data) }
    }

    /// Executes the instruction on `state`, and changes it to what was left.
    pub fn run(&mut self, state: &mut State) -> Outcome {
        let exchange = EXCHANGE.0.get();
        // SAFETY: `EXCHANGE` is ours alone (see `OWNER`); the stub keeps the calling convention but for the
        // x87 and MXCSR, which it leaves in their initial states, as Rust code needs them.
        unsafe {
            (*exchange).fx = state.fx;
            (*exchange).gpr = state.gpr;
            (*exchange).rflags = state.rflags & FLAGS | 0x202;
            (*exchange).taken = 0;
            (*exchange).faulted = 0;
            ptr::write_volatile(&raw mut (*exchange).armed, 1);
            fuzz_native_enter();
            ptr::write_volatile(&raw mut (*exchange).armed, 0);
            state.fx = (*exchange).fx;
            state.fx.canonicalise();
            state.gpr = (*exchange).gpr;
            state.rflags = (*exchange).rflags & FLAGS;
            if (*exchange).faulted != 0 {
                return Outcome::Fault {
                    vector: (*exchange).vector,
                    error_code: (*exchange).error_code,
                    rip: (*exchange).fault_rip,
                    vaddr: if (*exchange).vector == 14 { (*exchange).fault_vaddr } else { 0 },
                };
            }
            if (*exchange).taken != 0 { Outcome::Taken } else { Outcome::Next }
        }
    }
}

/// Who made the host's processor.
#[must_use]
pub fn host_vendor() -> Vendor {
    let leaf = __cpuid(0);
    let letters = [leaf.ebx, leaf.edx, leaf.ecx].map(u32::to_le_bytes);
    Vendor::named(letters.as_flattened())
}

/// What the read-only page is filled with.
pub const READ_ONLY_BYTE: u8 = 0x3f;

impl Default for Native {
    fn default() -> Native {
        Native::new()
    }
}

impl Drop for Native {
    fn drop(&mut self) {
        // SAFETY: puts back what was there before; the pages were mapped by `new`, and nothing borrows them.
        unsafe {
            for (signal, action) in &self.old_actions {
                libc::sigaction(*signal, action, ptr::null_mut());
            }
            libc::sigaltstack(&raw const self.old_stack, ptr::null_mut());
            for (address, length) in [(CODE, PAGE_BYTES), (DATA, DATA_BYTES), (READ_ONLY, PAGE_BYTES)] {
                libc::munmap(address as *mut _, length);
            }
        }
        self.signal_stack.fill(0);
    }
}

fn empty_stack() -> libc::stack_t {
    libc::stack_t { ss_sp: ptr::null_mut(), ss_flags: 0, ss_size: 0 }
}

fn map(address: u64, length: usize, protection: i32) {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
    // SAFETY: MAP_FIXED_NOREPLACE maps over nothing that is in use.
    let at = unsafe { libc::mmap(address as *mut _, length, protection, flags, -1, 0) };
    assert_eq!(at as u64, address, "cannot map {length} bytes at {address:#x}: is the address range in use?");
}

/// Writes `jmp target` at `address` in the code page, using no register.
fn put_jump(address: u64, target: u64) {
    let mut bytes = [0xff, 0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    bytes[6..].copy_from_slice(&target.to_le_bytes());
    // SAFETY: the code page is ours and writable, and nothing executes in it now.
    unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), address as *mut u8, bytes.len()) };
}

fn install(signal: i32) -> libc::sigaction {
    // SAFETY: zero is a valid sigaction; the handler is async-signal-safe and has the type SA_SIGINFO says.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
        let mut old: libc::sigaction = std::mem::zeroed();
        assert_eq!(libc::sigaction(signal, &raw const action, &raw mut old), 0);
        old
    }
}

/// Notes the exception and continues in the stub. Written so that it touches no floating point.
extern "C" fn handler(signal: i32, _info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let exchange = EXCHANGE.0.get();
    // SAFETY: the kernel passes a valid context. `EXCHANGE` belongs to the interrupted code, which is in the
    // instruction under test when `armed`, and so has no reference to it.
    unsafe {
        if ptr::read_volatile(&raw const (*exchange).armed) == 0 {
            // A fault of our own: let it happen again and end the process.
            libc::signal(signal, libc::SIG_DFL);
            return;
        }
        let registers = &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs;
        (*exchange).faulted = 1;
        (*exchange).vector = registers[libc::REG_TRAPNO as usize] as u8;
        (*exchange).error_code = registers[libc::REG_ERR as usize] as u32;
        (*exchange).fault_vaddr = registers[libc::REG_CR2 as usize] as u64;
        (*exchange).fault_rip = registers[libc::REG_RIP as usize] as u64;
        registers[libc::REG_RIP as usize] = fuzz_native_leave as *const () as i64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        State { gpr: [0; 16], rflags: 0, fx: Fx::initial() }
    }

    #[test]
    fn an_instruction_runs_on_the_given_state() {
        let mut native = Native::new();
        native.set_instruction(&[0x48, 0x01, 0xd8]);
        let mut state = state();
        state.gpr[0] = u64::MAX;
        state.gpr[3] = 1;
        assert_eq!(native.run(&mut state), Outcome::Next);
        assert_eq!((state.gpr[0], state.gpr[3]), (0, 1));
        assert_eq!(state.rflags, 0x55, "CF, PF, AF, ZF");
    }

    #[test]
    fn branches_and_exceptions_are_outcomes() {
        let mut native = Native::new();
        native.set_instruction(&[0xeb, 0x3e]);
        assert_eq!(native.run(&mut state()), Outcome::Taken);
        native.set_instruction(&[0x8b, 0x03]);
        let mut faulting = state();
        faulting.gpr[3] = READ_ONLY + 0x1000;
        let fault = Outcome::Fault { vector: 14, error_code: 4, rip: INSTRUCTION, vaddr: READ_ONLY + 0x1000 };
        assert_eq!(native.run(&mut faulting), fault);
        native.set_instruction(&[0xf7, 0xf3]);
        assert!(matches!(native.run(&mut state()), Outcome::Fault { vector: 0, .. }));
        native.set_instruction(&[0x0f, 0x0b]);
        assert!(matches!(native.run(&mut state()), Outcome::Fault { vector: 6, .. }));
    }
}
