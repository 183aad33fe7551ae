//! `sys/storage/raft/autopilot`: how healthy the members are, and what is done about it.

use futures::FutureExt;
use futures::future::BoxFuture;

use crate::autopilot::{SETTINGS, Settings};
use crate::catalog::{decode_record, encode_record};
use crate::error::Error;
use crate::routes::{Act, Answer, Call};

/// How healthy the members are, as the leader sees it.
pub fn state(act: Act) -> BoxFuture<'static, Result<Answer, Error>> {
    async move { Ok(Answer::data(act.core.member_health().await?)) }.boxed()
}

/// The settings.
pub fn configuration(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    Ok(Answer::data(load(call)?.shown()))
}

/// Changes settings; what is not named stays.
pub fn change_configuration(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let settings = load(call)?.changed(&call.fields())?;
    call.work.config.put(SETTINGS, encode_record(&settings)?)?;
    Ok(Answer::empty())
}

fn load(call: &mut Call<'_, '_>) -> Result<Settings, Error> {
    match call.work.config.get(SETTINGS)? {
        Some(row) => decode_record(&row.value),
        None => Ok(Settings::default()),
    }
}
