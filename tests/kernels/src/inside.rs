//! What a crashed kernel tells the debugger of itself without a file with symbols: asked at the ddb prompt, and compared with
//! what it must be.

use crate::crashes::Crashed;
use crate::list::Kernel;
use crate::table::Row;
use harness::Typing;
use harness::prompt::answers;
use regex::Regex;
use std::path::Path;

const COMMANDS: [&str; 8] = [
    "trace",
    "ps",
    "show modules",
    "print {current->comm}",
    "dmesg ,1",
    "trace 2",
    "whatis {*current}",
    "whatis {dummy_xmit}",
];

/// What a function of the module has for a type, by the module's own description, which goes on from the kernel's.
const XMIT: &str = "netdev_tx_t (struct sk_buff *, struct net_device *)";

/// The functions on the stack of a panic by sysrq-c, innermost first, as far as every kernel has them.
const STACK: [&str; 9] = [
    "sysrq_handle_crash",
    "__handle_sysrq",
    "write_sysrq_trigger",
    "proc_reg_write",
    "vfs_write",
    "ksys_write",
    "do_syscall_64",
    "entry_SYSCALL_64_after_hwframe",
    "(a program)",
];

/// Crashes `kernel` and asks the debugger.
///
/// # Errors
/// An answer is wrong, with the command that gives it. The recording is kept then.
pub fn ask(program: &Path, kernel: &Kernel) -> Result<Row, String> {
    let crashed = Crashed::boot(program, kernel)?;
    asked(&crashed, kernel).inspect_err(|_| crashed.vkernel.keep_recordings())
}

fn asked(crashed: &Crashed, kernel: &Kernel) -> Result<Row, String> {
    let script = COMMANDS.join("\n") + "\n";
    let run = crashed.vkernel.run_with(&["ddb", "latest-fail"], Typing::File(script.as_bytes()));
    crate::boots::expect(&run, run.status == 0, "ddb fails")?;
    let session = run.console();
    let answers = answers(&session, &COMMANDS);
    let wrong = |what: &str, answer: &str| Err(format!("{what}: {answer}\n{}", run.command));
    let [trace, ps, modules, comm, dmesg, waiting, current, xmit] = &answers[..] else {
        return wrong("answers", &session);
    };

    let frames: Vec<&str> = trace.lines().filter(|line| line.starts_with('#')).collect();
    let in_order = STACK.iter().try_fold(0, |from, name| {
        let at = frames[from..].iter().position(|frame| frame.contains(name))?;
        Some(from + at + 1)
    });
    if in_order != Some(frames.len()) || frames.iter().any(|frame| frame.contains('?')) {
        return wrong("the panic's stack", trace);
    }
    if !waiting.contains("kthreadd+") || !waiting.contains("ret_from_fork") || waiting.contains('?') {
        return wrong("kthreadd's stack", waiting);
    }
    let process = Regex::new(r"(?m)^ +1 +1 +0 R +[01] +sh$").expect("a pattern");
    let sleeper = Regex::new(r"(?m)^ +\d+ +\d+ +1 S +\S*nanosleep +sleep$").expect("a pattern");
    let rows = ps.lines().count().saturating_sub(1);
    if !process.is_match(ps) || !sleeper.is_match(ps) || !ps.contains("[swapper/1]") || rows < 30 {
        return wrong("ps", ps);
    }
    let module = match crashed.console_line("dummy ") {
        None => "none loaded".to_owned(),
        Some(listed) => {
            let address = listed.split_whitespace().nth(5).unwrap_or_default();
            if !modules.contains(address) || !modules.contains(" dummy") {
                return wrong(&format!("modules, where the guest has {listed}"), modules);
            }
            match (xmit.trim_end() == XMIT, kernel.name.contains("5.10")) {
                (true, _) => "dummy, where the guest has it, with its types".to_owned(),
                // Modules have had types of their own from 5.11 on.
                (false, true) => "dummy, where the guest has it".to_owned(),
                (false, false) => return wrong("the module's types", xmit),
            }
        }
    };
    // Behind the name there may be the rest of the one before.
    if !comm.starts_with("\"sh\"") && !comm.starts_with("\"sh\\000")
        || !current.starts_with("struct task_struct {")
    {
        return wrong("current", &format!("{comm}{current}"));
    }
    if !dmesg.contains("sysrq: Trigger a crash") {
        return wrong("the log", dmesg);
    }
    let release = crashed.run.console();
    let release = release.lines().skip_while(|line| !line.contains("uname -r")).nth(1);
    let release =
        crashed.console_line(release_start(kernel)).or(release.map(str::to_owned)).unwrap_or_default();
    Ok(Row(vec![
        kernel.crashed(),
        release,
        format!("{} by ORC", frames.len()),
        format!("{rows} tasks"),
        module,
    ]))
}

/// What `uname -r` begins with.
fn release_start(kernel: &Kernel) -> &'static str {
    ["5.", "6.", "7."].into_iter().find(|start| kernel.name.contains(&start[..1])).unwrap_or("6.")
}
