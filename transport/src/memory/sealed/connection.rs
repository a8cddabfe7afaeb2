//! One TLS session over one in-memory stream, shared by the two halves of what it carries.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsStream;

use crate::peer::{ExportError, Exporter, ExportsKeyingMaterial, Peer};
use crate::stream::{RecvBackend, RecvHalf, SendBackend, SendHalf, Stream, StreamError};
use crate::tls::{self, Side};

/// The two halves of a bare stream as one carrier of bytes, each of which may be given up on its own.
#[derive(Debug)]
pub(crate) struct Wire {
    recv: Option<RecvHalf>,
    send: Option<SendHalf>,
    /// Until the handshake is over, bytes for a peer that reads no further go nowhere, as on a socket: what that peer
    /// has said may still be the reason.
    handshaking: bool,
}

impl Wire {
    pub(crate) fn new(stream: Stream) -> Self {
        Self { recv: Some(stream.recv), send: Some(stream.send), handshaking: true }
    }

    /// Lets what was written last arrive: dropping alone would destroy an alert that is still unread.
    pub(super) fn finish(mut self) {
        if let Some(send) = &mut self.send {
            // In memory an end is never waited for.
            let _ = Pin::new(send).poll_shutdown(&mut Context::from_waker(Waker::noop()));
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.recv {
            Some(recv) => Pin::new(recv).poll_read(cx, buf),
            None => Poll::Ready(Err(given_up())),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(buf)])
    }

    /// tokio-rustls tries but once to send its last alert, behind whatever else is still to be sent.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Some(send) = &mut self.send else { return Poll::Ready(Err(given_up())) };
        match Pin::new(send).poll_write_vectored(cx, bufs) {
            Poll::Ready(Err(error)) if self.handshaking && stopped(&error) => {
                Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()))
            }
            outcome => outcome,
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.send.as_mut().map_or(Poll::Ready(Ok(())), |send| Pin::new(send).poll_flush(cx)) {
            Poll::Ready(Err(error)) if self.handshaking && stopped(&error) => Poll::Ready(Ok(())),
            outcome => outcome,
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.send.as_mut().map_or(Poll::Ready(Ok(())), |send| Pin::new(send).poll_shutdown(cx)) {
            // `close_notify` has gone before: a peer that has read it needs no more of the pipe.
            Poll::Ready(Err(error)) if stopped(&error) => Poll::Ready(Ok(())),
            outcome => outcome,
        }
    }
}

fn stopped(error: &io::Error) -> bool {
    matches!(StreamError::of(error), Some(StreamError::Stopped { .. }))
}

fn given_up() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "this side gave the stream up")
}

/// An established session.
pub(super) struct Connection {
    state: Mutex<State>,
    side: Side,
}

