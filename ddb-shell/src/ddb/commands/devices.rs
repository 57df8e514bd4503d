//! The devices of the board that a kernel's own debugger would show: local APIC and I/O APIC (SDM vol. 3, ch. 12; Intel
//! 82093AA), PCI configuration (PCI 3.0, 6.1), the clock chip (MC146818A).
//!
//! Shown is the state, not what a read of a register would give, for a read can change it. Left out: interrupt counts,
//! which no device keeps.

use super::{Command, Group, Repeats};
use boundary::VirtualTime;
use machine::platform::apic_message::{Delivery, Route};
use machine::platform::civil::Civil;
use machine::platform::ioapic::{IoApic, PINS};
use machine::platform::lapic::{ApicMode, Lapic};
use machine::platform::lapic_timer::Mode;
use machine::platform::rtc::Rtc;
use machine::platform::vectors::Vectors;
use machine::platform::{Signals, layout};
use std::fmt::Write as _;

/// `show lapic`
pub const LAPIC: Command = Command {
    names: &["show lapic"],
    usage: "[VCPU]",
    help: "Prints the local APIC of this vCPU, or of the one with this (decimal) number: priorities, local vector table, timer, the vectors that are pending (IRR) and in service (ISR), and what the vCPU will take as soon as it can.",
    group: Group::Show,
    repeats: Repeats::Never,
    run: |ddb, mut arguments| {
        let vcpu = ddb.decimal(&mut arguments.lexer)?;
        ddb.end(&mut arguments.lexer)?;
        let vcpu = ddb.vcpu_named(vcpu)? as u8;
        let machine = ddb.debugger.machine();
        let platform = &machine.system().platform;
        let lapic = platform.interrupts().local_apic(vcpu);
        let mut text = format!("Local APIC of vCPU {vcpu}: {}", lapic_text(lapic));
        for (name, route) in lapic.local_vectors() {
            let _ = writeln!(text, "LVT {name:<8} {}", route_text(route, name.starts_with("LINT")));
        }
        let _ = writeln!(text, "timer        {}", timer_text(lapic, machine.now()));
        let _ = writeln!(text, "pending      {}", vectors_text(lapic.pending()));
        let _ = writeln!(text, "in service   {}", vectors_text(lapic.in_service()));
        let _ = writeln!(text, "to be taken  {}", signals_text(platform.signals(vcpu)));
        ddb.out.push_str(&text);
        Ok(())
    },
};

/// `show ioapic`
pub const IOAPIC: Command = Command {
    names: &["show ioapic", "show apic"],
    usage: "",
    help: "Lists the redirection entries of the I/O APIC that are not as after reset, and whether their pins are asserted.",
    group: Group::Show,
    repeats: Repeats::Never,
    run: |ddb, mut arguments| {
        ddb.end(&mut arguments.lexer)?;
        let ioapic = ddb.debugger.machine().system().platform.interrupts().io_apic();
        let mut text = format!("I/O APIC at {:#x}: id {}, {PINS} pins\n", layout::IOAPIC, ioapic.id());
        let used: Vec<u8> = (0..PINS).filter(|pin| !ioapic.is_at_reset(*pin)).collect();
        for pin in &used {
            let _ = writeln!(text, "{}", pin_text(ioapic, *pin));
        }
        if used.is_empty() {
            text.push_str("Every entry is as after reset: masked\n");
        }
        ddb.out.push_str(&text);
        Ok(())
    },
};

/// `show pciregs`
pub const PCIREGS: Command = Command {
    names: &["show pciregs"],
    usage: "",
    help: "One line for each PCI function: domain, bus, device and function, class, subsystem (card) and device with their vendors, revision, header type, and those base address registers that are not 0.",
    group: Group::Show,
    repeats: Repeats::Never,
    run: |ddb, mut arguments| {
        ddb.end(&mut arguments.lexer)?;
        let mut text = String::new();
        for function in ddb.debugger.machine().system().platform.pci().functions() {
            let (device, number) = function.number();
            let _ = writeln!(text, "pci0:0:{device}:{number}: {}", function_text(function.configuration()));
        }
        ddb.out.push_str(&text);
        Ok(())
    },
};

/// `show rtc`
pub const RTC: Command = Command {
    names: &["show rtc"],
    usage: "",
    help: "Prints the date and time that the CMOS clock shows, and its registers A to D.",
    group: Group::Show,
    repeats: Repeats::Never,
    run: |ddb, mut arguments| {
        ddb.end(&mut arguments.lexer)?;
        let machine = ddb.debugger.machine();
        let (rtc, now) = (machine.system().platform.rtc(), machine.now());
        let state = if rtc.is_held() { "stands still" } else { "runs" };
        let _ = writeln!(ddb.out, "{}, the clock {state}", date_text(&rtc.date(now)));
        for (name, text) in rtc_registers(rtc, now) {
            let _ = writeln!(ddb.out, "{name} {text}");
        }
        Ok(())
    },
};

