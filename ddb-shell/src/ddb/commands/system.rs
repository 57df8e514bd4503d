//! What the processor has for kernels: control registers, MSRs, descriptor tables (SDM vol. 3).

use super::super::CommandError;
use super::super::symbolic::label;
use super::{Command, Group, Repeats};
use machine::cpu::state::Vcpu;
use std::fmt::Write as _;

/// `show sysregs`
pub const SYSREGS: Command = Command {
    names: &["show sysregs"],
    usage: "",
    help: "Prints control and debug registers, descriptor table registers and MSRs of this vCPU. Each is a variable, too: p $cr3.",
    group: Group::Show,
    repeats: Repeats::Never,
    run: |ddb, mut arguments| {
        ddb.end(&mut arguments.lexer)?;
        let cpu = &ddb.debugger.machine().cpus()[ddb.debugger.vcpu];
        let mut text = String::new();
        let _ = writeln!(text, "{:<16}{:#018x}/{:04x}", "idtr", cpu.idtr.base, cpu.idtr.limit);
        let _ = writeln!(text, "{:<16}{:#018x}/{:04x}", "gdtr", cpu.gdtr.base, cpu.gdtr.limit);
        for (name, segment) in [("ldtr", &cpu.ldtr), ("tr", &cpu.tr)] {
            let _ = writeln!(text, "{name:<16}{:#06x} base {:#x}", segment.selector, segment.base);
        }
        for name in NAMES {
            let value = system_register(cpu, name).unwrap_or_default();
            let _ = writeln!(text, "{name:<16}{value:#018x}");
        }
        let _ =
            writeln!(text, "mode            {:?}, privilege {}, {} bits", cpu.mode, cpu.cpl, cpu.code_bits);
        ddb.out.push_str(&text);
        Ok(())
    },
};

/// `show idt`
pub const IDT: Command = Command {
    names: &["show idt"],
    usage: "",
    help: "Lists the present gates of this vCPU's interrupt descriptor table with their handlers.",
    group: Group::Show,
    repeats: Repeats::Never,
    run: |ddb, mut arguments| {
        ddb.end(&mut arguments.lexer)?;
        let cpu = &ddb.debugger.machine().cpus()[ddb.debugger.vcpu];
        let (base, limit) = (cpu.idtr.base, u64::from(cpu.idtr.limit));
        let entry_bytes: u64 = if cpu.is_long_mode() { 16 } else { 8 };
        let mut text = String::new();
        for vector in 0..256u64 {
            if (vector + 1) * entry_bytes > limit + 1 {
                break;
            }
            let mut gate = [0; 16];
            let gate_bytes = &mut gate[..entry_bytes as usize];
            let at = base.wrapping_add(vector * entry_bytes);
            if let Err(error) = ddb.debugger.machine().peek_virtual(ddb.debugger.vcpu, at, gate_bytes) {
                return Err(CommandError::said(error.to_string()));
            }
            let low = u64::from_le_bytes(gate[..8].try_into().expect("eight bytes"));
            let high = u64::from_le_bytes(gate[8..].try_into().expect("eight bytes"));
            if low >> 47 & 1 == 0 {
                continue;
            }
            let offset = low & 0xffff | (low >> 48) << 16 | (high & 0xffff_ffff) << 32;
            let (selector, kind, dpl) = (low >> 16 & 0xffff, low >> 40 & 0xf, low >> 45 & 3);
            let kind = match kind {
                0x5 => "task",
                0x6 | 0xe => "interrupt",
                0x7 | 0xf => "trap",
                _ => "reserved",
            };
            let stack = if entry_bytes == 16 && low >> 32 & 7 != 0 {
                format!(" IST {}", low >> 32 & 7)
            } else {
                String::new()
            };
            let name = label(ddb.debugger.symbols(), offset, ddb.variables.max_offset);
            let _ = writeln!(
                text,
                "{vector:3} ({vector:#04x}) {kind:<9} {selector:#06x} DPL {dpl}{stack}  {name}"
            );
        }
        ddb.out.push_str(if text.is_empty() { "No gate is present\n" } else { &text });
        Ok(())
    },
};

