//! Calls of our own commands: gRPC, by the SDK, set up from the same flags and variables as Vault's commands. Knows no
//! particular command.

use std::future::Future;
use std::time::Duration;

use conclave_client::{Conclave, Error};

use crate::exit::Fail;
use crate::flags::{Args, Flag};
use crate::session::{
    ADDRESS, AGENT_ADDRESS, Cx, HEADER, MFA, OUTPUT_CURL, OUTPUT_POLICY, POLICY_OVERRIDE, WRAP_TTL, namespace,
};

/// Time for a call with all its attempts, unless `CLIENT_TIMEOUT` says otherwise: an election and what follows it.
const PATIENCE: Duration = Duration::from_secs(10);
/// What `CLIENT_TIMEOUT=0` stands for here.
const UNLIMITED: Duration = Duration::from_secs(24 * 3600);
/// Flags that mean something over HTTP only. From the environment they are passed over: they are not meant for this
/// command alone.
const HTTP_ONLY: &[Flag] = &[
    AGENT_ADDRESS,
    HEADER,
    MFA,
    OUTPUT_CURL,
    OUTPUT_POLICY,
    POLICY_OVERRIDE,
    WRAP_TTL,
];

/// Calls to the cluster, one at a time.
pub struct Cluster {
    /// The SDK behind the calls.
    pub conclave: Conclave,
    runtime: tokio::runtime::Runtime,
}

impl Cluster {
    /// Waits for a call; a failure is said as `SENTENCE: REASON`.
    ///
    /// # Errors
    /// The call's, as an error of the server.
    pub fn wait<T>(&self, sentence: &str, call: impl Future<Output = Result<T, Error>>) -> Result<T, Fail> {
        let outcome = self.runtime.block_on(call);
        outcome.map_err(|error| Fail::remote(format!("{sentence}: {error}")))
    }
}

impl Cx {
    /// Calls to the cluster over gRPC, with the user's token.
    ///
    /// # Errors
    /// A setting that cannot be used, or a flag that means nothing over gRPC.
    pub fn cluster(&self, args: &Args) -> Result<Cluster, Fail> {
        self.patient_cluster(args, PATIENCE)
    }

    /// The same with another limit of time for calls that take long; `CLIENT_TIMEOUT` is stronger.
    ///
    /// # Errors
    /// As [`Cx::cluster`].
    pub fn patient_cluster(&self, args: &Args, patience: Duration) -> Result<Cluster, Fail> {
        if let Some(flag) = HTTP_ONLY.iter().find(|flag| args.given(flag)) {
            return Err(Fail::usage(format!(
                "-{} is of no use here: this command speaks gRPC with the nodes themselves",
                flag.name
            )));
        }
        let env_failed = |why: String| Fail::remote(format!("failed to read environment: {why}"));
        let tls = self.tls(args).map_err(env_failed)?;
        let files_failed = |error: conclave_client::http::Error| {
            Fail::remote(format!("failed to setup TLS config: {error}"))
        };
        let addresses = args.text(&ADDRESS).split(',').map(str::trim);
        let patience = match self.env.get("CLIENT_TIMEOUT") {
            Some(_) => Some(self.timeout().map_err(env_failed)?)
                .filter(|limit| !limit.is_zero())
                .unwrap_or(UNLIMITED),
            None => patience,
        };
        let mut builder = Conclave::connect(addresses.filter(|address| !address.is_empty()))
            .token(self.token()?)
            .deadline(patience)
            .danger_accept_any_certificate(tls.skip_verify);
        if let Some(authorities) = tls.authorities().map_err(files_failed)? {
            builder = builder.ca_cert(authorities);
        }
        if let Some((chain, key)) = tls.client_pem().map_err(files_failed)? {
            builder = builder.identity(chain, key.to_vec());
        }
        if let Some(name) = tls.server_name {
            builder = builder.server_name(name);
        }
        let namespace = namespace(args);
        if !namespace.is_empty() {
            builder = builder.namespace(namespace);
        }
        let conclave = builder.build();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Ok(Cluster {
            conclave: conclave.map_err(|e| Fail::remote(format!("failed to create client: {e}")))?,
            runtime: runtime.map_err(|e| Fail::remote(format!("cannot start the runtime: {e}")))?,
        })
    }
}
