//! Every instruction against the host's processor: the same bytes, executed here and there on random state.
//!
//! Left out are the reciprocal approximations, which are ours, and unmasked exceptions, which would kill the
//! test. The x87's TOP and tags are compared as well, to see who enters MMX state.

use super::{Guest, OPERAND_PADDR};
use crate::cpu::state::{RAX, RCX, RDI, RDX, rflags};
use core::arch::asm;

/// All that an instruction of a test may use. RDI points to it, and so to the memory operand.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct State {
    memory: u128,
    xmm: [u128; 3],
    mm: [u64; 3],
    rax: u64,
    rcx: u64,
    rdx: u64,
    rflags: u64,
    mxcsr: u64,
    /// As FNSTENV stores it: control, status, tags, and pointers, which are not compared.
    x87: [u32; 8],
}

/// TOP in the x87 status word.
const TOP: u32 = 7 << 11;

/// One instruction: its text, and the function that executes it on the host and gives its bytes.
type Case = (&'static str, fn(&mut State) -> &'static [u8]);

/// A case from the text of an instruction.
macro_rules! case {
    ($text:expr) => {{
        fn run(state: &mut State) -> &'static [u8] {
            let (start, end): (usize, usize);
            // SAFETY: the instruction touches the listed registers, the flags and `state.memory` only; the
            // x87 and MXCSR are back in their initial states at the end.
            unsafe {
                asm!(
                    "movdqu xmm0, [rdi + 16]",
                    "movdqu xmm1, [rdi + 32]",
                    "movdqu xmm2, [rdi + 48]",
                    "movq mm0, [rdi + 64]",
                    "movq mm1, [rdi + 72]",
                    "movq mm2, [rdi + 80]",
                    "emms",
                    "fincstp",
                    "mov rax, [rdi + 88]",
                    "mov rcx, [rdi + 96]",
                    "mov rdx, [rdi + 104]",
                    "lea r8, [rip + 2f]",
                    "lea r9, [rip + 3f]",
                    "ldmxcsr [rdi + 120]",
                    "push qword ptr [rdi + 112]",
                    "popfq",
                    "2:",
                    $text,
                    "3:",
                    "pushfq",
                    "pop qword ptr [rdi + 112]",
                    "stmxcsr [rdi + 120]",
                    "ldmxcsr [{host}]",
                    "fnstenv [rdi + 128]",
                    "mov [rdi + 88], rax",
                    "mov [rdi + 96], rcx",
                    "mov [rdi + 104], rdx",
                    "movdqu [rdi + 16], xmm0",
                    "movdqu [rdi + 32], xmm1",
                    "movdqu [rdi + 48], xmm2",
                    "movq [rdi + 64], mm0",
                    "movq [rdi + 72], mm1",
                    "movq [rdi + 80], mm2",
                    "fninit",
                    in("rdi") &raw mut *state,
                    host = in(reg) &raw const HOST_MXCSR,
                    out("r8") start,
                    out("r9") end,
                    out("rax") _, out("rcx") _, out("rdx") _,
                    out("xmm0") _, out("xmm1") _, out("xmm2") _,
                    out("mm0") _, out("mm1") _, out("mm2") _, out("mm3") _,
                    out("mm4") _, out("mm5") _, out("mm6") _, out("mm7") _,
                    out("st(0)") _, out("st(1)") _, out("st(2)") _, out("st(3)") _,
                    out("st(4)") _, out("st(5)") _, out("st(6)") _, out("st(7)") _,
                );
                core::slice::from_raw_parts(start as *const u8, end - start)
            }
        }
        ($text, run as fn(&mut State) -> &'static [u8])
    }};
}

static HOST_MXCSR: u32 = 0x1f80;

/// Cases for every mnemonic listed with the same operands.
macro_rules! cases {
    ($operands:literal: $($mnemonic:ident)*) => {
        [$(case!(concat!(stringify!($mnemonic), $operands))),*]
    };
}

