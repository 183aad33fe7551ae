//! The straight line. Every request, whatever transport it came by, takes this path and no other:
//! canonical path, view, authenticate, authorise, audit, route, handle, commit, audit, answer.

mod handle;
mod inline;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use conclave_engine_api::heavy::Answers;
use conclave_engine_api::{Heavy, Operation};
use conclave_raft::{Replica, View};

use crate::anomaly;
use crate::answer;
use crate::auth;
use crate::canon::CanonPath;
use crate::catalog::{Catalog, Routed};
use crate::core::Core;
use crate::error::Error;
use crate::leases::{self, Begun};
use crate::metrics::Kind;
use crate::namespaces::Place;
use crate::request::{Request, Verb};
use crate::response::Response;
use crate::routes::{Act, Answer, Handler, Route};
use crate::session::{Derived, Session};
use crate::store::layout::ROOT_NAMESPACE;
use crate::store::{CommitError, Opened, Proposal, commit};
use crate::sys;
use crate::tokens::{self, Caller, Shown};
use crate::trail::Trail;
use crate::wrapping;

pub use handle::own_routes;
pub(crate) use handle::table_of;

/// A request that conflicts is tried at least this often ...
const MIN_TRIES: u32 = 8;
/// ... and for at least this long, before the client is told to try again.
const MIN_TRYING: Duration = Duration::from_secs(5);
/// Most computations of one request: a password is verified, and hashed anew.
const MAX_COMPUTATIONS: usize = 16;
/// Why a token does not get with its last use what would end with it at once.
const LAST_USE: &str = "Secret cannot be returned; token had one use left, so leased credentials were immediately \
                        revoked.";

impl Core {
    /// Answers one request.
    pub async fn handle(self: &Arc<Self>, mut request: Request) -> Result<Response, Error> {
        let _counted = self.metrics.request_started();
        let path = CanonPath::parse(&request.path)?;
        let _listed = self.in_flight.enter(&request, &path, self.seal.now());
        let path = Arc::new(if matches!(request.verb, Verb::List | Verb::Scan) {
            path.as_directory()
        } else {
            path
        });
        if let Some(answered) = sys::without_token(self, &request, &path).await {
            return answered;
        }
        if let Some(login) = request.inline.take() {
            let token = self.log_in_inline(&mut request, *login).await;
            request.token = Some(token.map_err(|error| Error::InlineLogin(Box::new(error)))?);
        }
        let (request_id, (answer, revision)) = self.run(&request, path, false).await?;
        Ok(answer::encode(request_id, revision, answer))
    }

    /// Takes one request down the line; `inline`: it is the login that another one brought along. What is answered, and the
    /// request's id.
    async fn run(
        self: &Arc<Self>,
        request: &Request,
        path: Arc<CanonPath>,
        inline: bool,
    ) -> Result<(String, Answered), Error> {
        let started = Instant::now();
        let session = self.seal.session()?;
        self.divergence.check()?;
        let replica = self.seal.replica()?;
        let mut attempt = Attempt {
            core: self,
            request,
            trail: Trail::new(self, request, path.clone(), operation_of(request.verb)),
            path: path.clone(),
            asked: path,
            inline,
            namespace: ROOT_NAMESPACE,
            counted: self.metrics.requests.of_none(),
            watched: None,
            use_paid: false,
            asked_for_ring: false,
            spent: None,
            admitted: false,
            let_by: false,
            owing: None,
            computed: Answers::default(),
        };
        let outcome = attempt.run(&session, replica.as_ref()).await;
        attempt.leave_seen(replica.now(), &outcome);
        if let Some(caller) = &attempt.spent {
            self.end_spent(&session, replica.as_ref(), &caller.name).await;
        }
        let request_id = attempt.trail.request_id.clone();
        let counted = attempt.counted;
        let ended = attempt.trail.end(outcome, |(answer, _)| answer).await;
        self.metrics
            .requests
            .answered(counted, request.verb, started.elapsed());
        Ok((request_id, ended?))
    }
}

