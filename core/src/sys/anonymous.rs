//! Ceremonies for callers without a token, on Vault's old paths, where a node's settings allow it: the way back into a
//! cluster to which every token is lost. Audited like everything else; a nonce is needed even to cancel.

use std::sync::Arc;

use conclave_engine_api::Operation::{self, Delete, Read, Update};

use crate::answer;
use crate::canon::CanonPath;
use crate::core::Core;
use crate::error::Error;
use crate::namespaces::Place;
use crate::request::{Request, Verb};
use crate::response::Response;
use crate::routes::{Act, Answer, Handler, Params, Route, find};
use crate::session::Session;
use crate::store::layout::ROOT_NAMESPACE;
use crate::sys::{act, generate_root, rotate_root};
use crate::trail::Trail;

const REKEY: &[Route] = &[
    act("rekey/init", &[Read], rotate_root::status),
    act("rekey/init", &[Update], rotate_root::begin),
    act("rekey/init", &[Delete], rotate_root::cancel_by_nonce),
    act("rekey/update", &[Update], rotate_root::update),
    act("rekey/verify", &[Read], rotate_root::verification),
    act("rekey/verify", &[Update], rotate_root::verify),
];

const GENERATE_ROOT: &[Route] = &[
    act("generate-root/attempt", &[Read], generate_root::status),
    act("generate-root/attempt", &[Update], generate_root::begin),
    act("generate-root/attempt", &[Delete], generate_root::cancel_by_nonce),
    act("generate-root/update", &[Update], generate_root::update),
];

/// Answers a request on one of the old paths if this node's settings open it to everybody; `None` for all others.
pub async fn answer(
    core: &Arc<Core>,
    request: &Request,
    path: &CanonPath,
) -> Option<Result<Response, Error>> {
    let beneath = path.as_str().strip_prefix("sys/")?;
    let operation = match request.verb {
        Verb::Read => Read,
        Verb::Write => Update,
        Verb::Delete => Delete,
        Verb::Patch | Verb::List | Verb::Scan | Verb::Help => return None,
    };
    let settings = &core.settings;
    let tables = [
        (settings.unauthenticated_rekey, REKEY),
        (settings.unauthenticated_generate_root, GENERATE_ROOT),
    ];
    let open = tables.into_iter().filter(|(open, _)| *open);
    let found = open
        .filter_map(|(_, table)| find(table, beneath, operation).ok())
        .next();
    let (route, params) = found?;
    Some(run(core, request, path, operation, route, params).await)
}

async fn run(
    core: &Arc<Core>,
    request: &Request,
    path: &CanonPath,
    operation: Operation,
    route: Route,
    params: Params,
) -> Result<Response, Error> {
    let session = core.seal.session()?;
    core.divergence.check()?;
    let mut trail = Trail::new(core, request, Arc::new(path.clone()), operation);
    let answered = take(
        core,
        &session,
        request,
        &mut trail,
        (path, operation, route, params),
    )
    .await;
    let request_id = trail.request_id.clone();
    let answer = trail.end(answered, |answer| answer).await?;
    Ok(answer::encode(request_id, None, answer))
}

/// Takes one request down the same line as all others, without anybody to authenticate.
async fn take(
    core: &Arc<Core>,
    session: &Arc<Session>,
    request: &Request,
    trail: &mut Trail<'_>,
    (path, operation, route, params): (&CanonPath, Operation, Route, Params),
) -> Result<Answer, Error> {
    let Handler::Act(handler) = route.handler else {
        return Err(Error::internal("not an act"));
    };
    {
        let (opened, derived) = session.view(core.seal.replica()?.read().await?)?;
        trail.follow(&derived).await?;
        let place = Place::find(&derived.catalog, None, path)?;
        core.admit(&opened, &place, request).await?;
    }
    trail.begin(operation)?;
    if operation.is_write() {
        trail.changed();
    }
    handler(Act {
        core: core.clone(),
        namespace: ROOT_NAMESPACE,
        operation,
        params,
        data: request.data.clone(),
        upload: None,
    })
    .await
}
