//! Packets for the gdb server, and clients that send them.

use super::{EDGES, lines, mutate};
use crate::Dice;
use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Right packets, of every kind but those that end the server. `#` is a number where something begins or ends.
const RIGHT: [&str; 92] = [
    "?",
    "!",
    "g",
    "G00",
    "G#",
    "p#",
    "p0",
    "p7f",
    "P0=0000000000000000",
    "P10=#",
    "P7f=00",
    "P100=00",
    "m#,#",
    "m0,ffffffff",
    "m#,10000",
    "M#,1:00",
    "M#,#:00ff",
    "X#,1:\u{1}",
    "X#,#:",
    "c",
    "c#",
    "s",
    "s#",
    "C05",
    "S05",
    "S05;#",
    "vCont?",
    "vCont;c",
    "vCont;s:1",
    "vCont;s:2;c",
    "vCont;s:99",
    "vCont;s:-1",
    "vCont;C05:1;c",
    "vCont;r#,#:1",
    "vCont;r#,#:7fff;c",
    "vCont;t",
    "vCont;s",
    "vCont;c:p1.1",
    "vCont;s:p1.2;c:p1.-1",
    "vCont",
    "vCont;",
    "bs",
    "bc",
    "Z0,#,1",
    "Z0,zz,1",
    "Z1,#,4",
    "Z2,#,8",
    "Z3,#,#",
    "Z4,#,#",
    "Z5,#,1",
    "Z0,#,1;X2,2348",
    "z0,#,1",
    "z1,#,1",
    "z2,#,8",
    "z3,#,#",
    "z4,#,#",
    "Hg0",
    "Hg99",
    "Hg-1",
    "Hc#",
    "Hgp1.1",
    "T1",
    "T99",
    "Tp#.#",
    "qSupported:multiprocess+;swbreak+;hwbreak+;qRelocInsn+",
    "qXfer:features:read:target.xml:#,#",
    "qXfer:features:read:target.xml:ffffffff,ffff",
    "qXfer:features:read:#:0,fff",
    "qXfer:memory-map:read::#,#",
    "qXfer:threads:read::0,1000",
    "qXfer:auxv:read::#,#",
    "qfThreadInfo",
    "qsThreadInfo",
    "qThreadExtraInfo,1",
    "qThreadExtraInfo,#",
    "qC",
    "qAttached",
    "qAttached:1",
    "qOffsets",
    "qSymbol::",
    "qSymbol:#:61",
    "qTStatus",
    "qCRC:#,#",
    "qSearch:memory:#;#;00",
    "QStartNoAckMode",
    "QNonStop:1",
    "QPassSignals:e;10",
    "QCatchSyscalls:1",
    "QThreadEvents:1",
    "vMustReplyEmpty",
    "vFile:open:61,0,0",
    "D",
];

/// What is put into packets.
const PIECES: [&str; 14] =
    ["$", "#", "}", "*~", ",", ":", ";", "-1", "p0.0", "ffffffffffffffff", "\u{3}", "+", "-", "\0"];

/// How long a client waits for an answer.
const ANSWER_TIME: Duration = Duration::from_millis(20);

/// What is sent for one packet: in most cases a packet.
fn wire(dice: &mut Dice) -> Vec<u8> {
    let mut body = match dice.below(12) {
        0 => monitor(dice),
        1 => (0..dice.below(40)).map(|_| dice.below(256) as u8).collect(),
        _ => right(dice),
    };
    if dice.below(5) == 0 {
        mutate(&mut body, &PIECES, dice);
    }
    let sum = body.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    let mut sent = vec![b'$'];
    sent.append(&mut body);
    match dice.below(100) {
        0 => sent.extend(format!("#{:02x}", sum.wrapping_add(1)).bytes()),
        1 => sent.extend(b"#zz"),
        2 => sent.extend(b"#"),
        3 => {}
        4 => sent.insert(0, 3),
        5 => {
            sent.extend(format!("#{sum:02x}").bytes());
            sent.push(3);
        }
        6 => sent.splice(0..0, *b"+-+").for_each(drop),
        _ => {}
    }
    if !sent.contains(&b'#') {
        sent.extend(format!("#{sum:02x}").bytes());
    }
    sent
}

/// A ddb command by way of gdb's `monitor`.
fn monitor(dice: &mut Dice) -> Vec<u8> {
    let mut body = String::from("qRcmd,");
    for byte in lines::line(dice) {
        let _ = write!(body, "{byte:02x}");
    }
    body.into_bytes()
}

/// A right packet with numbers in it.
fn right(dice: &mut Dice) -> Vec<u8> {
    let mut body = Vec::new();
    for piece in dice.pick(&RIGHT).split_inclusive('#') {
        match piece.strip_suffix('#') {
            Some(before) => body.extend(before.bytes().chain(dice.pick(&EDGES).bytes())),
            None => body.extend(piece.bytes()),
        }
    }
    body
}

/// A client that sends so much nonsense at most, and hangs up. None of it asks for the end of the server. Gives how many
/// packets it has sent: a server that hangs up on nonsense is right.
///
/// # Errors
/// There is no server any more.
pub fn nuisance(address: &str, dice: &mut Dice, packets: usize) -> io::Result<usize> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(ANSWER_TIME))?;
    // Three in four wait for answers, as gdb does: what is sent ahead of them is taken for ^C.
    let is_patient = dice.below(4) > 0;
    for number in 0..packets {
        let sent = wire(dice);
        let kills = sent.windows(2).any(|pair| pair == b"$k") || sent.windows(5).any(|word| word == b"vKill");
        if kills {
            continue;
        }
        if stream.write_all(&sent).is_err() || is_patient && !is_answered(&mut stream) {
            return Ok(number + 1);
        }
    }
    Ok(packets)
}

/// Reads an answer, or as much of it as comes in time; whether the connection still stands.
fn is_answered(stream: &mut TcpStream) -> bool {
    let mut bytes = [0; 4096];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return false,
            Ok(length) if bytes[..length].contains(&b'#') => return true,
            Ok(_) => {}
            // Not every packet has an answer, and a guest that runs has none yet.
            Err(error) => return matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut),
        }
    }
}

/// Asks as a client in its right mind, and hangs up.
///
/// # Errors
/// There is no answer in this time, or it is not right.
pub fn expect_sane_server(address: &str, patience: Duration) -> Result<(), String> {
    let mut stream = TcpStream::connect(address).map_err(|error| error.to_string())?;
    stream.set_read_timeout(Some(patience)).map_err(|error| error.to_string())?;
    stream.write_all(b"$?#3f").map_err(|error| error.to_string())?;
    let mut answer = Vec::new();
    // An acknowledgement, and a packet to the end of its checksum.
    while answer.iter().position(|byte| *byte == b'#').is_none_or(|end| answer.len() < end + 3) {
        let mut byte = [0];
        match stream.read(&mut byte) {
            Ok(1) => answer.push(byte[0]),
            Ok(_) => return Err("the connection ends without an answer".to_owned()),
            Err(error) => return Err(format!("no answer: {error}")),
        }
    }
    if answer.windows(3).any(|start| start == b"$T0") {
        return Ok(());
    }
    Err(format!("a wrong answer: {:?}", String::from_utf8_lossy(&answer)))
}
