//! The configuration that `--launch-json` prints, driven as Microsoft's cppdbg (the MIEngine under VS Code's C/C++ extension, and
//! under nvim-dap) drives gdb: which arguments it adds, which commands it sends first, what it takes for a stop. The real gdb
//! answers, over gdb/MI. Left out: the editor.

use super::{SLOW, with_a_race};
use crate::support::program::{Sandbox, VKERNEL};
use harness::guests;
use regex::Regex;
use serde_json::Value;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::Duration;

/// What gdb has answered to a command.
struct Answer {
    /// `done,...` or another class.
    result: String,
    /// What would be on the console.
    console: String,
}

/// cppdbg with its gdb.
struct Cppdbg {
    gdb: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    /// All that was said.
    transcript: String,
    stops: VecDeque<String>,
    token: u32,
    has_server: bool,
}

impl Cppdbg {
    /// Starts what a configuration says, and goes as far as until the user can do something.
    fn launch(sandbox: &Sandbox, configuration: &Value) -> (Cppdbg, String) {
        let text = |name: &str| configuration[name].as_str().unwrap_or_default().to_owned();
        let path = text("miDebuggerPath");
        let mut command = sandbox.command("timeout");
        command.args(["-k", "10", "60", &path, "--interpreter=mi"]).args(words(&text("miDebuggerArgs")));
        command.current_dir(Path::new(&path).parent().filter(|it| it.is_dir()).unwrap_or(sandbox.path()));
        let stderr = File::create(sandbox.file("stderr")).expect("a file");
        let mut gdb = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .expect("timeout is there (coreutils)");
        let (stdin, stdout) = (gdb.stdin.take().expect("piped"), gdb.stdout.take().expect("piped"));
        let mut cppdbg = Cppdbg {
            gdb,
            stdin,
            stdout: BufReader::new(stdout),
            transcript: format!("{configuration:#}\n"),
            stops: VecDeque::new(),
            token: 1000,
            has_server: configuration["miDebuggerServerAddress"].is_string(),
        };
        cppdbg.prompt();
        cppdbg.set_up(sandbox, configuration);
        let stop = cppdbg.stops.pop_back().unwrap_or_else(|| panic!("no guest\n{}", cppdbg.transcript));
        // What has no reason is the connection's, from which it goes on unless it is told not to.
        let stays = field(&stop, "reason").is_some() || configuration["stopAtConnect"] == true;
        assert!(stays, "it goes on from where it was opened\n{}", cppdbg.transcript);
        (cppdbg, stop)
    }

    /// The commands that cppdbg sends before it looks at the guest.
    fn set_up(&mut self, sandbox: &Sandbox, configuration: &Value) {
        let folder = sandbox.path().display().to_string();
        let text = |name: &str| {
            configuration[name].as_str().unwrap_or_default().replace("${workspaceFolder}", &folder)
        };
        // Old ones know the second name only; neither has to work.
        if self.command("-gdb-set mi-async on").result.starts_with("error") {
            self.command("-gdb-set target-async on");
        }
        self.done("-interpreter-exec console \"set pagination off\"");
        let program = text("program");
        let beside = Path::new(&program).parent().expect("a path").display().to_string();
        self.done(&format!("-gdb-set solib-search-path {beside}:"));
        match configuration["customLaunchSetupCommands"].as_array() {
            Some(commands) if !commands.is_empty() => {
                for command in commands {
                    let text =
                        command["text"].as_str().expect("a text").replace("${workspaceFolder}", &folder);
                    self.done(&text);
                }
                assert_eq!(text("targetArchitecture"), "x86_64", "what it is would not be asked");
            }
            _ => {
                self.done(&format!("-environment-cd {}", text("cwd")));
                self.done(&format!("-file-exec-and-symbols {program}"));
                let architecture = self.done("-interpreter-exec console \"show architecture\"");
                assert!(architecture.console.contains("x86-64"), "{}", self.transcript);
                self.command("-break-insert -f main");
                let address = text("miDebuggerServerAddress");
                let answer = self.command(&format!("-target-select remote {address}"));
                assert!(answer.result.starts_with("connected"), "{}", self.transcript);
                self.done("-break-delete 1");
            }
        }
        self.done("-interpreter-exec console \"info sharedlibrary\"");
    }