/// Cases for an instruction with each of several immediates.
macro_rules! immediates {
    ($text:literal: $($immediate:literal)*) => {
        [$(case!(concat!($text, ", ", $immediate))),*]
    };
}

/// A small deterministic generator (xorshift64*).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 33) as usize % bound
    }

    /// A single that is likely to be special, or near another's magnitude.
    fn single(&mut self) -> u32 {
        const SPECIAL: [u32; 15] = [
            0,
            1,
            0x7f_ffff,
            0x80_0000,
            0x3f80_0000,
            0x3f80_0001,
            0x4f00_0000,
            0x4eff_ffff,
            0x7f7f_ffff,
            0x7f80_0000,
            0x7f80_0001,
            0x7fc0_0000,
            0x7fff_ffff,
            0x5f00_0000,
            0x3f00_0000,
        ];
        let sign = (self.next() as u32) & 0x8000_0000;
        match self.below(4) {
            0 | 1 => SPECIAL[self.below(SPECIAL.len())] | sign,
            2 => (0x3f00_0000 + (self.next() as u32 & 0x00ff_ffff) + ((self.below(32) as u32) << 23)) | sign,
            _ => self.next() as u32,
        }
    }

    /// A double of the same kinds.
    fn double(&mut self) -> u64 {
        const SPECIAL: [u64; 15] = [
            0,
            1,
            0xf_ffff_ffff_ffff,
            0x10_0000_0000_0000,
            0x3ff0_0000_0000_0000,
            0x3ff0_0000_0000_0001,
            0x41e0_0000_0000_0000,
            0x41df_ffff_ffff_ffff,
            0x7fef_ffff_ffff_ffff,
            0x7ff0_0000_0000_0000,
            0x7ff0_0000_0000_0001,
            0x7ff8_0000_0000_0000,
            0x43e0_0000_0000_0000,
            0x3690_0000_0000_0000,
            0x380f_ffff_e000_0000,
        ];
        let sign = self.next() & 1 << 63;
        match self.below(4) {
            0 | 1 => SPECIAL[self.below(SPECIAL.len())] | sign,
            2 => (0x3fe0_0000_0000_0000 + (self.next() >> 11) + ((self.below(64) as u64) << 52)) | sign,
            _ => self.next(),
        }
    }

    fn quadword(&mut self, kind: usize) -> u64 {
        match kind {
            0 => u64::from(self.single()) << 32 | u64::from(self.single()),
            1 => self.double(),
            2 => self.next(),
            // Short strings over a small alphabet, and edges of bytes and words.
            3 => (0..8).fold(0, |value, _| value << 8 | b"\0aabbc\x7f\x80"[self.below(8)] as u64),
            4 => (0..8).fold(0, |value, _| value << 8 | [0, 0xff, 0x7f, 0x80][self.below(4)]),
            // Shift counts.
            _ => self.below(80) as u64,
        }
    }

    fn vector(&mut self, kind: usize) -> u128 {
        u128::from(self.quadword(kind)) << 64 | u128::from(self.quadword(kind))
    }

    fn state(&mut self) -> State {
        let kind = self.below(6);
        let mut state = State { memory: self.vector(kind), ..State::default() };
        state.xmm = std::array::from_fn(|_| self.vector(kind));
        state.mm = std::array::from_fn(|_| self.quadword(kind));
        let integer = |random: &mut Random| match random.below(3) {
            0 => (random.below(40) as u64).wrapping_sub(20),
            1 => random.next(),
            _ => random.next() >> random.below(64),
        };
        state.rax = integer(self);
        state.rcx = integer(self);
        state.rdx = integer(self);
        state.rflags = 0x202 | self.next() & rflags::STATUS;
        // All exceptions masked; rounding, FTZ, DAZ and sticky flags at random.
        state.mxcsr = 0x1f80 | self.next() & 0xe07f;
        state
    }
}

