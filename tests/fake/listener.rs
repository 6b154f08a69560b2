//! Fake tools connect to a listener, so that a test can control when they end.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

/// Tests fail after this time: something hangs.
pub(crate) const HANG_TIMEOUT: Duration = Duration::from_mins(1);

pub(crate) struct Listener {
    address: SocketAddr,
    connections: Receiver<TcpStream>,
}

impl Listener {
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, connections) = mpsc::channel();
        std::thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                if sender.send(connection).is_err() {
                    break;
                }
            }
        });
        Self { address, connections }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits for a tool to connect and send its name.
    #[track_caller]
    pub(crate) fn accept(&self) -> Tool {
        let connection = self.connections.recv_timeout(HANG_TIMEOUT).expect("no tool has connected");
        connection.set_read_timeout(Some(HANG_TIMEOUT)).unwrap();
        let mut tool = Tool { name: String::new(), lines: BufReader::new(connection) };
        let hello = tool.line().expect("the name of the tool");
        hello.split(' ').next().unwrap().clone_into(&mut tool.name);
        tool
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Wakes the thread, which then notices that the receiver is gone.
        drop(std::mem::replace(&mut self.connections, mpsc::channel().1));
        _ = TcpStream::connect(self.address);
    }
}

/// A running fake tool.
pub(crate) struct Tool {
    pub(crate) name: String,
    lines: BufReader<TcpStream>,
}

impl Tool {
    /// The next line from the tool; `None` once it has exited.
    #[track_caller]
    pub(crate) fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.lines.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(line.trim_end().to_owned()),
            // The connection is reset if a killed process has not read all bytes.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => None,
            Err(error) => panic!("{} does not exit: {error}", self.name),
        }
    }

    /// Waits until the tool has exited and returns its lines.
    #[track_caller]
    pub(crate) fn remaining_lines(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.line()).collect()
    }

    /// Lets the tool finish, and waits until it has exited.
    #[track_caller]
    pub(crate) fn finish(mut self) {
        self.lines.get_mut().write_all(b"go\n").unwrap();
        assert_eq!(self.remaining_lines(), [""; 0], "{} only ends", self.name);
    }
}