/// `show gdt`
pub const GDT: Command = Command {
    names: &["show gdt"],
    usage: "",
    help: "Lists the descriptors of this vCPU's global descriptor table.",
    group: Group::Show,
    repeats: Repeats::Never,
    run: |ddb, mut arguments| {
        ddb.end(&mut arguments.lexer)?;
        let cpu = &ddb.debugger.machine().cpus()[ddb.debugger.vcpu];
        let (base, limit, is_long) = (cpu.gdtr.base, u64::from(cpu.gdtr.limit), cpu.is_long_mode());
        let mut text = String::new();
        let mut offset = 8;
        while offset + 7 <= limit {
            let mut bytes = [0; 8];
            let read =
                ddb.debugger.machine().peek_virtual(ddb.debugger.vcpu, base.wrapping_add(offset), &mut bytes);
            read.map_err(|error| CommandError::said(error.to_string()))?;
            let descriptor = u64::from_le_bytes(bytes);
            if descriptor >> 47 & 1 != 0 {
                let _ = writeln!(text, "{offset:#06x} {}", descriptor_text(descriptor));
            }
            let is_system = descriptor >> 44 & 1 == 0;
            offset += if is_long && is_system && descriptor != 0 { 16 } else { 8 };
        }
        ddb.out.push_str(if text.is_empty() { "No descriptor is present\n" } else { &text });
        Ok(())
    },
};

/// A descriptor of a segment, in words (SDM vol. 3 3.4.5).
fn descriptor_text(descriptor: u64) -> String {
    let base = descriptor >> 16 & 0xff_ffff | (descriptor >> 56) << 24;
    let limit = descriptor & 0xffff | (descriptor >> 48 & 0xf) << 16;
    let limit = if descriptor >> 55 & 1 != 0 { limit << 12 | 0xfff } else { limit };
    let (kind, dpl) = (descriptor >> 40 & 0xf, descriptor >> 45 & 3);
    let (is_segment, is_code) = (descriptor >> 44 & 1 != 0, kind & 8 != 0);
    let bits = match (descriptor >> 53 & 1, descriptor >> 54 & 1) {
        (1, _) => 64,
        (0, 1) => 32,
        _ => 16,
    };
    let name = match (is_segment, is_code, kind) {
        (true, true, _) => format!("code {bits}"),
        (true, false, _) => "data".to_owned(),
        (false, _, 0x2) => "LDT".to_owned(),
        (false, _, 0x9 | 0xb | 0x1 | 0x3) => "TSS".to_owned(),
        (false, ..) => format!("system {kind:#x}"),
    };
    format!("{name:<8} base {base:#x} limit {limit:#x} DPL {dpl}")
}

/// The names of system registers, in the order in which they are shown.
pub const NAMES: [&str; 23] = [
    "cr0",
    "cr2",
    "cr3",
    "cr4",
    "efer",
    "dr0",
    "dr1",
    "dr2",
    "dr3",
    "dr6",
    "dr7",
    "k_gs_base",
    "star",
    "lstar",
    "cstar",
    "fmask",
    "sysenter_cs",
    "sysenter_esp",
    "sysenter_eip",
    "pat",
    "tsc_aux",
    "tsc_adjust",
    "mxcsr",
];

/// The value of a system register, by its name.
#[must_use]
pub fn system_register(cpu: &Vcpu, name: &str) -> Option<u64> {
    Some(match name {
        "cr0" => cpu.cr0,
        "cr2" => cpu.cr2,
        "cr3" => cpu.cr3,
        "cr4" => cpu.cr4,
        "efer" => cpu.efer,
        "dr0" => cpu.dr[0],
        "dr1" => cpu.dr[1],
        "dr2" => cpu.dr[2],
        "dr3" => cpu.dr[3],
        "dr6" => cpu.dr[6],
        "dr7" => cpu.dr[7],
        "k_gs_base" => cpu.msrs.kernel_gs_base,
        "star" => cpu.msrs.star,
        "lstar" => cpu.msrs.lstar,
        "cstar" => cpu.msrs.cstar,
        "fmask" => cpu.msrs.fmask,
        "sysenter_cs" => cpu.msrs.sysenter_cs,
        "sysenter_esp" => cpu.msrs.sysenter_esp,
        "sysenter_eip" => cpu.msrs.sysenter_eip,
        "pat" => cpu.msrs.pat,
        "tsc_aux" => cpu.msrs.tsc_aux,
        "tsc_adjust" => cpu.msrs.tsc_adjust,
        "mxcsr" => u64::from(cpu.mxcsr),
        _ => return None,
    })
}