/// What the guest makes of `state`.
fn emulate(guest: &mut Guest, bytes: &[u8], state: &State) -> State {
    let cpu = &mut guest.cpu;
    cpu.xmm[..3].copy_from_slice(&state.xmm);
    for (register, value) in state.mm.iter().enumerate() {
        cpu.x87.registers[register] = 0xffff << 64 | u128::from(*value);
    }
    (cpu.x87.status, cpu.x87.valid) = (1 << 11, 0);
    (cpu.gpr[RAX], cpu.gpr[RCX], cpu.gpr[RDX]) = (state.rax, state.rcx, state.rdx);
    (cpu.rflags, cpu.mxcsr) = (state.rflags, state.mxcsr as u32);
    guest.set_memory(state.memory);
    guest.execute(bytes).expect("nothing in these tests faults");
    let cpu = &guest.cpu;
    assert_eq!(cpu.gpr[RDI], OPERAND_PADDR);
    let tags = match cpu.x87.valid {
        0 => 0xffff,
        valid => {
            assert_eq!(valid, 0xff);
            0
        }
    };
    State {
        memory: guest.memory(),
        xmm: std::array::from_fn(|register| cpu.xmm[register]),
        mm: std::array::from_fn(|register| cpu.x87.registers[register] as u64),
        rax: cpu.gpr[RAX],
        rcx: cpu.gpr[RCX],
        rdx: cpu.gpr[RDX],
        rflags: cpu.rflags,
        mxcsr: u64::from(cpu.mxcsr),
        x87: [0, u32::from(cpu.x87.status), tags, 0, 0, 0, 0, 0],
    }
}

/// Makes what the host gave comparable: of the x87 environment TOP and emptiness.
fn normalize(state: &mut State) {
    let [_, status, tags, ..] = state.x87;
    // FNSTENV tells valid, zero and special registers apart; here it only counts that they are not empty.
    let tags = if tags & 0xffff == 0xffff { 0xffff } else { 0 };
    state.x87 = [0, status & TOP, tags, 0, 0, 0, 0, 0];
    state.rflags &= rflags::STATUS | 0x202;
}

/// Runs every case on many states; reports all cases that differ, not just the first.
fn check(cases: &[Case]) {
    check_but_for(cases, |_, _, _| false);
}

/// The same, but lets `allowed` of (before, host, guest) explain a difference.
fn check_but_for(cases: &[Case], allowed: fn(&State, &State, &State) -> bool) {
    assert!(is_x86_feature_detected!("sse4.2"));
    assert!(is_x86_feature_detected!("aes") && is_x86_feature_detected!("pclmulqdq"));
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut guest = Guest::new();
    let mut differences = String::new();
    for (text, run) in cases {
        for _ in 0..400 {
            let before = random.state();
            let mut expected = before;
            let bytes = run(&mut expected);
            normalize(&mut expected);
            let got = emulate(&mut guest, bytes, &before);
            if got != expected && !allowed(&before, &expected, &got) {
                differences +=
                    &format!("{text}\n before {before:x?}\n host   {expected:x?}\n guest  {got:x?}\n");
                break;
            }
        }
    }
    assert!(differences.is_empty(), "{differences}");
}

/// The register and the memory form of the SSE instructions listed.
macro_rules! check_sse {
    ($($mnemonic:ident)*) => {{
        check(&cases!(" xmm1, xmm2": $($mnemonic)*));
        check(&cases!(" xmm1, [rdi]": $($mnemonic)*));
    }};
}

/// The register and the memory form of the MMX instructions listed.
macro_rules! check_mmx {
    ($($mnemonic:ident)*) => {{
        check(&cases!(" mm1, mm2": $($mnemonic)*));
        check(&cases!(" mm1, [rdi]": $($mnemonic)*));
    }};
}

