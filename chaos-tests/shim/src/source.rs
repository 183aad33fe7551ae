//! Where a process's connections on this machine come from: an address of loopback of its own, so that whoever stands between
//! processes knows which of them calls. This file must not know the C library's conventions.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::BorrowedFd;
use std::sync::OnceLock;

use rustix::net::{SocketAddrAny, bind, connect as real_connect, getsockname};

use rustix::io::Errno;

use crate::control::SOURCE;

/// The address, if the environment names one.
fn source() -> Option<Ipv4Addr> {
    static SOURCE_ADDRESS: OnceLock<Option<Ipv4Addr>> = OnceLock::new();
    *SOURCE_ADDRESS.get_or_init(|| std::env::var(SOURCE).ok()?.parse().ok())
}

/// Connects, from the process's own address if the way goes over loopback and the socket has none yet.
pub fn connect(fd: BorrowedFd<'_>, to: &SocketAddrAny) -> Result<(), Errno> {
    if let (Some(source), Ok(target)) = (source(), SocketAddrV4::try_from(to.clone()))
        && target.ip().is_loopback()
        && is_unbound(fd)
    {
        bind(fd, &SocketAddrV4::new(source, 0))?;
    }
    real_connect(fd, to)
}

fn is_unbound(fd: BorrowedFd<'_>) -> bool {
    getsockname(fd)
        .and_then(SocketAddrV4::try_from)
        .is_ok_and(|own| own.port() == 0)
}
