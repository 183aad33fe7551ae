//! Shares as they come in, on every member alike: given here by an operator or handed on by another member. A ceremony has
//! a name, so that shares of one that is over are not taken for the beginning of another. Knows neither members nor rows.

use std::collections::VecDeque;

use conclave_barrier::{Error as BarrierError, Given, RootKey, SealConfig, SecretBytes, ShareProgress};

use crate::error::Error;

/// Names one ceremony on all members.
pub type Nonce = [u8; ShareProgress::NONCE_LEN];

/// Ceremonies that are over and remembered, so that shares of them which are still under way are dropped.
const REMEMBERED: usize = 16;

/// Where a share came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// An operator gave it here: it counts for the ceremony under way, or begins this one.
    Operator(Nonce),
    /// A member counted it in this ceremony.
    Member(Nonce),
}

/// The shares given in one ceremony.
pub struct Held {
    /// Names the ceremony.
    pub nonce: Nonce,
    /// The shares.
    pub shares: Vec<SecretBytes>,
}

/// What came of a share.
pub enum Counted {
    /// Its ceremony is over already.
    Late,
    /// More are needed.
    Going(Held),
    /// The threshold is met.
    Complete(Held, RootKey),
}

/// The ceremony under way, if there is one.
#[derive(Default)]
pub struct Gathering {
    /// Whose seal the shares are of.
    ring: u16,
    /// How often it had been closed when they were given.
    epoch: u64,
    progress: Option<ShareProgress>,
    /// Other names under which members began the same ceremony.
    also: Vec<Nonce>,
    over: VecDeque<Nonce>,
}

impl Gathering {
    /// Of the shares of a ring; by default of the cluster's.
    pub fn of(ring: u16) -> Self {
        Self {
            ring,
            ..Self::default()
        }
    }