#[test]
fn packed_integers_of_mmx_agree_with_the_host() {
    check_mmx! {
        paddb paddw paddd paddq psubb psubw psubd psubq paddsb paddsw paddusb paddusw psubsb psubsw psubusb
        psubusw pmullw pmulhw pmulhuw pmulhrsw pmuludq pmaddwd pmaddubsw psadbw pavgb pavgw pminub pminsw
        pmaxub pmaxsw pcmpeqb pcmpeqw pcmpeqd pcmpgtb pcmpgtw pcmpgtd pand pandn por pxor pabsb pabsw pabsd
        psignb psignw psignd phaddw phaddd phaddsw phsubw phsubd phsubsw packsswb packssdw packuswb
        punpcklbw punpcklwd punpckldq punpckhbw punpckhwd punpckhdq pshufb psllw pslld psllq psrlw psrld
        psrlq psraw psrad
    }
    check(&immediates!("pshufw mm1, mm2": 0 0x1b 0xe4 0x93));
    check(&immediates!("palignr mm1, mm2": 0 3 7 8 11 15 16 200));
    check(&immediates!("psllw mm1": 0 5 15 16 255));
    check(&immediates!("psrad mm1": 0 5 31 32 255));
    check(&immediates!("psrlq mm1": 0 5 63 64 255));
}

#[test]
fn packed_integers_of_sse_agree_with_the_host() {
    check_sse! {
        paddb paddw paddd paddq psubb psubw psubd psubq paddsb paddsw paddusb paddusw psubsb psubsw psubusb
        psubusw pmullw pmulld pmulhw pmulhuw pmulhrsw pmuludq pmuldq pmaddwd pmaddubsw psadbw pavgb pavgw
        pminub pminsb pminuw pminsw pminud pminsd pmaxub pmaxsb pmaxuw pmaxsw pmaxud pmaxsd pcmpeqb pcmpeqw
        pcmpeqd pcmpeqq pcmpgtb pcmpgtw pcmpgtd pcmpgtq pand pandn por pxor andps andnps orps xorps andpd
        andnpd orpd xorpd pabsb pabsw pabsd psignb psignw psignd phaddw phaddd phaddsw phsubw phsubd phsubsw
        phminposuw psllw pslld psllq psrlw psrld psrlq psraw psrad ptest
    }
    check(&immediates!("mpsadbw xmm1, xmm2": 0 1 2 3 4 5 6 7 255));
    check(&immediates!("psllw xmm1": 0 5 15 16 255));
    check(&immediates!("pslld xmm1": 0 5 31 32 255));
    check(&immediates!("psllq xmm1": 0 5 63 64 255));
    check(&immediates!("psrlw xmm1": 0 5 15 16 255));
    check(&immediates!("psrld xmm1": 0 5 31 32 255));
    check(&immediates!("psrlq xmm1": 0 5 63 64 255));
    check(&immediates!("psraw xmm1": 0 5 15 16 255));
    check(&immediates!("psrad xmm1": 0 5 31 32 255));
    check(&immediates!("pslldq xmm1": 0 5 15 16 255));
    check(&immediates!("psrldq xmm1": 0 5 15 16 255));
}

#[test]
fn rearrangements_agree_with_the_host() {
    check_sse! {
        packsswb packssdw packuswb packusdw punpcklbw punpcklwd punpckldq punpcklqdq punpckhbw punpckhwd
        punpckhdq punpckhqdq unpcklps unpckhps unpcklpd unpckhpd pshufb movddup movsldup movshdup pmovsxbw
        pmovsxbd pmovsxbq pmovsxwd pmovsxwq pmovsxdq pmovzxbw pmovzxbd pmovzxbq pmovzxwd pmovzxwq pmovzxdq
    }
    check(&cases!(" xmm1, xmm2, xmm0": pblendvb blendvps blendvpd));
    check(&cases!(" xmm1, [rdi], xmm0": pblendvb blendvps blendvpd));
    check(&immediates!("pshufd xmm1, [rdi]": 0 0x1b 0xe4 0x93));
    check(&immediates!("pshuflw xmm1, xmm2": 0 0x1b 0xe4 0x93));
    check(&immediates!("pshufhw xmm1, xmm2": 0 0x1b 0xe4 0x93));
    check(&immediates!("shufps xmm1, xmm2": 0 0x1b 0xe4 0x93));
    check(&immediates!("shufpd xmm1, xmm2": 0 1 2 3 0xfe));
    check(&immediates!("palignr xmm1, xmm2": 0 3 15 16 17 31 32 200));
    check(&immediates!("pblendw xmm1, xmm2": 0 0x5a 0xc3 0xff));
    check(&immediates!("blendps xmm1, xmm2": 0 5 10 0xff));
    check(&immediates!("blendpd xmm1, xmm2": 0 1 2 0xff));
    check(&immediates!("insertps xmm1, xmm2": 0 0x5a 0xc3 0xff 0x94));
    check(&immediates!("insertps xmm1, [rdi]": 0 0x5a 0xc3 0xff 0x94));
}

