//! One TLS connection shared by the two halves of its stream.
//!
//! Both halves lock it for the length of one poll: rustls has one state for both directions, so there is nothing to gain
//! from a finer lock. The socket keeps a waker for each direction, and reading never writes but for a last alert, so
//! neither half can take the other's wake-up.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_rustls::TlsStream;

use super::lingering::Lingering;
use super::socket;
use super::wire::Wire;
use crate::admission::ConnectionPlace;
use crate::peer::{ExportError, Exporter, ExportsKeyingMaterial, Peer};
use crate::stream::{RecvBackend, RecvHalf, SendBackend, SendHalf, Stream, StreamError};
use crate::tls::{self, FALLEN_GRACE, Fallen, Grounds, Judged, Receiver, Registration, Side, Standing};

/// An established connection. Closed when the last half is gone.
#[derive(Debug)]
pub(super) struct Connection {
    state: Mutex<State>,
    lingering: Lingering,
    side: Side,
    /// Whether trust still covers the peer.
    standing: Arc<Standing>,
    /// Its place among the connections that are judged again when trust changes.
    registration: OnceLock<Registration>,
    runtime: Handle,
    /// Its place among the connections that were let in.
    _place: Option<ConnectionPlace>,
}

#[derive(Debug)]
struct State {
    /// `None` once the connection was closed under its stream.
    tls: Option<TlsStream<Wire>>,
    /// The peer's `close_notify` was read.
    recv_ended: bool,
    /// How sending ended.
    send_end: SendEnd,
    /// What every further read is answered with.
    read_failure: Option<StreamError>,
    /// What every further write is answered with: an abort by the peer ends only what the peer sends.
    write_failure: Option<StreamError>,
    /// Woken when the connection is closed under a waiting half.
    reader: Option<Waker>,
    writer: Option<Waker>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SendEnd {
    Open,
    /// `close_notify` and FIN are flushed.
    Clean,
    Aborted,
}

impl Connection {
    /// Takes over an established session, and enters it with `receiver` to be judged on these grounds.
    pub(super) fn new(
        mut tls: TlsStream<Wire>,
        lingering: Lingering,
        receiver: &Receiver,
        grounds: Grounds,
        place: Option<ConnectionPlace>,
    ) -> Arc<Self> {
        tls.get_mut().0.stop_counting();
        let side = match &tls {
            TlsStream::Client(_) => Side::Client,
            TlsStream::Server(_) => Side::Server,
        };
        let state = State {
            tls: Some(tls),
            recv_ended: false,
            send_end: SendEnd::Open,
            read_failure: None,
            write_failure: None,
            reader: None,
            writer: None,
        };
        let connection = Arc::new(Self {
            state: Mutex::new(state),
            lingering,
            side,
            standing: receiver.standing(&grounds),
            registration: OnceLock::new(),
            runtime: Handle::current(),
            _place: place,
        });
        let judged: Weak<dyn Judged> = Arc::<Self>::downgrade(&connection);
        let registration = receiver.register(grounds, &judged);
        connection.registration.set(registration).expect("set once");
        connection
    }

    /// Whether trust still covers the peer. Does not keep the connection.
    pub(super) fn standing(&self) -> Arc<Standing> {
        Arc::clone(&self.standing)
    }

    /// The two halves: to be called once.
    pub(super) fn into_stream(self: Arc<Self>, peer: Peer) -> Stream {
        let recv = RecvHalf::new(Reader(Arc::clone(&self)));
        Stream { recv, send: SendHalf::new(Writer(self)), peer }
    }

    /// Waits until the peer has begun or ended its stream: until then there is none. False if it never will.
    ///
    /// Cancellation safe: what was read waits in the session. One caller at a time: the socket knows one reader.
    pub(super) async fn begun(&self) -> bool {
        poll_fn(|cx| {
            let mut state = self.lock();
            let outcome = match &mut state.tls {
                Some(TlsStream::Server(tls)) => Pin::new(tls).poll_fill_buf(cx).map(|read| read.is_ok()),
                Some(TlsStream::Client(_)) => Poll::Ready(true),
                None => Poll::Ready(false),
            };
            if outcome.is_pending() {
                remember(&mut state.reader, cx);
            }
            outcome
        })
        .await
    }

