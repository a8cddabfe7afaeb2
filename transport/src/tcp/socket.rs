//! The options of a TCP socket, and its states that the standard library has no call for.

use std::io;
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr};

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::options::{KEEP_ALIVE_INTERVAL, KEEP_ALIVE_PROBES, TransportOptions};

/// Whether a socket that is accepted has the options of the one that listens. Linux copies them, and saves six system calls a
/// connection; other systems copy some.
pub(super) const ACCEPTED_AS_PREPARED: bool = cfg!(target_os = "linux");

/// Binds and listens. `SO_REUSEADDR` lets a restarted server take its port while old connections are in `TIME_WAIT`; `[::]`
/// takes IPv4 too, any other address only itself.
pub(super) fn listen(addr: SocketAddr, options: &TransportOptions) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(!addr.ip().is_unspecified())?;
    }
    // On Windows the same option would let another process steal the port.
    if cfg!(unix) {
        socket.set_reuse_address(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    if ACCEPTED_AS_PREPARED {
        prepare(&socket, options)?;
    }
    socket.listen(i32::try_from(options.accept_backlog).unwrap_or(i32::MAX))?;
    TcpListener::from_std(socket.into())
}

/// Connects, from the address that the options name, if they do.
pub(super) async fn connect(addr: SocketAddr, options: &TransportOptions) -> io::Result<TcpStream> {
    let Some(local) = options.local_address else { return TcpStream::connect(addr).await };
    let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.bind(SocketAddr::new(local, 0))?;
    socket.connect(addr).await
}

/// No delay always: whoever writes little and waits is not helped by a wait of the kernel's own. And the means to notice
/// a dead peer.
pub(super) fn prepare<'a>(socket: impl Into<SockRef<'a>>, options: &TransportOptions) -> io::Result<()> {
    let socket = socket.into();
    socket.set_tcp_nodelay(true)?;
    if let Some(idle) = options.keep_alive {
        let mut probes = TcpKeepalive::new().with_time(idle).with_interval(KEEP_ALIVE_INTERVAL);
        // Linux counts probes only where no user timeout decides.
        if !cfg!(target_os = "linux") || options.tcp_user_timeout.is_none() {
            probes = probes.with_retries(KEEP_ALIVE_PROBES);
        }
        socket.set_tcp_keepalive(&probes)?;
    }
    #[cfg(target_os = "linux")]
    if let Some(timeout) = options.tcp_user_timeout {
        socket.set_tcp_user_timeout(Some(timeout))?;
    }
    Ok(())
}

/// Why the peer is not there any more, as far as the kernel knows; bytes that were not read hide it.
pub(super) fn gone(stream: &TcpStream) -> Option<io::Error> {
    match SockRef::from(stream).peek(&mut [MaybeUninit::uninit()]) {
        Ok(0) => Some(io::ErrorKind::UnexpectedEof.into()),
        Ok(_) => None,
        Err(error) => (error.kind() != io::ErrorKind::WouldBlock).then_some(error),
    }
}

/// Sends FIN: nothing more will be written. The other direction goes on.
pub(super) fn finish_writing(stream: &TcpStream) {
    // Fails only where the connection is gone already.
    let _ = SockRef::from(stream).shutdown(Shutdown::Write);
}

/// Makes a listening socket refuse connections at once, whoever still holds it.
pub(super) fn stop_listening(listener: &TcpListener) {
    let _ = SockRef::from(listener).shutdown(Shutdown::Both);
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[tokio::test]
    async fn an_accepted_socket_is_prepared() {
        let mut options = TransportOptions::new("test/1", 7);
        for timeout in [options.tcp_user_timeout, None] {
            options.tcp_user_timeout = timeout;
            is_prepared(&options).await;
        }
    }

    async fn is_prepared(options: &TransportOptions) {
        let listener = listen((Ipv4Addr::LOCALHOST, 0).into(), options).unwrap();
        let dialled = connect(listener.local_addr().unwrap(), options).await.unwrap();
        prepare(&dialled, options).unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        if !ACCEPTED_AS_PREPARED {
            prepare(&accepted, options).unwrap();
        }
        for stream in [dialled, accepted] {
            let socket = SockRef::from(&stream);
            assert!(socket.tcp_nodelay().unwrap());
            assert!(socket.keepalive().unwrap());
            assert_eq!(socket.tcp_keepalive_time().unwrap(), options.keep_alive.unwrap());
            assert_eq!(socket.tcp_keepalive_interval().unwrap(), KEEP_ALIVE_INTERVAL);
            #[cfg(target_os = "linux")]
            assert_eq!(socket.tcp_user_timeout().unwrap(), options.tcp_user_timeout);
            if options.tcp_user_timeout.is_none() {
                assert_eq!(socket.tcp_keepalive_retries().unwrap(), KEEP_ALIVE_PROBES);
            }
        }
    }
}
