//! The real gdb on recordings, by scripts.

use super::{expect_in_order, with_a_race};
use crate::support::program::{Ran, Sandbox};
use harness::Dice;
use harness::nonsense::nuisance;
use std::io::Read;
use std::process::{Command, Stdio};

/// A session of gdb on the recording that failed last.
fn gdb(sandbox: &Sandbox, options: &str, script: &str) -> Ran {
    let script = sandbox.write("gdb.script", script);
    let ran = sandbox.script(&format!(
        "exec 2>&1; exec \"$VKERNEL\" gdb {options} latest-fail -- -nx -batch -x {}",
        script.display()
    ));
    ran.expect(0, &[]);
    ran
}

#[test]
fn gdb_opens_at_the_failure_and_finds_the_write_that_caused_it() {
    let sandbox = with_a_race();
    let ran = gdb(
        &sandbox,
        "",
        "bt\n\
         info threads\n\
         watch -l *(unsigned long *)$rsi\n\
         reverse-continue\n\
         reverse-continue\n\
         printf \"icount %lu\\n\", $icount\n\
         info registers cr3 efer k_gs_base\n\
         monitor when\n",
    );
    expect_in_order(
        &ran,
        &[
            "panic (format=",
            "#0  panic (format=",
            "thread_main (",
            "vCPU 0",
            "vCPU 1",
            "Hardware watchpoint 1: -location",
            "Hardware watchpoint 1",
            "Old value = ",
            "New value = ",
            "use_pages (worker=",
            "icount ",
            "cr3 ",
            "efer ",
            "% of @",
        ],
    );
}

#[test]
fn gdb_steps_and_finishes_in_both_directions() {
    let sandbox = with_a_race();
    let ran = gdb(
        &sandbox,
        "--at @50%",
        "break put_on_shelf\n\
         continue\n\
         printf \"at %lu\\n\", $icount\n\
         set $there = $icount\n\
         stepi\n\
         reverse-stepi\n\
         printf \"back %d\\n\", $icount == $there\n\
         next\n\
         reverse-next\n\
         step\n\
         reverse-step\n\
         finish\n\
         reverse-finish\n\
         reverse-continue\n\
         delete\n\
         continue\n\
         reverse-continue\n",
    );
    expect_in_order(
        &ran,
        &[
            "Breakpoint 1",
            "put_on_shelf (",
            "at ",
            "back 1",
            "move_book (",
            "No more reverse-execution history",
            "No more reverse-execution history",
        ],
    );
}

#[test]
fn a_step_back_is_one_of_the_thread_that_gdb_shows() {
    let sandbox = with_a_race();
    let step = |thread: usize| {
        format!(
            "thread {thread}\n\
             set $before = $icount\n\
             reverse-stepi\n\
             printf \"thread {thread} is %d, back %d\\n\", $_thread, $icount < $before\n"
        )
    };
    let script = format!("thread 1\n{}info threads\n{}{}", step(2), step(1), step(2));
    let ran = gdb(&sandbox, "--at @50%", &script);
    expect_in_order(&ran, &["thread 2 is 2, back 1", "thread 1 is 1, back 1", "thread 2 is 2, back 1"]);
}

#[test]
fn breakpoints_with_conditions_are_evaluated_on_this_side() {
    let sandbox = with_a_race();
    let ran = gdb(
        &sandbox,
        "--at @start",
        "monitor break put_on_shelf if {shelf == &shelves[3]}\n\
         continue\n\
         print shelf == &shelves[3]\n\
         monitor delete all\n\
         monitor break nobody\n",
    );
    expect_in_order(
        &ran,
        &["Breakpoint 1 at put_on_shelf", "put_on_shelf (", "$1 = 1", "Symbol `nobody` not found"],
    );
}

#[test]
fn clients_that_talk_nonsense_or_hang_up_leave_the_server_for_the_next_one() {
    let sandbox = with_a_race();
    let mut server = Command::new(env!("CARGO_BIN_EXE_vkernel"))
        .args(["gdb", "--listen=localhost:0", "latest-fail"])
        .env("VKERNEL_DIR", sandbox.store())
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("vkernel runs");
    let mut said = [0; 200];
    let length = server.stderr.as_mut().expect("piped").read(&mut said).expect("it says its address");
    let said = String::from_utf8_lossy(&said[..length]).into_owned();
    let address = said.trim().rsplit(' ').next().expect("an address").to_owned();
    let mut dice = Dice::new(1);
    for round in 0..40 {
        nuisance(&address, &mut dice, 50).unwrap_or_else(|error| panic!("{said} {error}"));
        assert!(server.try_wait().expect("a child").is_none(), "the server ended in round {round}");
    }
    let script = sandbox.write("last", "print $icount >= 0\nkill\n");
    let ran = sandbox.script(&format!(
        "exec 2>&1; exec gdb -nx -batch -ex 'target remote {address}' -x {}",
        script.display()
    ));
    expect_in_order(&ran, &["$1 = 1"]);
    server.wait().expect("gdb's kill ends the server");
}

#[test]
fn the_prompt_lets_gdb_in_and_has_the_session_back() {
    let sandbox = with_a_race();
    let ran = sandbox.script(
        "\"$VKERNEL\" ddb latest-fail -e 'gdb ./gate' -e when -e 'gdb /nowhere/gate' >prompt 2>&1 </dev/null & prompt=$!
         while ! [ -S gate ]; do sleep 0.1; done
         gdb -nx -batch -ex 'set architecture i386:x86-64' -ex 'target remote ./gate' -ex reverse-stepi \
             -ex 'monitor gdb' -ex 'printf \"at %lu\\n\", $icount' -ex detach 2>&1
         wait $prompt && cat prompt && [ ! -e gate ]",
    );
    ran.expect(0, &[]);
    expect_in_order(
        &ran,
        &[
            "gdb cannot be let in from here",
            "at ",
            "Stopped at\tpanic:",
            "target remote ./gate",
            "Stopped at      work+0x",
            "callq   panic",
            "gdb /nowhere/gate: No such file",
        ],
    );
    let at = ran.stdout.lines().find_map(|line| line.strip_prefix("at ")).expect("a place");
    assert!(ran.stdout.contains(&format!("\n@{at}: ")), "the prompt stands where gdb stood: {}", ran.stdout);
}
