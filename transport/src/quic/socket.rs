//! Binds UDP sockets, with buffers that outlast a scheduling delay.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use socket2::{Domain, Protocol, Socket, Type};

/// What the kernel may hold of datagrams, each way. At 1 Gbit/s 2 MiB are 16 ms, more than a busy machine keeps a task
/// waiting; a datagram that finds the buffer full is lost and halves the sender's rate. Linux clamps it to
/// `net.core.rmem_max` and `wmem_max`, 208 KiB unless raised.
const SOCKET_BUFFER_BYTES: usize = 2 * 1024 * 1024;

/// Binds `addr`. `[::]` takes IPv4 too, any other address only itself.
pub(super) fn bind(addr: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(!addr.ip().is_unspecified())?;
    }
    socket.set_nonblocking(true)?;
    for outcome in
        [socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES), socket.set_send_buffer_size(SOCKET_BUFFER_BYTES)]
    {
        if let Err(error) = outcome {
            tracing::debug!(%addr, %error, "the kernel refuses larger socket buffers; going on with its own");
        }
    }
    socket.bind(&addr.into())?;
    Ok(socket.into())
}

/// An address as a human writes it: on a socket for both families, IPv4 comes in the clothes of IPv6.
pub(super) fn canonical(addr: SocketAddr) -> SocketAddr {
    match addr.ip().to_canonical() {
        IpAddr::V4(plain) => SocketAddr::from((plain, addr.port())),
        // As it is: with its scope.
        IpAddr::V6(_) => addr,
    }
}
