//! The reviewed differences between this machine and QEMU 7.2 (TCG) on the privileged matrix: what each is,
//! which section of Intel's manual decides it for us, and how it is recognised.
//!
//! A class of tokens rewrites what QEMU printed into what it would have printed had it followed the manual in
//! that one respect; a token may need several. A class of lines judges a whole line whose parts do not
//! correspond. Whatever is left differs without a reason.

/// One printed outcome that differs, with the line around it.
pub struct Token<'a> {
    /// The words of the line as we printed it.
    pub ours: &'a [&'a str],
    /// Which word it is.
    pub index: usize,
    /// Our word.
    pub our: &'a str,
}

impl Token<'_> {
    /// Whether the line begins with these words.
    fn is_in(&self, name: &str) -> bool {
        starts_with(self.ours, name)
    }

    fn is_in_any(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.is_in(name))
    }
}

/// How a class recognises its differences.
pub enum Recognise {
    /// Rewrites a word of QEMU's.
    Token(fn(&Token<'_>, &str) -> Option<String>),
    /// Accepts a line: our words, QEMU's words.
    Line(fn(&[&str], &[&str]) -> bool),
}

/// One justified kind of difference.
pub struct Class {
    /// What QEMU does and what the manual says.
    pub name: &'static str,
    /// Volume and section of Intel's manual.
    pub manual: &'static str,
    /// How it is recognised.
    pub recognise: Recognise,
}

const fn token(
    name: &'static str,
    manual: &'static str,
    rewrite: fn(&Token<'_>, &str) -> Option<String>,
) -> Class {
    Class { name, manual, recognise: Recognise::Token(rewrite) }
}

const fn line(name: &'static str, manual: &'static str, accept: fn(&[&str], &[&str]) -> bool) -> Class {
    Class { name, manual, recognise: Recognise::Line(accept) }
}

/// All classes; those of tokens apply in this order.
pub const CLASSES: &[Class] = &[
    token("IDT index in an error code times 16", "3: 6.13", idt_index),
    token("error code of a nested exception without EXT", "3: 6.13", no_ext),
    token("reserved bit reported without P", "3: 4.7", reserved_without_p),
    token("a read-modify-write reads before it may write", "3: 4.7", modify_reads_first),
    token(
        "accessed bits of a walk that faults",
        "3: 4.8 leaves it open; here none are set",
        accessed_in_vain,
    ),
    token("ICEBP does not exist", "3: 6.15, 2: INT1", icebp),
    token(
        "jump to a non-canonical address faults at the target",
        "2: JMP, CALL, RET, IRET, INT n",
        bad_target,
    ),
    token("#GP for a non-canonical stack reference", "1: 3.3.7.1, 3: 6.15", stack_reference),
    token("only the first byte of an operand must be canonical", "1: 3.3.7.1", whole_operand),
    token("no alignment checks", "3: 6.15 #AC", no_alignment_check),
    token("no segment checks in compatibility mode", "3: 5.3, 3.4.2", no_segment_check),
    token("LAR and LSL accept types that 64-bit mode has not", "2: LAR, LSL", lar_of_legacy_type),
    token("null SS with another RPL", "2: MOV, IRET", null_ss),
    token("LDT at a non-canonical address", "2: LLDT", ldt_base),
    token("code segment with L and D", "3: 5.2.1", long_and_default),
    token("absent SS of IRET is #NP", "2: IRET", absent_ss),
    token("RF stays set after an instruction", "3: 17.3.1.1", rf_stays),
    token("IRET does not load VIF and VIP", "2: IRET", virtual_flags),
    token("RF is clear in the image of a fault", "3: 17.3.1.1", rf_in_image),
    token("SYSCALL loses the status flags", "2: SYSCALL", syscall_flags),
    token("SYSRET loads VM, RF and reserved flags", "2: SYSRET", sysret_flags),
    token("SYSRET to a non-canonical address faults at CPL 3", "2: SYSRET", sysret_target),
    token("SYSCALL and SYSRET in compatibility mode", "2: SYSCALL, SYSRET", syscall_in_compatibility),
    token("SYSENTER and SYSEXIT do not exist for AMD", "2: SYSENTER, SYSEXIT", sysenter),
    token("CR1 and above 8 are privileged, not undefined", "2: MOV CR", undefined_control),
    token("undefined encodings are executed", "2: POP, MOV, LOCK", undefined_encoding),
    token("LDMXCSR of a reserved bit", "2: LDMXCSR", ldmxcsr),
    token("#NM before #UD with EM and TS", "3: 6.15 #UD, #NM, table 6-2", device_first),
    token("instruction breakpoint beside a single step", "3: 6.9", breakpoint_behind_step),
    token(
        "instruction breakpoint longer than a byte",
        "3: 17.2.4 leaves it open",
        long_instruction_breakpoint,
    ),
    token("MOV SS does not hold off breakpoints", "3: 6.8.3", mov_ss),
    token("DR7.GD is ignored", "3: 17.2.4", general_detect),
    token("I/O breakpoint without CR4.DE", "3: 17.2.4", io_breakpoint),
    token("several debug conditions come one by one", "3: 17.2.3", several_conditions),
    line("reserved bits of CR0 are set, or not refused", "2: MOV CR, 3: 2.5", reserved_cr0),
    line("CR4 has VME and PVI", "3: 2.5; not in this CPUID", virtual_8086_extensions),
    line("CR8 takes reserved bits", "2: MOV CR", reserved_cr8),
    line("MSRs take addresses that are not canonical", "2: WRMSR", noncanonical_msr),
    line("reserved bits of EFER and FMASK, LME under paging", "3: 2.2.1, 2: WRMSR", reserved_efer),
    line("PAT takes types that do not exist", "3: 11.12.2", pat_types),
    line("MSRs that do not exist read as 0", "2: RDMSR", unknown_msr),
];

fn starts_with(words: &[&str], name: &str) -> bool {
    name.split(' ').zip(words).all(|(wanted, word)| wanted == *word) && words.len() >= name.split(' ').count()
}

/// The vector's name, and what follows it, of an outcome with an error code.
fn coded(word: &str) -> Option<(&str, u32, &str)> {
    let (name, rest) = word.split_once('(')?;
    let (code, rest) = rest.split_once(')')?;
    Some((name, u32::from_str_radix(code, 16).ok()?, rest))
}

fn hexadecimal(digits: &str) -> Option<u64> {
    u64::from_str_radix(digits, 16).ok()
}

/// Our word, if the condition holds.
fn ours_if(condition: bool, token: &Token<'_>) -> Option<String> {
    condition.then(|| token.our.to_owned())
}

fn idt_index(token: &Token<'_>, their: &str) -> Option<String> {
    let (name, code, rest) = coded(their)?;
    let from_idt = matches!(name, "gp" | "np") && code & 2 != 0 && code & 0xf == 2;
    let is_one = token.is_in_any(&["gate", "step int3", "into"]);
    (from_idt && is_one).then(|| format!("{name}({:x}){rest}", code >> 1 & !7 | 2))
}

fn no_ext(token: &Token<'_>, their: &str) -> Option<String> {
    let (name, code, rest) = coded(their)?;
    (token.is_in("gate nested ud") && code & 1 == 0).then(|| format!("{name}({:x}){rest}", code | 1))
}

fn reserved_without_p(token: &Token<'_>, their: &str) -> Option<String> {
    let (name, code, rest) = coded(their)?;
    let (_, our_code, _) = coded(token.our)?;
    let is_reserved = name == "pf" && our_code & 9 == 9 && our_code == code | 1;
    (is_reserved && token.is_in_any(&["walk", "reserved"])).then(|| format!("pf({our_code:x}){rest}"))
}

/// The third access is a read-modify-write, the second a write: they end alike.
fn modify_reads_first(token: &Token<'_>, their: &str) -> Option<String> {
    let as_write = token.index > 0 && token.ours[token.index - 1] == token.our;
    ours_if(token.is_in("crossing") && token.index == 5 && as_write && their.starts_with("pf("), token)
}

fn accessed_in_vain(token: &Token<'_>, their: &str) -> Option<String> {
    let (our_fault, our_bits) = token.our.rsplit_once('/')?;
    let (fault, bits) = their.rsplit_once('/')?;
    let parse = |bits: &str| u32::from_str_radix(bits.trim_end_matches('d'), 16).ok();
    let fewer = parse(our_bits)? & !parse(bits)? == 0 && our_bits.ends_with('d') == bits.ends_with('d');
    let walks = token.is_in_any(&["walk", "accessed", "reserved"]);
    (walks && fewer && fault.starts_with("pf(") && our_fault.starts_with("pf("))
        .then(|| format!("{fault}/{our_bits}"))
}

fn icebp(token: &Token<'_>, their: &str) -> Option<String> {
    let rest = their.strip_prefix("ud+0")?;
    let as_trap = token.our.strip_prefix("db+1") == Some(rest) || token.our == "np(b)+0";
    ours_if(as_trap && token.is_in_any(&["gate", "step icebp"]), token)
}

fn bad_target(token: &Token<'_>, their: &str) -> Option<String> {
    let at = hexadecimal(their.strip_prefix("gp(0)@")?)?;
    let canonical = (at as i64) << 16 >> 16 == at as i64;
    ours_if(!canonical && token.our.starts_with("gp(0)+"), token)
}

fn stack_reference(token: &Token<'_>, their: &str) -> Option<String> {
    let rest = their.strip_prefix("gp(0)")?;
    let same = token.our.strip_prefix("ss(0)") == Some(rest);
    ours_if(same && token.is_in("noncanonical"), token)
}

/// The third address of each line is the last canonical one.
fn whole_operand(token: &Token<'_>, their: &str) -> Option<String> {
    let refused = matches!(token.our, "gp(0)+0" | "ss(0)+0" | "gp(0)+1");
    let last = token.is_in("noncanonical") && token.index + 1 == token.ours.len();
    ours_if(refused && last && their.starts_with("pf("), token)
}

fn no_alignment_check(token: &Token<'_>, their: &str) -> Option<String> {
    ours_if(token.is_in("align am ac") && token.our.starts_with("ac(0)+") && their == "ok", token)
}

fn no_segment_check(token: &Token<'_>, their: &str) -> Option<String> {
    let refused = token.our.starts_with("gp(0)") || token.our.starts_with("ss(0)");
    let accepted = their == "ok" || their.starts_with("pf(");
    ours_if(refused && accepted && token.is_in_any(&["limit", "code", "null-ds", "wrap"]), token)
}

fn lar_of_legacy_type(token: &Token<'_>, their: &str) -> Option<String> {
    let is_legacy = matches!(token.ours[1], "tss16" | "callgate16-3" | "taskgate-3");
    let reads = token.is_in_any(&["lar", "lar64", "lsl"]);
    ours_if(reads && is_legacy && token.our == "n" && their.starts_with("y:"), token)
}

fn null_ss(token: &Token<'_>, their: &str) -> Option<String> {
    let refused = token.our.starts_with("gp(0)");
    ours_if(refused && their.starts_with("ok") && token.is_in_any(&["load ss null", "iretq ss null"]), token)
}

fn ldt_base(token: &Token<'_>, their: &str) -> Option<String> {
    ours_if(token.is_in("ltr+lldt ldt-noncanonical") && token.our == "gp(1c0)+0" && their == "ok", token)
}

fn long_and_default(token: &Token<'_>, their: &str) -> Option<String> {
    let is_case = token.ours.iter().take(3).any(|word| *word == "code-l-and-d-3");
    ours_if(is_case && token.our.starts_with("gp(170)") && their == "ok:173", token)
}

fn absent_ss(token: &Token<'_>, their: &str) -> Option<String> {
    let rest = their.strip_prefix("np")?;
    let same = token.our.strip_prefix("ss") == Some(rest);
    ours_if(same && token.is_in("iretq ss") && token.ours[2].ends_with("-np"), token)
}

fn rf_stays(token: &Token<'_>, their: &str) -> Option<String> {
    const RF: u64 = 1 << 16;
    if token.is_in("iretq flags 10000") {
        let flags = hexadecimal(their.strip_prefix("ok:")?)?;
        return Some(format!("ok:{:x}", flags & !RF));
    }
    ours_if(token.is_in("break execute") && token.our == "ok" && their == "ok,rf", token)
}

fn virtual_flags(token: &Token<'_>, their: &str) -> Option<String> {
    const VIF_VIP: u64 = 3 << 19;
    let is_case = token.is_in_any(&["iretq flags 80000", "iretq flags 100000"]);
    let ours = hexadecimal(token.our.strip_prefix("ok:")?)?;
    let theirs = hexadecimal(their.strip_prefix("ok:")?)?;
    ours_if(is_case && ours & !VIF_VIP == theirs, token)
}

fn rf_in_image(token: &Token<'_>, their: &str) -> Option<String> {
    let is_fault = ["ud", "gp", "np", "pf"].iter().any(|fault| token.our.starts_with(fault));
    if token.is_in("sysret cpl3") {
        return ours_if(token.our.strip_suffix("flags=10002") == their.strip_suffix("flags=2"), token);
    }
    let without: Vec<&str> = token.our.split(',').filter(|part| *part != "rf").collect();
    let shown = token.is_in_any(&["step", "dr"]) && token.our.contains(",rf");
    ours_if(shown && is_fault && without.join(",") == their, token)
}

fn syscall_flags(token: &Token<'_>, their: &str) -> Option<String> {
    if !token.is_in("syscall mask") || !their.starts_with("flags=") {
        return None;
    }
    let stored = token.ours.iter().find_map(|word| hexadecimal(word.strip_prefix("r11=")?))?;
    Some(format!("flags={:x}", stored & !hexadecimal(token.ours[2])? | 2))
}

fn sysret_flags(token: &Token<'_>, their: &str) -> Option<String> {
    const LOADED: u64 = 0x3c_7fd7;
    if !token.is_in("sysret flags") {
        return None;
    }
    let loaded = format!("flags={:x}", hexadecimal(token.ours[2])? & LOADED | 2);
    let (arrived, _) = their.rsplit_once("flags=")?;
    let arrived = arrived.replacen("gp(0)+33", "ok", 1).replacen("gp(0)+17", "ok", 1);
    Some(arrived + &loaded)
}

fn sysret_target(token: &Token<'_>, their: &str) -> Option<String> {
    let at_cpl3 = their.starts_with("gp(0)@800000000000:cs=2b,");
    ours_if(
        token.is_in("sysret noncanonical") && at_cpl3 && token.our == "gp(0)+0:cs=8,ss=10,flags=10002",
        token,
    )
}

fn syscall_in_compatibility(token: &Token<'_>, their: &str) -> Option<String> {
    let is_case = token.is_in_any(&["syscall compat", "sysret compat"]);
    ours_if(is_case && token.our == "ud+0" && their == "ok", token)
}

fn sysenter(token: &Token<'_>, their: &str) -> Option<String> {
    let is_case = token.is_in_any(&["sysenter with cs 0", "sysexit with cs 0"]);
    ours_if(is_case && token.our == "gp(0)+0" && their == "ud+0", token)
}

fn undefined_control(token: &Token<'_>, their: &str) -> Option<String> {
    let is_case = token.is_in_any(&["mov cr1", "mov cr5", "mov cr9"]);
    ours_if(is_case && token.our == "ud+0" && their == "gp(0)+0", token)
}

fn undefined_encoding(token: &Token<'_>, their: &str) -> Option<String> {
    let is_case = token.is_in_any(&[
        "instruction lock_mov",
        "instruction pop_group_1",
        "instruction mov_imm_group_1",
        "compat lock-mov-cr0",
    ]);
    ours_if(is_case && token.our == "ud+0" && matches!(their, "ok" | "gp(0)+0"), token)
}

fn ldmxcsr(token: &Token<'_>, their: &str) -> Option<String> {
    ours_if(token.is_in("instruction ldmxcsr_reserved") && token.our == "gp(0)+6" && their == "ok", token)
}

fn device_first(token: &Token<'_>, their: &str) -> Option<String> {
    let both = token.is_in("fpu") && ["em", "ts"].iter().all(|bit| token.ours.contains(bit));
    ours_if(both && token.our == "ud+0" && their == "nm+0", token)
}

/// The trap of the instruction before comes first, and alone.
fn breakpoint_behind_step(token: &Token<'_>, their: &str) -> Option<String> {
    let alone = token.our == "db+1:ffff4ff0,tf" && their == "db+1:ffff4ff1,tf";
    ours_if(token.is_in("break execute +1") && alone, token)
}

/// The fifth case has a length of 4, where only 1 is defined.
fn long_instruction_breakpoint(token: &Token<'_>, their: &str) -> Option<String> {
    let fifth = token.is_in("break execute") && token.index == 7;
    let elsewhere = matches!(their, "db+1:ffff0ff1" | "db+2:ffff0ff1");
    ours_if(fifth && token.our == "db+0:ffff0ff1" && elsewhere, token)
}

fn mov_ss(token: &Token<'_>, their: &str) -> Option<String> {
    let early = their.starts_with("db+2:ffff0ff1");
    let late = match () {
        () if token.is_in("break execute after mov-ss") => matches!(token.our, "ok" | "db+3:ffff4ff0,tf"),
        () if token.is_in("break access on ss-from-memory") => token.our == "db+3:ffff0ff1",
        () => false,
    };
    ours_if(early && late, token)
}

fn general_detect(token: &Token<'_>, their: &str) -> Option<String> {
    let is_case = token.is_in_any(&["dr gd-read", "dr gd-write"]);
    ours_if(is_case && token.our == "db+0:ffff2ff0,rf" && their == "ok", token)
}

fn io_breakpoint(token: &Token<'_>, their: &str) -> Option<String> {
    ours_if(token.is_in("break io") && token.our == "ok" && their == "db+1:ffff0ff1", token)
}

fn several_conditions(token: &Token<'_>, their: &str) -> Option<String> {
    let expected = [("db+2:ffff0ffa", "db+2:ffff0ff2"), ("db+2:ffff4ff4,tf", "db@stub1:ffff4ff4")];
    ours_if(token.is_in("break several") && expected.contains(&(token.our, their)), token)
}

/// What was flipped, in lines of that form.
fn flipped(ours: &[&str], name: &str) -> Option<u64> {
    if starts_with(ours, name) { hexadecimal(ours.get(2)?) } else { None }
}

fn reserved_cr0(ours: &[&str], theirs: &[&str]) -> bool {
    const NW: u64 = 1 << 29;
    const DEFINED: u64 = 0xe005_003f;
    let Some(bits) = flipped(ours, "cr0 flip") else { return false };
    let expected = match bits {
        high if high >> 32 != 0 => ["gp(0)+9"].as_slice(),
        NW => &["gp(0)+9"],
        low if low & DEFINED == 0 => &["ok", "changed", "0"],
        _ => return false,
    };
    &ours[3..] == expected && theirs.get(3) == Some(&"ok")
}

fn virtual_8086_extensions(ours: &[&str], theirs: &[&str]) -> bool {
    let Some(bits @ (1 | 2)) = flipped(ours, "cr4 flip") else { return false };
    ours[3..] == ["gp(0)+9"] && theirs[3..] == ["ok", "changed", if bits == 1 { "1" } else { "2" }]
}

fn reserved_cr8(ours: &[&str], theirs: &[&str]) -> bool {
    let reserved = starts_with(ours, "cr8") && hexadecimal(ours[1]).is_some_and(|value| value & !15 != 0);
    reserved && ours[2..] == ["gp(0)+0", "0"] && theirs[2..] == ["ok", "0"]
}

fn written(ours: &[&str], theirs: &[&str]) -> Option<(u64, u64)> {
    let refused =
        ours.len() == 4 && ours[0] == "wrmsr" && ours[3] == "gp(0)+14" && theirs.get(3) == Some(&"ok");
    if refused { Some((hexadecimal(ours[1])?, hexadecimal(ours[2])?)) } else { None }
}

fn noncanonical_msr(ours: &[&str], theirs: &[&str]) -> bool {
    const ADDRESSES: [u64; 7] =
        [0xc000_0100, 0xc000_0101, 0xc000_0102, 0xc000_0082, 0xc000_0083, 0x175, 0x176];
    written(ours, theirs)
        .is_some_and(|(msr, value)| ADDRESSES.contains(&msr) && (value as i64) << 16 >> 16 != value as i64)
}

fn reserved_efer(ours: &[&str], theirs: &[&str]) -> bool {
    const DEFINED: u64 = 0xd01;
    const LME: u64 = 1 << 8;
    match written(ours, theirs) {
        Some((0xc000_0080, value)) => value & !DEFINED != 0 || value & LME == 0,
        Some((0xc000_0084, value)) => value >> 32 != 0,
        _ => false,
    }
}

fn pat_types(ours: &[&str], theirs: &[&str]) -> bool {
    written(ours, theirs).is_some_and(|(msr, value)| {
        msr == 0x277 && value.to_le_bytes().iter().any(|kind| !matches!(kind, 0 | 1 | 4..=7))
    })
}

fn unknown_msr(ours: &[&str], theirs: &[&str]) -> bool {
    const ABSENT: [&str; 4] = ["3", "4000", "c0000fff", "ffffffff"];
    ours.len() == 3
        && ours[0] == "rdmsr"
        && ABSENT.contains(&ours[1])
        && ours[2] == "gp(0)+0"
        && theirs[2..] == ["ok"]
}
