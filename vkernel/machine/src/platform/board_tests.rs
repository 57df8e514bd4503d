//! What the wiring promises: every access has an answer, wide ones are split, lines follow their devices.

use super::*;
use crate::archive::{load, save};
use boundary::{Boot, BootProtocol, Rules, Topology};

const AT: Access = Access { vcpu: 0, now: VirtualTime(1_000_000) };

fn power_on() -> PowerOn {
    let rules = Rules {
        quantum_counts: 10_000,
        pauses_per_quantum: 16,
        pause_ns: 10,
        port_ns: 100,
        mmio_ns: 100,
        hlt_ns: 100,
        perturb: false,
    };
    PowerOn {
        model: 1,
        seed: 0,
        rtc_start_s: 1_700_000_000,
        ram_bytes: 256 << 20,
        topology: Topology { vcpus: 2, thread_bits: 0, core_bits: 1 },
        cpuid: Vec::new(),
        rules,
        acpi_hash: 0,
        boot: Boot { protocol: BootProtocol::LinuxBzImage, command_line: String::new(), images: Vec::new() },
    }
}

fn platform() -> Platform {
    Platform::new(&power_on())
}

fn outputs(platform: &mut Platform) -> Vec<Output> {
    let mut outputs = Vec::new();
    platform.drain_outputs(&mut outputs);
    outputs
}

#[test]
fn absent_ports_and_memory_read_all_ones() {
    let mut platform = platform();
    for port in [0x2f8, 0x3e8, 0x2e8, 0x1f0, 0xffff] {
        assert_eq!(platform.port_read(AT, port, 1), 0xff, "port {port:#x}");
        assert_eq!(platform.port_read(AT, port, 4), u32::MAX);
    }
    for paddr in [0xd000_0000, 0xff00_0000, u64::MAX - 7] {
        assert_eq!(platform.mmio_read(AT, paddr, 2), 0xffff);
        platform.mmio_write(AT, paddr, 8, 0);
    }
}

#[test]
fn wide_accesses_to_byte_devices_are_split() {
    let mut platform = platform();
    platform.port_write(AT, COM1 + 3, 1, 0x80);
    platform.port_write(AT, COM1, 2, 0x1234);
    assert_eq!(platform.port_read(AT, COM1, 2), 0x1234);
    assert_eq!(platform.port_read(AT, COM1 + 1, 1), 0x12);
}

#[test]
fn console_bytes_of_all_sources_are_joined_in_order() {
    let mut platform = platform();
    platform.port_write(AT, COM1, 1, u32::from(b'a'));
    platform.port_write(AT, 0xe9, 1, u32::from(b'b'));
    platform.port_write(AT, 0x80, 1, 7);
    platform.port_write(AT, COM1, 1, u32::from(b'c'));
    let expected = [Output::Console(b"ab".to_vec()), Output::PostCode(7), Output::Console(b"c".to_vec())];
    assert_eq!(outputs(&mut platform), expected);
    assert!(!platform.has_outputs());
}

#[test]
fn the_screen_is_mirrored_until_the_serial_port_speaks() {
    let mut platform = platform();
    let write = |platform: &mut Platform, character: u8| {
        platform.mmio_write(AT, layout::VGA_TEXT, 2, 0x0700 | u64::from(character));
    };
    write(&mut platform, b'!');
    let deadline = platform.next_deadline().expect("the screen settles");
    platform.advance(deadline);
    assert_eq!(outputs(&mut platform), [Output::Console(b"!".to_vec())]);
    platform.port_write(AT, COM1, 1, u32::from(b'u'));
    write(&mut platform, b'?');
    platform.advance(AT.now.plus(1_000_000_000));
    assert_eq!(outputs(&mut platform), [Output::Console(b"u".to_vec())]);
    assert_eq!(platform.screen_text()[0], "?");
}

#[test]
fn the_last_words_on_the_screen_come_before_the_power_event() {
    let mut platform = platform();
    platform.mmio_write(AT, layout::VGA_TEXT, 2, 0x0700 | u64::from(b'X'));
    platform.port_write(AT, 0x604, 2, 0x2000);
    assert_eq!(outputs(&mut platform), [Output::Console(b"X".to_vec())]);
    assert_eq!(platform.take_power(), Some(PowerEvent::Off));
    assert_eq!(platform.take_power(), None);
}

#[test]
fn every_way_to_end_the_machine_is_wired() {
    let ways: [(u16, u8, u32, PowerEvent); 6] = [
        (0x604, 2, 0x2000, PowerEvent::Off),
        (0xcf9, 1, 0x06, PowerEvent::Reset),
        (0x64, 1, 0xfe, PowerEvent::Reset),
        (0x92, 1, 0x01, PowerEvent::Reset),
        (0xf4, 4, 0x10, PowerEvent::DebugExit(0x10)),
        (0x501, 1, 0x1ff, PowerEvent::DebugExit(0xff)),
    ];
    for (port, size, value, event) in ways {
        let mut platform = platform();
        platform.port_write(AT, port, size, value);
        assert_eq!(platform.take_power(), Some(event), "port {port:#x}");
    }
}

