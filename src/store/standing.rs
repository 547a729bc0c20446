//! How the store stands: what somebody asks who wants to know whether the bot is well.

use jiff::Timestamp;
use sqlx::Row as _;

use super::{Anchor, Store, StoreError, chain};

/// How the store stands now.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// The last row of the journal; `None` before the first.
    pub head: Option<Anchor>,
    /// The last row whose anchor was given out, and when; `None`: none ever was.
    pub anchored: Option<(u64, Timestamp)>,
    /// Deliveries that no platform has taken yet.
    pub owed: u64,
    /// When the oldest of them was decided.
    pub owed_since: Option<Timestamp>,
    /// Why one of them was not taken, as its platform said; `None` when none was refused.
    pub owed_trouble: Option<String>,
    /// Plans that wait for consent.
    pub pending: u64,
    /// Runs of which nobody knows whether they were carried out.
    pub uncertain: u64,
}

impl Store {
    /// How the store stands.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn standing(&self) -> Result<Standing, StoreError> {
        let head = sqlx::query("SELECT seq, mac, anchored_seq, anchored_ms FROM journal_head WHERE id = 1");
        let head = self.reading(head.fetch_optional(self.reader())).await?;
        let owed = sqlx::query(
            "SELECT COUNT(*), MIN(made_ms), (SELECT trouble FROM owed WHERE done_ms IS NULL AND trouble IS NOT NULL \
             ORDER BY id LIMIT 1) FROM owed WHERE done_ms IS NULL",
        );
        let owed = self.reading(owed.fetch_one(self.reader())).await?;
        let plans = sqlx::query(
            "SELECT COUNT(*) FILTER (WHERE state = 'pending'), COUNT(*) FILTER (WHERE state = 'uncertain') FROM plans",
        );
        let plans = self.reading(plans.fetch_one(self.reader())).await?;
        let count = |number: i64| u64::try_from(number).unwrap_or(0);
        let at = |ms: i64| Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH);
        Ok(Standing {
            head: head.as_ref().map(|row| Anchor { seq: count(row.get(0)), hash: chain::hex(row.get(1)) }),
            anchored: head.map(|row| (count(row.get(2)), at(row.get(3)))).filter(|(seq, _)| *seq > 0),
            owed: count(owed.get(0)),
            owed_since: owed.get::<Option<i64>, _>(1).map(at),
            owed_trouble: owed.get(2),
            pending: count(plans.get(0)),
            uncertain: count(plans.get(1)),
        })
    }
}
