//! `sys/host-info`, `sys/version-history` and `sys/config/state`: what a node and its configuration are.

use serde_json::json;

use crate::clocktext::rfc3339;
use crate::error::Error;
use crate::routes::{Answer, Call};
use crate::sys::open::object;

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

/// Versions that ran here; for now the one that answers.
pub fn versions(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let version = &call.core.settings.vault_version;
    let info = json!({
        version: {
            "commit_date": call.core.settings.build_date,
            "previous_version": null,
            "timestamp_installed": rfc3339(call.env.now()),
            "conclave_version": call.core.settings.conclave_version,
        }
    });
    Ok(Answer::data(object(json!({"keys": [version], "key_info": info}))))
}
