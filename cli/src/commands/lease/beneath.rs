//! Many leases at once: how many there are before they are revoked, asked of a person, and a bar while they go. A server that
//! does not count beneath a prefix (Vault's does not) is not asked twice, and nobody is asked anything.

use std::time::{Duration, Instant};

use crate::exit::Fail;
use crate::flags::Args;
use crate::output::progress::Progress;
use crate::session::{Api, Cx};

/// From so many leases on, a person is asked.
const MANY: u64 = 100;
/// Between two looks at how many are left.
const LOOK: Duration = Duration::from_millis(250);
/// How long the number may stay the same before the command waits no longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// The leases beneath a prefix, if somebody watches and they are many.
pub struct Beneath(Option<(String, u64)>);

impl Beneath {
    /// Counts them. `prefix`: none for one lease.
    pub fn watched(cx: &Cx, args: &Args, api: &Api, prefix: Option<&str>) -> Self {
        let prefix = prefix.filter(|_| cx.may_ask(args) && cx.ui.is_watched());
        let counted = prefix.and_then(|prefix| count(api, prefix).map(|count| (prefix.to_owned(), count)));
        Self(counted.filter(|(_, count)| *count >= MANY))
    }

    /// Whether whoever is at the terminal says yes.
    ///
    /// # Errors
    /// The terminal cannot be read.
    pub fn may_end(&mut self, cx: &mut Cx, args: &Args) -> Result<bool, Fail> {
        let Some((prefix, count)) = &self.0 else {
            return Ok(true);
        };
        cx.ui.ask(&format!(
            "This revokes {count} leases beneath {prefix:?}: what they are of stops working. Go on? (y/N): "
        ));
        let said = cx.read_line(args).map_err(Fail::remote)?;
        Ok(matches!(said.trim().to_lowercase().as_str(), "y" | "yes"))
    }

    /// Shows how many have gone, until all have or none goes any more.
    pub fn wait(&mut self, cx: &mut Cx, api: &Api) {
        let Some((prefix, all)) = self.0.take() else {
            return;
        };
        let mut bar = Progress::default();
        #[allow(clippy::disallowed_methods, reason = "a person waits")]
        let mut moved = (all, Instant::now());
        while let Some(left) = count(api, &prefix) {
            bar.show(&mut cx.ui, "leases revoked", all.saturating_sub(left), all);
            if left < moved.0 {
                #[allow(clippy::disallowed_methods, reason = "a person waits")]
                let now = Instant::now();
                moved = (left, now);
            }
            if left == 0 {
                break;
            }
            if moved.1.elapsed() > PATIENCE {
                bar.clear(&mut cx.ui);
                cx.ui.warn(&format!(
                    "{left} leases are still being revoked. 'read sys/leases type=irrevocable' says what keeps them."
                ));
                return;
            }
            api.pause(LOOK);
        }
        bar.clear(&mut cx.ui);
    }
}

/// How many leases lie beneath a prefix; `None` if the server does not say.
fn count(api: &Api, prefix: &str) -> Option<u64> {
    let query = [("prefix".to_owned(), prefix.to_owned())];
    let told = api.read_with("sys/leases/count", &query).ok()??.data?;
    told.get("prefix")?;
    u64::try_from(told.get("lease_count")?.as_i64()?).ok()
}
