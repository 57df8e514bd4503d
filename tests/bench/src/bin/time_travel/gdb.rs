//! As much of gdb's remote protocol as asks QEMU to move.

use anyhow::{Context, Result, bail};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// A connection to QEMU's gdb server.
pub struct Gdb {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Gdb {
    /// Connects once somebody listens. An answer may take `patience`.
    pub fn connect(port: u16, patience: Duration) -> Result<Gdb> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            match TcpStream::connect(("localhost", port)) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    stream.set_read_timeout(Some(patience))?;
                    let mut gdb = Gdb { stream, received: Vec::new() };
                    gdb.ask("qSupported:multiprocess+;swbreak+")?;
                    return Ok(gdb);
                }
                Err(error) if Instant::now() > deadline => return Err(error).context("QEMU does not listen"),
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    /// Sends a packet and gives the answer.
    pub fn ask(&mut self, body: &str) -> Result<String> {
        let sum = body.bytes().fold(0u8, u8::wrapping_add);
        self.stream.write_all(format!("${body}#{sum:02x}").as_bytes())?;
        self.answer()
    }

    /// Sends a packet, and says how many seconds its answer took.
    pub fn time(&mut self, body: &str) -> Result<f64> {
        let started = Instant::now();
        let answer = self.ask(body)?;
        if !answer.starts_with('T') {
            bail!("{body} is answered by {answer:?}");
        }
        Ok(started.elapsed().as_secs_f64())
    }

    /// A command of QEMU's monitor; gives what it prints.
    pub fn monitor(&mut self, command: &str) -> Result<String> {
        let hex: String = command.bytes().map(|byte| format!("{byte:02x}")).collect();
        let mut printed = String::new();
        let mut answer = self.ask(&format!("qRcmd,{hex}"))?;
        while let Some(hex) = answer.strip_prefix('O').filter(|hex| *hex != "K") {
            for pair in hex.as_bytes().chunks(2) {
                let byte = u8::from_str_radix(&String::from_utf8_lossy(pair), 16)?;
                printed.push(char::from(byte));
            }
            answer = self.answer()?;
        }
        Ok(printed)
    }

    fn answer(&mut self) -> Result<String> {
        loop {
            let start = self.received.iter().position(|byte| *byte == b'$');
            let end = self.received.iter().position(|byte| *byte == b'#');
            if let (Some(start), Some(end)) = (start, end)
                && self.received.len() >= end + 3
            {
                let body = String::from_utf8_lossy(&self.received[start + 1..end]).into_owned();
                self.received.drain(..end + 3);
                self.stream.write_all(b"+")?;
                return Ok(body);
            }
            let mut bytes = [0; 4096];
            let length = self.stream.read(&mut bytes).context("no answer")?;
            if length == 0 {
                bail!("QEMU has hung up");
            }
            self.received.extend_from_slice(&bytes[..length]);
        }
    }
}
