//! `sys/host-info`, `sys/version-history` and `sys/config/state`: what a node and its configuration are.

use serde_json::{Map, json};

use crate::clocktext::rfc3339;
use crate::error::Error;
use crate::routes::{Answer, Call};
use crate::sys::open::object;
use crate::versions::installed;

/// What this machine is, as far as the system tells everybody.
pub fn info(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let read = |path: &str| {
        std::fs::read_to_string(path)
            .unwrap_or_default()
            .trim()
            .to_owned()
    };
    let cpus = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    Ok(Answer::data(object(json!({
        "timestamp": rfc3339(call.env.now()),
        "host": {
            "hostname": read("/proc/sys/kernel/hostname"),
            "os": std::env::consts::OS,
            "kernelArch": std::env::consts::ARCH,
            "kernelVersion": read("/proc/sys/kernel/osrelease"),
        },
        "cpu": cpus,
    }))))
}

/// `sys/config/state/sanitized`: what the configuration files of this node came to, without what is secret.
pub fn configuration(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    Ok(Answer::data(call.core.settings.shown.clone()))
}

/// `sys/config/reload/:subsystem`: a license is the one thing upstream reads again so, and there is none.
pub fn reload(_: &mut Call<'_, '_>) -> Result<Answer, Error> {
    Err(Error::UnsupportedPath)
}

/// `sys/metrics`: decides who may read the numbers. The transport adds them, for it alone knows the text form asked for.
pub fn metrics(_call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    Ok(Answer::empty())
}

/// Versions that led this cluster, each with the one before it. Clients name a version of the API by its number alone; where more
/// than one of ours had it, the later ones say which they are.
pub fn versions(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let (mut keys, mut told) = (Vec::<String>::new(), Map::new());
    for installed in installed(call.work)? {
        let mut key = installed.api;
        if keys.contains(&key) {
            key = format!("{key}+conclave.{}", installed.version);
        }
        let info = json!({
            "commit_date": installed.built,
            "previous_version": keys.last(),
            "timestamp_installed": rfc3339(installed.since),
            "conclave_version": installed.version,
        });
        told.insert(key.clone(), info);
        keys.push(key);
    }
    Ok(Answer::data(object(json!({"keys": keys, "key_info": told}))))
}
