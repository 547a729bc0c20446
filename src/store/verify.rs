//! Is the journal whole?

use std::path::Path;

use futures_util::TryStreamExt as _;
use sqlx::{ConnectOptions as _, Connection as _, Row as _, SqliteConnection};

use super::{
    Anchor, Fault, FaultKind, StoreError,
    chain::{GENESIS, Key, Mac, Walk, hex, same},
    entry::JournalRow,
    error::meaning,
    open,
};

/// What reading the whole journal showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyReport {
    /// Rows that were read and are as they were written.
    pub rows: u64,
    /// Everything up to here was removed by retention, under the key's signature; 0: nothing was.
    pub cut: u64,
    /// The last row there is, as an anchor.
    pub end: Anchor,
    /// Anchors that agree.
    pub anchors: usize,
    /// Anchors of rows that retention has removed since: nothing can be said of them.
    pub anchors_too_old: usize,
    /// The first thing that is wrong.
    pub fault: Option<Fault>,
}

impl VerifyReport {
    /// Nothing is wrong.
    pub fn is_whole(&self) -> bool {
        self.fault.is_none()
    }
}

/// Reads the whole journal of a store, running or not, and changes nothing.
///
/// `anchors` are the lines kept outside. Without them a journal that was
/// replaced by an older copy of itself cannot be told from a whole one.
///
/// # Errors
/// When the files cannot be read, or the key is another journal's. A journal
/// that is not whole is no error: the report's `fault` says where.
pub async fn verify(database: &Path, key: &Path, anchors: &[Anchor]) -> Result<VerifyReport, StoreError> {
    let key_file = key;
    let Some(key) = open::read_key(key_file)? else {
        return Err(StoreError::KeyMissing { path: key_file.to_owned() });
    };
    if !database.exists() {
        return Err(StoreError::Open { path: database.to_owned(), why: "there is no such file".to_owned() });
    }
    let unreadable = |error: sqlx::Error| StoreError::Unreadable(meaning(&error));
    let mut connection = open::reading(database).connect().await.map_err(unreadable)?;
    let report = match walk(&mut connection, &key, anchors).await {
        Ok(Some(report)) => Ok(report),
        Ok(None) => Err(StoreError::WrongKey { path: key_file.to_owned() }),
        Err(error) => Err(unreadable(error)),
    };
    let _ = connection.close().await;
    report
}

struct Position {
    seq: u64,
    mac: Mac,
    signed: bool,
}

/// `None`: the journal is another key's.
async fn walk(
    connection: &mut SqliteConnection,
    key: &Key,
    anchors: &[Anchor],
) -> Result<Option<VerifyReport>, sqlx::Error> {
    // One snapshot, so that a bot that writes meanwhile does not look like a forger.
    let mut snapshot = connection.begin().await?;
    let key_id: Option<String> =
        sqlx::query_scalar("SELECT key_id FROM journal_head WHERE id = 1").fetch_optional(&mut *snapshot).await?;
    if key_id.as_deref().is_some_and(|id| id != key.id()) {
        return Ok(None);
    }
    let head = sqlx::query("SELECT seq, mac, signature FROM journal_head WHERE id = 1");
    let head = head.fetch_optional(&mut *snapshot).await?.map(|row| position(key, "head", &row));
    let cut = sqlx::query("SELECT seq, mac, signature FROM journal_cut WHERE id = 1");
    let cut = cut.fetch_optional(&mut *snapshot).await?.map(|row| position(key, "cut", &row));

    let start = cut.as_ref().filter(|cut| cut.signed).map_or((0, GENESIS), |cut| (cut.seq, cut.mac));
    let mut walk = Walk::from(key, start.0, start.1);
    let mut report = VerifyReport {
        rows: 0,
        cut: start.0,
        end: Anchor { seq: start.0, hash: hex(&start.1) },
        anchors: 0,
        anchors_too_old: 0,
        fault: None,
    };
    if !cut.is_some_and(|cut| cut.signed) {
        report.fault = Some(Fault { seq: 0, why: FaultKind::Retention });
        return Ok(Some(report));
    }

    let mut anchored: Vec<&Anchor> = anchors.iter().collect();
    anchored.sort_by_key(|anchor| anchor.seq);
    report.anchors_too_old = anchored.iter().filter(|anchor| anchor.seq < start.0).count();
    let mut anchored = anchored.into_iter().skip(report.anchors_too_old).peekable();
    let mut check = |walk: &Walk<'_>, report: &mut VerifyReport| {
        while let Some(anchor) = anchored.next_if(|anchor| anchor.seq == walk.seq) {
            if anchor.hash != hex(&walk.mac) {
                return Err(Fault { seq: anchor.seq, why: FaultKind::Anchor });
            }
            report.anchors += 1;
        }
        Ok(())
    };

    let mut fault = check(&walk, &mut report).err();
    {
        let mut rows = sqlx::query("SELECT * FROM journal ORDER BY seq").fetch(&mut *snapshot);
        while fault.is_none() {
            let Some(row) = rows.try_next().await? else { break };
            let (row, beside) = match JournalRow::read(&row) {
                Ok(read) => read,
                // A column of another type: somebody wrote there by hand.
                Err(_) => {
                    fault = Some(Fault { seq: walk.seq + 1, why: FaultKind::Changed });
                    break;
                }
            };
            fault = walk.step(&row, &beside).and_then(|()| check(&walk, &mut report)).err();
            report.rows += u64::from(fault.is_none());
        }
    }
    report.end = Anchor { seq: walk.seq, hash: hex(&walk.mac) };
    report.fault = fault.or_else(|| {
        let end = match head {
            Some(head) if head.signed => walk.end(head.seq, &head.mac),
            _ => Err(Fault { seq: walk.seq, why: FaultKind::Head }),
        };
        // An anchor beyond the end: the journal and its signed end were both put back to an older state.
        let beyond = anchored.next().map(|_| Fault { seq: walk.seq + 1, why: FaultKind::Cut });
        end.err().or(beyond)
    });
    Ok(Some(report))
}

fn position(key: &Key, label: &str, row: &sqlx::sqlite::SqliteRow) -> Position {
    let seq = row.try_get::<i64, _>(0).unwrap_or(-1) as u64;
    let mac: Mac = row.try_get::<Vec<u8>, _>(1).ok().and_then(|mac| mac.try_into().ok()).unwrap_or(GENESIS);
    let signature: Vec<u8> = row.try_get(2).unwrap_or_default();
    Position { seq, mac, signed: same(&key.sign(label, seq, &mac), &signature) }
}
