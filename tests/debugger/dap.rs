//! gdb as an adapter of the debug adapter protocol, which nvim-dap, Emacs' dape, Zed and others speak: it is started by `vkernel
//! gdb --listen=ADDRESS TRACE -- --interpreter=dap`, and the editor has it attach to that address. Left out: the editor.

use super::{SLOW, with_a_race};
use crate::support::program::{Sandbox, VKERNEL};
use harness::gdb_with_dap;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::Duration;

/// More processor time than gdb's packets take while the guest stands, and less than [`SLOW`] does.
const WORKS_TICKS: u64 = 20;

/// An editor with its adapter.
struct Editor {
    adapter: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    /// All that was said.
    transcript: String,
    /// What came and nobody has asked for yet.
    arrived: VecDeque<Value>,
    sequence: u64,
    /// The thread that stopped last.
    thread: u64,
}

impl Editor {
    fn start(sandbox: &Sandbox, address: &Path) -> Editor {
        let listen = format!("--listen={}", address.display());
        let mut command = sandbox.command("timeout");
        command.args(["-k", "10", "60", VKERNEL, "gdb", &listen, "--debugger"]).arg(gdb_with_dap());
        let mut adapter = command
            .args(["latest-fail", "--", "-nx", "--interpreter=dap"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(sandbox.file("stderr")).expect("a file"))
            .spawn()
            .expect("timeout is there (coreutils)");
        let (stdin, stdout) = (adapter.stdin.take().expect("piped"), adapter.stdout.take().expect("piped"));
        Editor {
            adapter,
            stdin,
            stdout: BufReader::new(stdout),
            transcript: String::new(),
            arrived: VecDeque::new(),
            sequence: 0,
            thread: 0,
        }
    }

    /// The next message: a header, an empty line, and that many bytes. Nothing else is on this stream.
    fn read(&mut self) -> Value {
        let mut header = String::new();
        self.stdout.read_line(&mut header).expect("a header");
        let length = header.strip_prefix("Content-Length: ").and_then(|length| length.trim().parse().ok());
        let length: usize = length.unwrap_or_else(|| panic!("no header: {header:?}\n{}", self.transcript));
        let mut bytes = vec![0; length + 2];
        self.stdout.read_exact(&mut bytes).expect("as many as the header says");
        let text = String::from_utf8_lossy(&bytes).into_owned();
        self.transcript.push_str(&format!("{}\n", text.trim()));
        serde_json::from_str(&text).expect("JSON")
    }

    /// The first message that is wanted, of those that have come and those that will.
    fn wait(&mut self, is_wanted: impl Fn(&Value) -> bool) -> Value {
        if let Some(index) = self.arrived.iter().position(&is_wanted) {
            return self.arrived.remove(index).expect("it is there");
        }
        loop {
            let message = self.read();
            if is_wanted(&message) {
                return message;
            }
            self.arrived.push_back(message);
        }
    }

    fn event(&mut self, name: &str) -> Value {
        self.wait(|message| message["event"] == name)["body"].take()
    }

    fn send(&mut self, command: &str, arguments: Value) -> u64 {
        self.sequence += 1;
        let message = json!({
            "seq": self.sequence, "type": "request", "command": command, "arguments": arguments,
        });
        let text = message.to_string();
        self.transcript.push_str(&format!("{text}\n"));
        write!(self.stdin, "Content-Length: {}\r\n\r\n{text}", text.len()).expect("gdb reads");
        self.sequence
    }

    /// What a request that has to succeed is answered with.
    fn answer(&mut self, sequence: u64) -> Value {
        let mut answer = self.wait(|message| message["request_seq"] == sequence);
        assert_eq!(answer["success"], true, "{answer}\n{}", self.transcript);
        answer["body"].take()
    }

    fn request(&mut self, command: &str, arguments: Value) -> Value {
        let sequence = self.send(command, arguments);
        self.answer(sequence)
    }

    /// The guest stops, for this reason.
    fn stops_for(&mut self, reason: &str) {
        let stopped = self.event("stopped");
        assert_eq!(stopped["reason"], reason, "{}", self.transcript);
        assert_eq!(stopped["allThreadsStopped"], true, "{}", self.transcript);
        self.thread = stopped["threadId"].as_u64().expect("a number");
    }

    fn moves(&mut self, command: &str, reason: &str) {
        let thread = self.thread;
        self.request(command, json!({ "threadId": thread }));
        self.stops_for(reason);
    }

    fn stack(&mut self) -> Vec<Value> {
        let thread = self.thread;
        let answer = self.request("stackTrace", json!({ "threadId": thread, "levels": 20 }));
        answer["stackFrames"].as_array().expect("an array").clone()
    }

    /// What is typed at the editor's prompt.
    fn types(&mut self, command: &str) -> String {
        let answer = self.request("evaluate", json!({ "expression": command, "context": "repl" }));
        answer["result"].as_str().expect("a text").to_owned()
    }

    /// The processor time of vkernel, which `timeout` has started, in ticks of 10 ms (proc(5): utime and stime).
    fn server_ticks(&self) -> u64 {
        let read = |path: String| fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let timeout = self.adapter.id();
        let children = read(format!("/proc/{timeout}/task/{timeout}/children"));
        let stat = read(format!("/proc/{}/stat", children.split_whitespace().next().expect("vkernel")));
        let (_, behind_name) = stat.rsplit_once(')').expect("a name in brackets");
        let fields: Vec<&str> = behind_name.split_whitespace().collect();
        fields[11..13].iter().map(|ticks| ticks.parse::<u64>().expect("a number")).sum()
    }

    fn icount(&mut self) -> u64 {
        let answer = self.request("evaluate", json!({ "expression": "$icount", "context": "watch" }));
        answer["result"].as_str().and_then(|text| text.parse().ok()).expect("a number")
    }
}

#[test]
fn an_editor_attaches_where_it_failed_looks_around_and_walks_both_ways() {
    let sandbox = with_a_race();
    let address = sandbox.file("gdb");
    let mut editor = Editor::start(&sandbox, &address);
    let can = editor.request("initialize", json!({ "adapterID": "vkernel", "linesStartAt1": true }));
    assert_eq!(can["supportsConfigurationDoneRequest"], true, "{can}");
    let attach = editor.send("attach", json!({ "target": address }));
    editor.event("initialized");
    set_breakpoints(&mut editor);
    editor.request("configurationDone", json!({}));
    editor.answer(attach);
    editor.stops_for("attach");
    let threads = editor.request("threads", json!({}));
    for vcpu in ["vCPU 0", "vCPU 1"] {
        assert!(threads.to_string().contains(vcpu), "{threads}");
    }
    look_around(&mut editor);
    walk(&mut editor);
    editor.request("disconnect", json!({}));
    let status = editor.adapter.wait().expect("a child");
    assert!(status.success(), "{status}\n{}", editor.transcript);
}

/// A function's, and one at a line of a file; both are known before anything is attached to, because the symbols are.
fn set_breakpoints(editor: &mut Editor) {
    let answer =
        editor.request("setFunctionBreakpoints", json!({ "breakpoints": [{ "name": "put_on_shelf" }] }));
    let function = &answer["breakpoints"][0];
    assert_eq!(
        (&function["verified"], &function["source"]["name"]),
        (&true.into(), &"work.c".into()),
        "{answer}"
    );
    let line = function["line"].as_u64().expect("a line");
    let answer = editor.request(
        "setBreakpoints",
        json!({ "source": { "path": "demo/work.c" }, "breakpoints": [{ "line": line + 1 }] }),
    );
    assert_eq!(answer["breakpoints"][0]["verified"], true, "{answer}");
    editor.request("setBreakpoints", json!({ "source": { "path": "demo/work.c" }, "breakpoints": [] }));
}

/// What an editor shows at every stop: the stack, variables, registers, memory.
fn look_around(editor: &mut Editor) {
    let stack = editor.stack();
    assert_eq!(
        (&stack[0]["name"], &stack[0]["source"]["name"]),
        (&"panic".into(), &"panic.c".into()),
        "{stack:?}"
    );
    let user = stack.iter().find(|frame| frame["name"] == "use_pages").expect("who found the word");
    assert!(user["line"].as_u64().is_some_and(|line| line > 0), "{user}");
    let frame = &user["id"];
    let scopes = editor.request("scopes", json!({ "frameId": frame }));
    for (scope, variable) in [("Arguments", "worker"), ("Locals", "i"), ("Registers", "cr3")] {
        let scopes = scopes["scopes"].as_array().expect("an array");
        let found = scopes.iter().find(|it| it["name"] == scope).unwrap_or_else(|| panic!("{scopes:?}"));
        let answer =
            editor.request("variables", json!({ "variablesReference": found["variablesReference"] }));
        let is_there =
            answer["variables"].as_array().is_some_and(|all| all.iter().any(|it| it["name"] == variable));
        assert!(is_there, "no {variable}: {answer}");
    }
    for context in ["watch", "hover"] {
        let asked = json!({ "expression": "worker->number", "frameId": frame, "context": context });
        assert_eq!(editor.request("evaluate", asked)["result"], "1");
    }
    let read = json!({ "memoryReference": stack[0]["instructionPointerReference"], "count": 16 });
    assert!(editor.request("readMemory", read)["data"].is_string(), "{}", editor.transcript);
    assert!(editor.types("monitor when").contains("% of @"), "{}", editor.transcript);
}

fn walk(editor: &mut Editor) {
    let failed = editor.icount();
    editor.types("reverse-continue");
    editor.stops_for("breakpoint");
    assert_eq!(editor.stack()[0]["name"], "put_on_shelf", "{}", editor.transcript);
    let entry = editor.icount();
    assert!(entry < failed);
    editor.moves("next", "step");
    editor.moves("stepIn", "step");
    let later = editor.icount();
    assert!(later > entry, "{}", editor.transcript);
    // From here on the editor's buttons go back.
    editor.types("set exec-direction reverse");
    editor.moves("next", "step");
    let back = editor.icount();
    assert!((entry..later).contains(&back), "{entry} {later} {back}\n{}", editor.transcript);
    editor.moves("continue", "breakpoint");
    assert_eq!(editor.icount(), entry, "{}", editor.transcript);
    editor.request("setFunctionBreakpoints", json!({ "breakpoints": [] }));
    editor.types(&format!("monitor {SLOW}"));
    let thread = editor.thread;
    let before = editor.server_ticks();
    editor.request("continue", json!({ "threadId": thread }));
    // gdb looks at a pause that it has been sent together with that only when the guest has stopped by itself. Whoever presses the
    // button sees the guest go on: the server works.
    while editor.server_ticks() < before + WORKS_TICKS {
        std::thread::sleep(Duration::from_millis(10));
    }
    editor.request("pause", json!({ "threadId": thread }));
    editor.stops_for("pause");
    editor.types("set exec-direction forward");
}

#[test]
fn an_adapter_that_nobody_could_tell_where_to_attach_is_refused() {
    let sandbox = with_a_race();
    sandbox
        .run(["gdb", "latest-fail", "--", "--interpreter=dap"])
        .expect(129, &["--listen=ADDRESS", "attach to that target"]);
}
