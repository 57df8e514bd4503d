//! The documentation, held against the program and the tree: what it shows of a terminal is what happens, its
//! links lead somewhere, and the files and functions it names exist.
//!
//! A fenced block marked `console` holds commands (`$ `), what they print, and `? N` for an exit status other
//! than 0. Comparing leaves out what differs between hosts and compilers: see [`loosely`] and [`is_like`].

use crate::support::{files_below, root};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// README.md and every page below docs/.
fn pages() -> Vec<PathBuf> {
    let mut pages = files_below(&root().join("docs"), "md");
    pages.insert(0, root().join("README.md"));
    pages
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn name(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

/// A command that a page shows, with what it prints.
#[derive(Debug, Default)]
struct Shown {
    line: usize,
    command: String,
    output: Vec<String>,
    status: i32,
}

/// The commands of all `console` blocks of a page, in order.
fn shown(page: &str) -> Vec<Shown> {
    let mut found: Vec<Shown> = Vec::new();
    let mut inside = false;
    for (line, text) in (1..).zip(page.lines()) {
        if text.starts_with("```") {
            inside = text == "```console";
        } else if let (true, Some(command)) = (inside, text.strip_prefix("$ ")) {
            found.push(Shown { line, command: command.to_owned(), ..Shown::default() });
        } else if let (true, Some(last)) = (inside, found.last_mut()) {
            match text.strip_prefix("? ") {
                Some(status) => last.status = status.parse().expect("a status after `? `"),
                None => last.output.push(text.to_owned()),
            }
        }
    }
    found
}

/// Runs a command of a page in `directory`, with the program on the path; gives its status and output.
fn run(command: &str, directory: &Path) -> (Option<i32>, Vec<String>) {
    let program = Path::new(env!("CARGO_BIN_EXE_vkernel"));
    let folder = program.parent().expect("the program is in a folder").display();
    let path = format!("{folder}:{}", std::env::var("PATH").unwrap_or_default());
    let output = Command::new("timeout")
        .args(["300", "sh", "-c", &format!("exec 2>&1\n{command}")])
        .current_dir(directory)
        .env("PATH", path)
        .env("VKERNEL_DIR", directory.join("store"))
        .stdin(Stdio::null())
        .output()
        .expect("timeout and sh run");
    let text = String::from_utf8_lossy(&output.stdout);
    (output.status.code(), text.lines().map(str::to_owned).collect())
}

/// A line without what depends on the compiler that built the guest and on the day: numbers (a word of hex digits
/// with a decimal one among them is one), which function a backtrace passes, and what a kernel panics about.
fn loosely(line: &str) -> String {
    if line.starts_with("    ") && line.ends_with(')') && line.contains(" (tests/guests/") {
        return "    a frame".to_owned();
    }
    let line = line.find("panic: ").map_or(line, |at| &line[..at + "panic: ".len()]);
    let mut words: Vec<String> = Vec::new();
    for word in line.split_inclusive(|c: char| !c.is_ascii_alphanumeric()) {
        let stem = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        let is_hex = stem.trim_start_matches("0x").chars().all(|c| c.is_ascii_hexdigit());
        if stem.contains(|c: char| c.is_ascii_digit()) && is_hex {
            words.push(format!("0{}", &word[stem.len()..]));
        } else {
            words.push(word.to_owned());
        }
    }
    words.concat().replace("0.0", "0").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether a line is as the page has it, `[..]` standing for any text.
fn is_like(expected: &str, found: &str) -> bool {
    let found = loosely(found);
    let parts: Vec<String> = expected.split("[..]").map(loosely).collect();
    let [first, middle @ .., last] = &parts[..] else { return parts[0] == found };
    let Some(mut rest) = found.strip_prefix(first.as_str()) else { return false };
    for part in middle {
        let Some(at) = rest.find(part.as_str()) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last.as_str())
}

/// Whether the lines are as the page has them, `...` standing for any lines.
fn are_like(expected: &[String], found: &[String]) -> bool {
    match (expected, found) {
        ([], []) => true,
        ([dots, rest @ ..], _) if dots == "..." => {
            (0..=found.len()).any(|skipped| are_like(rest, &found[skipped..]))
        }
        ([line, rest @ ..], [first, others @ ..]) => is_like(line, first) && are_like(rest, others),
        _ => false,
    }
}

#[test]
fn what_the_documentation_shows_of_a_terminal_is_what_happens() {
    let mut commands = 0;
    for page in pages() {
        let directory = tempfile::tempdir().expect("a directory");
        for Shown { line, command, output, status } in shown(&read(&page)) {
            commands += 1;
            let (found_status, found) = run(&command, directory.path());
            assert!(
                found_status == Some(status) && are_like(&output, &found),
                "{}:{line}: `{command}` is to end with {status} and print\n{}\nbut ended with {found_status:?} and printed\n{}",
                name(&page),
                output.join("\n"),
                found.join("\n")
            );
        }
    }
    assert!(commands > 5, "the pages show {commands} commands: are the blocks still found?");
}

#[test]
fn comparing_sees_a_difference() {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let alike = |expected: &str, found: &str| are_like(&lines(expected), &lines(found));
    assert!(alike("seed 22: panic: a\n...\nend at @12+1, [..]", "seed 3: panic: b\nx\ny\nend at @7+2, 0.1s"));
    assert!(alike("    panic+0xa/0xb (tests/guests/a.c:1)", "    free+0x1/0x2f (tests/guests/b.c:22)"));
    assert!(alike("digest [..]\nreads e04f", "digest 12ab\nreads 0001"));
    assert!(!alike("seed 22: power off", "seed 22: panic: a"));
    assert!(!alike("one\n...\ntwo", "one\nthree"));
    assert!(!alike("one", "one\ntwo"));
    assert!(!alike("[..] bytes", "5 byte"));
}

/// The targets of a page's links.
fn links(page: &str) -> Vec<&str> {
    let targets = page.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    targets.map(|(target, _)| target).filter(|target| !target.contains("://")).collect()
}

#[test]
fn links_lead_somewhere() {
    let mut all = pages();
    all.extend(files_below(&root().join("tests"), "md"));
    for page in all {
        let folder = page.parent().expect("a page is in a folder");
        for target in links(&read(&page)) {
            let file = target.split('#').next().unwrap_or_default();
            assert!(folder.join(file).exists(), "{} links to {target}, which is not there", name(&page));
        }
    }
}

#[test]
fn every_page_is_linked_from_the_reading_order() {
    let order = read(&root().join("docs/README.md"));
    let linked: BTreeSet<PathBuf> = links(&order)
        .into_iter()
        .filter_map(|target| root().join("docs").join(target).canonicalize().ok())
        .collect();
    let guests = files_below(&root().join("tests/guests"), "md");
    let manual = root().join("docs/vkernel.1");
    for page in pages().into_iter().chain(guests).chain([manual]) {
        let is_order = page.ends_with("docs/README.md");
        let found = linked.contains(&page.canonicalize().expect("a page"));
        assert!(is_order || found, "docs/README.md does not link to {}", name(&page));
    }
}

/// What stands between backticks outside of fenced blocks.
fn code_words(page: &str) -> Vec<String> {
    let mut inside = false;
    let mut words = Vec::new();
    for line in page.lines() {
        inside ^= line.starts_with("```");
        if !inside {
            words.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    words
}

/// Whether every part is a Rust name.
fn is_path_of_names(word: &str) -> bool {
    word.split("::")
        .all(|part| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
}

#[test]
fn files_and_functions_that_the_pages_name_exist() {
    let sources: Vec<PathBuf> = ["vkernel", "recorder", "replay", "ddb-shell", "tests"]
        .iter()
        .flat_map(|folder| files_below(&root().join(folder), "rs"))
        .collect();
    let text: String = sources.iter().map(|path| read(path)).collect();
    let (mut files, mut functions) = (0, 0);
    for page in pages() {
        for word in code_words(&read(&page)) {
            let folder = word.split('/').next().unwrap_or_default();
            if word.ends_with(".rs") && !word.contains('/') {
                files += 1;
                let exists = sources.iter().any(|path| path.ends_with(&word)) || root().join(&word).exists();
                assert!(exists, "{} names {word}, and no such file exists", name(&page));
            } else if ["vkernel", "recorder", "replay", "ddb-shell", "tests", "docs", ".ci"].contains(&folder)
                && word.contains('/')
                && !word.contains(['*', ' '])
            {
                files += 1;
                assert!(root().join(&word).exists(), "{} names {word}, which is not there", name(&page));
            } else if word.contains("::") && is_path_of_names(&word) {
                functions += 1;
                let last = word.rsplit("::").next().unwrap_or_default();
                let defined = ["fn ", "const ", "struct ", "enum ", "    "]
                    .iter()
                    .any(|before| text.contains(&format!("{before}{last}")));
                assert!(defined, "{} names {word}, which is not defined", name(&page));
            }
        }
    }
    assert!(files > 40 && functions > 10, "{files} files, {functions} functions: are they still found?");
}
