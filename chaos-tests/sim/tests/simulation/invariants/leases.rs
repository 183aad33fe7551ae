//! An account outside the cluster lives as long as its lease: nobody drops it before, as the last renewal that was acknowledged
//! has it, and none is left when all leases are over. No name is given twice.

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
    /// Up to here it certainly lives, on the cluster's clock; 0 if nobody was told of it.
    until: u64,
    /// Somebody has begun to revoke its lease.
    ending: bool,
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
        known.until = from + ttl;
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

    /// A renewal was acknowledged.
    pub fn renewed(&mut self, number: u64, from: u64, ttl: u64) {
        if let Some(account) = self.account(number) {
            account.until = account.until.max(from + ttl);
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

    /// A node whose clock shows `now` has an account dropped.
    pub fn dropped(&self, account: &str, now: u64) -> Result<(), String> {
        let Some(known) = self.accounts.get(account) else {
            return Err(format!("leases: {account} is dropped, which nobody made"));
        };
        match !known.ending && now + SLACK < known.until {
            true => Err(format!(
                "leases: an account is dropped {} ms before the end that was acknowledged",
                known.until - now
            )),
            false => Ok(()),
        }
    }
}