struct State {
    /// `None` once the connection was closed under its stream.
    tls: Option<TlsStream<Wire>>,
    recv_ended: bool,
    send_ended: bool,
    /// Woken when the session is closed, or looked into, under a waiting half.
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Connection {
    pub(super) fn new(mut tls: TlsStream<Wire>) -> Arc<Self> {
        wire(&mut tls).handshaking = false;
        let side = match &tls {
            TlsStream::Client(_) => Side::Client,
            TlsStream::Server(_) => Side::Server,
        };
        let state =
            State { tls: Some(tls), recv_ended: false, send_ended: false, reader: None, writer: None };
        Arc::new(Self { state: Mutex::new(state), side })
    }

    /// The two halves: to be called once.
    pub(super) fn into_stream(self: Arc<Self>, peer: Peer) -> Stream {
        let recv = RecvHalf::new(Reader(self.clone()));
        Stream { recv, send: SendHalf::new(Writer(self)), peer }
    }

    /// Exports keying material for as long as the connection lives.
    pub(super) fn exporter(self: &Arc<Self>) -> Exporter {
        Exporter::new(SessionExporter(Arc::downgrade(self)))
    }

    /// Waits until the peer has begun or ended its stream; false if it never will. Cancellation safe.
    pub(super) async fn begun(&self) -> bool {
        poll_fn(|cx| {
            let mut state = self.lock();
            state.reader = Some(cx.waker().clone());
            match &mut state.tls {
                Some(TlsStream::Server(tls)) => Pin::new(tls).poll_fill_buf(cx).map(|read| read.is_ok()),
                Some(TlsStream::Client(_)) => Poll::Ready(true),
                None => Poll::Ready(false),
            }
        })
        .await
    }

    /// Closes the session under its halves. What was ended in good order arrives all the same.
    pub(super) fn close(&self, code: u32) {
        let (tls, wakers) = {
            let mut state = self.lock();
            (state.tls.take(), [state.reader.take(), state.writer.take()])
        };
        if let Some(mut tls) = tls {
            give_up(&mut tls, code);
        }
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends both directions of the wire with `code`, unless they have ended by themselves.
fn give_up(tls: &mut TlsStream<Wire>, code: u32) {
    let wire = wire(tls);
    if let Some(send) = wire.send.take() {
        send.abort(code);
    }
    if let Some(recv) = wire.recv.take() {
        recv.stop(code);
    }
}

fn wire(tls: &mut TlsStream<Wire>) -> &mut Wire {
    match tls {
        TlsStream::Client(client) => client.get_mut().0,
        TlsStream::Server(server) => server.get_mut().0,
    }
}

fn closed() -> io::Error {
    StreamError::ConnectionLost { reason: "it was closed on this side".to_owned() }.into()
}

/// What the wire or the session says, as a stream says it.
fn translate(error: io::Error, side: Side) -> io::Error {
    if StreamError::of(&error).is_some() {
        return error;
    }
    match tls::tls_error(&error) {
        Some(fault) => tls::stream_error(fault, side).into(),
        // The wire's clean end without a `close_notify`.
        None if error.kind() == io::ErrorKind::UnexpectedEof => StreamError::Aborted { code: None }.into(),
        None => error,
    }
}

/// A server that refuses our certificate says so and leaves; whoever was writing finds only that nobody reads. What it
/// said still lies in the pipe.
fn refusal_at_hand(state: &mut State) -> Option<StreamError> {
    /// An alert is far smaller, and comes first where it is the answer to our certificate.
    const ENOUGH: usize = 4096;
    let TlsStream::Client(client) = state.tls.as_mut()? else { return None };
    let (wire, session) = client.get_mut();
    let mut bytes = [0; ENOUGH];
    let mut buf = ReadBuf::new(&mut bytes);
    let read = Pin::new(wire).poll_read(&mut Context::from_waker(Waker::noop()), &mut buf);
    if let Some(reader) = state.reader.take() {
        reader.wake();
    }
    let Poll::Ready(Ok(())) = read else { return None };
    session.read_tls(&mut buf.filled()).ok()?;
    let fault = session.process_new_packets().err()?;
    Some(tls::stream_error(&fault, Side::Client))
}

struct Reader(Arc<Connection>);

impl AsyncRead for Reader {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.lock();
        if state.recv_ended || buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        state.reader = Some(cx.waker().clone());
        let Some(tls) = &mut state.tls else { return Poll::Ready(Err(closed())) };
        let before = buf.filled().len();
        match Pin::new(tls).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => {
                state.recv_ended = buf.filled().len() == before;
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(translate(error, self.0.side))),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl RecvBackend for Reader {
    fn stop(&mut self, code: u32) {
        let recv = {
            let mut state = self.0.lock();
            if state.recv_ended { None } else { state.tls.as_mut().and_then(|tls| wire(tls).recv.take()) }
        };
        if let Some(recv) = recv {
            recv.stop(code);
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stop(0);
    }
}

struct Writer(Arc<Connection>);

impl Writer {
    fn poll_tls<T>(
        &self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(Pin<&mut TlsStream<Wire>>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let mut state = self.0.lock();
        if state.send_ended {
            return Poll::Ready(Err(given_up()));
        }
        state.writer = Some(cx.waker().clone());
        let Some(tls) = &mut state.tls else { return Poll::Ready(Err(closed())) };
        match poll(Pin::new(tls), cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(match refusal_at_hand(&mut state) {
                Some(refusal @ StreamError::Refused { .. }) => refusal.into(),
                _ => translate(error, self.0.side),
            })),
            other => other,
        }
    }
}

impl AsyncWrite for Writer {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_tls(cx, |tls, cx| tls.poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_tls(cx, AsyncWrite::poll_flush)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.0.lock().send_ended {
            return Poll::Ready(Ok(()));
        }
        let outcome = self.poll_tls(cx, AsyncWrite::poll_shutdown);
        if let Poll::Ready(Ok(())) = outcome {
            self.0.lock().send_ended = true;
        }
        outcome
    }
}

impl SendBackend for Writer {
    fn abort(&mut self, code: u32) {
        let send = {
            let mut state = self.0.lock();
            state.send_ended = true;
            state.tls.as_mut().and_then(|tls| wire(tls).send.take())
        };
        if let Some(send) = send {
            send.abort(code);
        }
    }
}

struct SessionExporter(Weak<Connection>);

impl ExportsKeyingMaterial for SessionExporter {
    fn export(&self, output: &mut [u8], label: &[u8], context: &[u8]) -> Result<(), ExportError> {
        let connection = self.0.upgrade().ok_or(ExportError::Closed)?;
        let state = connection.lock();
        let exported = match state.tls.as_ref().ok_or(ExportError::Closed)? {
            TlsStream::Client(client) => {
                client.get_ref().1.export_keying_material(output, label, Some(context)).map(drop)
            }
            TlsStream::Server(server) => {
                server.get_ref().1.export_keying_material(output, label, Some(context)).map(drop)
            }
        };
        exported.map_err(|_| ExportError::Length)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("side", &self.side).finish_non_exhaustive()
    }
}
