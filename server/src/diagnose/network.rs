//! Addresses and certificates: whether others can find this node, and whether its ports and certificates can be used.

use std::net::{SocketAddr, TcpListener, ToSocketAddrs as _};

use super::{Finding, Status};
use crate::config::{Config, Listened};
use crate::tls::ServerTls;

/// Time before its end from which a certificate is warned of, in seconds.
const SOON: i64 = 30 * 24 * 3600;

/// Addresses that are told to others.
pub fn addresses(config: &Config) -> Finding {
    let told = config.told_addresses();
    let parts = [
        ("Check API Address", told.api),
        ("Check Cluster Address", told.cluster),
    ];
    let parts = parts.into_iter().map(|(name, address)| match address {
        Some(address) => found(name, &address),
        None => Finding::new(name, Status::Skipped, "not set: the listener's own is told"),
    });
    Finding::all("Check Addresses", parts.collect())
}

fn found(name: &'static str, address: &str) -> Finding {
    let place = address.rsplit_once("://").map_or(address, |(_, place)| place);
    let place = place.trim_end_matches('/');
    match place.to_socket_addrs().map(|mut found| found.next()) {
        Ok(Some(_)) => Finding::new(name, Status::Ok, format!("{address} can be found.")),
        Ok(None) => Finding::new(name, Status::Failure, format!("{address}: no such host")),
        Err(error) => Finding::new(name, Status::Failure, format!("{address}: {error}")),
    }
}

/// Listeners: their certificates, and unless `skip` whether their ports are free.
pub fn listeners(config: &Config, skip: bool, now: u64) -> Finding {
    let listened = config.listened();
    let certificates = listened.iter().map(|listener| certificate(listener, now));
    let mut parts: Vec<Finding> = certificates.collect();
    parts.push(match skip {
        true => Finding::skipped("Create Listeners"),
        false => ports(config, &listened),
    });
    Finding::all("Start Listeners", parts)
}

fn certificate(listener: &Listened, now: u64) -> Finding {
    const NAME: &str = "Check Listener TLS";
    let at = listener.address;
    let files = match (&listener.files, listener.tls_disable) {
        (_, true) => {
            let told = format!("Listener at address {at}: TLS is disabled in a listener config stanza.");
            return Finding::new(NAME, Status::Warning, told);
        }
        (None, false) => {
            let told = format!("Listener at address {at}: a certificate is made at the first start.");
            return Finding::new(NAME, Status::Ok, told);
        }
        (Some(files), false) => files.clone(),
    };
    let ends = ServerTls::load(files).and_then(|loaded| loaded.not_after());
    let now = i64::try_from(now / 1000).unwrap_or(i64::MAX);
    match ends {
        Err(error) => Finding::new(NAME, Status::Failure, format!("{at}: {error}")),
        Ok(ends) if ends <= now => Finding::new(
            NAME,
            Status::Failure,
            format!("{at}: the certificate has expired"),
        ),
        Ok(ends) if ends < now + SOON => {
            let days = (ends - now) / 86_400;
            Finding::new(
                NAME,
                Status::Warning,
                format!("{at}: the certificate expires in {days} days"),
            )
        }
        Ok(_) => Finding::new(NAME, Status::Ok, ""),
    }
}

/// Binds every address for a moment.
fn ports(config: &Config, listened: &[Listened]) -> Finding {
    let mut addresses: Vec<SocketAddr> = listened.iter().map(|listener| listener.address).collect();
    // Nodes are listened for at the first listener's address for them.
    addresses.extend(listened.first().map(|listener| listener.cluster_address));
    addresses.extend(config.operations_listened());
    let held: Vec<_> = addresses
        .iter()
        .map(|address| (address, TcpListener::bind(address)))
        .collect();
    let failed: Vec<String> = held
        .iter()
        .filter_map(|(address, bound)| Some(format!("{address}: {}", bound.as_ref().err()?)))
        .collect();
    match failed.is_empty() {
        true => Finding::new("Create Listeners", Status::Ok, ""),
        false => Finding::new("Create Listeners", Status::Failure, failed.join("; ")),
    }
}