/// What comes before the local vector table: ID, mode, priorities, destination, errors.
fn lapic_text(lapic: &Lapic) -> String {
    let mode = match lapic.mode() {
        ApicMode::Disabled => "disabled",
        ApicMode::XApic => "xAPIC",
        ApicMode::X2Apic => "x2APIC",
    };
    let (enabled, spurious) = lapic.spurious();
    let software = if enabled { "enabled" } else { "disabled" };
    let logical = lapic.logical_destination();
    let logical = match lapic.mode() {
        ApicMode::X2Apic => format!("{logical:#x} (cluster {}, mask {:#x})", logical >> 16, logical & 0xffff),
        _ if lapic.is_flat() => format!("{:#04x} (flat)", logical >> 24),
        _ => format!("{:#04x} (cluster {}, mask {:#x})", logical >> 24, logical >> 28, logical >> 24 & 0xf),
    };
    let (errors, new_errors) = lapic.error_status();
    format!(
        "id {}, version {:#x}, {mode}\nSVR          {software}, spurious vector {spurious:#04x}\n\
         priority     TPR {:#04x}, PPR {:#04x}\ndestination  logical {logical}\n\
         ESR          {errors:#x}, since it was written {new_errors:#x}\n",
        lapic.id(),
        lapic.version() & 0xff,
        lapic.task_priority_register(),
        lapic.processor_priority(),
    )
}

/// Vector, delivery mode, trigger, polarity and mask, as both kinds of APIC have them. What is not about a pin has neither
/// trigger nor polarity.
fn route_text(route: Route, is_pin: bool) -> String {
    let delivery = match route.delivery {
        Delivery::Fixed => "fixed",
        Delivery::LowestPriority => "lowest priority",
        Delivery::Smi => "SMI",
        Delivery::Reserved => "reserved",
        Delivery::Nmi => "NMI",
        Delivery::Init => "INIT",
        Delivery::StartUp => "start-up",
        Delivery::ExtInt => "ExtINT",
    };
    let mut text = format!("vector {:#04x}, {delivery}", route.vector);
    if is_pin {
        text.push_str(if route.level { ", level" } else { ", edge" });
        text.push_str(if route.active_low { ", active low" } else { ", active high" });
    }
    text.push_str(if route.remote_irr { ", remote IRR" } else { "" });
    text.push_str(if route.masked { ", masked" } else { "" });
    text
}

/// What the timer counts, and until when.
fn timer_text(lapic: &Lapic, now: VirtualTime) -> String {
    let timer = lapic.timer();
    let mode = match timer.mode() {
        Mode::TscDeadline => "TSC-deadline".to_owned(),
        counting => format!(
            "{}, divided by {}, initial count {:#x}, current count {:#x}",
            if counting == Mode::Periodic { "periodic" } else { "one-shot" },
            timer.divisor(),
            timer.initial(),
            timer.current(now)
        ),
    };
    match timer.expires() {
        Some(expires) => {
            let left = VirtualTime(expires.0.saturating_sub(now.0));
            format!("{mode}, expires at guest time {expires}, in {left}")
        }
        None => format!("{mode}, not armed"),
    }
}

fn vectors_text(vectors: &Vectors) -> String {
    let vectors: Vec<String> = vectors.members().map(|vector| format!("{vector:#04x}")).collect();
    if vectors.is_empty() { "none".to_owned() } else { vectors.join(" ") }
}

fn signals_text(signals: Signals) -> String {
    let kinds = [
        (signals.init, "INIT"),
        (signals.sipi, "a start-up IPI"),
        (signals.nmi, "an NMI"),
        (signals.interrupt, "an interrupt"),
    ];
    let waiting: Vec<&str> = kinds.into_iter().filter(|(waits, _)| *waits).map(|(_, kind)| kind).collect();
    if waiting.is_empty() { "nothing".to_owned() } else { waiting.join(", ") }
}

/// One redirection entry, and the level of its pin.
fn pin_text(ioapic: &IoApic, pin: u8) -> String {
    let (route, destination) = ioapic.route(pin);
    let kind = if destination.logical { "logical" } else { "physical" };
    let level = if ioapic.is_asserted(pin) { "asserted" } else { "not asserted" };
    format!("pin {pin:>2}: {}, to {kind} {:#04x}; {level}", route_text(route, true), destination.id)
}

