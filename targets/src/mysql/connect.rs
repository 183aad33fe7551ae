//! New connections to MySQL and MariaDB, with a certificate that is verified wherever somebody could listen.

use conclave_engine_api::{Bounds, Done, Failure, Hidden, Target, TargetTls};
use mysql_async::{ClientIdentity, Conn, Error, OptsBuilder, SslOpts};

use super::{address, code, told};
use crate::{tls, within};

/// Longest packet in bytes, of ours and of the server: a longer one ends the connection.
const MAX_PACKET: usize = 4 * 1024 * 1024;
/// After this many seconds without a plan the server may close a connection.
const IDLE: usize = 600;

/// A new connection.
pub async fn connect(url: Hidden, target: &Target, bounds: &Bounds) -> Result<Conn, Failure> {
    let nothing = |text: String| Failure::new(Done::Nothing, text);
    let address = address::parse(&url).map_err(nothing)?;
    let own_tls = !target.tls.ca.is_empty() || !target.tls.certificate.is_empty();
    let with_tls = address.tls.unwrap_or(own_tls || !address.is_local());
    let tls = match with_tls {
        true => Some(verified(&target.tls).await.map_err(nothing)?),
        false => None,
    };
    let database = Some(address.database).filter(|name| !name.is_empty());
    let options = OptsBuilder::default()
        .ip_or_hostname(address.host)
        .tcp_port(address.port)
        .user(Some(address.user))
        .pass(Some(address.password.as_str()))
        .db_name(database)
        .prefer_socket(false)
        .stmt_cache_size(0)
        .max_allowed_packet(Some(MAX_PACKET))
        .wait_timeout(Some(IDLE))
        .connect_attribute("program_name", bounds.session.as_str())
        .ssl_opts(tls);
    let connected = within(bounds, Done::Nothing, Conn::new(options)).await?;
    connected.map_err(|error| refused(&error))
}

/// TLS to a server whose certificate is verified against the given authorities, or those of the operating system.
async fn verified(settings: &TargetTls) -> Result<SslOpts, String> {
    // What cannot be used is refused in words of ours.
    tls::Tls::new(settings)?;
    let roots: Vec<Vec<u8>> = if settings.ca.is_empty() {
        let loaded = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await;
        let certificates = loaded.map(|loaded| loaded.certs).unwrap_or_default();
        if certificates.is_empty() {
            return Err("the operating system's certificates cannot be read".to_owned());
        }
        certificates
            .into_iter()
            .map(|certificate| certificate.to_vec())
            .collect()
    } else {
        vec![settings.ca.as_bytes().to_vec()]
    };
    let identity = (!settings.certificate.is_empty()).then(|| {
        ClientIdentity::new(
            settings.certificate.as_bytes().to_vec().into(),
            settings.key.as_bytes().to_vec().into(),
        )
    });
    let options = SslOpts::default()
        .with_root_certs(roots.into_iter().map(Into::into).collect())
        .with_disable_built_in_roots(true)
        .with_client_identity(identity);
    Ok(match settings.server_name.as_str() {
        "" => options,
        // The certificate is verified for this name instead of the host's.
        name => options.with_danger_tls_hostname_override(Some(name.to_owned())),
    })
}

/// An error before any statement was sent.
fn refused(error: &Error) -> Failure {
    let done = match error {
        Error::Server(error) if matches!(error.code, code::DENIED | code::DENIED_WITHOUT_PASSWORD) => {
            Done::Denied
        }
        _ => Done::Nothing,
    };
    Failure::new(done, told(error))
}
