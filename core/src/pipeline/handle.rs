//! What a request asks for, once it is known who asks: authorise, route, handle. Synchronous and without effects, so all of
//! it may run again on another view. It must not know how what is decided here is committed, done or answered.

use std::borrow::Cow;
use std::sync::Arc;

use conclave_engine_api::{Effect, Engine, Env, Operation, Outcome, Status, Txn};
use conclave_raft::Condition;

use super::{Attempt, Decision, operation_of};
use crate::answered::{self, Known};
use crate::canon::CanonPath;
use crate::catalog::{CONFIG, Category, EPOCH, MountRecord, Routed};
use crate::entropy::OsEntropy;
use crate::error::Error;
use crate::help;
use crate::identity;
use crate::leases;
use crate::metrics::Denied;
use crate::namespaces::Place;
use crate::policy::CheckRequest;
use crate::request::Verb;
use crate::rights::Bounds;
use crate::routes::{Access, Act, Answer, Call, Handler, Route, find};
use crate::session::Derived;
use crate::store::{Opened, Proposal};
use crate::sys;
use crate::tokens::{self, Caller};
use crate::work::{Readers, Work};
use crate::wrapping;

impl Attempt<'_> {
    /// Everything between the view and the commit.
    pub(super) fn decide(
        &mut self,
        opened: &Opened,
        derived: &Derived,
        place: &Place<'_>,
        caller: &Arc<Caller>,
        now: u64,
    ) -> Result<Decision, Error> {
        if caller.sees(place.catalog.namespace(), "").is_none() {
            self.core.metrics.denied(Denied::Namespace);
            return Err(Error::denied());
        }
        let readers = Readers::within(opened, self.namespace);
        let mut work = Work::new(&readers, &place.catalog);
        if self.request.verb == Verb::Help {
            return self.help(work);
        }
        let Some(routed) = place.catalog.route(&place.path) else {
            // Whether a mount exists is told only to those whose policies reach the path.
            self.authorise(caller, operation_of(self.request.verb), false)?;
            self.trail.begin(operation_of(self.request.verb))?;
            return Err(Error::NoRoute(self.path.to_string()));
        };
        caller.expect_in(&mut work.draft)?;
        work.draft
            .expect(CONFIG, EPOCH, Condition::Revision(derived.epoch))?;
        work.draft.decided_at(now);
        match table_of(&routed.mount.kind) {
            Some(table) => self.own_route(table, work, &routed, caller, now),
            None => self.engine_route(opened, work, &routed, caller, now),
        }
    }

    /// What a mount answers; every valid token may ask.
    fn help(&mut self, work: Work<'_>) -> Result<Decision, Error> {
        let directory = self.path.as_directory();
        let routed = work.catalog.route(&directory);
        if let Some(routed) = &routed {
            self.trail.at(routed.mount);
        }
        self.trail.begin(Operation::Help)?;
        let routed = routed.ok_or_else(|| Error::NoRoute(self.path.to_string()))?;
        let kind = routed.mount.kind.as_str();
        let answer = match (table_of(kind), self.core.engine_of(routed.mount)) {
            (Some(table), _) => help::of_table(kind, table, routed.rest)?,
            (None, Some(engine)) => help::of_engine(kind, engine.routes(), routed.rest)?,
            (None, None) => return Err(Error::Unsupported(format!("mount type {kind:?}"))),
        };
        Ok(Decision::Commit(Box::new((work.finish()?, answer))))
    }

    /// A path of core's own mounts.
    fn own_route(
        &mut self,
        table: &[Route],
        mut work: Work<'_>,
        routed: &Routed<'_>,
        caller: &Caller,
        now: u64,
    ) -> Result<Decision, Error> {
        let operation = operation_of(self.request.verb);
        let found = find(table, routed.rest, operation);
        let bounds = match found.as_ref().map(|(route, _)| route.access) {
            Ok(Access::Caller) => {
                self.trail.decided(true, &[]);
                Bounds::new(&caller.acl, None, None)
            }
            access => self.authorise(caller, operation, matches!(access, Ok(Access::Sudo)))?,
        };
        self.trail.begin(operation)?;
        sys::scope::check(routed.mount, routed.rest)?;
        let (route, params) = match found {
            Err(Error::UnsupportedPath) => {
                return Err(sys::unbuilt::refusal(&routed.mount.kind, routed.rest));
            }
            found => found?,
        };
        let mut data = bounds.apply(&self.request.data).into_owned();
        match route.handler {
            Handler::Act(_) => {
                let act = Act {
                    core: self.core.clone(),
                    namespace: self.namespace,
                    operation,
                    params,
                    data,
                    upload: self.request.upload.clone(),
                };
                Ok(Decision::Act(Box::new((act, route))))
            }
            Handler::Rows(handler) => {
                let opened = work.opened();
                let unanswered = match answered::look_up(
                    opened,
                    self.request,
                    &caller.keyholder(),
                    (self.namespace, &self.path),
                    now,
                )? {
                    Known::Answered(answer) => {
                        return Ok(Decision::Commit(Box::new((work.finish()?, *answer))));
                    }
                    Known::New(unanswered) => unanswered,
                };
                data.retain(|_, value| !value.is_null());
                let mut answer = handler(&mut Call {
                    work: &mut work,
                    env: Env::new(now, &mut OsEntropy).with_workshop(&self.core.workshop),
                    core: self.core,
                    caller,
                    operation,
                    path: routed.rest,
                    params,
                    data: &data,
                    token: self.request.token.as_deref().map_or("", String::as_str),
                    wraps: wrapping::ttl_of(self.request).is_some(),
                    remote: self.request.remote,
                    request_id: &self.trail.request_id,
                })?;
                bounds.screen(operation, &self.seen_by(caller, &self.path)?, &mut answer.reply);
                let mut proposal = work.finish()?;
                if !answer.told_once {
                    proposal = answered::keep(opened, unanswered, proposal, &answer, now)?;
                }
                Ok(Decision::Commit(Box::new((proposal, answer))))
            }
        }
    }

    /// A path of a secrets engine.
    fn engine_route(
        &mut self,
        opened: &Opened,
        mut work: Work<'_>,
        routed: &Routed<'_>,
        caller: &Arc<Caller>,
        now: u64,
    ) -> Result<Decision, Error> {
        let record: &MountRecord = routed.mount;
        let engine = self.core.engine_of(record).cloned();
        let space = record.space();
        let reader = opened.space(space);
        let mut txn = Txn::new(&reader);
        let settings = &self.core.settings;
        let mount = record.to_mount(settings.default_lease_ttl, settings.max_lease_ttl);
        let mut request = conclave_engine_api::Request {
            operation: operation_of(self.request.verb),
            path: routed.rest,
            data: &self.request.data,
            mount: &mount,
            caller: caller.scope(),
            display_name: &caller.record.display_name,
            remote: self.request.remote,
        };
        if let (Some(engine), true) = (&engine, request.operation == Operation::Update) {
            // An engine that cannot tell says so itself when it handles the request.
            if let Ok(Some(false)) = engine.exists(&mut txn, &request) {
                request.operation = Operation::Create;
            }
        }
        let privileged = |engine: &Arc<dyn Engine>| engine.is_sudo_path(routed.rest);
        let sudo = engine.as_ref().is_some_and(privileged);
        let bounds = self.authorise(caller, request.operation, sudo)?;
        self.trail.intend(request.operation);
        let data = bounds.apply(&self.request.data);
        request.data = &data;
        let engine = engine.ok_or_else(|| Error::Unsupported(format!("mount type {:?}", record.kind)))?;
        let place = (self.namespace, self.path.as_ref());
        let unanswered = match answered::look_up(opened, self.request, &caller.keyholder(), place, now)? {
            Known::Answered(answer) => return Ok(Decision::Commit(Box::new((work.finish()?, *answer)))),
            Known::New(unanswered) => unanswered,
        };
        let mut entropy = OsEntropy;
        let policies = sys::passwords::Policies::of(opened, self.namespace);
        let mut env = Env::new(now, &mut entropy)
            .with_workshop(&self.core.workshop)
            .with_passwords(&policies)
            .knowing(&self.computed);
        let mut reply = match engine.handle(&mut txn, &request, &mut env)? {
            Outcome::Reply(reply) => reply,
            Outcome::Heavy(heavy) => return Ok(Decision::Compute(heavy)),
            Outcome::Effect(mut effect) => {
                bounds.screen(
                    request.operation,
                    &self.seen_by(caller, &self.path)?,
                    &mut effect.reply,
                );
                work.draft.include(space, txn.into_changes())?;
                return self.outside(work, record, caller, now, *effect);
            }
            _ => return Err(Error::Unsupported("this outcome of an engine".to_owned())),
        };
        let read = request.operation == Operation::Read && reply.status == Status::Done;
        if read && record.category == Category::Secret {
            self.core.metrics.requests.secret_read(self.counted);
        }
        sys::anomaly::add_to_metadata(opened, record, &request, &mut reply)?;
        bounds.screen(request.operation, &self.seen_by(caller, &self.path)?, &mut reply);
        let answer = Answer::from(reply);
        if txn.writes() == 0 {
            // What was read binds nothing: the view itself is the proof.
            return Ok(Decision::Commit(Box::new((Proposal::nothing(opened), answer))));
        }
        work.draft.include(space, txn.into_changes())?;
        if engine.keeps_for_callers() {
            tokens::hang_on(&mut work, &caller.name)?;
        }
        let proposal = answered::keep(opened, unanswered, work.finish()?, &answer, now)?;
        Ok(Decision::Commit(Box::new((proposal, answer))))
    }

    /// What an engine wants done outside the cluster, behind an intent that is committed first.
    fn outside(
        &self,
        mut work: Work<'_>,
        mount: &MountRecord,
        caller: &Arc<Caller>,
        now: u64,
        effect: Effect,
    ) -> Result<Decision, Error> {
        let asked = leases::Asked {
            core: self.core,
            caller,
            mount,
            path: self.path.as_str(),
            now,
        };
        let begun = leases::begin(&mut work, &asked, effect)?;
        Ok(Decision::Outside(Box::new((work.finish()?, begun))))
    }

    /// The path as the caller's policies see it: from its own namespace.
    fn seen_by<'p>(&self, caller: &Caller, path: &'p CanonPath) -> Result<Cow<'p, str>, Error> {
        let seen = match self.trail.namespace() {
            Some(namespace) => caller.sees(namespace, path.as_str()),
            None => Some(Cow::Borrowed(path.as_str())).filter(|_| caller.namespace.is_root()),
        };
        seen.ok_or_else(Error::denied)
    }

    fn authorise<'c>(
        &mut self,
        caller: &'c Caller,
        operation: Operation,
        sudo_path: bool,
    ) -> Result<Bounds<'c>, Error> {
        let path = self.path.clone();
        let seen = self.seen_by(caller, &path)?;
        let request = CheckRequest {
            operation,
            path: &seen,
            data: Some(&self.request.data),
            wrap_ttl: wrapping::ttl_of(self.request),
            is_sudo_path: sudo_path,
        };
        let decision = caller.acl.check(&request);
        self.trail.decided(decision.allowed, &decision.granted_by);
        if decision.allowed {
            return Ok(Bounds::new(
                &caller.acl,
                decision.limit,
                decision.keys_filter.cloned(),
            ));
        }
        self.core.metrics.denied(Denied::Policy);
        Err(Error::denied())
    }
}

/// Every route that core answers itself and its mount, for whoever must go through all of them.
pub fn own_routes() -> impl Iterator<Item = (&'static str, &'static Route)> {
    let sys = sys::ROUTES.iter().map(|route| ("sys/", route));
    let token = tokens::routes::ROUTES.iter().map(|route| ("auth/token/", route));
    let identity = identity::ROUTES.iter().map(|route| ("identity/", route));
    sys.chain(token).chain(identity)
}

/// The table of a mount that core serves itself.
pub(crate) fn table_of(kind: &str) -> Option<&'static [Route]> {
    match kind {
        "system" => Some(sys::ROUTES),
        "token" => Some(tokens::routes::ROUTES),
        "identity" => Some(identity::ROUTES),
        _ => None,
    }
}
