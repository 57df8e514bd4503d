//! The manual page and the completions come from what parses the command line.

use crate::support::program::Sandbox;
use crate::support::root;

#[test]
fn the_manual_page_in_the_tree_is_the_one_that_the_program_writes() {
    let sandbox = Sandbox::new();
    sandbox.run(["generate", "man", "."]).expect(0, &[]);
    let read = |path| std::fs::read_to_string(path).expect("a manual page");
    assert!(
        read(sandbox.file("vkernel.1")) == read(root().join("docs/vkernel.1")),
        "docs/vkernel.1 is stale; write it again: cargo run -- generate man docs"
    );
}

#[test]
fn completions_are_scripts_that_their_shells_accept() {
    let sandbox = Sandbox::new();
    sandbox.run(["generate", "completions", "."]).expect(0, &["vkernel.bash"]);
    sandbox.script("bash -n vkernel.bash").expect(0, &[]);
    for name in ["_vkernel", "vkernel.fish"] {
        let script = std::fs::read_to_string(sandbox.file(name)).expect("it was written");
        for word in ["initrd", "replay", "pin"] {
            assert!(script.contains(word), "{word} in {name}");
        }
    }
}
