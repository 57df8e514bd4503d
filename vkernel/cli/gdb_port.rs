//! Where gdb comes in: a TCP address, which is this host's own unless another is named, or a Unix socket.

use crate::say;
use anyhow::{Context, Result};
use ddb_shell::ddb::Ddb;
use ddb_shell::gdb::{Ended, serve};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A gdb that has connected.
pub enum Connection {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a Unix socket.
    Unix(UnixStream),
}

type Ends = (Box<dyn Read + Send>, Box<dyn Write + Send>);

impl Connection {
    fn ends(&self) -> io::Result<Ends> {
        Ok(match self {
            Connection::Tcp(stream) => (Box::new(stream.try_clone()?), Box::new(stream.try_clone()?)),
            Connection::Unix(stream) => (Box::new(stream.try_clone()?), Box::new(stream.try_clone()?)),
        })
    }

    /// Serves gdb over this connection, and closes it. `interrupt` is how ^C reaches the guest.
    ///
    /// # Errors
    /// What came was no gdb, or the connection broke.
    pub fn serve(self, ddb: &mut Ddb<'_>, interrupt: Box<dyn Fn() + Send>) -> Result<Ended> {
        let (reader, writer) = self.ends()?;
        let served = serve(ddb, reader, writer, interrupt);
        // The thread that reads has the connection, too, and gdb is to see that it has ended. One that gdb has closed needs
        // no more.
        let _ = match &self {
            Connection::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Connection::Unix(stream) => stream.shutdown(Shutdown::Both),
        };
        Ok(served?)
    }
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    fn accept(&self) -> io::Result<Connection> {
        Ok(match self {
            Listener::Tcp(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nodelay(true)?;
                Connection::Tcp(stream)
            }
            Listener::Unix(listener) => Connection::Unix(listener.accept()?.0),
        })
    }
}

/// An address at which gdbs are awaited, by a thread of its own until the process ends.
pub struct GdbPort {
    address: String,
    arrived: Receiver<Connection>,
    /// Whether an arrival is told. Held meanwhile.
    tells: Arc<Mutex<bool>>,
}

impl GdbPort {
    /// Listens at `HOST:PORT`, where this host's own address is meant without HOST, or at a Unix socket if there is a slash in the address, and says where. From the call of
    /// [`GdbPort::tell`] on, `arrived` is called whenever a gdb has connected.
    ///
    /// # Errors
    /// The host refuses the address.
    pub fn open(option: &str, address: &str, arrived: impl Fn() + Send + 'static) -> Result<GdbPort> {
        let (listener, address) = if address.contains('/') {
            (
                Listener::Unix(at_path(Path::new(address)).with_context(|| format!("{option} {address}"))?),
                address.to_owned(),
            )
        } else {
            let address =
                &if address.starts_with(':') { format!("localhost{address}") } else { address.to_owned() };
            let listener = TcpListener::bind(address).with_context(|| format!("{option} {address}"))?;
            let address = listener.local_addr()?.to_string();
            (Listener::Tcp(listener), address)
        };
        say::line(&format!("gdb: target remote {address}"));
        let (sender, receiver) = channel();
        let tells = Arc::new(Mutex::new(false));
        let is_told = Arc::clone(&tells);
        std::thread::spawn(move || {
            loop {
                // One that has gone before it was let in is no reason to let in nobody else.
                let Ok(connection) = listener.accept() else { continue };
                let is_told = is_told.lock().expect("nobody panics with it");
                if sender.send(connection).is_err() {
                    return;
                }
                if *is_told {
                    arrived();
                }
            }
        });
        Ok(GdbPort { address, arrived: receiver, tells })
    }

    /// From now on arrivals are told.
    pub fn tell(&self) {
        *self.tells.lock().expect("nobody panics with it") = true;
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// A gdb that has connected, if one has within this time. That it has arrived has been told by then.
    ///
    /// # Errors
    /// Nobody can connect any more.
    pub fn wait(&self, wait: Duration) -> Result<Option<Connection>> {
        match self.arrived.recv_timeout(wait) {
            Ok(connection) => {
                let _told = self.tells.lock().expect("nobody panics with it");
                Ok(Some(connection))
            }
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => {
                anyhow::bail!("nobody can connect to {} any more", self.address)
            }
        }
    }
}

/// A socket in the place of one that nobody listens at any more.
fn at_path(path: &Path) -> io::Result<UnixListener> {
    match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && UnixStream::connect(path).is_err() => {
            std::fs::remove_file(path)?;
            UnixListener::bind(path)
        }
        bound => bound,
    }
}