#[test]
fn moves_agree_with_the_host() {
    check_sse! { movaps movups movapd movupd movdqa movdqu movq movss movsd }
    check(&cases!(" [rdi], xmm1": movaps movups movapd movupd movdqa movdqu movq movss movsd movntps movntpd
        movntdq movlps movhps movlpd movhpd movd));
    check(&cases!(" xmm1, [rdi]": lddqu movntdqa movlps movhps movlpd movhpd movd));
    check(&cases!(" xmm1, xmm2": movhlps movlhps));
    check(&cases!(" mm1, [rdi]": movq movd));
    check(&cases!(" [rdi], mm1": movq movd movntq));
    check(&cases!(" eax, xmm1": movd movmskps movmskpd pmovmskb));
    check(&cases!(" [rdi], eax": movnti));
    check(&cases!(" [rdi], rax": movnti));
    check(&[
        case!("movq mm1, mm2"),
        case!("movq rax, xmm1"),
        case!("movq rax, mm1"),
        case!("movq xmm1, rax"),
        case!("movq mm1, rax"),
        case!("movd xmm1, eax"),
        case!("movd mm1, eax"),
        case!("movd eax, mm1"),
        case!("pmovmskb eax, mm1"),
        case!("movq2dq xmm1, mm2"),
        case!("movdq2q mm1, xmm2"),
        case!("maskmovq mm1, mm2"),
        case!("maskmovdqu xmm1, xmm2"),
        case!("emms"),
        case!("stmxcsr [rdi]"),
    ]);
    check(&immediates!("pextrb eax, xmm1": 0 7 15 16));
    check(&immediates!("pextrb [rdi], xmm1": 0 7 15 16));
    check(&immediates!("pextrw eax, xmm1": 0 7 8));
    check(&immediates!("pextrw [rdi], xmm1": 0 7 8));
    check(&immediates!("pextrw eax, mm1": 0 3 4));
    check(&immediates!("pextrd eax, xmm1": 0 3 4));
    check(&immediates!("pextrd [rdi], xmm1": 0 3 4));
    check(&immediates!("pextrq rax, xmm1": 0 1 2));
    check(&immediates!("pextrq [rdi], xmm1": 0 1 2));
    check(&immediates!("extractps eax, xmm1": 0 3 4));
    check(&immediates!("extractps [rdi], xmm1": 0 3 4));
    check(&immediates!("pinsrb xmm1, eax": 0 7 15 16));
    check(&immediates!("pinsrb xmm1, [rdi]": 0 7 15 16));
    check(&immediates!("pinsrw xmm1, eax": 0 7 8));
    check(&immediates!("pinsrw xmm1, [rdi]": 0 7 8));
    check(&immediates!("pinsrw mm1, eax": 0 3 4));
    check(&immediates!("pinsrd xmm1, eax": 0 3 4));
    check(&immediates!("pinsrq xmm1, rax": 0 1 2));
}

