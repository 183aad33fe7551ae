//! `sys/effects`: whether this cluster acts on systems outside, and the switch.

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::json;

use crate::effects;
use crate::error::Error;
use crate::routes::{Act, Answer};
use crate::sys::object;

/// `GET sys/effects`.
pub fn status(act: Act) -> BoxFuture<'static, Result<Answer, Error>> {
    async move {
        let view = act.core.seal.replica()?.read().await?;
        let paused = effects::paused(&view)?;
        Ok(Answer::data(object(json!({"paused": paused}))))
    }
    .boxed()
}

/// `POST sys/effects`.
pub fn change(act: Act) -> BoxFuture<'static, Result<Answer, Error>> {
    async move {
        let paused = act.fields().bool("paused")?;
        let paused = paused.ok_or_else(|| Error::invalid("paused is required: true or false"))?;
        act.core.pause_effects(paused).await?;
        Ok(Answer::empty())
    }
    .boxed()
}
