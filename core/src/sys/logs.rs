//! `sys/loggers` and `sys/monitor`: what the node that is asked logs, and its lines as they come. They concern this node and
//! this run alone: a restart goes back to the configuration.

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use serde_json::{Map, Value, json};

use crate::error::Error;
use crate::logs::{Format, Level};
use crate::routes::{Act, Answer};

/// `GET sys/loggers`: each voice and its level.
pub fn list(act: Act) -> BoxFuture<'static, Result<Answer, Error>> {
    async move { Ok(Answer::data(levels(&act, None))) }.boxed()
}

/// `GET sys/loggers/:name`: one. As upstream, what is not there is an empty object.
pub fn read(act: Act) -> BoxFuture<'static, Result<Answer, Error>> {
    async move {
        let name = act.params.get("name").to_owned();
        Ok(Answer::data(levels(&act, Some(&name))))
    }
    .boxed()
}

fn levels(act: &Act, name: Option<&str>) -> Map<String, Value> {
    let levels = act.core.logs.levels().into_iter();
    levels
        .filter(|(known, _)| name.is_none_or(|name| name == *known))
        .map(|(known, level)| (known.to_owned(), json!(level.text())))
        .collect()
}

/// `POST sys/loggers` and `sys/loggers/:name`.
pub fn write(act: Act) -> BoxFuture<'static, Result<Answer, Error>> {
    async move {
        let level = match act.fields().string("level")? {
            None => return Err(Error::invalid("level is required")),
            Some(level) if level.is_empty() => return Err(Error::invalid("level is empty")),
            Some(level) => level,
        };
        let level = Level::parse(&level)
            .ok_or_else(|| Error::invalid("invalid level provided: use trace, debug, info, warn or error"))?;
        set(&act, Some(level))
    }
    .boxed()
}

/// `DELETE sys/loggers` and `sys/loggers/:name`: back to what the configuration says.
pub fn reset(act: Act) -> BoxFuture<'static, Result<Answer, Error>> {
    async move { set(&act, None) }.boxed()
}

fn set(act: &Act, level: Option<Level>) -> Result<Answer, Error> {
    let name = Some(act.params.get("name")).filter(|name| !name.is_empty());
    if !act.core.logs.set(name, level)? {
        return Err(Error::invalid(format!(
            "logger {:?} not found",
            name.unwrap_or_default()
        )));
    }
    tracing::info!(
        logger = name.unwrap_or("all"),
        level = level.map_or("as configured", Level::text),
        "what is logged was changed over the API"
    );
    Ok(Answer::empty())
}

/// `sys/monitor`: lines until the client goes, the node is sealed or it stops.
pub fn monitor(act: Act) -> BoxFuture<'static, Result<Answer, Error>> {
    async move {
        let fields = act.fields();
        let level = fields.string("log_level")?.filter(|level| !level.is_empty());
        let level = level.map_or(Some(Level::Info), |level| Level::parse(&level));
        let level = level.ok_or_else(|| Error::invalid("unknown log level"))?;
        let format = match fields.string("log_format")?.unwrap_or_default().as_str() {
            "" | "standard" => Format::Standard,
            "json" => Format::Json,
            _ => return Err(Error::invalid("unknown log format")),
        };
        let mut seals = act.core.seals();
        let lines = act.core.logs.follow(level, format)?;
        let sealed = Box::pin(async move { drop(seals.changed().await) });
        Ok(Answer {
            lines: Some(Box::pin(lines.take_until(sealed))),
            ..Answer::empty()
        })
    }
    .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_read_as_vault_writes_them() {
        for (text, level) in [
            ("TRACE", Some("trace")),
            (" notice ", Some("info")),
            ("warning", Some("warn")),
            ("err", Some("error")),
            ("off", None),
            ("nosuch", None),
        ] {
            assert_eq!(Level::parse(text).map(Level::text), level, "{text:?}");
        }
    }
}
