//! People type what they know. QEMU's options get a one-line translation instead of a parser's puzzlement:
//! `-smp 2` would otherwise be `-s -m p`.

use clap::Command;
use std::ffi::OsString;

/// QEMU's options and what to write here instead; docs/from-qemu.md is the same table for readers. Those that mean the same
/// here are missing: `-m` and `-h`.
const TRANSLATIONS: &[(&[&str], &str)] = &[
    (&["kernel"], "the kernel is named without an option: vkernel KERNEL"),
    (&["append"], "write --append STRING"),
    (&["initrd"], "write --initrd FILE"),
    (&["dtb", "shim"], "leave it out: a PC has no use for it"),
    (&["smp"], "write -n CPUS"),
    (&["nographic", "display", "curses", "vga", "vnc", "spice", "sdl", "full-screen"], CONSOLE_ADVICE),
    (
        &["serial", "parallel", "chardev", "monitor", "mon", "qmp", "qmp-pretty", "debugcon", "semihosting"],
        CONSOLE_ADVICE,
    ),
    (
        &["enable-kvm", "accel", "tb-size", "no-hpet", "no-acpi"],
        "leave it out: no kvm is used, and there is one machine; --engine chooses how to execute",
    ),
    (&["cpu"], "leave it out: every guest sees the same documented CPU, which is what makes replay possible"),
    (&["machine", "M"], "leave it out: there is one machine, a small PC"),
    (&["no-reboot"], "write --no-reboot"),
    (&["action"], "write --no-reboot for reboot=shutdown; a panic ends the run by itself, see --on-fail"),
    (&["no-shutdown"], "leave it out: power-off ends the run, and the recording keeps everything"),
    (
        &["gdb", "S"],
        "--gdb[=ADDRESS] serves gdb, --stop-at @start waits for it; and every recording opens in it later: vkernel gdb",
    ),
    (
        &["icount"],
        "leave it out: every instruction is counted and every boot recorded; vkernel replay replays",
    ),
    (&["rtc"], "write --clock virtual or --clock host"),
    (&["seed"], "write --seed N"),
    (&["pidfile"], "write -p FILE"),
    (&["daemonize"], "use your shell: vkernel KERNEL </dev/null >log 2>&1 &"),
    (&["mem-prealloc"], "write -z"),
    (
        &[
            "drive", "hda", "hdb", "hdc", "hdd", "blockdev", "sda", "snapshot", "virtfs", "fsdev",
            "mtdblock", "sd",
        ],
        "disks come later; --initrd takes a directory",
    ),
    (
        &["cdrom", "boot", "bios", "pflash", "fda", "fdb", "option-rom"],
        "disks, CDs and firmware come later; name a KERNEL",
    ),
    (&["net", "netdev", "nic"], "the network comes later"),
    (
        &["device"],
        "leave it out: the devices are fixed; pvpanic and debug exit (port 0xf4, --ok-exit) are always there",
    ),
    (&["watchdog", "watchdog-action"], "write --limit DURATION: a run that does not end is ended there"),
    (&["object", "global", "numa", "mem-path"], "there is no such thing here; -m sets the memory"),
    (
        &["d", "D", "dfilter", "trace", "plugin", "singlestep", "one-insn-per-tb", "perfmap"],
        "leave it out: every boot is recorded, see vkernel trace events latest",
    ),
    (
        &["loadvm", "incoming", "only-migratable"],
        "there are no snapshots: a recording has every moment, see vkernel replay",
    ),
    (&["nodefaults", "no-user-config", "readconfig"], "leave it out: nothing is configured elsewhere"),
    (
        &["sandbox", "runas", "run-with", "chroot", "overcommit", "msg", "audiodev", "audio"],
        "there is no such thing here",
    ),
    (
        &["name", "uuid", "smbios", "fw_cfg", "acpitable", "usb", "usbdevice", "k", "tpmdev"],
        "there is no such thing here",
    ),
];

const CONSOLE_ADVICE: &str = "leave it out: the serial port, port 0xe9 and VGA text are always this terminal";