/// One request on its way; what must happen once only, however often it conflicts, is remembered here.
struct Attempt<'q> {
    core: &'q Arc<Core>,
    request: &'q Request,
    /// The path as asked for, on which that of a namespace may lie.
    asked: Arc<CanonPath>,
    /// The path within the namespace that answers.
    path: Arc<CanonPath>,
    /// Whether it is the login that another request brought along.
    inline: bool,
    /// That namespace.
    namespace: u32,
    trail: Trail<'q>,
    /// Where it is counted: with those to mounts of one type.
    counted: &'q Kind,
    /// Whether it is watched, and if so whether its path is a canary's.
    watched: Option<bool>,
    use_paid: bool,
    /// Whether members were asked for the keys of a namespace.
    asked_for_ring: bool,
    /// The token whose last use it took: it ends with this request.
    spent: Option<Arc<Caller>>,
    /// Whether rate limits let it pass: each request pays once, before anything is spent on it.
    admitted: bool,
    /// Whether the limit of its caller did, if there is one.
    let_by: bool,
    /// Whose use is to be paid, and on which view it was authenticated.
    owing: Option<(Opened, Arc<Caller>)>,
    computed: Answers,
}

/// An answer, and the revision it stands on.
type Answered = (Answer, Option<u64>);

/// What one attempt decided.
enum Decision {
    /// Commit this, then answer.
    Commit(Box<(Proposal, Answer)>),
    /// Act, then answer.
    Act(Box<(Act, Route)>),
    /// Commit this, then refuse: a login that failed counts.
    Refuse(Box<(Proposal, Error)>),
    /// Compute this, then decide again.
    Compute(Heavy),
    /// Commit this, then act outside the cluster, then answer.
    Outside(Box<(Proposal, Begun)>),
}

