//! What diagnostics measured, so that the next look can say what changed.

use std::collections::BTreeMap;

use jiff::Timestamp;
use sqlx::{Row as _, SqliteConnection};

use super::{Store, StoreError};
use crate::model::{InstanceName, ServiceName};

/// A chart is never given more points than this; longer spans are thinned evenly.
const POINTS: usize = 2_000;

/// The figures of one look.
#[derive(Debug, Clone, PartialEq)]
pub struct FiguresRow {
    /// When it was looked at.
    pub at: Timestamp,
    /// The service.
    pub service: ServiceName,
    /// The instance.
    pub instance: InstanceName,
    /// The diagnostic by its name; where it was asked otherwise than with its name alone, a space and what tells that
    /// question from others.
    pub question: String,
    /// The card's verdict was OK or a note.
    pub healthy: bool,
    /// Figures by name; what is not finite is left out.
    pub values: BTreeMap<String, f64>,
}

impl Store {
    /// Remembers what a look measured; resolves when it is written.
    ///
    /// # Errors
    /// When the store cannot be written; the look is answered all the same.
    pub async fn remember(&self, row: FiguresRow) -> Result<(), StoreError> {
        self.ask(super::writer::Work::Remember(Box::new(row))).await.map(|_| ())
    }

    /// The figures of the last look, or of the last look that found nothing wrong.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn last_figures(
        &self,
        service: &ServiceName,
        instance: &InstanceName,
        question: &str,
        healthy: bool,
    ) -> Result<Option<(Timestamp, BTreeMap<String, f64>)>, StoreError> {
        let query = sqlx::query(
            "SELECT at_ms, figures FROM figures \
             WHERE service = $1 AND instance = $2 AND command = $3 AND healthy >= $4 \
             ORDER BY at_ms DESC LIMIT 1",
        )
        .bind(service.as_str())
        .bind(instance.as_str())
        .bind(question)
        .bind(i64::from(healthy));
        let row = self.reading(query.fetch_optional(self.reader())).await?;
        Ok(row.map(|row| (moment(row.get(0)), values(row.get(1)))))
    }

    /// One figure since a moment, as one question remembered it (`None`: any diagnostic asked with its name alone):
    /// Unix seconds and value, oldest first, at most 2,000 points.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn series(
        &self,
        service: &ServiceName,
        instance: &InstanceName,
        question: Option<&str>,
        figure: &str,
        since: Timestamp,
    ) -> Result<Vec<(i64, f64)>, StoreError> {
        let query = sqlx::query(
            "SELECT at_ms, figures FROM figures \
             WHERE service = $1 AND instance = $2 AND (command = $3 OR $3 IS NULL AND instr(command, ' ') = 0) \
             AND at_ms >= $4 ORDER BY at_ms",
        )
        .bind(service.as_str())
        .bind(instance.as_str())
        .bind(question)
        .bind(since.as_millisecond());
        let rows = self.reading(query.fetch_all(self.reader())).await?;
        let keep = rows.len().div_ceil(POINTS).max(1);
        // Thinned from the end, so that the newest point is always there.
        let mut points: Vec<(i64, f64)> = rows
            .iter()
            .rev()
            .step_by(keep)
            .filter_map(|row| {
                let at: i64 = row.get(0);
                values(row.get(1)).get(figure).map(|&value| (at.div_euclid(1000), value))
            })
            .collect();
        points.reverse();
        Ok(points)
    }
}

/// Writes one row, within the writer's transaction.
pub(super) async fn insert(on: &mut SqliteConnection, row: &FiguresRow) -> Result<(), sqlx::Error> {
    let finite: BTreeMap<&str, f64> =
        row.values.iter().filter(|(_, value)| value.is_finite()).map(|(name, &value)| (name.as_str(), value)).collect();
    let document = serde_json::to_string(&finite).expect("a map of finite numbers is JSON");
    sqlx::query(
        "INSERT INTO figures (service, instance, command, at_ms, healthy, figures) VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(row.service.as_str())
    .bind(row.instance.as_str())
    .bind(row.question.as_str())
    .bind(row.at.as_millisecond())
    .bind(i64::from(row.healthy))
    .bind(document)
    .execute(on)
    .await?;
    Ok(())
}

fn moment(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// A row that cannot be read holds no figures: what changed is a comfort, not a reason to fail.
fn values(document: &str) -> BTreeMap<String, f64> {
    serde_json::from_str(document).unwrap_or_default()
}
