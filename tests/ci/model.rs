//! Traces of another model: the vkernel that recorded is kept, found and run; and what is said when it is not there.
//!
//! Such a trace is made from one of this model, with another number in it. That two real builds work together is
//! shown by the long test at the end, which is ignored because it builds the program once more.

use super::Place;
use boundary::ImageId;
use recorder::{Store, StoreRoot, TraceReader, TraceWriter};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A program that says how it was called.
const SCRIPT: &str = "#!/bin/sh\necho \"handed model $VKERNEL_HANDED_MODEL with $*\"\nexit 42\n";

fn store(place: &Place) -> Store {
    Store::at(StoreRoot::choose(Some(place.path("store").as_os_str()), None, None).unwrap())
}

/// Records a run and gives it another model and recorder. The trace is `x.vkt`.
fn of_model(place: &Place, model: u32, executable: Option<ImageId>) -> PathBuf {
    place.expect(0, "boot -m 128m --trace recorded.vkt --append rounds=0 demo:");
    let reader = TraceReader::open(&place.path("recorded.vkt")).unwrap();
    let mut power_on = reader.power_on().clone();
    power_on.model = model;
    let mut meta = reader.meta().clone();
    meta.vkernel_version = "7.8.9".to_owned();
    meta.executable = executable;
    let path = place.path("x.vkt");
    let mut writer = TraceWriter::replace(&path, &power_on, &meta).unwrap();
    for event in reader.events() {
        let (mark, event) = event.unwrap();
        writer.event(mark, &event).unwrap();
    }
    writer.finish(reader.ending().unwrap()).unwrap();
    path
}

/// Keeps an executable as if it had recorded into this place.
fn keep(place: &Place, bytes: &[u8]) -> ImageId {
    let path = place.path("executable");
    fs::write(&path, bytes).unwrap();
    let executable = store(place).executable(&path).unwrap();
    store(place).keep_executable(&executable).unwrap();
    executable.id
}

#[test]
fn a_boot_keeps_its_executable_once_and_names_it() {
    let place = Place::new();
    for _ in 0..2 {
        place.expect(0, "boot -m 128m --append rounds=0 demo:");
    }
    let program = recorder::image_id(&fs::read(env!("CARGO_BIN_EXE_vkernel")).unwrap());
    for name in place.recordings() {
        let reader = TraceReader::open(&store(&place).resolve(&name).unwrap()).unwrap();
        assert_eq!(reader.meta().executable, Some(program));
    }
    let path = store(&place).images().executable(program).unwrap().expect("it is kept");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 2, "the kernel and the program");
}

#[test]
fn the_kept_recorder_is_run_with_the_same_arguments() {
    for model in [machine::MODEL - 1, machine::MODEL + 1] {
        let place = Place::new();
        let id = keep(&place, SCRIPT.as_bytes());
        of_model(&place, model, Some(id));
        for line in ["replay ./x.vkt --engine reference", "trace verify --full ./x.vkt"] {
            let ran = place.expect(42, line);
            assert_eq!(ran.out, format!("handed model {model} with {line}\n"), "{}", ran.context());
        }
        // What needs no machine needs no other vkernel.
        place.expect(0, "trace info ./x.vkt");
    }
}

#[test]
fn a_recorder_that_is_none_does_not_hand_the_trace_on_for_ever() {
    let place = Place::new();
    let id = keep(&place, &fs::read(env!("CARGO_BIN_EXE_vkernel")).unwrap());
    of_model(&place, machine::MODEL + 1, Some(id));
    place.expect(255, "replay ./x.vkt").says("is not the one that recorded; install vkernel 7.8.9");
}

#[test]
fn without_the_recorder_the_version_to_install_is_named() {
    let place = Place::new();
    let (older, newer) = (machine::MODEL - 1, machine::MODEL + 1);
    of_model(&place, older, None);
    let ran = place.expect(255, "replay ./x.vkt");
    ran.says(&format!("is of model {older}, recorded by vkernel 7.8.9, and this vkernel"));
    ran.says("install vkernel 7.8.9").says("trace pack --with-executable");
    of_model(&place, newer, Some(ImageId([7; 32])));
    place.expect(255, "replay ./x.vkt").says("recorded by vkernel 7.8.9, a newer one,");
    // It can be given away all the same, and that is said.
    place.expect(0, "trace pack ./x.vkt -o p.vkt").says("needs it installed");
    place.expect(255, "trace pack --with-executable ./x.vkt -o q.vkt");
}

#[test]
fn a_recorder_that_came_with_the_trace_is_run_only_if_it_is_trusted() {
    let place = Place::new();
    let id = keep(&place, SCRIPT.as_bytes());
    of_model(&place, machine::MODEL + 1, Some(id));
    place.expect(0, "trace pack ./x.vkt -o p.vkt").says("vkernel-7.8.9");

    let elsewhere = Place::new();
    fs::copy(place.path("p.vkt"), elsewhere.path("p.vkt")).unwrap();
    elsewhere.expect(129, "replay ./p.vkt").says("--trust-executable");
    // Being among the images is not enough: an image may come from anybody.
    store(&elsewhere).images().put(SCRIPT.as_bytes()).unwrap();
    elsewhere.expect(129, "replay ./p.vkt").says("--trust-executable");
    let ran = elsewhere.expect(42, "replay --trust-executable ./p.vkt");
    assert!(ran.out.contains("with replay --trust-executable ./p.vkt"), "{}", ran.context());
}

#[test]
fn a_pack_carries_the_recorder_on_request() {
    let place = Place::new();
    place.expect(0, "boot -m 128m --append rounds=0 demo:");
    place.expect(0, "trace pack latest -o without.vkt");
    place.expect(0, "trace pack latest --with-executable -o with.vkt");
    let carries = |name: &str| {
        let reader = TraceReader::open(&place.path(name)).unwrap();
        reader.embedded_bytes(reader.meta().executable.unwrap()).unwrap().is_some()
    };
    assert!(!carries("without.vkt") && carries("with.vkt"));
    Place::new().expect(0, &format!("trace verify {}", place.path("with.vkt").display()));
}

/// Takes minutes: `cargo test --test main -- --ignored real_build`.
#[test]
#[ignore = "builds the program once more"]
fn a_real_build_of_the_next_model_hands_our_traces_to_us() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = root.join("target/next-model");
    let mut cargo = std::process::Command::new(env!("CARGO"));
    cargo.current_dir(root).args(["build", "--features", "next-model", "--target-dir"]).arg(&target);
    assert!(cargo.status().unwrap().success());
    let next = target.join("debug/vkernel");

    let place = Place::new();
    place.expect(1, "boot -m 128m --append panic demo:");
    let name = place.recordings().remove(0);
    let run_next = |line: &str| {
        let mut command = std::process::Command::new(&next);
        command
            .args(line.split(' '))
            .env("VKERNEL_DIR", place.path("store"))
            .stdin(std::process::Stdio::null());
        super::Ran::of(command.output().unwrap(), format!("{} {line}", next.display()))
    };
    let replayed = run_next(&format!("replay {name}"));
    assert_eq!(replayed.status, 1, "{}", replayed.context());
    replayed.says("as recorded");
    let verified = run_next(&format!("trace verify {name}"));
    assert_eq!(verified.status, 0, "{}", verified.context());
    // And the other way round: its trace is newer than we are.
    assert_eq!(run_next("boot -m 128m --append rounds=0 demo:").status, 0);
    place.expect(0, "replay latest").says("as recorded");
    // Without its recorder the trace says what to install.
    fs::remove_dir_all(place.path("store/executables")).unwrap();
    place.expect(129, "replay latest").says("--trust-executable");
}