    /// A line of gdb's, which is a record of MI.
    fn line(&mut self) -> String {
        let mut line = String::new();
        let length = self.stdout.read_line(&mut line).expect("gdb writes UTF-8");
        self.transcript.push_str(&line);
        assert!(length > 0, "gdb has ended, or hangs\n{}", self.transcript);
        let record = Regex::new(r#"^(\d*[\^*+=][a-z-]+(,.*)?|[~@&]".*"|\(gdb\) ?)$"#).expect("a pattern");
        let line = line.trim_end_matches('\n').to_owned();
        assert!(record.is_match(&line), "not of MI: {line}\n{}", self.transcript);
        if line.starts_with("*stopped") {
            self.stops.push_back(line.clone());
        }
        line
    }

    fn prompt(&mut self) {
        while !self.line().starts_with("(gdb)") {}
    }

    /// Sends a command and waits for the answer.
    fn command(&mut self, command: &str) -> Answer {
        self.token += 1;
        let sent = format!("{}{command}\n", self.token);
        self.transcript.push_str(&sent);
        self.stdin.write_all(sent.as_bytes()).expect("gdb reads");
        let result = format!("{}^", self.token);
        let mut console = String::new();
        loop {
            let line = self.line();
            if let Some(text) = line.strip_prefix(['~', '@']) {
                console.push_str(&serde_json::from_str::<String>(text).unwrap_or_else(|_| text.to_owned()));
            }
            if let Some(result) = line.strip_prefix(&result) {
                return Answer { result: result.to_owned(), console };
            }
        }
    }

    /// A command that has to work.
    fn done(&mut self, command: &str) -> Answer {
        let answer = self.command(command);
        assert!(answer.result.starts_with("done"), "{command}: {}\n{}", answer.result, self.transcript);
        answer
    }

    /// A command that has to answer with all of these texts.
    fn tells(&mut self, command: &str, texts: &[&str]) -> Answer {
        let answer = self.done(command);
        for text in texts {
            let is_there = answer.result.contains(text) || answer.console.contains(text);
            assert!(is_there, "{command} does not tell {text}\n{}", self.transcript);
        }
        answer
    }

    fn icount(&mut self) -> u64 {
        let result = self.done("-data-evaluate-expression $icount").result;
        field(&result, "value").and_then(|value| value.parse().ok()).expect("a number")
    }

    /// Has the guest run, which is then said to run.
    fn run(&mut self, command: &str) {
        let answer = self.command(command);
        assert_eq!(answer.result, "running", "{command}\n{}", self.transcript);
        while !self.line().starts_with("*running") {}
    }

    /// Where the guest stops.
    fn stops(&mut self) -> String {
        while self.stops.is_empty() {
            self.line();
        }
        let stop = self.stops.pop_front().expect("not empty");
        for part in ["frame={addr=", "thread-id=", "stopped-threads=\"all\""] {
            assert!(stop.contains(part), "no {part}: {stop}\n{}", self.transcript);
        }
        stop
    }

    /// Where the guest stops, for this reason.
    fn stops_for(&mut self, reason: &str) -> String {
        let stop = self.stops();
        assert_eq!(field(&stop, "reason").as_deref(), Some(reason), "{}", self.transcript);
        stop
    }

    /// To an end of the recording. gdb 13 says so only on the console.
    fn runs_out(&mut self, command: &str) {
        self.run(command);
        let stop = self.stops();
        let reason = field(&stop, "reason");
        assert!(reason.is_none_or(|reason| reason == "no-history"), "{}", self.transcript);
        let said = "No more reverse-execution history";
        assert!(
            self.transcript.rsplit(command).next().is_some_and(|it| it.contains(said)),
            "{}",
            self.transcript
        );
    }

    fn moves(&mut self, command: &str, reason: &str) -> String {
        self.run(command);
        self.stops_for(reason)
    }

    /// The button for a pause.
    fn pause(&mut self) {
        assert!(self.has_server, "SIGINT would go to the process whose number gdb says");
        self.done("-exec-interrupt");
        let stop = self.stops_for("signal-received");
        assert!(stop.contains("signal-name=\"SIGINT\""), "{stop}");
        assert!(!self.transcript.contains("without sending a thread-id"), "{}", self.transcript);
    }

    /// The button to end it.
    fn end(mut self) {
        self.done("kill");
        assert_eq!(self.command("-gdb-exit").result, "exit", "{}", self.transcript);
        let status = self.gdb.wait().expect("a child");
        assert!(status.success(), "{status}\n{}", self.transcript);
    }
}

/// A command line as .NET takes it apart: no quotes but double ones.
fn words(line: &str) -> Vec<String> {
    let word = Regex::new(r#""((?:[^"\\]|\\.)*)"|(\S+)"#).expect("a pattern");
    let text = |it: regex::Captures<'_>| it.get(1).or(it.get(2)).map(|it| it.as_str().replace("\\\"", "\""));
    word.captures_iter(line).filter_map(text).collect()
}

/// The first field of this name in a record.
fn field(record: &str, name: &str) -> Option<String> {
    let pattern = Regex::new(&format!(r#"[,{{]{name}="([^"]*)""#)).expect("a pattern");
    Some(pattern.captures(record)?[1].to_owned())
}

/// The two configurations for a recording: of itself, and of a live guest.
fn launch_json(sandbox: &Sandbox, arguments: &[&str]) -> [Value; 2] {
    let printed = sandbox.run(["gdb", "--launch-json"].iter().chain(arguments));
    printed.expect(0, &[]);
    let json: Value = serde_json::from_str(&printed.stdout).expect("JSON");
    let [recording, live] = [0, 1].map(|index| json["configurations"][index].clone());
    for configuration in [&recording, &live] {
        assert_eq!(configuration["type"], "cppdbg", "{printed}");
        assert_eq!(configuration["request"], "launch", "{printed}");
    }
    [recording, live]
}

#[test]
fn the_printed_configuration_opens_the_recording_where_it_failed_and_walks_both_ways() {
    let sandbox = with_a_race();
    std::fs::copy(&sandbox.traces()[0], sandbox.file("the race.vkt")).expect("a copy");
    let [recording, _] = launch_json(&sandbox, &["the race.vkt"]);
    let (mut cppdbg, stop) = Cppdbg::launch(&sandbox, &recording);
    assert!(stop.contains("func=\"panic\""), "{stop}");
    let thread = field(&stop, "thread-id").expect("a thread");
    cppdbg.tells(
        "-thread-info",
        &["details=\"vCPU 0\"", "details=\"vCPU 1\"", &format!("current-thread-id=\"{thread}\"")],
    );
    look_around(&mut cppdbg, &thread);

    cppdbg.tells("-break-insert -f put_on_shelf", &["file=\"demo/work.c\"", "line=\""]);
    let stop = cppdbg.moves("-exec-continue --reverse", "breakpoint-hit");
    assert!(stop.contains("func=\"put_on_shelf\"") && stop.contains("bkptno=\"1\""), "{stop}");
    let entry = cppdbg.icount();
    cppdbg.moves("-exec-next", "end-stepping-range");
    let next = cppdbg.icount();
    cppdbg.moves("-exec-step --reverse", "end-stepping-range");
    let before = cppdbg.icount();
    assert!(
        entry < next && (entry..next).contains(&before),
        "{entry} {next} {before}\n{}",
        cppdbg.transcript
    );
    cppdbg.tells("-var-update --all-values *", &["changelist="]);
    // Then the buttons go back.
    cppdbg.done("-interpreter-exec console \"set exec-direction reverse\"");
    cppdbg.moves("-exec-next", "end-stepping-range");
    assert!((entry..before).contains(&cppdbg.icount()), "{entry} {before}\n{}", cppdbg.transcript);
    cppdbg.done("-interpreter-exec console \"set exec-direction forward\"");
    cppdbg.moves("-exec-finish --reverse", "end-stepping-range");
    cppdbg.done("-break-delete 1");
    cppdbg.moves("-exec-step-instruction --reverse", "end-stepping-range");

    cppdbg.done(&format!("-interpreter-exec console \"monitor {SLOW}\""));
    cppdbg.run("-exec-continue --reverse");
    cppdbg.pause();
    cppdbg.done("-interpreter-exec console \"monitor delete all\"");
    // What somebody types behind -exec.
    cppdbg.done("-break-insert -f put_on_shelf");
    cppdbg.run("-interpreter-exec console \"reverse-continue\"");
    cppdbg.stops_for("breakpoint-hit");
    cppdbg.done("-break-delete 2");
    cppdbg.runs_out("-exec-continue --reverse");
    assert_eq!(cppdbg.icount(), 0, "{}", cppdbg.transcript);
    cppdbg.runs_out("-exec-continue");
    cppdbg.end();
}

/// What is asked at every stop: the stack, variables, registers, memory.
fn look_around(cppdbg: &mut Cppdbg, thread: &str) {
    cppdbg.done(&format!("-thread-select {thread}"));
    let stack = cppdbg.tells("-stack-list-frames 0 1000", &["func=\"panic\"", "func=\"thread_main\""]).result;
    let place =
        Regex::new(r#"func="use_pages",file="demo/work.c",fullname="[^"]*",line="\d+""#).expect("a pattern");
    assert!(place.is_match(&stack), "{stack}");
    let frames: Vec<&str> = stack.split("frame={").collect();
    let level =
        frames.iter().find(|frame| frame.contains("\"use_pages\"")).and_then(|frame| frame.split('"').nth(1));
    cppdbg.done(&format!("-stack-select-frame {}", level.expect("a level")));
    cppdbg.tells("-stack-list-variables --no-values", &["name=\"worker\",arg=\"1\""]);
    let created = cppdbg.tells("-var-create - * worker", &["type=\"struct worker *\""]);
    let variable = field(&format!(",{}", created.result), "name").expect("a name");
    cppdbg.tells(&format!("-var-list-children --all-values {variable}"), &["exp=\"number\"", "numchild="]);
    cppdbg.tells(&format!("-var-evaluate-expression {variable}"), &["value=\"0xffffffff"]);
    cppdbg.tells("-data-evaluate-expression worker->number", &["value=\""]);
    cppdbg.tells("-data-list-register-names", &["\"rax\"", "\"cr3\"", "\"icount\""]);
    cppdbg.tells("-data-list-register-values x 0 16", &["{number=\"16\",value=\"0xffffffff"]);
    cppdbg.tells("-data-read-memory-bytes $pc 16", &["contents=\""]);
    cppdbg.tells("-data-disassemble -s $pc -e \"$pc + 16\" -- 2", &["inst=\""]);
    cppdbg.tells("-interpreter-exec console \"monitor when\"", &["% of @"]);
}

#[test]
fn the_printed_configuration_of_a_live_guest_stops_it_and_lets_it_go() {
    let sandbox = with_a_race();
    let kernel = guests::built("demo").display().to_string();
    let [_, mut live] = launch_json(&sandbox, &["--symbols", &kernel, "latest-fail"]);
    assert_eq!(live["miDebuggerServerAddress"], "localhost:1234", "where boot --gdb serves");
    let said = sandbox.file("said");
    let options =
        ["boot", "--clock", "virtual", "--gdb=localhost:0", "--append", "fixed rounds=100000000", &kernel];
    let mut guest = sandbox
        .command("timeout")
        .args(["-k", "10", "60", VKERNEL])
        .args(options)
        .stdout(Stdio::null())
        .stderr(File::create(&said).expect("a file"))
        .spawn()
        .expect("timeout is there (coreutils)");
    let address = loop {
        let said = std::fs::read_to_string(&said).expect("a file");
        if let Some((address, _)) = said.split("target remote ").nth(1).and_then(|rest| rest.split_once('\n'))
        {
            break address.to_owned();
        }
        assert!(guest.try_wait().expect("a child").is_none(), "it serves no gdb: {said}");
        std::thread::sleep(Duration::from_millis(20));
    };
    live["miDebuggerServerAddress"] = address.into();
    let (mut cppdbg, _) = Cppdbg::launch(&sandbox, &live);
    cppdbg.tells("-thread-info", &["details=\"vCPU 0\"", "details=\"vCPU 1\""]);
    cppdbg.done("-break-insert -f put_on_shelf");
    let stop = cppdbg.moves("-exec-continue", "breakpoint-hit");
    assert!(stop.contains("func=\"put_on_shelf\"") && stop.contains("file=\"demo/work.c\""), "{stop}");
    cppdbg.moves("-exec-step --reverse", "end-stepping-range");
    cppdbg.done("-break-delete 2");
    cppdbg.run("-exec-continue");
    cppdbg.pause();
    cppdbg.end();
    assert!(guest.wait().expect("a child").success(), "{:?}", std::fs::read_to_string(&said));
}
