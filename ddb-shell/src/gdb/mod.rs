//! The gdb server: the remote serial protocol over any connection, with the same session behind it as the prompt.
//!
//! The protocol is gdbstub's; registers ([`registers`]) and what is done ([`target`]) are ours. What gdb sends while the
//! guest runs is read by a thread of its own, so that ^C is heard; everything else happens on the session's thread. gdb
//! finds functions and lines by itself; breakpoints with conditions that are evaluated on this side are
//! `monitor break ADDRESS if {EXPRESSION}`. Left out: extended mode, non-stop, tracepoints, file transfer.

mod framing;
mod registers;
mod target;
#[cfg(test)]
mod tests;

use crate::ddb::Ddb;
use crate::debugger::{DebugError, Why};
use framing::{Framing, INTERRUPT};
use gdbstub::conn::Connection;
use gdbstub::stub::state_machine::GdbStubStateMachine;
use gdbstub::stub::{DisconnectReason, GdbStub, GdbStubError};
use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use target::Session;

/// The largest packet that is taken: gdb reads memory in pieces of half of it.
const PACKET_BYTES: usize = 128 << 10;

/// How much may have come that nobody has looked at, before the other side has to wait: gdb is never so far ahead.
const AHEAD_BYTES: usize = 64 << 10;

/// Why a session with gdb ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// gdb has detached or hung up: the guest may go on.
    Detached,
    /// gdb wants the guest to be ended.
    Killed,
    /// The guest has ended.
    Exited,
}

/// Why a session could not go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The session's.
    #[error(transparent)]
    Debug(DebugError),
    /// What came was no gdb, or the connection broke in the middle.
    #[error("the connection to gdb broke: {0}")]
    Protocol(String),
}

/// The writing side of a connection, with what the reading side has read.
struct Wire {
    writer: Box<dyn Write + Send>,
    buffered: Vec<u8>,
    received: Receiver<u8>,
}

impl Connection for Wire {
    type Error = io::Error;

    fn write(&mut self, byte: u8) -> io::Result<()> {
        self.buffered.push(byte);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let bytes = std::mem::take(&mut self.buffered);
        self.writer.write_all(&bytes)?;
        self.writer.flush()
    }
}

/// Serves one gdb until it detaches, kills, or the guest ends. `interrupt` is called, by the thread that reads, for ^C and for the
/// end of the connection; it makes whatever runs come back.
///
/// # Errors
/// The session's, or the connection's.
pub fn serve(
    ddb: &mut Ddb<'_>,
    reader: Box<dyn Read + Send>,
    writer: Box<dyn Write + Send>,
    interrupt: Box<dyn Fn() + Send>,
) -> Result<Ended, ServeError> {
    ddb.debugger.find_symbols();
    let (sender, received) = sync_channel(AHEAD_BYTES);
    // It ends with the connection; nobody waits for it.
    std::thread::spawn(move || listen(reader, &sender, &*interrupt));
    let wire = Wire { writer, buffered: Vec::new(), received };
    let stub = GdbStub::builder(wire).packet_buffer_size(PACKET_BYTES).build();
    let stub = stub.map_err(|error| ServeError::Protocol(error.to_string()))?;
    let mut session = Session::new(ddb);
    let mut framing = Framing::default();
    // ^C came to a guest that stood: gdb was just being told of a stop that it went on from by itself.
    let mut is_to_stop = false;
    let mut stub = stub.run_state_machine(&mut session).map_err(serve_error)?;
    loop {
        stub = match stub {
            GdbStubStateMachine::Idle(mut idle) => match idle.borrow_conn().received.recv() {
                Ok(byte) if framing.is_interrupt(byte) => {
                    is_to_stop |= !session.was_commanding();
                    idle.into()
                }
                Ok(byte) => {
                    session.hear(byte);
                    idle.incoming_data(&mut session, byte).map_err(serve_error)?
                }
                Err(_) => return Ok(Ended::Detached),
            },
            GdbStubStateMachine::Running(mut running) => {
                // gdb sends nothing to a guest that runs but ^C.
                session.listen_to_interrupts();
                let early = running.borrow_conn().received.try_recv().ok();
                let (reason, byte) = match early {
                    Some(byte) => (None, Some(byte)),
                    None if std::mem::take(&mut is_to_stop) => (Some(session.reason(Why::Interrupted)), None),
                    None => {
                        let reason = session.run().map_err(ServeError::Debug)?;
                        let is_interrupted = session.is_interrupted();
                        let byte = running.borrow_conn().received.try_recv();
                        if byte == Err(TryRecvError::Disconnected) {
                            return Ok(Ended::Detached);
                        }
                        is_to_stop = byte == Ok(INTERRUPT) && !is_interrupted;
                        (Some(reason), byte.ok().filter(|_| is_interrupted))
                    }
                };
                match (reason, byte) {
                    (_, Some(byte)) => running.incoming_data(&mut session, byte).map_err(serve_error)?,
                    (Some(reason), None) => running.report_stop(&mut session, reason).map_err(serve_error)?,
                    (None, None) => running.into(),
                }
            }
            GdbStubStateMachine::CtrlCInterrupt(ctrl_c) => {
                let reason = session.reason(Why::Interrupted);
                ctrl_c.interrupt_handled(&mut session, Some(reason)).map_err(serve_error)?
            }
            GdbStubStateMachine::Disconnected(mut disconnected) => {
                let reason = disconnected.get_reason();
                return Ok(ended(reason, disconnected.borrow_conn()));
            }
        };
    }
}

/// Why gdb has gone; the last answer is sent.
fn ended(reason: DisconnectReason, wire: &mut Wire) -> Ended {
    match reason {
        DisconnectReason::Disconnect => Ended::Detached,
        DisconnectReason::TargetExited(_) | DisconnectReason::TargetTerminated(_) => Ended::Exited,
        DisconnectReason::Kill => {
            // gdbstub answers vKill only in extended mode, and gdb waits for it. One that has gone needs none.
            wire.buffered.extend_from_slice(b"$OK#9a");
            let _ = wire.flush();
            Ended::Killed
        }
    }
}

/// Passes on what gdb sends. ^C and the end of the connection interrupt whatever runs.
fn listen(mut reader: Box<dyn Read + Send>, sender: &SyncSender<u8>, interrupt: &dyn Fn()) {
    let mut bytes = [0; 4096];
    loop {
        let length = match reader.read(&mut bytes) {
            Ok(0) | Err(_) => break,
            Ok(length) => length,
        };
        for &byte in &bytes[..length] {
            if sender.send(byte).is_err() {
                return;
            }
            if byte == INTERRUPT {
                interrupt();
            }
        }
    }
    interrupt();
}

fn serve_error(error: GdbStubError<DebugError, io::Error>) -> ServeError {
    if error.is_target_error() {
        return match error.into_target_error() {
            Some(error) => ServeError::Debug(error),
            None => ServeError::Protocol("an error without a cause".to_owned()),
        };
    }
    ServeError::Protocol(error.to_string())
}
