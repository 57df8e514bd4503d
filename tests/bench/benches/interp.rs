//! Benchmarks of the interpreter, in process:   cargo bench -p bench [NAME]
//!
//! `boot` is a slice of the demonstration kernel's boot, which does what kernels do early: page tables,
//! interrupts, threads, string moves; `compute` is a hash-like loop over registers and memory. The others are
//! loops of one kind of instruction, to see what each kind costs. Throughput is in guest instructions. Each
//! runs in 64-bit mode behind page tables, the loops at CPL 3.

use boundary::{Boot, BootProtocol, Icount, Image, ImageId, Mark, Media, PowerOn, Role, Topology};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use fuzz::guest::Guest;
use fuzz::state::{DATA, Fx, INSTRUCTION, State};
use machine::mem::PAGE_BYTES;
use machine::system::System;
use machine::{EngineKind, Exit, Interrupt, Machine, StopSet};
use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Counts that one measurement of a loop executes.
const LOOP_COUNTS: u64 = 100_000;
/// The slice of the boot that is measured, in counts.
const BOOT_COUNTS: u64 = 4_000_000;

/// A loop: its name, its instructions without the jump back, as bytes. RBX points to data, RSP to a stack.
const LOOPS: &[(&str, &[u8])] = &[
    // add rax,rbx; xor rcx,rax; ror rcx,13; imul rdx,rcx; add rdx,[rbx]; mov [rbx+8],rdx; movzx esi,cl;
    // add rax,[rbx+rsi]; dec rdi; jz +0
    (
        "compute",
        &[
            0x48, 0x01, 0xd8, 0x48, 0x31, 0xc1, 0x48, 0xc1, 0xc9, 0x0d, 0x48, 0x0f, 0xaf, 0xd1, 0x48, 0x03,
            0x13, 0x48, 0x89, 0x53, 0x08, 0x0f, 0xb6, 0xf1, 0x48, 0x03, 0x04, 0x33, 0x48, 0xff, 0xcf, 0x74,
            0x00,
        ],
    ),
    // add rax,rbx; xor rcx,rax; sub rdx,rcx; and esi,edx
    ("register arithmetic", &[0x48, 0x01, 0xd8, 0x48, 0x31, 0xc1, 0x48, 0x29, 0xca, 0x21, 0xd6]),
    // mov rax,[rbx]; mov rcx,[rbx+8]; movzx edx,byte [rbx+17]
    ("loads", &[0x48, 0x8b, 0x03, 0x48, 0x8b, 0x4b, 0x08, 0x0f, 0xb6, 0x53, 0x11]),
    // mov [rbx],rax; mov [rbx+8],ecx; mov [rbx+17],dl
    ("stores", &[0x48, 0x89, 0x03, 0x89, 0x4b, 0x08, 0x88, 0x53, 0x11]),
    // add [rbx],rax; inc dword [rbx+8]
    ("read, modify, write", &[0x48, 0x01, 0x03, 0xff, 0x43, 0x08]),
    // test eax,eax; jne +0; cmp eax,ecx; jb +0
    ("conditional branches", &[0x85, 0xc0, 0x75, 0x00, 0x39, 0xc8, 0x72, 0x00]),
    // jmp +0; jmp +0
    ("jumps", &[0xeb, 0x00, 0xeb, 0x00]),
    // push rax; push rcx; pop rcx; pop rax
    ("stack", &[0x50, 0x51, 0x59, 0x58]),
    // call the ret; jmp over it; ret
    ("call and return", &[0xe8, 0x02, 0x00, 0x00, 0x00, 0xeb, 0x01, 0xc3]),
    // shl rax,5; sar rcx,3; rol edx,7
    ("shifts and rotations", &[0x48, 0xc1, 0xe0, 0x05, 0x48, 0xc1, 0xf9, 0x03, 0xc1, 0xc2, 0x07]),
    // imul rax,rcx; imul edx,[rbx]
    ("multiplication", &[0x48, 0x0f, 0xaf, 0xc1, 0x0f, 0xaf, 0x13]),
    // pxor xmm0,xmm1; paddd xmm1,xmm0; movdqu [rbx],xmm1
    ("16-byte integers", &[0x66, 0x0f, 0xef, 0xc1, 0x66, 0x0f, 0xfe, 0xc8, 0xf3, 0x0f, 0x7f, 0x0b]),
    // mov ecx,512; mov rdi,rbx; rep stosb
    ("rep stosb", &[0xb9, 0x00, 0x02, 0x00, 0x00, 0x48, 0x89, 0xdf, 0xf3, 0xaa]),
    // lahf; sahf
    ("by the specification", &[0x9f, 0x9e]),
];

