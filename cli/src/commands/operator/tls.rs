//! `operator tls`: a small certificate authority for the listeners clients connect to, for clusters without another.

use std::path::Path;

use conclave_server::tls;

use crate::commands::{Command, at_most};
use crate::exit::{Exit, Fail};
use crate::flags::{Args, Flag};
use crate::session::Cx;

const DIR: Flag = Flag::text("dir", "Where the authority's files go: ca.pem and ca-key.pem.");
const CA_DIR: Flag = Flag::text("ca-dir", "Where the authority's files are.");
const OUT: Flag = Flag::text(
    "out",
    "Where the certificate and its key go: NAME.pem and NAME-key.pem.",
);
const NAME: Flag = Flag::text("name", "Name of the certificate, and of its files.");
const SAN: Flag = Flag::list(
    "san",
    "A host name or address clients may use. May be given several times.",
);

pub const GROUP: Command = Command::group(
    "operator tls",
    "Make certificates for listeners",
    "A small authority for the addresses clients connect to. Nodes need no certificates among themselves.\n\n$ conclave operator tls create-ca -dir /etc/conclave/tls\n$ conclave operator tls create-cert -ca-dir /etc/conclave/tls -out /etc/conclave/tls -name node1 -san node1.example.com -san 10.0.0.1",
);
pub const CREATE_CA: Command = Command::new(
    "operator tls create-ca",
    "[options]",
    "Make an authority",
    create_ca,
)
.flags(&[DIR]);
pub const CREATE_CERT: Command = Command::new(
    "operator tls create-cert",
    "[options]",
    "Make a certificate signed by the authority",
    create_cert,
)
.flags(&[CA_DIR, OUT, NAME, SAN]);

fn create_ca(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    at_most(args, 0)?;
    let issued =
        tls::create_ca(Path::new(required(args, &DIR)?)).map_err(|error| Fail::usage(error.to_string()))?;
    cx.ui
        .line(&format!("Authority: {}", issued.certificate.display()));
    cx.ui.line(&format!(
        "Its key, to be kept away from the nodes: {}",
        issued.key.display()
    ));
    Ok(Exit::OK)
}

fn create_cert(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    at_most(args, 0)?;
    let (ca_dir, out, name) = (
        required(args, &CA_DIR)?,
        required(args, &OUT)?,
        required(args, &NAME)?,
    );
    let issued = tls::create_cert(Path::new(ca_dir), Path::new(out), name, &args.list(&SAN));
    let issued = issued.map_err(|error| Fail::usage(error.to_string()))?;
    cx.ui
        .line(&format!("Certificate: {}", issued.certificate.display()));
    cx.ui.line(&format!("Its key: {}", issued.key.display()));
    Ok(Exit::OK)
}

fn required<'a>(args: &'a Args, flag: &Flag) -> Result<&'a str, Fail> {
    match args.text(flag) {
        "" => Err(Fail::usage(format!("Must specify -{}", flag.name))),
        text => Ok(text),
    }
}