/// The message for the first argument that is QEMU's and not ours. `command` is ours, and says which arguments are
/// only values of the option before them. `-kernel=x` and `--kernel` are meant like `-kernel`.
pub fn hint(arguments: &[OsString], command: &Command) -> Option<String> {
    let mut is_value = false;
    for argument in arguments {
        let text = argument.to_string_lossy();
        if std::mem::take(&mut is_value) {
            continue;
        }
        if text == "--" {
            return None;
        }
        if takes_value(&text, command) {
            is_value = true;
            continue;
        }
        if let Some(advice) = translation(&text, command) {
            return Some(format!("{text} is an option of QEMU: {advice}"));
        }
    }
    None
}

fn translation(text: &str, command: &Command) -> Option<&'static str> {
    let name = text.strip_prefix('-')?;
    let (name, is_long) = name.strip_prefix('-').map_or((name, false), |long| (long, true));
    let name = name.split('=').next()?;
    let is_ours = is_long && command.get_arguments().any(|ours| ours.get_long() == Some(name));
    let found = TRANSLATIONS.iter().find(|(names, _)| names.contains(&name));
    found.filter(|_| !is_ours).map(|(_, advice)| *advice)
}

/// Whether an argument is one of our options without its value, which is then the next argument.
pub fn takes_value(text: &str, command: &Command) -> bool {
    command.get_arguments().any(|ours| {
        let named = match (ours.get_long(), ours.get_short()) {
            (Some(long), _) if text.strip_prefix("--") == Some(long) => true,
            (_, Some(short)) => {
                text.len() == 2 && text.strip_prefix('-').is_some_and(|rest| rest.starts_with(short))
            }
            _ => false,
        };
        named && ours.get_action().takes_values() && !ours.is_require_equals_set()
    })
}

#[cfg(test)]
mod tests {
    use super::super::boot_command;
    use super::*;

    fn hint_of(line: &str) -> Option<String> {
        hint(&line.split(' ').map(OsString::from).collect::<Vec<_>>(), &boot_command())
    }

    #[test]
    fn qemus_options_are_translated() {
        for (line, expected) in [
            ("-kernel bzImage", "vkernel KERNEL"),
            ("--kernel bzImage", "vkernel KERNEL"),
            ("bzImage -append quiet", "--append STRING"),
            ("-m 1g -smp 2 bzImage", "-n CPUS"),
            ("-initrd i", "--initrd FILE"),
            ("-nographic", "this terminal"),
            ("-serial mon:stdio", "this terminal"),
            ("-enable-kvm", "no kvm"),
            ("-cpu=host", "documented CPU"),
            ("-no-reboot", "--no-reboot"),
            ("-drive file=x", "disks come later"),
            ("-hda disk.img", "disks come later"),
            ("-m 1g -display none", "this terminal"),
            ("-monitor none", "this terminal"),
            ("-accel tcg", "no kvm"),
            ("-M q35", "one machine"),
            ("-S", "gdb"),
            ("-netdev user,id=n", "network"),
            ("-net none", "network"),
            ("-device isa-debug-exit", "--ok-exit"),
            ("-nodefaults", "leave it out"),
            ("-d int", "trace events"),
            ("-action panic=none", "--on-fail"),
        ] {
            let hint = hint_of(line).unwrap_or_default();
            assert!(hint.contains(expected), "{line}: {hint}");
        }
    }

    #[test]
    fn every_translation_is_in_the_documentation() {
        let page = include_str!("../../../docs/from-qemu.md");
        for name in TRANSLATIONS.iter().flat_map(|(names, _)| *names) {
            assert!(page.contains(&format!("`-{name}`")), "docs/from-qemu.md lacks -{name}");
        }
    }

    #[test]
    fn what_is_ours_or_only_a_value_is_let_through() {
        for line in [
            "-m 1g -n 2 --initrd i --append x bzImage",
            "--append -kernel bzImage",
            "-p -smp bzImage",
            "--no-reboot bzImage",
            "--append=-cpu bzImage",
            "-svz bzImage",
            "kernel",
            "-- -kernel",
            "",
        ] {
            assert_eq!(hint_of(line), None, "{line}");
        }
    }
}