#[test]
fn floating_point_agrees_with_the_host() {
    check_sse! {
        addps addpd addss addsd subps subpd subss subsd mulps mulpd mulss mulsd divps divpd divss divsd
        minps minpd minss minsd maxps maxpd maxss maxsd sqrtps sqrtpd sqrtss sqrtsd addsubps addsubpd
        haddps haddpd hsubps hsubpd comiss comisd ucomiss ucomisd
    }
    check(&immediates!("cmpps xmm1, xmm2": 0 1 2 3 4 5 6 7));
    check(&immediates!("cmppd xmm1, [rdi]": 0 1 2 3 4 5 6 7));
    check(&immediates!("cmpss xmm1, [rdi]": 0 1 2 3 4 5 6 7));
    check(&immediates!("cmpsd xmm1, xmm2": 0 1 2 3 4 5 6 7));
    check(&immediates!("roundps xmm1, xmm2": 0 1 2 3 4 8 9 10 11 12));
    check(&immediates!("roundpd xmm1, xmm2": 0 1 2 3 4 8 9 10 11 12));
    check(&immediates!("roundss xmm1, [rdi]": 0 1 2 3 4 8 9 10 11 12));
    check(&immediates!("roundsd xmm1, [rdi]": 0 1 2 3 4 8 9 10 11 12));
}

/// Which of several NaNs a dot product gives is open; here it is Intel's choice (docs/vendor-differences.md,
/// "NaN of a dot product"), so only other vendors may give another, and only another of the operands' NaNs, or
/// the indefinite one of an invalid product or sum.
fn is_another_nan(before: &State, source: u128, host: &State, guest: &State, bits: u32) -> bool {
    let lane = |vector: u128, index: u32| (vector >> (bits * index)) as u64 & u64::MAX >> (64 - bits);
    let (exponent, quiet, indefinite) = match bits {
        32 => (0x7f80_0000, 1 << 22, 0xffc0_0000),
        _ => (0x7ff0_0000_0000_0000, 1 << 51, 0xfff8_0000_0000_0000),
    };
    let is_nan = |value: u64| value & u64::MAX >> (65 - bits) > exponent;
    let lanes = 0..128 / bits;
    let mut candidates = vec![indefinite];
    for operand in [before.xmm[1], source] {
        candidates.extend(
            lanes.clone().map(|index| lane(operand, index)).filter(|v| is_nan(*v)).map(|v| v | quiet),
        );
    }
    let others_agree = State { xmm: guest.xmm, ..*host } == *guest;
    others_agree
        && !is_made_by_intel()
        && lanes.clone().all(|index| {
            let (theirs, ours) = (lane(host.xmm[1], index), lane(guest.xmm[1], index));
            theirs == ours || candidates.contains(&theirs) && candidates.contains(&ours)
        })
}

fn is_made_by_intel() -> bool {
    let leaf = core::arch::x86_64::__cpuid(0);
    [leaf.ebx, leaf.edx, leaf.ecx].map(u32::to_le_bytes).as_flattened() == b"GenuineIntel"
}

#[test]
fn dot_products_agree_with_the_host() {
    check_but_for(&immediates!("dpps xmm1, xmm2": 0xff 0x7f 0x31 0xc5 0x18 0x0f), |before, host, guest| {
        is_another_nan(before, before.xmm[2], host, guest, 32)
    });
    check_but_for(&immediates!("dppd xmm1, [rdi]": 0x33 0x31 0x12 0x03 0xff), |before, host, guest| {
        is_another_nan(before, before.memory, host, guest, 64)
    });
}

