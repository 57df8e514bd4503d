//! Which part of a log is said to be unprinted. Reading the log itself is tested on real kernels (tests/failures).

use super::printk::unprinted;

fn log() -> Vec<String> {
    ["[    0.000000] Linux version 6.1", "[    1.500000] first words", "[    1.600000] panic!"]
        .map(str::to_owned)
        .to_vec()
}

#[test]
fn what_follows_the_last_line_shown_is_unprinted() {
    let console = "[    0.000000] Linux version 6.1\r\n[    1.500000] first words\r\n[    1.6000";
    assert_eq!(unprinted(log(), console), ["[    1.600000] panic!"]);
    assert_eq!(unprinted(log(), ""), log(), "a silent console has shown nothing");
    let all = log().join("\r\n");
    assert!(unprinted(log(), &all).is_empty());
}

#[test]
fn a_console_without_time_stamps_is_understood() {
    assert_eq!(unprinted(log(), "Linux version 6.1\nfirst words\n"), ["[    1.600000] panic!"]);
}
