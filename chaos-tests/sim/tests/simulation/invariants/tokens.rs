//! A token works until its time, and never again after it, after its revocation was acknowledged, or after that of a token
//! above it.

use std::collections::BTreeMap;

/// How far the clocks of nodes that agree may be apart, and what a decision may lag behind, in milliseconds.
const SLACK: u64 = 6_000;

#[derive(Default)]
pub struct Tokens {
    tokens: BTreeMap<u64, Token>,
}

#[derive(Default)]
struct Token {
    parent: Option<u64>,
    /// Between these times on the cluster's clock it ends by itself.
    earliest: u64,
    latest: u64,
    /// Somebody has begun to revoke it or one above it.
    ending: bool,
    /// It is certainly over.
    over: bool,
}

impl Tokens {
    /// A token was made between two times, and lives for `ttl` milliseconds unless one above it ends before.
    pub fn made(&mut self, id: u64, parent: Option<u64>, (from, to): (u64, u64), ttl: u64) {
        let above = parent.and_then(|parent| self.tokens.get(&parent));
        let token = Token {
            parent,
            earliest: above.map_or(u64::MAX, |above| above.earliest).min(from + ttl),
            latest: to + ttl,
            ending: above.is_some_and(|above| above.ending || above.over),
            over: false,
        };
        self.tokens.insert(id, token);
    }

    pub fn all(&self) -> Vec<u64> {
        self.tokens.keys().copied().collect()
    }

    pub fn is_over(&self, id: u64) -> bool {
        self.tokens.get(&id).is_some_and(|token| token.over)
    }

    /// Somebody begins to revoke it.
    pub fn ending(&mut self, id: u64) {
        for id in self.with_children(id) {
            self.tokens.entry(id).or_default().ending = true;
        }
    }

    /// Its revocation was acknowledged.
    pub fn ended(&mut self, id: u64) {
        for id in self.with_children(id) {
            self.tokens.entry(id).or_default().over = true;
        }
    }

    /// It was taken by a node whose clock showed `now` before; `was_over` as it was then.
    pub fn worked(&self, id: u64, was_over: bool, now: u64) -> Result<(), String> {
        let token = self.tokens.get(&id).ok_or("tokens: an unknown one was used")?;
        if was_over {
            return Err(format!("tokens: token {id} was over and works"));
        }
        let end = token.latest + SLACK;
        match now > end {
            true => Err(format!(
                "tokens: token {id} should have ended {} ms ago and works",
                now - end
            )),
            false => Ok(()),
        }
    }

    /// It was refused by a node whose clock shows `now`.
    pub fn refused(&mut self, id: u64, now: u64) -> Result<(), String> {
        let token = self
            .tokens
            .get_mut(&id)
            .ok_or("tokens: an unknown one was used")?;
        let early = !token.ending && now + SLACK < token.earliest;
        token.over = true;
        match early {
            true => Err(format!(
                "tokens: token {id} was refused {} ms before its time, and nobody revoked it",
                token.earliest - now
            )),
            false => Ok(()),
        }
    }

    fn with_children(&self, id: u64) -> Vec<u64> {
        let mut all = vec![id];
        let mut at = 0;
        while let Some(above) = all.get(at).copied() {
            let children = self
                .tokens
                .iter()
                .filter(|(_, token)| token.parent == Some(above));
            all.extend(children.map(|(id, _)| *id));
            at += 1;
        }
        all
    }
}
