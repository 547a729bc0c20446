//! As much of the Redis protocol as filling a server takes.
//!
//! The bot's own connections live in `exec`; this is the other side of the
//! story, the applications that fill a Redis and the people who trouble it.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpStream,
    time::Duration,
};

/// Appends a command to what will be sent.
pub(super) fn command(buffer: &mut Vec<u8>, words: &[&str]) {
    let _ = write!(buffer, "*{}\r\n", words.len());
    for word in words {
        let _ = write!(buffer, "${}\r\n", word.len());
        buffer.extend_from_slice(word.as_bytes());
        buffer.extend_from_slice(b"\r\n");
    }
}

/// A connection that waits for each answer.
pub(super) struct Conversation {
    stream: BufReader<TcpStream>,
}

impl Conversation {
    /// Connects, authenticates and names itself.
    pub(super) fn open(port: u16, password: &str, name: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut conversation = Self { stream: BufReader::new(stream) };
        conversation.ask(&["AUTH", password])?;
        conversation.ask(&["CLIENT", "SETNAME", name])?;
        Ok(conversation)
    }

    /// Sends one command and returns its answer, an aggregate as its number of parts.
    pub(super) fn ask(&mut self, words: &[&str]) -> io::Result<String> {
        self.send(words)?;
        self.answer()
    }

    /// Sends one command and does not wait.
    pub(super) fn send(&mut self, words: &[&str]) -> io::Result<()> {
        let mut buffer = Vec::new();
        command(&mut buffer, words);
        self.stream.get_mut().write_all(&buffer)
    }

    /// Sends many commands of which no answers are wanted.
    pub(super) fn pour(&mut self, commands: &[u8]) -> io::Result<()> {
        self.send(&["CLIENT", "REPLY", "OFF"])?;
        self.stream.get_mut().write_all(commands)?;
        self.ask(&["CLIENT", "REPLY", "ON"]).map(|_| ())
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }

    fn answer(&mut self) -> io::Result<String> {
        let line = self.line()?;
        let (kind, rest) = line.split_at_checked(1).ok_or_else(|| io::Error::other("an empty answer"))?;
        match kind {
            "-" => Err(io::Error::other(rest.to_owned())),
            "$" => {
                let Ok(length) = rest.parse::<usize>() else { return Ok(String::new()) };
                let mut bytes = vec![0; length + 2];
                self.stream.read_exact(&mut bytes)?;
                bytes.truncate(length);
                Ok(String::from_utf8_lossy(&bytes).into_owned())
            }
            "*" => {
                for _ in 0..rest.parse::<usize>().unwrap_or(0) {
                    self.answer()?;
                }
                Ok(rest.to_owned())
            }
            _ => Ok(rest.to_owned()),
        }
    }
}