impl Attempt<'_> {
    async fn run(&mut self, session: &Arc<Session>, replica: &dyn Replica) -> Result<Answered, Error> {
        let mut turn = if is_write(self.request.verb) {
            self.core.latches.wait_if_fought(self.asked.as_str()).await
        } else {
            None
        };
        let started = Instant::now();
        for tries in 1.. {
            match self.once(session, replica).await {
                Ok(answered) => return Ok(answered),
                // A member may have the keys: it is asked once.
                Err(CommitError::Failed(Error::NamespaceSealed { ring }))
                    if !std::mem::replace(&mut self.asked_for_ring, true)
                        && self.core.ask_for_ring_if_open(ring).await => {}
                Err(CommitError::Failed(error)) => return Err(error),
                Err(CommitError::Refused) => return Err(self.refused()),
                Err(CommitError::Retry) => {
                    self.core.metrics.conflict();
                    if tries >= MIN_TRIES && started.elapsed() >= MIN_TRYING {
                        return Err(Error::Contention);
                    }
                }
            }
            if turn.is_none() {
                turn = self.core.latches.take(self.asked.as_str()).await;
            }
        }
        Err(Error::Contention)
    }

    /// What a command says that would take a counter past its bound: a quota's, if it is a login's, which nobody asks for who
    /// has a token; else that of a token's uses.
    fn refused(&self) -> Error {
        match self.trail.asked().caller {
            None => Error::LeasesExceeded(self.path.to_string()),
            Some(_) => Error::unauthenticated(),
        }
    }

    async fn once(&mut self, session: &Arc<Session>, replica: &dyn Replica) -> Result<Answered, CommitError> {
        let decision = loop {
            match self.decide_proven(session, replica).await {
                Ok(Decision::Compute(heavy)) => self.compute(heavy).await?,
                decided => break self.paid(decided, replica).await?,
            }
        };
        let reads = matches!(&decision, Decision::Commit(commitment) if commitment.0.is_empty());
        if !reads || wrapping::ttl_of(self.request).is_some() {
            self.trail.write()?;
        }
        match decision {
            Decision::Compute(_) => Err(Error::internal("a computation was left over").into()),
            Decision::Refuse(refusal) => {
                let (proposal, error) = *refusal;
                self.core.has_room()?;
                commit(replica, proposal).await?;
                Err(error.into())
            }
            Decision::Act(act) => {
                let Handler::Act(handler) = act.1.handler else {
                    return Err(Error::internal("not an act").into());
                };
                let changes = act.0.operation.is_write();
                if changes {
                    self.trail.changed();
                }
                let answer = handler(act.0).await?;
                match self.wrap_act(session, replica, answer).await {
                    // It is done and what it answered is lost: nobody may take that for nothing done and try again.
                    Err(_) if changes => Err(Error::OutcomeUnknown.into()),
                    wrapped => wrapped,
                }
            }
            Decision::Outside(effect) => {
                let (intent, begun) = *effect;
                if self.spent.is_some() && begun.issued.is_some() {
                    // As Vault says it: here none is made.
                    return Err(Error::invalid(LAST_USE).into());
                }
                self.core.has_room()?;
                commit(replica, intent).await.map_err(|error| match error {
                    // The only counter in it with a bound is that of a quota.
                    CommitError::Refused => Error::LeasesExceeded(self.path.to_string()).into(),
                    other => other,
                })?;
                self.trail.changed();
                let answer = leases::perform(self.core.clone(), session.clone(), begun).await?;
                // The credential is out there: an answer that cannot be wrapped is lost with it, until its lease ends.
                self.wrap_act(session, replica, answer)
                    .await
                    .map_err(|_| Error::OutcomeUnknown.into())
            }
            Decision::Commit(commitment) => {
                let (proposal, answer) = self.wrapped(session, replica, *commitment)?;
                let changes = !proposal.is_empty();
                if changes {
                    self.core.has_room()?;
                }
                let closed = proposal.closed().to_vec();
                let proposed = Instant::now();
                let revision = commit(replica, proposal).await?.revision;
                if changes {
                    self.core.metrics.committed(proposed.elapsed());
                    self.trail.changed();
                }
                self.core.close_tokens(session, replica, closed).await;
                Ok((answer, Some(revision)))
            }
        }
    }

    /// Wraps the answer, if it is to be, in the same command as what it tells of.
    fn wrapped(
        &self,
        session: &Arc<Session>,
        replica: &dyn Replica,
        (proposal, mut answer): (Proposal, Answer),
    ) -> Result<(Proposal, Answer), CommitError> {
        let Some(wish) = wrapping::wish(self.request, &self.path, &mut answer)? else {
            return Ok((proposal, answer));
        };
        let (opened, derived) = session.view(replica.view().map_err(Error::from)?)?;
        let made = (self.trail.request_id.as_str(), replica.now());
        let catalog = derived.catalog.of(self.namespace)?;
        Ok(wrapping::wrap(
            self.core,
            (&opened, &catalog),
            proposal,
            answer,
            wish,
            made,
        )?)
    }

    /// Wraps what an act answers, which is done already and must not be done again: in a command of its own.
    async fn wrap_act(
        &self,
        session: &Arc<Session>,
        replica: &dyn Replica,
        answer: Answer,
    ) -> Result<Answered, CommitError> {
        let nothing = Proposal::new(Vec::new(), Vec::new());
        let (proposal, answer) = self.wrapped(session, replica, (nothing, answer))?;
        if proposal.is_empty() {
            return Ok((answer, None));
        }
        match commit(replica, proposal).await {
            Ok(committed) => Ok((answer, Some(committed.revision))),
            Err(CommitError::Failed(error)) => Err(error.into()),
            Err(CommitError::Retry | CommitError::Refused) => Err(Error::OutcomeUnknown.into()),
        }
    }

    /// Has something computed that takes long; no view is held meanwhile.
    async fn compute(&mut self, heavy: Heavy) -> Result<(), Error> {
        if self.computed.len() >= MAX_COMPUTATIONS {
            return Err(Error::internal(
                "an engine asks for computation after computation",
            ));
        }
        let answer = self.core.hashing.run(&heavy).await?;
        self.computed.insert(heavy.name, answer);
        Ok(())
    }

    /// Decides, on a view that is proven to be current unless the commit itself will prove it: a change expects all that it
    /// rests on, so a write to an engine begins on what this node knows and spares the round to the leader. What turns out
    /// to change nothing (a refusal, an error) needs the proof after all, and another look if anything had changed.
    async fn decide_proven(
        &mut self,
        session: &Arc<Session>,
        replica: &dyn Replica,
    ) -> Result<Decision, CommitError> {
        let mut proven = !self.is_write_to_engine();
        let mut view = match proven {
            true => replica.read().await,
            false => replica.view(),
        }
        .map_err(Error::from)?;
        loop {
            let revision = view.applied().revision;
            let decided = self.decide_on(session, replica, view).await;
            let settled = match &decided {
                Ok(Decision::Commit(commitment)) => !commitment.0.is_empty(),
                Ok(Decision::Refuse(_) | Decision::Compute(_) | Decision::Outside(_))
                | Err(CommitError::Retry | CommitError::Refused) => true,
                Ok(Decision::Act(_)) | Err(CommitError::Failed(_)) => false,
            };
            if proven || settled {
                return decided;
            }
            view = replica.read().await.map_err(Error::from)?;
            proven = true;
            if view.applied().revision == revision {
                return decided;
            }
        }
    }

    /// Core's own mounts list rows in order to write, which expectations do not cover.
    fn is_write_to_engine(&self) -> bool {
        let path = self.asked.as_str();
        // Where its namespace begins is not known yet: what might be core's own is taken for it.
        let own = path.starts_with("sys/") || path.starts_with("auth/token/");
        is_write(self.request.verb) && !own && !path.contains("/sys/") && !path.contains("/auth/token/")
    }

    async fn decide_on(
        &mut self,
        session: &Arc<Session>,
        replica: &dyn Replica,
        view: Arc<View>,
    ) -> Result<Decision, CommitError> {
        self.owing = None;
        let (opened, derived) = session.view(view)?;
        self.trail.follow(&derived).await?;
        let asked = self.asked.clone();
        let mut place = Place::find(&derived.catalog, self.request.namespace.as_deref(), &asked)?;
        self.enter(&place);
        let watched = &derived.catalog.watched;
        let canary = || watched.canary(self.namespace, self.path.as_str()).is_some();
        self.watched = watched.config.enabled.then(canary);
        let now = replica.now();
        if !self.admitted && !derived.catalog.quotas.is_empty() {
            self.core.admit(&opened, &place, self.request).await?;
            self.admitted = true;
        }
        let login = auth::mount_of_login(self.core, &place.catalog, &place.path);
        if self.request.verb != Verb::Help && (login.is_some() || auth::is_validation(&place.path)) {
            return Ok(self.login(&opened, &derived, &place, login.as_ref(), now)?);
        }
        if let Some(id) = wrapping::subject(self.request, &place.path) {
            let told = self.check_wrapping(&opened, &place.catalog, id, now)?;
            if place.path.as_str() == "sys/wrapping/lookup" {
                self.trail.begin(operation_of(self.request.verb))?;
                return Ok(Decision::Commit(Box::new((Proposal::nothing(&opened), told))));
            }
        }
        let caller = self.authenticate(session, &opened, &derived, now)?;
        self.trail.by(&caller);
        watched.holds.check(&caller)?;
        if !self.let_by {
            let (limits, path) = (&watched.limits, self.path.as_str());
            self.core.hold_back(&opened, limits, &caller, path, now).await?;
            self.let_by = true;
        }
        if caller.record.num_uses > 0 && !self.use_paid {
            self.owing = Some((opened.clone(), caller.clone()));
        }
        if caller.namespace.number != self.namespace && tokens::is_about_self(place.path.as_str()) {
            // What a token asks of itself is asked of the namespace it is of, wherever it stands.
            place.catalog = Cow::Owned(derived.catalog.of(caller.namespace.number)?);
            self.enter(&place);
        }
        Ok(self.decide(&opened, &derived, &place, &caller, now)?)
    }

    /// Leaves an entry for who watches; never waits.
    fn leave_seen(&self, at: u64, outcome: &Result<Answered, Error>) {
        let Some(canary) = self.watched else { return };
        let told = self.trail.asked();
        let asked = anomaly::Asked {
            at,
            operation: operation_of(self.request.verb),
            path: &self.path,
            number: self.namespace,
            namespace: told.namespace,
            mount: told.mount,
            caller: told.caller,
            remote: self.request.remote,
            token_shown: self.request.token.as_ref().is_some_and(|token| !token.is_empty()),
            canary,
        };
        if let Some(seen) = anomaly::Seen::of(&asked, outcome.as_ref().map(|(answer, _)| answer)) {
            self.core.watch.note(seen);
        }
    }

    /// Goes where the request leads: what follows, and its records, are of this namespace and path.
    fn enter(&mut self, place: &Place<'_>) {
        let record = place.catalog.namespace();
        if record.number != self.namespace || *place.path != *self.path {
            self.namespace = record.number;
            self.path = Arc::new(place.path.as_ref().clone());
            self.trail.within(record, &self.path);
        }
        if let Some(routed) = place.catalog.route(&place.path) {
            self.trail.at(routed.mount);
            self.counted = self.core.metrics.requests.of(&routed.mount.kind);
            tracing::Span::current().record("mount_type", self.counted.name());
        }
    }

    /// What is told of a wrapping token. It must hold an answer before who asks is looked at, unless this request is the
    /// one that has just used it.
    fn check_wrapping(
        &self,
        opened: &Opened,
        catalog: &Catalog,
        id: &str,
        now: u64,
    ) -> Result<Answer, Error> {
        match id {
            "" => Err(Error::unauthenticated()),
            _ if self.use_paid => Ok(Answer::empty()),
            id => wrapping::describe(opened, catalog, id, now),
        }
    }

    /// A login shows no token: its method says who it is. Without a method it is one that waits for its second factor.
    fn login(
        &mut self,
        opened: &Opened,
        derived: &Derived,
        place: &Place<'_>,
        routed: Option<&Routed<'_>>,
        now: u64,
    ) -> Result<Decision, Error> {
        let operation = operation_of(self.request.verb);
        self.trail.begin_login(operation)?;
        let asked = auth::Asked {
            core: self.core,
            opened,
            derived,
            catalog: &place.catalog,
            request: self.request,
            path: &place.path,
            operation,
            inline: self.inline,
            computed: &self.computed,
            now,
        };
        let decided = match routed {
            Some(routed) => auth::login(&asked, routed)?,
            None => auth::validate(&asked)?,
        };
        Ok(match decided {
            auth::Decided::In(commitment) => Decision::Commit(commitment),
            auth::Decided::Out(refusal) => Decision::Refuse(refusal),
            auth::Decided::Compute(heavy) => Decision::Compute(heavy),
        })
    }

    fn authenticate(
        &mut self,
        session: &Session,
        opened: &Opened,
        derived: &Derived,
        now: u64,
    ) -> Result<Arc<Caller>, Error> {
        let shown = Shown {
            token: self.request.token.as_deref().map_or("", String::as_str),
            remote: self.request.remote,
        };
        let caller = session
            .callers
            .authenticate(opened, &derived.catalog, derived.epoch, shown, now);
        self.core.metrics.authenticated(caller.is_ok());
        caller
    }

    /// A token with limited uses pays before anything is done or answered, so that two requests cannot share the last use;
    /// but after its request is on record: what no device could record did not happen, and costs no use.
    async fn paid(
        &mut self,
        decided: Result<Decision, CommitError>,
        replica: &dyn Replica,
    ) -> Result<Decision, CommitError> {
        let Some((opened, caller)) = self.owing.take() else {
            return decided;
        };
        match &decided {
            Ok(_) => {}
            Err(CommitError::Retry | CommitError::Refused | CommitError::Failed(Error::AuditRefused)) => {
                return decided;
            }
            // What is refused costs a use as well, as in Vault.
            Err(CommitError::Failed(error)) => self.trail.refuse(error)?,
        }
        self.trail.write()?;
        let payment = tokens::pay(&opened, &caller, replica.now())?;
        match commit(replica, payment.proposal).await {
            // Others left fewer than this view knew.
            Err(CommitError::Refused) => return Err(CommitError::Retry),
            committed => committed?,
        };
        self.spent = payment.is_last.then_some(caller);
        self.use_paid = true;
        decided
    }
}

fn is_write(verb: Verb) -> bool {
    matches!(verb, Verb::Write | Verb::Patch | Verb::Delete)
}

fn operation_of(verb: Verb) -> Operation {
    match verb {
        Verb::Read => Operation::Read,
        Verb::Write => Operation::Update,
        Verb::Patch => Operation::Patch,
        Verb::Delete => Operation::Delete,
        Verb::List => Operation::List,
        Verb::Scan => Operation::Scan,
        Verb::Help => Operation::Help,
    }
}