#[test]
fn the_acpi_tables_describe_the_hpet_that_is_there() {
    let capabilities = platform().mmio_read(AT, layout::HPET, 8) as u32;
    let tables = super::super::acpi::tables(1);
    let hpet = tables.iter().find(|table| table.bytes.starts_with(b"HPET")).expect("there is a table");
    assert_eq!(hpet.bytes[36..40], capabilities.to_le_bytes());
}

#[test]
fn pci_answers_at_both_its_addresses() {
    let mut platform = platform();
    platform.port_write(AT, 0xcf8, 4, 0x8000_0000);
    assert_eq!(platform.port_read(AT, 0xcfc, 4), 0x29c0_8086);
    assert_eq!(platform.port_read(AT, 0xcfe, 2), 0x29c0);
    assert_eq!(platform.mmio_read(AT, layout::ECAM, 4), 0x29c0_8086);
    assert_eq!(platform.port_read(AT, 0xcf9, 1), 0, "the reset register is in between");
}

#[test]
fn typed_bytes_reach_a_guest_that_listens() {
    let mut platform = platform();
    platform.port_write(AT, COM1 + 2, 1, 0x01);
    platform.port_write(AT, COM1 + 1, 1, 0x01);
    platform.console_input(AT.now, b"hi");
    assert_eq!(platform.console_bytes_pending(), 2);
    platform.advance(AT.now.plus(1_000_000));
    assert_eq!([0; 2].map(|_| platform.port_read(AT, COM1, 1)), [0x68, 0x69]);
    assert_eq!(platform.console_bytes_pending(), 0);
}

#[test]
fn a_guest_with_screen_and_keyboard_only_is_typed_to_on_the_keyboard() {
    let mut platform = platform();
    platform.console_input(AT.now, b"y");
    platform.mmio_write(AT, layout::VGA_TEXT, 2, 0x073f);
    let (mut now, mut codes) = (AT.now, Vec::new());
    while let Some(deadline) = platform.next_deadline().filter(|at| at.0 < AT.now.0 + 100_000_000) {
        now = now.max(deadline);
        platform.advance(now);
        let at = Access { now, ..AT };
        if platform.port_read(at, 0x64, 1) & 1 != 0 {
            codes.push(platform.port_read(at, 0x60, 1));
        }
    }
    assert_eq!(codes, [0x15, 0x95]);
    assert_eq!(platform.console_bytes_pending(), 0);
}

#[test]
fn what_was_typed_waits_for_a_guest_that_begins_on_the_screen_and_goes_on_with_the_serial_port() {
    let mut platform = platform();
    platform.console_input(AT.now, b"hi");
    platform.mmio_write(AT, layout::VGA_TEXT, 2, 0x073f);
    platform.advance(AT.now.plus(100_000_000));
    let at = Access { now: AT.now.plus(100_000_000), ..AT };
    platform.port_write(at, COM1, 1, u32::from(b'.'));
    platform.port_write(at, 0x21, 1, 0);
    platform.port_write(at, COM1 + 2, 1, 0x01);
    platform.port_write(at, COM1 + 1, 1, 0x01);
    platform.advance(at.now.plus(1_000_000));
    assert_eq!([0; 2].map(|_| platform.port_read(at, COM1, 1)), [0x68, 0x69]);
}

#[test]
fn a_guest_on_the_screen_that_unmasks_the_keyboard_is_typed_to() {
    let mut platform = platform();
    platform.console_input(AT.now, b"y");
    platform.mmio_write(AT, layout::VGA_TEXT, 2, 0x073f);
    platform.advance(AT.now.plus(100_000_000));
    assert_eq!(platform.next_deadline().filter(|at| at.0 < 200_000_000), None);
    let at = Access { now: AT.now.plus(100_000_000), ..AT };
    platform.port_write(at, 0x21, 1, 0xfd);
    platform.advance(at.now.plus(100_000_000));
    assert_eq!(platform.port_read(at, 0x60, 1), 0x15);
}

#[test]
fn fw_cfg_tells_the_window_size() {
    let mut platform = platform();
    platform.window_size(100, 30);
    platform.port_write(AT, 0x510, 2, 0x21);
    let text: Vec<u8> = (0..7).map(|_| platform.port_read(AT, 0x511, 1) as u8).collect();
    assert_eq!(text, b"30 100\n");
}

#[test]
fn the_reads_hash_depends_on_every_value_and_their_order() {
    let mut hashes = Vec::new();
    for reads in [[1, 2], [2, 1], [1, 3], [0, 0]] {
        let mut platform = platform();
        let _ = platform.take_reads_hash();
        reads.into_iter().for_each(|value| platform.fold_read(value));
        hashes.push(platform.take_reads_hash());
        assert_eq!(platform.take_reads_hash(), 0, "taking starts anew");
    }
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), 4);
}