/// A function by its configuration space, in the words of FreeBSD. Only a header of type 0 has six base address registers;
/// a bridge's has two, a CardBus bridge's one.
fn function_text(configuration: &[u8]) -> String {
    let word = |offset: usize| {
        let bytes = configuration[offset..offset + 4].try_into().expect("four bytes");
        u32::from_le_bytes(bytes)
    };
    let header = configuration[0x0e];
    let mut text = format!(
        "class=0x{:06x} card=0x{:08x} chip=0x{:08x} rev=0x{:02x} hdr=0x{header:02x}",
        word(8) >> 8,
        if header & 0x7f == 0 { word(0x2c) } else { 0 },
        word(0),
        word(8) & 0xff,
    );
    let registers = match header & 0x7f {
        0 => 6,
        1 => 2,
        _ => 1,
    };
    for offset in (0..registers).map(|number| 0x10 + 4 * number).filter(|offset| word(*offset) != 0) {
        let _ = write!(text, " bar[{offset:02x}]=0x{:08x}", word(offset));
    }
    text
}

/// As ISO 8601 has it, and the weekday, if it is one: a guest can write what it likes.
fn date_text(date: &Civil) -> String {
    const WEEKDAYS: [&str; 7] =
        ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
    let weekday = usize::try_from(date.weekday).ok().and_then(|day| WEEKDAYS.get(day));
    let Civil { year, month, day, hour, minute, second, .. } = date;
    let weekday = weekday.unwrap_or(&"no weekday");
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}, {weekday}")
}

/// Registers A to D, each in hexadecimal and in the data sheet's names of what is set in it.
fn rtc_registers(rtc: &Rtc, now: VirtualTime) -> [(&'static str, String); 4] {
    const NAMES_B: [&str; 8] = ["DSE", "24 hours", "binary", "SQWE", "UIE", "AIE", "PIE", "SET"];
    const NAMES_C: [&str; 8] = ["", "", "", "", "UF", "AF", "PF", "IRQF"];
    const NAMES_D: [&str; 8] = ["", "", "", "", "", "", "", "VRT"];
    let flags = |register: u8, names: &[&'static str; 8]| {
        let value = rtc.peek(register, now);
        let set = (0..8).rev().filter(|bit| value >> bit & 1 != 0);
        let set: Vec<&str> = set.map(|bit| names[bit]).filter(|name| !name.is_empty()).collect();
        format!("{value:#04x} {}", set.join(" ")).trim_end().to_owned()
    };
    let a = rtc.peek(0xa, now);
    let updating = if a & 0x80 != 0 { " UIP" } else { "" };
    let a = format!("{a:#04x}{updating} DV {}, RS {}", a >> 4 & 7, a & 0xf);
    [("A", a), ("B", flags(0xb, &NAMES_B)), ("C", flags(0xc, &NAMES_C)), ("D", flags(0xd, &NAMES_D))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_address_registers_are_as_many_as_the_header_has() {
        let mut configuration = [0; 256];
        configuration[..4].copy_from_slice(&0x1000_1af4_u32.to_le_bytes());
        configuration[8..12].copy_from_slice(&0x0200_0001_u32.to_le_bytes());
        configuration[0x10..0x14].copy_from_slice(&0xc041_u32.to_le_bytes());
        configuration[0x24..0x28].copy_from_slice(&0xfebd_0004_u32.to_le_bytes());
        configuration[0x2c..0x30].copy_from_slice(&0x0001_1af4_u32.to_le_bytes());
        let ids = "class=0x020000 card=0x00011af4 chip=0x10001af4 rev=0x01 hdr=0x00";
        assert_eq!(function_text(&configuration), format!("{ids} bar[10]=0x0000c041 bar[24]=0xfebd0004"));
        configuration[0x0e] = 0x81;
        let ids = "class=0x020000 card=0x00000000 chip=0x10001af4 rev=0x01 hdr=0x81";
        assert_eq!(function_text(&configuration), format!("{ids} bar[10]=0x0000c041"));
    }

    #[test]
    fn a_date_that_a_guest_made_up_is_shown_as_it_is() {
        let date = Civil { year: 2026, month: 13, day: 0, weekday: -1, hour: 7, minute: 8, second: 99 };
        assert_eq!(date_text(&date), "2026-13-00 07:08:99, no weekday");
    }

    #[test]
    fn a_route_says_what_is_set() {
        assert_eq!(
            route_text(Route::decode(0x1_0700), true),
            "vector 0x00, ExtINT, edge, active high, masked"
        );
        assert_eq!(
            route_text(Route::decode(0xe129), true),
            "vector 0x29, lowest priority, level, active low, remote IRR"
        );
        assert_eq!(route_text(Route::decode(0x1_00ec), false), "vector 0xec, fixed, masked");
    }
}
