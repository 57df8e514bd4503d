//! The exit status under the real `git bisect run`.

use crate::support::program::Sandbox;
use crate::support::tiny::Tiny;

const GIT: &str = "git -c user.name=t -c user.email=t@t -c init.defaultBranch=main -c commit.gpgsign=false -c advice.detachedHead=false";

/// A repository with a commit for each kernel; `None` is a commit whose kernel does not build.
fn repository(kernels: &[Option<Vec<u8>>]) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.script(&format!("{GIT} init -q src")).expect(0, &[]);
    for (number, kernel) in kernels.iter().enumerate() {
        match kernel {
            Some(kernel) => drop(sandbox.write("src/kernel", kernel)),
            None => std::fs::remove_file(sandbox.file("src/kernel")).expect("it was there"),
        }
        sandbox.write("src/number", number.to_string());
        sandbox
            .script(&format!("cd src && {GIT} add -A && {GIT} commit -qm 'commit {number}'"))
            .expect(0, &[]);
    }
    sandbox
}

#[test]
fn git_bisect_run_finds_the_commit_and_skips_what_cannot_be_judged() {
    let good = || Some(Tiny::default().print("all tests passed\n").debug_exit(0));
    let bad =
        || Some(Tiny::default().print("Kernel panic - not syncing: x\n---[ end Kernel panic ]---\n").spin());
    let sandbox = repository(&[good(), good(), good(), None, good(), bad(), bad(), bad()]);
    let ran = sandbox.script(&format!(
        "cd src && export HOME=$PWD && {GIT} bisect start HEAD HEAD~7 && \
         {GIT} bisect run $VKERNEL -m 64m --limit 10s --expect passed --ok-exit 0 ./kernel"
    ));
    ran.expect(0, &[]);
    let first_bad = ran.stdout.lines().skip_while(|line| !line.contains("is the first bad commit"));
    assert!(first_bad.into_iter().any(|line| line.trim() == "commit 5"), "{ran}");
    assert!(
        ran.stderr.contains("KERNEL ./kernel: no such file"),
        "the commit without a kernel was met\n{ran}"
    );
}

#[test]
fn git_bisect_run_stops_at_a_mistake_and_at_trouble() {
    let good = || Some(Tiny::default().debug_exit(0));
    let sandbox = repository(&[good(), good(), good(), good()]);
    for (mistake, status) in [("--limit nonsense", 129), ("--trace /dev/full", 255)] {
        let ran = sandbox.script(&format!(
            "cd src && export HOME=$PWD && {GIT} bisect reset && {GIT} bisect start HEAD HEAD~3 && \
             {GIT} bisect run $VKERNEL -m 64m {mistake} ./kernel"
        ));
        assert_ne!(ran.status, 0, "{ran}");
        assert!(format!("{ran}").contains(&format!("exit code {status}")), "{ran}");
    }
}
