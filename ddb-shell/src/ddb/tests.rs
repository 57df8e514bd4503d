//! Lines that ask for too much, at a prompt that stands still.

use super::*;
use crate::testing::ddb_in_panic;

#[test]
fn what_a_line_prints_has_an_end() {
    let mut ddb = ddb_in_panic();
    // Blanks for tabs come on top. Addresses alone need no memory, so that nothing else ends this.
    let printed = ddb.execute("x/a 0,0ffffffffffffffff");
    assert!(printed.len() < 2 * OUTPUT_BYTES_MAX, "{} bytes", printed.len());
    assert!(printed.ends_with(&format!("{TOO_MUCH}\n")), "{}", &printed[printed.len() - 100..]);
    let printed = ddb.execute(&format!("p {}", "0fffffffffffffff ".repeat(2_000_000)));
    assert!(printed.ends_with(&format!("{TOO_MUCH}\n")), "{} bytes", printed.len());
}

#[test]
fn a_script_has_an_end() {
    let mut ddb = ddb_in_panic();
    ddb.execute(&format!("script a={}", "x/a 0,1000;".repeat(1000)));
    let printed = ddb.execute("run a");
    assert!(printed.len() < 2 * OUTPUT_BYTES_MAX, "{} bytes", printed.len());
    assert!(printed.ends_with(&format!("{TOO_MUCH}\n")), "{}", &printed[printed.len() - 100..]);
}

#[test]
fn what_is_captured_has_an_end() {
    let mut ddb = ddb_in_panic();
    ddb.execute("capture on");
    ddb.execute("x/a 0,1000");
    // Each would be twice as long as the one before.
    for _ in 0..30 {
        ddb.execute("capture show");
    }
    assert_eq!(ddb.captured.len(), CAPTURED_BYTES_MAX);
}
