//! Where gdb comes in: a TCP address, which is this host's own unless another is named, or a Unix socket.

use crate::say;
use anyhow::{Context, Result};
use ddb_shell::ddb::Ddb;
use ddb_shell::gdb::{Ended, serve};
use nix::poll::{PollFd, PollFlags, poll};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
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
    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Listener::Tcp(listener) => listener.as_fd(),
            Listener::Unix(listener) => listener.as_fd(),
        }
    }

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

/// Waits for one gdb at an address, until somebody gives up. Nobody is listened to afterwards.
///
/// # Errors
/// The host refuses the address.
pub fn wait_for_one(address: &str, is_given_up: impl Fn() -> bool) -> Result<Option<Connection>> {
    const GLANCE_MS: u8 = 20;
    let (listener, address) = bind("gdb", address)?;
    say::line(&format!("gdb: target remote {address}"));
    // A signal that ends a glance is what gives up, or is nothing.
    let has_come =
        || poll(&mut [PollFd::new(listener.fd(), PollFlags::POLLIN)], GLANCE_MS).is_ok_and(|ready| ready > 0);
    let come = loop {
        if is_given_up() {
            break None;
        }
        if has_come() {
            break Some(listener.accept());
        }
    };
    forget(&address);
    come.transpose().context(address)
}

/// An address at which gdbs are awaited, by a thread of its own until the process ends.
pub struct GdbPort {
    address: String,
    arrived: Receiver<Connection>,
    /// Held while an arrival is told.
    telling: Arc<Mutex<()>>,
}

impl GdbPort {
    /// Whether an address can be listened at, for one that will be only later.
    ///
    /// # Errors
    /// The host refuses the address.
    pub fn check(option: &str, address: &str) -> Result<()> {
        forget(&bind(option, address)?.1);
        Ok(())
    }

    /// Listens at `HOST:PORT`, where this host's own address is meant without HOST, or at a Unix socket if there is a slash
    /// in the address, and says where. `arrived` is called whenever a gdb has connected.
    ///
    /// # Errors
    /// The host refuses the address.
    pub fn open(option: &str, address: &str, arrived: impl Fn() + Send + 'static) -> Result<GdbPort> {
        let port = GdbPort::listen(bind(option, address)?, arrived);
        say::line(&format!("gdb: target remote {}", port.address));
        Ok(port)
    }

    /// Listens at a Unix socket for a gdb that is told by the program itself.
    ///
    /// # Errors
    /// The host refuses the path.
    pub fn open_silently(path: &Path) -> Result<GdbPort> {
        let address = path.display().to_string();
        let listener = at_path(path).with_context(|| address.clone())?;
        Ok(GdbPort::listen((Listener::Unix(listener), address), || {}))
    }

    fn listen((listener, address): (Listener, String), arrived: impl Fn() + Send + 'static) -> GdbPort {
        let (sender, receiver) = channel();
        let telling = Arc::new(Mutex::new(()));
        let told = Arc::clone(&telling);
        std::thread::spawn(move || {
            loop {
                // One that has gone before it was let in is no reason to let in nobody else.
                let Ok(connection) = listener.accept() else {
                    std::thread::sleep(Duration::from_millis(20));
                    continue;
                };
                let _told = told.lock();
                if sender.send(connection).is_err() {
                    return;
                }
                arrived();
            }
        });
        GdbPort { address, arrived: receiver, telling }
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
                let _told = self.telling.lock();
                Ok(Some(connection))
            }
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => {
                anyhow::bail!("nobody can connect to {} any more", self.address)
            }
        }
    }
}

impl Drop for GdbPort {
    fn drop(&mut self) {
        forget(&self.address);
    }
}

/// A listener at an address, and how that is called.
fn bind(option: &str, address: &str) -> Result<(Listener, String)> {
    let context = || format!("{option} {address}");
    if address.contains('/') {
        let listener = at_path(Path::new(address)).with_context(context)?;
        return Ok((Listener::Unix(listener), address.to_owned()));
    }
    let of_this_host = if address.starts_with(':') { "localhost" } else { "" };
    let listener = TcpListener::bind(format!("{of_this_host}{address}")).with_context(context)?;
    let address = listener.local_addr()?.to_string();
    Ok((Listener::Tcp(listener), address))
}

/// Leaves no socket in the file system.
fn forget(address: &str) {
    if address.contains('/') {
        // Somebody else may have removed it.
        let _ = std::fs::remove_file(address);
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
