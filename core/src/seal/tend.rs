//! What a member does by itself about its seal: follows a seal of the cluster, asks to be opened where it may, hands
//! leadership on while it is sealed, and forgets shares that nobody needs. Ends with the node.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::Instant;

use conclave_raft::{Change, Replica};

use crate::core::Core;
use crate::seal::PeerUnseal;
use crate::seal::peers::Needed;

/// Between two looks. A seal of the cluster is followed this soon by a node that serves nobody; requests see it at once.
const TICK: Duration = Duration::from_millis(250);
/// Between two times a sealed node asks to be opened, or an open one for keys of namespaces.
const ASK_PAUSE: Duration = Duration::from_secs(1);
/// Between two tries of a sealed leader to find an unsealed voter.
const HAND_OVER_PAUSE: Duration = Duration::from_secs(1);
/// Before a transfer that failed for another reason than that nobody wants to lead is tried again: each costs an election.
const HAND_OVER_AGAIN: Duration = Duration::from_secs(10);
/// How long shares on an unsealed node wait before it looks whether anybody still needs them.
const NEEDED: Duration = Duration::from_secs(10);
/// How long they wait for members of which nobody knows whether they are sealed.
const SILENT: Duration = Duration::from_secs(300);

impl Core {
    /// Starts to look after the seal, once this node has a replica.
    pub(super) fn tend_seal(self: &Arc<Self>) {
        tokio::spawn(run(Arc::downgrade(self)));
    }
}

/// When what was done last.
struct Times {
    asked: Instant,
    hand_over: Instant,
    needed: Instant,
    /// When a member was last known to need the shares, or none were there.
    told: Instant,
}

async fn run(core: Weak<Core>) {
    let now = Instant::now();
    let mut times = Times {
        asked: now,
        hand_over: now,
        needed: now,
        told: now,
    };
    loop {
        tokio::time::sleep(TICK).await;
        let Some(core) = core.upgrade() else { return };
        let Ok(replica) = core.seal.replica() else {
            continue;
        };
        core.follow_keys().await;
        core.forget_old_shares();
        look(&core, replica.as_ref(), &mut times).await;
    }
}

async fn look(core: &Arc<Core>, replica: &dyn Replica, times: &mut Times) {
    let (given, _) = core.share_progress();
    if !core.seal.is_sealed() {
        if times.asked.elapsed() > ASK_PAUSE {
            // Members may be silent, and a seal is followed meanwhile.
            tokio::spawn(core.clone().ask_for_rings());
            times.asked = Instant::now();
        }
        if given == 0 {
            (times.needed, times.told) = (Instant::now(), Instant::now());
        } else if times.needed.elapsed() > NEEDED {
            times.needed = Instant::now();
            match core.shares_needed().await {
                Needed::Yes => times.told = Instant::now(),
                Needed::Perhaps if times.told.elapsed() < SILENT => {}
                Needed::Perhaps | Needed::No => drop(core.forget_shares()),
            }
        }
        return;
    }
    if replica.status().borrow().is_leader && times.hand_over <= Instant::now() {
        times.hand_over = Instant::now() + hand_over(replica).await;
    }
    let asks = core.settings.peer_unseal == PeerUnseal::Always && !core.seal.is_marked();
    if asks && times.asked.elapsed() > ASK_PAUSE {
        if let Err(error) = core.ask_members().await {
            tracing::debug!(%error, "no member opens this node");
        }
        times.asked = Instant::now();
    }
}

/// A sealed leader is a caretaker: it gives leadership to an unsealed voter as soon as one has its log. Returns how long to
/// wait before the next try.
async fn hand_over(replica: &dyn Replica) -> Duration {
    match replica.change(Change::Transfer { to: None }).await {
        Ok(()) => {
            tracing::info!("an unsealed member leads now");
            HAND_OVER_PAUSE
        }
        Err(error) => {
            tracing::debug!(%error, "no unsealed member can lead");
            match replica.status().borrow().is_leader {
                true => HAND_OVER_PAUSE,
                false => HAND_OVER_AGAIN,
            }
        }
    }
}
