//! Packets to a server whose guest stands still.

use super::*;
use crate::testing::ddb_in_panic;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What the server has written.
#[derive(Clone, Default)]
struct Answers(Arc<Mutex<Vec<u8>>>);

impl Write for Answers {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("nobody panics").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Answers {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("nobody panics")).into_owned()
    }
}

/// Packets of a client that sends each when the one before has been answered, and then hangs up.
struct Client {
    packets: VecDeque<Vec<u8>>,
    sent: usize,
    answers: Answers,
}

impl Read for Client {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.answers.text().matches('#').count() < self.sent {
            std::thread::sleep(Duration::from_millis(1));
        }
        let Some(packet) = self.packets.pop_front() else { return Ok(0) };
        self.sent += 1;
        into[..packet.len()].copy_from_slice(&packet);
        Ok(packet.len())
    }
}

/// A packet as it is sent.
fn wire(packet: &[u8]) -> Vec<u8> {
    let sum = packet.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    [b"$", packet, format!("#{sum:02x}").as_bytes()].concat()
}

/// The server's answers to packets, which get their checksums here.
fn answers(ddb: &mut Ddb<'_>, packets: &[&[u8]]) -> String {
    answers_to(ddb, packets.iter().map(|packet| wire(packet)).collect())
}

/// The server's answers to what is sent, each when the one before has been answered.
fn answers_to(ddb: &mut Ddb<'_>, packets: VecDeque<Vec<u8>>) -> String {
    let answers = Answers::default();
    let client = Client { packets, sent: 0, answers: answers.clone() };
    let interrupt = ddb.debugger.interrupt.clone();
    let ended = serve(ddb, Box::new(client), Box::new(answers.clone()), Box::new(move || interrupt.raise()));
    let text = answers.text();
    assert_eq!(ended.expect("a client that hangs up"), Ended::Detached, "{text}");
    text
}

#[test]
fn threads_that_are_not_there_do_nothing() {
    let mut ddb = ddb_in_panic();
    for packet in ["vCont;s:99", "vCont;r1000,2000:3;c", "qThreadExtraInfo,99", "T99", "Hg99", "Hc99"] {
        let text = answers(&mut ddb, &[packet.as_bytes(), b"?"]);
        assert!(text.contains("$T05thread:"), "{packet}: {text}");
        assert!(ddb.debugger.vcpu < 2, "{packet}");
    }
}

#[test]
fn gdb_begins_with_the_vcpu_that_stopped_and_numbers_all_in_order() {
    let mut ddb = ddb_in_panic();
    for vcpu in [0, 1] {
        ddb.debugger.vcpu = vcpu;
        let text = answers(&mut ddb, &[b"?", b"qfThreadInfo", b"?"]);
        let stopped = format!("$T05thread:{:02x};#", vcpu + 1);
        assert_eq!(text.matches(&stopped).count(), 2, "{stopped}: {text}");
        assert!(text.contains("$m01,02#"), "{text}");
    }
}

#[test]
fn what_a_client_stops_at_goes_with_it() {
    let mut ddb = ddb_in_panic();
    ddb.execute("watch 1000,8");
    let text = answers(&mut ddb, &[b"Z0,1234,1", b"Z1,1235,1", b"Z2,1000,8", b"Z4,1236,4", b"z2,1000,8"]);
    assert_eq!(text.matches("$OK").count(), 5, "{text}");
    assert_eq!(ddb.debugger.stops.entries().len(), 1, "the prompt's own is left");
}

#[test]
fn an_interrupt_that_finds_the_guest_standing_stops_it_when_it_goes_on() {
    let mut ddb = ddb_in_panic();
    let sent = |packets: &[&[u8]]| {
        packets.iter().map(|packet| if packet.len() > 1 { packet.to_vec() } else { wire(packet) }).collect()
    };
    let standing = [b"\x03".as_slice(), &wire(b"?")].concat();
    let text = answers_to(&mut ddb, sent(&[&standing, b"c", b"?"]));
    assert!(text.contains("$T02thread:"), "{text}");
    // One that is data is none, and one that was sent while a command was executed has ended that.
    let data = wire(b"X0,1:\x03");
    let commanded = [wire(b"qRcmd,7768656e"), b"\x03".to_vec()].concat();
    let text = answers_to(&mut ddb, sent(&[&data, &commanded, b"c"]));
    assert!(!text.contains("$T02"), "{text}");
}