fn loops(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("interp");
    group.throughput(Throughput::Elements(LOOP_COUNTS));
    for (name, body) in LOOPS {
        let mut code = body.to_vec();
        code.extend([0xeb, (-(body.len() as i8) - 2) as u8]);
        let mut guest = Guest::new(EngineKind::Interp);
        guest.put_code(INSTRUCTION, &code);
        let mut gpr = [1; 16];
        gpr[3] = DATA;
        gpr[4] = DATA + 0x800;
        guest.load(&State { gpr, rflags: 0, fx: Fx([0; 512]) });
        guest.advance(LOOP_COUNTS);
        assert!(
            (INSTRUCTION..INSTRUCTION + code.len() as u64).contains(&guest.cpu.rip),
            "{name} left its loop"
        );
        group.bench_function(*name, |bencher| bencher.iter(|| guest.advance(LOOP_COUNTS)));
    }
    group.finish();
}

/// The one image of the demonstration kernel's boot.
struct OneImage(Arc<Vec<u8>>);

impl Media for OneImage {
    fn image(&self, _id: ImageId) -> Option<Arc<Vec<u8>>> {
        Some(Arc::clone(&self.0))
    }
}

fn demonstration_kernel() -> OneImage {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let built =
        Command::new("sh").arg(root.join("tests/guests/build.sh")).arg(folder.path()).arg("demo").status();
    assert!(built.is_ok_and(|status| status.success()), "the demonstration kernel does not build");
    OneImage(Arc::new(std::fs::read(folder.path().join("demo.elf")).expect("demo.elf")))
}

fn demo_power_on(media: &OneImage) -> PowerOn {
    let kernel = Image {
        role: Role::Kernel,
        id: ImageId([0; 32]),
        length_bytes: media.0.len() as u64,
        name: "demo".to_owned(),
        command_line: String::new(),
    };
    let boot = Boot { protocol: BootProtocol::Multiboot1, command_line: String::new(), images: vec![kernel] };
    machine::power_on(Topology { vcpus: 2, thread_bits: 0, core_bits: 0 }, 128 << 20, 0, 0, boot)
}

fn run_boot(mut machine: Machine) -> Machine {
    let until = Mark::before(Icount(BOOT_COUNTS));
    loop {
        match machine.run(until, &StopSet::default(), &Interrupt::default()) {
            Exit::Budget => return machine,
            Exit::Output => drop(machine.take_events()),
            Exit::Idle { next_deadline: Some(deadline) } => machine.advance_idle(deadline),
            exit => panic!("the boot ended within the slice: {exit:?}"),
        }
    }
}

fn boot(criterion: &mut Criterion) {
    let media = demonstration_kernel();
    let power_on = demo_power_on(&media);
    let mut group = criterion.benchmark_group("interp");
    group.throughput(Throughput::Elements(BOOT_COUNTS)).sample_size(20);
    group.bench_function("boot", |bencher| {
        let machine = || Machine::new(&power_on, &media, EngineKind::Interp).expect("it boots");
        bencher.iter_batched(machine, run_boot, BatchSize::PerIteration);
    });
    group.finish();
}

/// RAM whose every page is written in an epoch: 64 MiB, more than the caches hold.
const EPOCH_PAGES: u64 = 16_384;

/// What a page written in an epoch costs the machine's thread when the epoch ends, and what handing an owned
/// copy of it to another thread would (docs/decisions/0003-digest.md).
fn epoch(criterion: &mut Criterion) {
    let mut power_on = demo_power_on(&OneImage(Arc::default()));
    power_on.ram_bytes = EPOCH_PAGES * PAGE_BYTES as u64 + (2 << 20);
    let mut sys = System::new(&power_on);
    let mut round = 0_u8;
    let mut write_all = |sys: &mut System| {
        round = round.wrapping_add(1);
        for page in 0..EPOCH_PAGES {
            sys.store_phys(0, (1 << 20) + page * PAGE_BYTES as u64, &[round | 1]);
        }
    };
    let mut group = criterion.benchmark_group("epoch, by page");
    group.throughput(Throughput::Elements(EPOCH_PAGES)).sample_size(20);
    group.bench_function("hashed in place", |bencher| {
        bencher.iter_custom(|rounds| {
            let mut spent = Duration::ZERO;
            for _ in 0..rounds {
                write_all(&mut sys);
                let started = Instant::now();
                black_box(sys.digest_ram());
                spent += started.elapsed();
            }
            spent
        });
    });
    group.bench_function("copied", |bencher| {
        let pages = || sys.mem.ram()[1 << 20..].chunks_exact(PAGE_BYTES).take(EPOCH_PAGES as usize);
        bencher.iter_with_large_drop(|| pages().map(Box::<[u8]>::from).collect::<Vec<_>>());
    });
    group.finish();
}

criterion_group!(benches, boot, loops, epoch);
criterion_main!(benches);
