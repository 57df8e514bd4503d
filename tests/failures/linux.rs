//! A stock kernel and nothing else: the built-in init, a silent console, too little memory, a damaged initrd.

use super::Bench;
use harness::{file_of_crate, guests};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Half of a boot is the kernel's tests of its own cryptography.
const QUICK: &str = "-m 256m -e cryptomgr.notests=1";

/// Debian's kernel for virtual machines.
fn kernel() -> PathBuf {
    guests::debian().kernel
}

#[test]
fn a_kernel_alone_gets_an_init_whose_shell_works_and_powers_off_at_the_end_of_input() {
    let bench = Bench::new();
    let typed = "echo \"a  b\" c > /tmp/x; cat /tmp/x\necho d >>/tmp/x\ncat /tmp/x # not this\ncd /proc; pwd\n\
                 ls /\nps\nmount\nnothing\ncat /missing\nsleep 1\necho last";
    let run = bench.run(QUICK, Some(&kernel()), typed);
    run.expect_status(0);
    run.expect_said("a small built-in init gives a shell (--initrd none leaves it out)");
    for text in [
        "# a  b c\r\n",
        "# a  b c\r\nd\r\n",
        "/proc\r\n",
        "tmp/\r\n",
        "     1  R  init\r\n",
        "devtmpfs /dev devtmpfs",
        "nothing: no such command",
        "/missing: no such file or directory",
        "# last\r\n",
        "end of input: powering off",
    ] {
        run.expect_console(text);
    }
    bench.run("trace verify latest", None, "").expect_status(0);
}

#[test]
fn a_panic_on_a_silent_console_is_told_from_the_kernels_log_with_place_task_and_function() {
    let bench = Bench::new();
    let options = format!("{QUICK} --initrd none --append 'console=none root=/dev/vda1 panic=-1'");
    let run = bench.run(&options, Some(&kernel()), "");
    run.expect_status(1);
    assert!(run.console.is_empty(), "{run}");
    run.expect_said(
        "the guest's kernel panicked: Kernel panic - not syncing: VFS: Unable to mount root fs on \
         unknown-block(0,0). That was at @",
    );
    run.expect_said(" in mount_block_root+0x");
    run.expect_said(", task swapper/0 (pid 1).");
    run.expect_said("In the kernel's log, but not on the console (the last 60 of ");
    run.expect_said("] VFS: Cannot open root device \"vda1\" or unknown-block(0,0): error -6");
    run.expect_said("\n    panic+0x0/0x");
    bench.expect_the_same_again(&run);
}

#[test]
fn a_kernel_whose_unpacking_is_seen_half_done_is_placed_all_the_same() {
    let bench = Bench::new();
    // Unpacks for so long that the symbols are looked for while the kernel is not yet where it will run.
    let kernel = file_of_crate("omea-kernel-x86-64", "kernel.xz");
    let run = bench.run("-n 1 --append console=none --initrd none", Some(&kernel), "");
    run.expect_status(1);
    run.expect_said(
        "Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0). That was at @",
    );
    run.expect_said(" in mount_root_generic+0x");
    run.expect_said("\n    panic+0x0/0x");
    bench.expect_the_same_again(&run);
}

#[test]
fn a_kernel_that_dies_before_it_is_told_where_its_log_is_shows_the_log_all_the_same() {
    let bench = Bench::new();
    // Ends within start_kernel, long before the kernel writes down its VMCOREINFO.
    let run = bench.run("-m 256m --append console=none --limit 150Mi", Some(&kernel()), "");
    run.expect_status(1);
    run.expect_said("the run reached its --limit.");
    run.expect_said("In the kernel's log, but not on the console");
    run.expect_said("] Kernel command line: console=none");
    run.expect_said(", task swapper (pid 0).");
}

#[test]
fn memory_that_runs_out_is_a_panic_that_names_the_process() {
    let bench = Bench::new();
    let options = "-m 128m -e cryptomgr.notests=1:sysctl.vm.panic_on_oom=1";
    let run = bench.run(options, Some(&kernel()), "mount -t ramfs none /mnt\ncat /dev/zero > /mnt/full\n");
    run.expect_status(1);
    run.expect_console("Kernel panic - not syncing: Out of memory: system-wide panic_on_oom is enabled");
    run.expect_said(
        "Kernel panic - not syncing: Out of memory: system-wide panic_on_oom is enabled. That was at @",
    );
    run.expect_said(" in out_of_memory");
    run.expect_said(", task init (pid 1).");
}

#[test]
fn an_initrd_that_was_cut_short_is_a_panic_for_want_of_a_root() {
    let bench = Bench::new();
    let path = bench.file("cut.cpio.gz", &truncated_initrd());
    let options = format!("{QUICK} --append 'root=/dev/vda1' --initrd {}", path.display());
    let run = bench.run(&options, Some(&kernel()), "");
    run.expect_status(1);
    run.expect_console("Initramfs unpacking failed: ");
    run.expect_said(
        "Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0). That was at @",
    );
}

#[test]
fn too_little_memory_is_no_verdict_and_says_what_to_give() {
    let run = Bench::new().run("-m 64m", Some(&kernel()), "");
    run.expect_status(125);
    run.expect_said("the guest has 64 MiB: give it -m ");
}

#[test]
fn a_reset_after_a_panic_ends_the_run_there() {
    let bench = Bench::new();
    let options = format!("{QUICK} --append panic=-1");
    let run = bench.run(&options, Some(&kernel()), "echo c > /proc/sysrq-trigger\n");
    run.expect_status(1);
    run.expect_said("Kernel panic - not syncing: sysrq triggered crash. That was at @");
    run.expect_said(" in sysrq_handle_crash+0x");
    run.expect_said(", task init (pid 1).");
    assert_eq!(run.console.matches("Linux version ").count(), 1, "{run}");
}

/// A compressed archive with one file, without its second half.
fn truncated_initrd() -> Vec<u8> {
    let contents: Vec<u8> =
        (0..200_000_u32).flat_map(|index| index.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let fields = [1, 0o100_644, 0, 0, 1, 0, contents.len() as u32, 0, 0, 0, 0, 5, 0];
    let mut archive = b"070701".to_vec();
    fields.iter().for_each(|field: &u32| archive.extend_from_slice(format!("{field:08x}").as_bytes()));
    archive.extend_from_slice(b"file\0\0");
    archive.extend_from_slice(&contents);
    let mut gzip =
        Command::new("gzip").arg("-nc").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("gzip");
    let mut stdin = gzip.stdin.take().expect("a pipe");
    let writer = std::thread::spawn(move || stdin.write_all(&archive).expect("gzip reads"));
    let mut packed = gzip.wait_with_output().expect("gzip").stdout;
    writer.join().expect("no panic");
    packed.truncate(packed.len() / 2);
    packed
}
