//! Drivers of the systems outside in which engines make and drop accounts. They carry out plans within bounds and say what
//! came of it. They must not know leases, mounts, tokens or storage.

mod address;
mod aws;
mod http;
mod kubernetes;
mod mysql;
mod pool;
mod postgres;
mod rabbitmq;
mod redis;
mod tls;
mod url;

use std::future::Future;
use std::time::Duration;

use conclave_engine_api::{Bounds, Done, Driver, Failure, Plan};
use rustix::time::{ClockId, clock_gettime};

/// Connections to targets, kept open for the next plan.
#[derive(Default)]
pub struct Targets {
    postgres: postgres::Postgres,
    mysql: mysql::Mysql,
    redis: redis::Redis,
    aws: aws::Aws,
    rabbitmq: rabbitmq::RabbitMq,
    kubernetes: kubernetes::Kubernetes,
}

impl Targets {
    /// Time on the clock that `Bounds::until` is read on: `CLOCK_BOOTTIME`, which never jumps, counts while the machine
    /// sleeps and goes on while the process is stopped.
    pub fn boot_time() -> Duration {
        let time = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        Duration::from_secs(seconds) + Duration::from_nanos(u64::try_from(time.tv_nsec).unwrap_or(0))
    }

    /// Carries out a plan. Answers what it lists; nothing for other actions.
    ///
    /// # Errors
    /// [`Failure`]: why not, and what may have been done all the same.
    pub async fn run(&self, plan: &Plan, bounds: &Bounds) -> Result<Vec<String>, Failure> {
        match plan.target.driver {
            Driver::Postgresql => self.postgres.run(plan, bounds).await,
            Driver::Aws => self.aws.run(plan, bounds).await,
            Driver::Kubernetes => self.kubernetes.run(plan, bounds).await,
            Driver::Mysql => self.mysql.run(plan, bounds).await,
            Driver::RabbitMq => self.rabbitmq.run(plan, bounds).await,
            Driver::Redis => self.redis.run(plan, bounds).await,
        }
    }
}

/// Said when an account that is to be made has a name that another has.
fn there(account: &str) -> Failure {
    let text = format!("the target has an account {account:?} that was not made here: nothing was done");
    Failure::new(Done::There, text)
}

/// What is left of the time a plan has.
fn left(bounds: &Bounds) -> Result<Duration, Failure> {
    let left = bounds.until.checked_sub(Targets::boot_time());
    left.filter(|left| !left.is_zero())
        .ok_or_else(|| Failure::new(Done::Nothing, "the time for this call to the target is over"))
}

/// Waits no longer than the bounds allow; `done`: what may have been done if they come first.
async fn within<T>(bounds: &Bounds, done: Done, work: impl Future<Output = T>) -> Result<T, Failure> {
    let late = |_| Failure::new(done, "the target did not answer in time");
    tokio::time::timeout(left(bounds)?, work).await.map_err(late)
}
