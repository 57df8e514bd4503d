//! Nonsense for both faces of the debugger, on a short recording: no panic, no hang, and no more memory than it may have.
//!
//! A batch is one process. It is made from a number, that of the first batch being `--seed`, so that one batch again is
//! `--seed NUMBER` and a count of 1.

use crate::Options;
use harness::nonsense::{Scope, expect_sane_server, lines, nuisance};
use harness::{Dice, Session, Typing, Vkernel};
use nix::sys::signal::Signal;
use std::time::{Duration, Instant};

/// How long a batch may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// How much memory its process may have: guest RAM, checkpoints, symbols, and what a line or packet asks for.
const MEMORY_BYTES_MAX: u64 = 1 << 30;
/// Lines of a batch.
const LINES: usize = 500;
/// Packets of a batch, and of each of its clients at most.
const PACKETS: usize = 1000;
const PACKETS_EACH: usize = 100;
/// What the last line of a batch prints.
const LAST_WORD: &str = "31415926";

/// Makes `options.lines` lines and `options.packets` packets.
///
/// # Panics
/// At the first batch that is not survived. The recording and the lines are kept then.
pub fn soak(options: &Options) {
    let vkernel = Vkernel::new(&options.vkernel).patient(PATIENCE);
    let trace = vkernel.file("short.vkt").display().to_string();
    // With two vCPUs and in the middle of their work.
    let recorded = vkernel.run(&["boot", "-n", "2", "--limit", "2Mi", "--trace", &trace, "demo:"]);
    recorded.expect_said("the run reached its --limit");
    let batches = |count: usize, of: usize| options.seed..options.seed + count.div_ceil(of) as u64;
    run("lines", LINES, batches(options.lines, LINES), |number| type_lines(&vkernel, &trace, number));
    run("packets", PACKETS, batches(options.packets, PACKETS), |number| {
        send_packets(&vkernel, &trace, number)
    });
}

/// Runs batches, each of which gives the most memory that its process had.
fn run(what: &str, each: usize, numbers: std::ops::Range<u64>, batch: impl Fn(u64) -> u64) {
    let (started, mut peak_bytes, mut longest) = (Instant::now(), 0, Duration::ZERO);
    let batches = numbers.end - numbers.start;
    for number in numbers {
        let began = Instant::now();
        peak_bytes = peak_bytes.max(batch(number));
        longest = longest.max(began.elapsed());
    }
    println!(
        "{} {what} in batches of {each}, no panic, no hang: {:.0} s, a batch at most {:.1} s and {} MB",
        batches * each as u64,
        started.elapsed().as_secs_f64(),
        longest.as_secs_f64(),
        peak_bytes >> 20
    );
}

fn type_lines(vkernel: &Vkernel, trace: &str, number: u64) -> u64 {
    let again = format!("soak debugger --seed {number} --lines 1 --packets 0");
    let mut script = lines(&mut Dice::new(number), LINES, Scope::Anywhere).join(&b'\n');
    script.extend(format!("\np/d 0t{LAST_WORD}\nquit\n").bytes());
    let mut session = vkernel.start(&["ddb", trace], Typing::File(&script));
    let mut peak_bytes = 0;
    while !session.is_over() {
        peak_bytes = peak_bytes.max(expect_little_memory(&session, &again));
        session.expect_patience();
        std::thread::sleep(Duration::from_millis(10));
    }
    let run = session.finish();
    assert!(run.status == 0, "exit status {}: {again}\n{run}", run.status);
    assert!(run.console().contains(&format!("\n{LAST_WORD}\n")), "not all lines were read: {again}\n{run}");
    peak_bytes
}

fn send_packets(vkernel: &Vkernel, trace: &str, number: u64) -> u64 {
    let again = format!("soak debugger --seed {number} --packets 1 --lines 0");
    let mut dice = Dice::new(number);
    let mut session = vkernel.start(&["gdb", "--listen=localhost:0", trace], Typing::Nothing);
    let address = session.wait_for_rest_of_line("target remote ");
    let mut sent = 0;
    while sent < PACKETS {
        match nuisance(&address, &mut dice, PACKETS_EACH) {
            Ok(packets) => sent += packets,
            Err(error) => panic!("packet {sent}: {error}: {again}\n{}", session.said()),
        }
    }
    if let Err(error) = expect_sane_server(&address, PATIENCE) {
        panic!("{error}: {again}\n{}", session.said());
    }
    let peak_bytes = expect_little_memory(&session, &again);
    assert!(!session.said().contains("panicked"), "{again}\n{}", session.said());
    session.signal(Signal::SIGKILL);
    let _ = session.finish();
    peak_bytes
}

fn expect_little_memory(session: &Session, again: &str) -> u64 {
    let peak_bytes = session.peak_rss_bytes().unwrap_or(0);
    assert!(peak_bytes < MEMORY_BYTES_MAX, "{} MB of memory: {again}", peak_bytes >> 20);
    peak_bytes
}
