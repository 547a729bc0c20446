//! One connection, spoken to in bytes: for work that sends very many small commands.

use secrecy::ExposeSecret;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, timeout_at},
};

use crate::{
    diagnosis::errors::NetworkFault,
    keyspace::wire::{Batch, Finder, Reply, replies},
};

use super::{
    dial::{Stream, dial},
    fault::{Fault, of_io, silence},
    secret,
    wire::Setup,
};

/// What came is no Redis protocol.
pub(crate) fn garbled() -> Fault {
    Fault::Server("ERR what came back is not Redis's protocol".to_owned())
}

/// A connection, and what it last answered.
pub(crate) struct Line {
    stream: Stream,
    /// The bytes of the last answers.
    pub buffer: Vec<u8>,
    owed: usize,
    /// Where the replies to each of those who asked together end.
    ends: Vec<usize>,
}

impl Line {
    /// Connects, authenticates, chooses the database.
    pub(crate) async fn open(setup: Setup<'_>, until: Instant) -> Result<Self, Fault> {
        let stream = dial(setup.address, setup.tls, until).await?;
        let mut line = Self { stream, buffer: Vec::with_capacity(16 << 10), owed: 0, ends: Vec::new() };
        let mut batch = Batch::default();
        let mut must = Vec::new();
        if let Some(from) = &setup.credential.password {
            let password = secret::read(from).map_err(Fault::Setup)?;
            let password = password.expose_secret().as_bytes();
            match &setup.credential.user {
                Some(user) => batch.push(&[b"AUTH", user.as_bytes(), password]),
                None => batch.push(&[b"AUTH", password]),
            }
            must.push(true);
        }
        if setup.database != 0 {
            batch.push(&[b"SELECT", setup.database.to_string().as_bytes()]);
            must.push(true);
        }
        if !setup.client_denied {
            batch.push(&[b"CLIENT", b"SETNAME", setup.name.as_bytes()]);
            must.push(false);
        }
        if setup.cluster {
            batch.push(&[b"READONLY"]);
            must.push(false);
        }
        if !batch.is_empty() {
            line.ask(&batch, until).await?;
            for (reply, must) in line.replies()?.iter().zip(must) {
                if let Some(error) = reply.error().filter(|_| must) {
                    return Err(Fault::Server(error));
                }
            }
        }
        Ok(line)
    }

    /// Sends commands and reads all their replies.
    pub(crate) async fn ask(&mut self, batch: &Batch, until: Instant) -> Result<(), Fault> {
        self.ask_together(batch, &[batch.replies], until).await
    }

    /// The replies of the last [`Line::ask`].
    pub(crate) fn replies(&self) -> Result<Vec<Reply<'_>>, Fault> {
        replies(&self.buffer, self.owed).map_err(|_| garbled())
    }

    /// Sends commands that several ask together, so many each, and reads all their replies.
    pub(crate) async fn ask_together(&mut self, batch: &Batch, counts: &[usize], until: Instant) -> Result<(), Fault> {
        self.send(batch, until).await?;
        self.receive_shares(counts, until).await
    }

    /// The bytes of the last replies, each asker's by themselves.
    pub(crate) fn shares(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.buffer[start..end])
    }

    pub(crate) async fn send(&mut self, batch: &Batch, until: Instant) -> Result<(), Fault> {
        let start = Instant::now();
        match timeout_at(until, self.stream.write_all(&batch.bytes)).await {
            Err(_) => Err(silence(start.elapsed())),
            Ok(Err(error)) => Err(of_io(&error)),
            Ok(Ok(())) => Ok(()),
        }
    }

    /// Reads until so many replies are in the buffer.
    pub(crate) async fn receive(&mut self, wanted: usize, until: Instant) -> Result<(), Fault> {
        self.receive_shares(&[wanted], until).await
    }

    /// Waits for bytes that nobody may have asked for, and puts them behind those in the buffer.
    pub(crate) async fn read_more(&mut self) -> Result<(), Fault> {
        match self.stream.read_buf(&mut self.buffer).await {
            Ok(0) => Err(Fault::Network(NetworkFault::Closed)),
            Ok(_) => Ok(()),
            Err(error) => Err(of_io(&error)),
        }
    }

    async fn receive_shares(&mut self, counts: &[usize], until: Instant) -> Result<(), Fault> {
        let start = Instant::now();
        self.buffer.clear();
        self.ends.clear();
        self.owed = counts.iter().sum();
        let mut finder = Finder::default();
        let reading = async {
            for count in counts {
                let wanted = finder.found + count;
                while !finder.look(&self.buffer, wanted).map_err(|_| garbled())? {
                    self.read_more().await?;
                }
                self.ends.push(finder.end);
            }
            Ok(())
        };
        timeout_at(until, reading).await.unwrap_or_else(|_| Err(silence(start.elapsed())))
    }
}