#[test]
fn of_several_nans_a_dot_product_gives_the_first_in_the_order_of_intel() {
    // Products 1, 2, 3, 4 are NaNs with payloads 1 to 4: lane n starts from its neighbour's.
    let nan = |payload: u128| 0x7fc0_0000 | payload;
    let payloads = nan(4) << 96 | nan(3) << 64 | nan(2) << 32 | nan(1);
    let ones = 0x3f80_0000_3f80_0000_3f80_0000_3f80_0000;
    let mut guest = Guest::new();
    (guest.cpu.xmm[1], guest.cpu.xmm[2], guest.cpu.mxcsr) = (payloads, ones, 0x1f80);
    guest.execute(&[0x66, 0x0f, 0x3a, 0x40, 0xca, 0xff]).expect("DPPS xmm1, xmm2, 255");
    assert_eq!(guest.cpu.xmm[1], nan(3) << 96 | nan(4) << 64 | nan(1) << 32 | nan(2));
    let nan = |payload: u128| 0x7ff8_0000_0000_0000 | payload;
    let ones = 0x3ff0_0000_0000_0000_3ff0_0000_0000_0000;
    (guest.cpu.xmm[1], guest.cpu.xmm[2]) = (nan(2) << 64 | nan(1), ones);
    guest.execute(&[0x66, 0x0f, 0x3a, 0x41, 0xca, 0x33]).expect("DPPD xmm1, xmm2, 51");
    assert_eq!(guest.cpu.xmm[1], nan(2) << 64 | nan(1));
}

#[test]
fn conversions_agree_with_the_host() {
    check_sse! {
        cvtps2pd cvtpd2ps cvtss2sd cvtsd2ss cvtdq2ps cvtdq2pd cvtps2dq cvttps2dq cvtpd2dq cvttpd2dq
    }
    check(&cases!(" xmm1, eax": cvtsi2ss cvtsi2sd));
    check(&cases!(" xmm1, rax": cvtsi2ss cvtsi2sd));
    check(&cases!(" xmm1, qword ptr [rdi]": cvtsi2ss cvtsi2sd));
    check(&cases!(" eax, xmm1": cvtss2si cvttss2si cvtsd2si cvttsd2si));
    check(&cases!(" rax, xmm1": cvtss2si cvttss2si cvtsd2si cvttsd2si));
    check(&cases!(" rax, [rdi]": cvtss2si cvttss2si cvtsd2si cvttsd2si));
    check(&cases!(" xmm1, mm2": cvtpi2ps cvtpi2pd));
    check(&cases!(" xmm1, [rdi]": cvtpi2ps cvtpi2pd));
    check(&cases!(" mm1, xmm2": cvtps2pi cvttps2pi cvtpd2pi cvttpd2pi));
    check(&cases!(" mm1, [rdi]": cvtps2pi cvttps2pi cvtpd2pi cvttpd2pi));
}

#[test]
fn string_comparisons_agree_with_the_host() {
    check(&immediates!("pcmpistri xmm1, xmm2": 0x00 0x01 0x06 0x0b 0x08 0x0c 0x0d 0x14 0x18 0x1a 0x34 0x38
        0x3d 0x40 0x44 0x48 0x4c 0x5b 0x71 0x7c));
    check(&immediates!("pcmpistrm xmm1, [rdi]": 0x00 0x05 0x0a 0x0c 0x18 0x30 0x3a 0x40 0x41 0x44 0x4c 0x7d));
    check(&immediates!("pcmpestri xmm1, xmm2": 0x00 0x04 0x09 0x0c 0x1a 0x3d 0x47 0x58 0x7c));
    check(&immediates!("pcmpestrm xmm1, [rdi]": 0x00 0x05 0x0e 0x30 0x3a 0x41 0x4c 0x78));
    // PCMPESTRI xmm1, xmm2 with REX.W, which assemblers cannot write.
    check(&immediates!(".byte 0x66, 0x48, 0x0f, 0x3a, 0x61, 0xca": 0x08 0x0c 0x44 0x38));
}

#[test]
fn aes_and_carry_less_multiplication_agree_with_the_host() {
    check_sse! { aesenc aesenclast aesdec aesdeclast aesimc }
    check(&immediates!("aeskeygenassist xmm1, xmm2": 0 1 0x36 0xff));
    check(&immediates!("pclmulqdq xmm1, xmm2": 0 1 0x10 0x11 0xff));
}
