//! An account outside the cluster lives as long as its lease: nobody drops it before, as the last renewal that was acknowledged
//! has it, and none is left when all leases are over. No name is given twice, and no lease is of an account that nobody made.

use std::collections::BTreeMap;

/// How far the clocks of nodes that agree may be apart, and what a decision may lag behind, in milliseconds.
const SLACK: u64 = 6_000;

#[derive(Default)]
pub struct Leases {
    accounts: BTreeMap<String, Account>,
    /// Accounts by number of their lease.
    leases: BTreeMap<u64, Lease>,
}

#[derive(Default)]
struct Account {
    /// The ends that its lease may have; none if nobody was told of it. It certainly lives up to the first.
    ends: Vec<End>,
    /// Somebody has begun to revoke its lease.
    ending: bool,
}

/// An end that a lease was given, or that a renewal may have given it: also an earlier one than before.
struct End {
    /// On the cluster's clock.
    at: u64,
    /// Number of the event with which the request began.
    begun: u64,
    /// The same of its end; nothing while it is under way.
    over: Option<u64>,
}

#[derive(Clone)]
pub struct Lease {
    pub id: String,
    account: String,
}

impl Leases {
    /// Somebody asks for an account of this name.
    pub fn made(&mut self, account: &str) -> Result<(), String> {
        match self.accounts.insert(account.to_owned(), Account::default()) {
            None => Ok(()),
            Some(_) => Err(format!("leases: the name {account} is given twice")),
        }
    }

    /// A client was told of a lease; asked for when the cluster's clock showed `from`, for `ttl` milliseconds.
    pub fn issued(
        &mut self,
        number: u64,
        id: String,
        account: String,
        from: u64,
        ttl: u64,
    ) -> Result<(), String> {
        let Some(known) = self.accounts.get_mut(&account) else {
            return Err(format!("leases: nobody made {account}, which was handed out"));
        };
        known.ends = vec![End {
            at: from + ttl,
            begun: number,
            over: Some(number),
        }];
        self.leases.insert(number, Lease { id, account });
        Ok(())
    }

    /// All that were issued.
    pub fn all(&self) -> Vec<u64> {
        self.leases.keys().copied().collect()
    }

    pub fn lease(&self, number: u64) -> Option<Lease> {
        self.leases.get(&number).cloned()
    }

    /// A renewal begins, with event `begun`: the lease may end at `at` or later from here on, whether that is told or not.
    pub fn renewing(&mut self, number: u64, begun: u64, at: u64) {
        if let Some(account) = self.account(number) {
            account.ends.push(End {
                at,
                begun,
                over: None,
            });
        }
    }

    /// A renewal was acknowledged: what was over before it began holds no longer. Of those that were under way beside it each
    /// may have been the last.
    pub fn renewed(&mut self, number: u64, begun: u64, from: u64, ttl: u64) {
        if let Some(account) = self.account(number) {
            account
                .ends
                .retain(|end| end.over.is_none_or(|over| over > begun));
            let own = account.ends.iter_mut().find(|end| end.begun == begun);
            own.into_iter().for_each(|end| end.at = from + ttl);
        }
    }

    /// A renewal changed nothing, and never will.
    pub fn not_renewed(&mut self, number: u64, begun: u64) {
        if let Some(account) = self.account(number) {
            account.ends.retain(|end| end.begun != begun);
        }
    }

    /// A renewal is over, whatever came of it, or who asked for it has died. What it left under way counts on the row as it is:
    /// nothing comes of that after a later renewal.
    pub fn renewal_over(&mut self, number: u64, begun: u64, event: u64) {
        if let Some(account) = self.account(number) {
            let own = account.ends.iter_mut().find(|end| end.begun == begun);
            own.into_iter().for_each(|end| end.over = Some(event));
        }
    }

    /// Somebody begins to revoke it.
    pub fn ending(&mut self, number: u64) {
        if let Some(account) = self.account(number) {
            account.ending = true;
        }
    }

    fn account(&mut self, number: u64) -> Option<&mut Account> {
        let lease = self.leases.get(&number)?;
        self.accounts.get_mut(&lease.account)
    }

    /// A node whose clock shows `now` has an account dropped: that of a lease, or what may be left of an intent, whose node may
    /// have died before it asked for the account.
    pub fn dropped(&self, account: &str, of_intent: bool, now: u64) -> Result<(), String> {
        let Some(known) = self.accounts.get(account) else {
            return match of_intent {
                true => Ok(()),
                false => Err(format!(
                    "leases: {account} is dropped, which has a lease and nobody made"
                )),
            };
        };
        let until = known.ends.iter().map(|end| end.at).min().unwrap_or(0);
        match !known.ending && now + SLACK < until {
            true => Err(format!(
                "leases: an account is dropped {} ms before the end that was acknowledged",
                until - now
            )),
            false => Ok(()),
        }
    }
}

#[test]
fn the_last_renewal_counts_also_if_it_shortens() {
    let mut leases = Leases::default();
    leases.made("a").unwrap();
    leases
        .issued(1, "id".to_owned(), "a".to_owned(), 0, 20_000)
        .unwrap();
    leases.renewing(1, 2, 30_000);
    assert!(leases.dropped("a", false, 10_000).is_err());
    leases.renewed(1, 2, 0, 30_000);
    leases.renewal_over(1, 2, 3);
    assert!(leases.dropped("a", false, 20_000).is_err());
    leases.renewing(1, 4, 10_000);
    leases.renewed(1, 4, 0, 10_000);
    assert!(leases.dropped("a", false, 3_000).is_err());
    assert!(leases.dropped("a", false, 10_000).is_ok());
}

#[test]
fn renewals_side_by_side_may_come_in_any_order_until_a_later_one() {
    let mut leases = Leases::default();
    leases.made("a").unwrap();
    leases
        .issued(1, "id".to_owned(), "a".to_owned(), 0, 20_000)
        .unwrap();
    leases.renewing(1, 2, 10_000);
    leases.renewing(1, 3, 40_000);
    leases.renewed(1, 3, 0, 40_000);
    leases.renewal_over(1, 3, 4);
    assert!(
        leases.dropped("a", false, 10_000).is_ok(),
        "the other is under way"
    );
    leases.renewal_over(1, 2, 5);
    assert!(
        leases.dropped("a", false, 10_000).is_ok(),
        "its outcome is unknown"
    );
    leases.renewing(1, 6, 5_000);
    leases.not_renewed(1, 6);
    leases.renewing(1, 7, 30_000);
    leases.renewed(1, 7, 0, 30_000);
    assert!(leases.dropped("a", false, 20_000).is_err());
}

#[test]
fn only_an_intent_may_be_of_an_account_that_nobody_made() {
    let leases = Leases::default();
    assert!(leases.dropped("a", true, 0).is_ok());
    assert!(leases.dropped("a", false, 0).is_err());
}