#[test]
fn a_port_read_counts_in_the_reads_hash() {
    let mut platform = platform();
    platform.port_read(AT, 0xe9, 1);
    assert_ne!(platform.take_reads_hash(), 0);
}

/// A platform with something in every device.
fn busy_platform() -> Platform {
    let mut platform = platform();
    platform.console_input(AT.now, b"typed ahead");
    platform.port_write(AT, COM1 + 1, 1, 0x01);
    platform.port_write(AT, 0x60, 1, 0xff);
    platform.port_write(AT, 0x600, 4, 0x0100_0000);
    platform.power_button(AT.now);
    platform.port_write(AT, 0xcf8, 4, 0x8000_f83c);
    platform.port_write(AT, 0xcfc, 1, 0x0b);
    platform.port_write(AT, 0x510, 2, 0x19);
    platform.port_read(AT, 0x511, 1);
    platform.window_size(7, 5);
    platform.port_write(AT, 0x80, 1, 9);
    platform.mmio_write(AT, layout::VGA_TEXT, 8, 0x0741_0742_0743_0744);
    platform.port_write(AT, 0x43, 1, 0x34);
    platform.port_write(AT, 0x40, 1, 0x10);
    platform.port_write(AT, 0x40, 1, 0x27);
    platform
}

#[test]
fn save_load_save_is_equal() {
    let mut original = busy_platform();
    let saved = save(&mut original);
    let mut restored = platform();
    load(&mut restored, saved.clone());
    assert_eq!(save(&mut restored), saved);
    assert_eq!(restored.next_deadline(), original.next_deadline());
}

#[test]
fn a_restored_platform_continues_as_the_original() {
    let mut original = busy_platform();
    let mut restored = platform();
    load(&mut restored, save(&mut original));
    let _ = outputs(&mut original);
    for platform in [&mut original, &mut restored] {
        platform.advance(AT.now.plus(100_000_000));
        for port in [0x60, COM1, 0x511, 0xcfc, 0x80, 0x40] {
            platform.port_read(AT, port, 1);
        }
    }
    assert_eq!(outputs(&mut original), outputs(&mut restored));
    assert_eq!(save(&mut original), save(&mut restored));
}

#[test]
fn a_reset_keeps_what_was_typed_and_nothing_else() {
    let mut platform = busy_platform();
    platform.reset();
    assert_eq!(platform.console_bytes_pending(), 11);
    assert_eq!(platform.port_read(AT, COM1 + 1, 1), 0);
    assert_eq!(platform.port_read(AT, 0x80, 1), 0);
    assert_eq!(platform.port_read(AT, 0xcf8, 4), 0);
    assert!(platform.screen_text().iter().all(String::is_empty));
}

/// A guest that reads and writes at random, near the devices and elsewhere, while time passes.
#[test]
fn a_hostile_guest_cannot_make_the_host_panic_or_hang() {
    let mut platform = platform();
    let mut state = 0x1234_5678_9abc_def1_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let places = [
        layout::IOAPIC,
        layout::HPET,
        layout::LAPIC,
        layout::ECAM,
        layout::VGA_MEMORY.start,
        layout::VGA_TEXT,
    ];
    let ports = [0x20, 0x40, 0x60, 0x70, 0xa0, 0x3c0, 0x3d4, 0x3f8, 0x510, 0x600, 0x620, 0xcf8, 0xcfc];
    let mut now = VirtualTime(0);
    for _ in 0..200_000 {
        let (choice, value) = (random(), random());
        let at = Access { vcpu: (choice & 1) as u8, now };
        let port = ports[(choice >> 8) as usize % ports.len()] + (choice >> 16 & 7) as u16;
        let paddr = places[(choice >> 24) as usize % places.len()] + (choice >> 32 & 0x3ff);
        let size = 1 << (choice >> 4 & 3);
        match choice >> 60 {
            0..=3 => platform.port_write(at, port, size.min(4), value as u32),
            4..=6 => drop(platform.port_read(at, port, size.min(4))),
            7..=9 => platform.mmio_write(at, paddr, size, value),
            10 => drop(platform.mmio_read(at, paddr, size)),
            11 => drop(platform.apic_msr_write(at, 0x800 + (choice as u32 >> 8 & 0xff), value)),
            12 => drop(platform.acknowledge(at.vcpu)),
            13 => platform.console_input(now, &value.to_le_bytes()),
            _ => now = now.plus(value & 0xffff),
        }
        platform.advance(now);
        drop(outputs(&mut platform));
        drop(platform.take_power());
    }
    assert!(platform.next_deadline().is_none_or(|deadline| deadline > now));
}

#[test]
fn no_access_of_any_width_to_any_port_panics() {
    let mut platform = platform();
    for port in 0..=u16::MAX {
        for size in [1, 2, 4] {
            platform.port_write(AT, port, size, 0xa5a5_a5a5);
            platform.port_read(AT, port, size);
        }
    }
}
