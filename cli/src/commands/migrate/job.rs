//! One migration at work: both servers, how far it is, and how troubles are taken. Knows no engine.

use conclave_client::http::Client;

use super::calls::Trouble;
use super::state::State;
use crate::output::progress::Progress;
use crate::ui::Ui;

/// A migration at work.
pub struct Job<'a> {
    /// From where.
    pub source: &'a Client,
    /// To where.
    pub target: &'a Client,
    /// Whether nothing is written.
    pub dry: bool,
    /// Whether what differs on the target is replaced.
    pub overwrite: bool,
    /// How far it is.
    pub state: State,
    /// Where people look.
    pub ui: &'a mut Ui,
    /// The bar.
    pub progress: Progress,
}

/// What became of one thing.
pub enum Fate {
    /// It was made on the target, or would be.
    Copied,
    /// It was there before, and the same.
    Kept,
    /// It is gone from the source.
    Gone,
}

impl Job<'_> {
    /// Enters what became of one thing; only a trouble that stops everything is passed on.
    ///
    /// # Errors
    /// The reason to stop.
    pub fn enter(&mut self, kind: &str, what: &str, outcome: Result<Fate, Trouble>) -> Result<(), String> {
        match outcome {
            Ok(Fate::Copied) => self.state.report.count(kind).copied += 1,
            Ok(Fate::Kept) => self.state.report.count(kind).kept += 1,
            Ok(Fate::Gone) => {}
            Err(Trouble::Item(why)) => self.state.report.fail(kind, what, why),
            Err(Trouble::Stop(why)) => return Err(why),
        }
        Ok(())
    }

    /// What a call gave, or nothing and an entry if this thing alone is the trouble.
    ///
    /// # Errors
    /// The reason to stop.
    pub fn or_enter<T>(
        &mut self,
        kind: &str,
        what: &str,
        outcome: Result<T, Trouble>,
    ) -> Result<Option<T>, String> {
        match outcome {
            Ok(found) => Ok(Some(found)),
            Err(trouble) => self.enter(kind, what, Err(trouble)).map(|()| None),
        }
    }
}