    /// Exports keying material for as long as the connection lives.
    pub(super) fn exporter(self: &Arc<Self>) -> Exporter {
        Exporter::new(ConnectionExporter(Arc::downgrade(self)))
    }

    /// Closes the connection under its halves. One whose sending has ended in good order lingers in the task returned;
    /// any other is given up at once.
    pub(super) fn close(&self) -> Option<JoinHandle<()>> {
        let failure = match self.standing.fallen() {
            Some(fallen) => StreamError::Distrusted(fallen.clone()),
            None => StreamError::ConnectionLost { reason: "it was closed on this side".to_owned() },
        };
        let mut state = self.lock();
        state.read_failure.get_or_insert_with(|| failure.clone());
        state.write_failure.get_or_insert(failure);
        for waker in [state.reader.take(), state.writer.take()].into_iter().flatten() {
            waker.wake();
        }
        let tls = state.tls.take()?;
        if state.send_end != SendEnd::Clean {
            return None;
        }
        self.lingering.close(into_socket(tls))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reading_failed(&self, state: &mut State, error: io::Error) -> io::Error {
        if StreamError::of(&error).is_some() || state.tls.is_none() {
            return error;
        }
        let failure = match (tls::tls_error(&error), error.kind()) {
            (Some(fault), _) => tls::stream_error(fault, self.side),
            // FIN without `close_notify`, or RST: on TCP an abort and a crash look alike.
            (
                None,
                io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted,
            ) => StreamError::Aborted { code: None },
            (None, _) => StreamError::ConnectionLost { reason: error.to_string() },
        };
        if !matches!(failure, StreamError::Aborted { .. }) {
            state.write_failure.get_or_insert_with(|| failure.clone());
        }
        state.read_failure = Some(failure.clone());
        failure.into()
    }

    fn writing_failed(&self, state: &mut State, error: io::Error) -> io::Error {
        if StreamError::of(&error).is_some() {
            return error;
        }
        let Some(tls) = &mut state.tls else { return error };
        let lost = |reason: String| StreamError::ConnectionLost { reason };
        let failure = match error.kind() {
            // The reader's TLS is done with us, or its process is gone: TCP does not tell.
            io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::NotConnected => refusal_at_hand(tls, self.side)
                .unwrap_or_else(|| lost("the peer closed it and reads no further".to_owned())),
            _ => lost(error.to_string()),
        };
        if matches!(failure, StreamError::Refused { .. }) {
            state.read_failure.get_or_insert_with(|| failure.clone());
        }
        state.write_failure = Some(failure.clone());
        failure.into()
    }
}

impl Judged for Connection {
    /// A server is given up at once; a client is left to whoever serves it for a moment, to be told.
    fn fall(self: Arc<Self>, fallen: Fallen) {
        if !self.standing.fall(fallen) {
            return;
        }
        match self.side {
            Side::Client => drop(self.close()),
            Side::Server => {
                let connection = Arc::downgrade(&self);
                let cut_off = async move {
                    tokio::time::sleep(FALLEN_GRACE).await;
                    if let Some(connection) = connection.upgrade() {
                        drop(connection.close());
                    }
                };
                self.lingering.tasks().spawn_on(cut_off, &self.runtime);
            }
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        let Some(tls) = state.tls.take() else { return };
        if state.send_end == SendEnd::Clean && !state.recv_ended && state.read_failure.is_none() {
            drop(self.lingering.close(into_socket(tls)));
        }
    }
}

fn into_socket(tls: TlsStream<Wire>) -> TcpStream {
    let wire = match tls {
        TlsStream::Client(client) => client.into_inner().0,
        TlsStream::Server(server) => server.into_inner().0,
    };
    wire.into_socket()
}

/// A server that refuses our certificate says so and closes; if we were writing, the failed write is all that is seen.
/// What it said may still lie in the socket.
fn refusal_at_hand(tls: &mut TlsStream<Wire>, side: Side) -> Option<StreamError> {
    /// An alert is far smaller, and comes first where it is the answer to our certificate.
    const ENOUGH: usize = 4096;
    let TlsStream::Client(client) = tls else { return None };
    let (socket, session) = client.get_mut();
    let mut bytes = [0; ENOUGH];
    let count = socket.try_read(&mut bytes).ok()?;
    session.read_tls(&mut &bytes[..count]).ok()?;
    let fault = session.process_new_packets().err()?;
    Some(tls::stream_error(&fault, side))
}

fn remember(slot: &mut Option<Waker>, cx: &Context<'_>) {
    match slot {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *slot = Some(cx.waker().clone()),
    }
}

struct Reader(Arc<Connection>);

impl AsyncRead for Reader {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let mut state = self.0.lock();
        if state.recv_ended {
            return Poll::Ready(Ok(()));
        }
        if let Some(failure) = &state.read_failure {
            return Poll::Ready(Err(failure.clone().into()));
        }
        let Some(tls) = &mut state.tls else { return Poll::Ready(Err(io::ErrorKind::NotConnected.into())) };
        let before = buf.filled().len();
        match Pin::new(tls).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => {
                state.recv_ended = buf.filled().len() == before;
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(self.0.reading_failed(&mut state, error))),
            Poll::Pending => {
                remember(&mut state.reader, cx);
                Poll::Pending
            }
        }
    }
}

impl RecvBackend for Reader {
    /// TLS has no word for it: back-pressure holds the writer until the connection closes.
    fn stop(&mut self, _code: u32) {}
}

struct Writer(Arc<Connection>);

impl Writer {
    fn poll_tls<T>(
        &self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(Pin<&mut TlsStream<Wire>>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let mut state = self.0.lock();
        if let Some(failure) = &state.write_failure {
            return Poll::Ready(Err(failure.clone().into()));
        }
        if state.send_end != SendEnd::Open {
            let error =
                io::Error::new(io::ErrorKind::BrokenPipe, "the stream was already ended on this side");
            return Poll::Ready(Err(error));
        }
        let Some(tls) = &mut state.tls else { return Poll::Ready(Err(io::ErrorKind::NotConnected.into())) };
        match poll(Pin::new(tls), cx) {
            Poll::Ready(Ok(done)) => Poll::Ready(Ok(done)),
            Poll::Ready(Err(error)) => Poll::Ready(Err(self.0.writing_failed(&mut state, error))),
            Poll::Pending => {
                remember(&mut state.writer, cx);
                Poll::Pending
            }
        }
    }
}

impl AsyncWrite for Writer {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_tls(cx, |tls, cx| tls.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_tls(cx, |tls, cx| tls.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_tls(cx, AsyncWrite::poll_flush)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.0.lock().send_end == SendEnd::Clean {
            return Poll::Ready(Ok(()));
        }
        let outcome = self.poll_tls(cx, AsyncWrite::poll_shutdown);
        if let Poll::Ready(Ok(())) = outcome {
            self.0.lock().send_end = SendEnd::Clean;
        }
        outcome
    }
}

impl SendBackend for Writer {
    /// FIN without `close_notify`: what the reader gets is an error and never a clean end. TLS carries no code.
    fn abort(&mut self, _code: u32) {
        let mut state = self.0.lock();
        if state.send_end == SendEnd::Open {
            state.send_end = SendEnd::Aborted;
            if let Some(tls) = &state.tls {
                socket::finish_writing(tls.get_ref().0);
            }
        }
    }
}

struct ConnectionExporter(Weak<Connection>);

impl ExportsKeyingMaterial for ConnectionExporter {
    fn export(&self, output: &mut [u8], label: &[u8], context: &[u8]) -> Result<(), ExportError> {
        let connection = self.0.upgrade().ok_or(ExportError::Closed)?;
        let state = connection.lock();
        let tls = state.tls.as_ref().ok_or(ExportError::Closed)?;
        let exported = match tls {
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
