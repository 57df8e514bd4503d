//! A trace that another vkernel recorded, which claims the same model but does not behave the same.

use crate::support::program::Sandbox;
use crate::support::root;

/// It was recorded before the first release, under a schedule that no released vkernel has.
#[test]
fn a_trace_of_a_vkernel_that_behaves_otherwise_is_a_divergence_and_said_to_be_that() {
    let trace = root().join("tests/faults/another-vkernel.vkt");
    let ran = Sandbox::new().run(["trace".as_ref(), "verify".as_ref(), trace.as_os_str()]);
    ran.expect(
        255,
        &[
            "replay diverges from the trace between @0 and @103584+1",
            "another vkernel that claims the same model",
        ],
    );
}