    /// Forgets what was given before the seal was closed last: a share is for one opening. Names of that time stay good, for
    /// members see the seal one after the other.
    pub fn follow(&mut self, epoch: u64) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.progress = None;
            self.also.clear();
        }
    }

    /// Counts a share of a seal that was closed `epoch` times.
    ///
    /// # Errors
    /// `Error::Invalid` for what is no share of this seal, and when the seal was changed during the ceremony, which then
    /// begins anew.
    pub fn count(
        &mut self,
        (config, epoch): (&SealConfig, u64),
        share: SecretBytes,
        from: Origin,
    ) -> Result<Counted, Error> {
        self.follow(epoch);
        let (Origin::Operator(nonce) | Origin::Member(nonce)) = from;
        if self.over.contains(&nonce) {
            return Ok(Counted::Late);
        }
        let progress = self
            .progress
            .get_or_insert_with(|| ShareProgress::new(config, nonce));
        match progress.add(config, share) {
            Ok(Given::New | Given::Again) => {}
            Err(BarrierError::StaleProgress) => {
                self.end();
                return Err(Error::invalid(
                    "the shares were changed during this unseal; begin again",
                ));
            }
            Err(error) => {
                if progress.given() == 0 {
                    self.progress = None;
                }
                return Err(super::share_error(self.ring, &error));
            }
        }
        if let Origin::Member(nonce) = from {
            self.join(config, nonce)?;
        }
        let Some(progress) = &self.progress else {
            return Ok(Counted::Late);
        };
        let held = Held {
            nonce: *progress.nonce(),
            shares: progress.shares().cloned().collect(),
        };
        if !progress.is_complete() {
            return Ok(Counted::Going(held));
        }
        let root = progress.open_root(config);
        self.end();
        Ok(Counted::Complete(
            held,
            root.map_err(|error| super::share_error(self.ring, &error))?,
        ))
    }

    /// Two members that were given a first share at once named the ceremony twice: all settle on the lesser name.
    fn join(&mut self, config: &SealConfig, nonce: Nonce) -> Result<(), Error> {
        let Some(progress) = &self.progress else {
            return Ok(());
        };
        let known = *progress.nonce();
        if known == nonce {
            return Ok(());
        }
        if nonce < known {
            let mut renamed = ShareProgress::new(config, nonce);
            for share in progress.shares().cloned() {
                renamed.add(config, share).map_err(Error::from)?;
            }
            self.progress = Some(renamed);
        }
        let other = known.max(nonce);
        if !self.also.contains(&other) && self.also.len() < REMEMBERED {
            self.also.push(other);
        }
        Ok(())
    }

    /// Whether a member's share of this ceremony would change anything.
    pub fn wants(&mut self, epoch: u64, share: &SecretBytes, nonce: Nonce) -> bool {
        self.follow(epoch);
        let held = |progress: &ShareProgress| progress.holds(share.expose());
        !self.over.contains(&nonce) && !self.progress.as_ref().is_some_and(held)
    }

    /// Forgets the ceremony under way and drops what still comes of it. Returns its names.
    pub fn end(&mut self) -> Vec<Nonce> {
        let mut names = std::mem::take(&mut self.also);
        names.extend(self.progress.take().map(|progress| *progress.nonce()));
        self.drop_late(&names);
        names
    }

    /// Drops what still comes of these ceremonies.
    pub fn drop_late(&mut self, names: &[Nonce]) {
        for name in names {
            if !self.over.contains(name) {
                self.over.push_back(*name);
            }
        }
        while self.over.len() > REMEMBERED {
            self.over.pop_front();
        }
    }

    /// Shares counted, and the ceremony's name.
    pub fn progress(&self) -> (usize, Option<Nonce>) {
        match &self.progress {
            None => (0, None),
            Some(progress) => (progress.given(), Some(*progress.nonce())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::OsEntropy;

    fn seal(shares: u8, threshold: u8) -> (SealConfig, Vec<SecretBytes>) {
        let root = RootKey::generate(&mut OsEntropy);
        SealConfig::create(&root, shares, threshold, 1, &mut OsEntropy).unwrap()
    }

    fn name(counted: Counted) -> Nonce {
        match counted {
            Counted::Late => panic!("late"),
            Counted::Going(held) | Counted::Complete(held, _) => held.nonce,
        }
    }

    #[test]
    fn shares_of_a_ceremony_that_is_over_begin_no_other() {
        let (config, shares) = seal(3, 2);
        let mut gathering = Gathering::default();
        let mut give = |share: usize, from| {
            gathering
                .count((&config, 0), shares[share].clone(), from)
                .unwrap()
        };
        assert_eq!(name(give(0, Origin::Operator([7; 16]))), [7; 16]);
        assert!(matches!(give(0, Origin::Operator([8; 16])), Counted::Going(held) if held.shares.len() == 1));
        assert!(matches!(give(1, Origin::Member([7; 16])), Counted::Complete(..)));
        assert!(matches!(give(1, Origin::Member([7; 16])), Counted::Late));
        assert!(matches!(give(2, Origin::Operator([9; 16])), Counted::Going(_)));
        assert_eq!(gathering.progress(), (1, Some([9; 16])));
        gathering.end();
        assert_eq!(gathering.progress(), (0, None));
        assert!(matches!(
            gathering.count((&config, 0), shares[0].clone(), Origin::Member([9; 16])),
            Ok(Counted::Late)
        ));
    }

    #[test]
    fn two_beginnings_become_one_ceremony_on_both_members() {
        let (config, shares) = seal(3, 3);
        let (mut one, mut other) = (Gathering::default(), Gathering::default());
        let first = one
            .count((&config, 0), shares[0].clone(), Origin::Operator([5; 16]))
            .unwrap();
        let second = other
            .count((&config, 0), shares[1].clone(), Origin::Operator([3; 16]))
            .unwrap();
        assert_eq!((name(first), name(second)), ([5; 16], [3; 16]));
        other
            .count((&config, 0), shares[0].clone(), Origin::Member([5; 16]))
            .unwrap();
        one.count((&config, 0), shares[1].clone(), Origin::Member([3; 16]))
            .unwrap();
        assert_eq!(one.progress(), (2, Some([3; 16])));
        assert_eq!(one.progress(), other.progress());
        // Over under both names.
        other.end();
        for nonce in [[3; 16], [5; 16]] {
            let late = other.count((&config, 0), shares[2].clone(), Origin::Member(nonce));
            assert!(matches!(late, Ok(Counted::Late)));
        }
    }

    #[test]
    fn a_share_is_for_one_opening() {
        let (config, shares) = seal(3, 2);
        let mut gathering = Gathering::default();
        let mut give = |epoch, share: usize, from| {
            gathering
                .count((&config, epoch), shares[share].clone(), from)
                .unwrap()
        };
        assert!(matches!(give(0, 0, Origin::Operator([1; 16])), Counted::Going(_)));
        assert!(
            matches!(give(1, 1, Origin::Operator([2; 16])), Counted::Going(held) if held.shares.len() == 1)
        );
        // Who saw the seal later hands on under the name that the ceremony has there.
        assert!(matches!(give(2, 1, Origin::Member([2; 16])), Counted::Going(_)));
        assert!(
            gathering.wants(3, &shares[1], [2; 16]),
            "given for another opening"
        );
        assert_eq!(gathering.progress(), (0, None));
    }

    #[test]
    fn what_is_no_share_leaves_nothing_behind() {
        let (config, shares) = seal(3, 2);
        let (_, foreign) = seal(3, 2);
        let mut gathering = Gathering::default();
        let wrong = gathering.count((&config, 0), foreign[0].clone(), Origin::Operator([1; 16]));
        assert!(matches!(wrong, Err(Error::Invalid(text)) if text.contains("generation 1")));
        assert_eq!(gathering.progress(), (0, None));
        gathering
            .count((&config, 0), shares[0].clone(), Origin::Operator([2; 16]))
            .unwrap();
        assert!(
            gathering
                .count((&config, 0), foreign[1].clone(), Origin::Member([2; 16]))
                .is_err()
        );
        assert_eq!(gathering.progress(), (1, Some([2; 16])));
        let (rekeyed, _) = seal(3, 2);
        assert!(
            gathering
                .count((&rekeyed, 0), shares[1].clone(), Origin::Operator([4; 16]))
                .is_err()
        );
        assert_eq!(gathering.progress(), (0, None), "the shares are others now");
    }
}
