//! One stream under measurement, whatever carries it: a client that asks, and a server that swallows or echoes.
//!
//! The same code moves the same bytes in writes and reads of the same size over each of them.

use std::any::Any;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// What is written and read at a time while streaming: four TLS records.
const CHUNK: usize = 64 * 1024;

/// What goes back and forth in a round trip.
pub const MESSAGE: usize = 64;

/// The server is to swallow so many bytes, and to say one byte then.
const SWALLOW: u8 = 0;

/// The server is to echo so many messages.
const ECHO: u8 = 1;

/// A future that a measurement is made of.
pub type Measured<'a> = Pin<Box<dyn Future<Output = Duration> + Send + 'a>>;

/// Is told how long each round trip took.
pub type Each<'a> = dyn FnMut(Duration) + Send + 'a;

/// A stream under measurement.
pub trait Subject: Send {
    /// What carries it.
    fn name(&self) -> &'static str;

    /// The time that so many bytes take to arrive.
    fn stream(&mut self, bytes: u64) -> Measured<'_>;

    /// The time that so many round trips take, one after another; each is told.
    fn round_trips<'a>(&'a mut self, count: u64, each: &'a mut Each<'_>) -> Measured<'a>;
}

/// The client's side of a stream.
pub struct Client<R, W> {
    name: &'static str,
    recv: R,
    send: W,
    _alive: Box<dyn Any + Send>,
}

impl<R, W> Client<R, W>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    /// `alive` is whatever must not be dropped while the stream is used.
    pub fn new(name: &'static str, recv: R, send: W, alive: impl Any + Send) -> Self {
        Self { name, recv, send, _alive: Box::new(alive) }
    }

    async fn ask(&mut self, what: u8, count: u64) -> io::Result<()> {
        self.send.write_u8(what).await?;
        self.send.write_u64(count).await?;
        self.send.flush().await
    }

    async fn stream_bytes(&mut self, bytes: u64) -> io::Result<Duration> {
        let chunk = vec![0x5a; CHUNK];
        let start = Instant::now();
        self.ask(SWALLOW, bytes).await?;
        let mut left = bytes;
        while left > 0 {
            let now = CHUNK.min(usize::try_from(left).unwrap_or(CHUNK));
            self.send.write_all(&chunk[..now]).await?;
            left -= now as u64;
        }
        self.send.flush().await?;
        self.recv.read_u8().await?;
        Ok(start.elapsed())
    }

    async fn echo(&mut self, count: u64, each: &mut Each<'_>) -> io::Result<Duration> {
        let mut message = [0x5a; MESSAGE];
        self.ask(ECHO, count).await?;
        let start = Instant::now();
        let mut before = start;
        for _ in 0..count {
            self.send.write_all(&message).await?;
            self.send.flush().await?;
            self.recv.read_exact(&mut message).await?;
            let now = Instant::now();
            each(now - before);
            before = now;
        }
        Ok(before - start)
    }
}

impl<R, W> Subject for Client<R, W>
where
    R: AsyncRead + Send + Unpin,
    W: AsyncWrite + Send + Unpin,
{
    fn name(&self) -> &'static str {
        self.name
    }

    fn stream(&mut self, bytes: u64) -> Measured<'_> {
        let measuring = Box::pin(self.stream_bytes(bytes));
        Box::pin(async { measuring.await.expect("the server swallows") })
    }

    fn round_trips<'a>(&'a mut self, count: u64, each: &'a mut Each<'_>) -> Measured<'a> {
        let measuring = Box::pin(self.echo(count, each));
        Box::pin(async { measuring.await.expect("the server echoes") })
    }
}

/// The server's side of a stream, until the client leaves.
pub async fn serve(mut recv: impl AsyncRead + Unpin, mut send: impl AsyncWrite + Unpin) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        let what = recv.read_u8().await?;
        let count = recv.read_u64().await?;
        if what == SWALLOW {
            let mut left = count;
            while left > 0 {
                let max = CHUNK.min(usize::try_from(left).unwrap_or(CHUNK));
                match recv.read(&mut buffer[..max]).await? {
                    0 => return Ok(()),
                    read => left -= read as u64,
                }
            }
            send.write_u8(1).await?;
            send.flush().await?;
        } else {
            for _ in 0..count {
                recv.read_exact(&mut buffer[..MESSAGE]).await?;
                send.write_all(&buffer[..MESSAGE]).await?;
                send.flush().await?;
            }
        }
    }
}
