//! What a file holds, as cards.

use super::{
    Kind,
    rdb::{Checksum, Facts, RdbError},
    report::{KeyRow, Report},
};
use crate::model::{
    Align, Bar, Block, Card, Cell, Column, Field, Finding, Level, Table, Text, shown_bytes, shown_percent,
};

/// What `verify` says: whether the file is whole, by whom and when it was
/// written, and what is in it. `now` in seconds since 1970.
pub fn verify_card(file: &str, facts: &Facts, error: Option<&RdbError>, now: i64) -> Card {
    let mut card = Card { title: format!("rdb verify · {file}"), ..Card::default() };
    let (level, verdict) = match (error, facts.checksum) {
        (Some(error), _) => (Level::Crit, format!("do not restore from this file: {}", error.damage)),
        (None, Checksum::Right(_)) => {
            (Level::Ok, "the file is whole: it was read to its end and every byte is as written".into())
        }
        (None, Checksum::Disabled) => (
            Level::Warn,
            "the file was read to its end, but it has no checksum (rdbchecksum no): a changed byte would not show"
                .into(),
        ),
        (None, Checksum::Unchecked) => {
            (Level::Unknown, "the file was read to its end; its checksum was not looked at".into())
        }
    };
    card.level = Some(level);
    card.verdict = Some(Text::plain(verdict));
    if let Some(error) = error {
        card.blocks.push(Block::Findings(vec![Finding {
            level: Level::Crit,
            what: Text::plain(format!("{} at byte {}", error.damage, count_text(error.offset))),
            evidence: Some(format!("{} before it could be read", keys_text(facts.keys()))),
            next: Some(Text::plain(error.next())),
        }]));
    }
    card.blocks.push(Block::Fields(fields(facts, now)));
    let expired: u64 = facts.databases.iter().map(|database| database.expired).sum();
    if !facts.databases.is_empty() {
        card.blocks.push(Block::Table(databases(facts)));
    }
    if expired > 0 {
        card.blocks.push(Block::Text(Text::plain(format!(
            "Expired since: {}. A primary drops them while it loads, so DBSIZE will be lower by as many.",
            keys_text(expired)
        ))));
    }
    if facts.aof_preamble {
        card.footer = Some("this is the base of an append-only file: newer writes are in the files beside it".into());
    }
    card
}

/// What `report` says: the same as of a server, from the file alone.
pub fn report_card(file: &str, facts: &Facts, report: &Report, now: i64) -> Card {
    let mut card = Card { title: format!("rdb report · {file}"), ..Card::default() };
    card.context = vec![written(facts, now)];
    card.verdict = Some(Text::plain(format!(
        "{}, {} in memory; {} without TTL hold {}",
        keys_text(report.keys as u64),
        shown_bytes(report.bytes),
        shown_percent(report.endless_share),
        shown_bytes(report.endless_bytes)
    )));
    if let Some(unsure) = unsure(facts) {
        card.level = Some(Level::Warn);
        card.blocks.push(Block::Text(Text::plain(unsure)));
    }
    card.blocks.push(Block::Bars {
        title: "Bytes by prefix".into(),
        bars: report
            .prefixes
            .iter()
            .map(|row| Bar {
                label: row.prefix.clone(),
                value: row.bytes,
                shown: format!("{} · {}", shown_bytes(row.bytes), shown_percent(row.share)),
            })
            .collect(),
    });
    card.blocks.push(table(
        "By prefix",
        &["prefix", "keys", "bytes", "average", "no TTL"],
        report.prefixes.iter().map(|row| {
            vec![
                row.prefix.clone(),
                count_text(row.keys as u64),
                shown_bytes(row.bytes),
                shown_bytes(row.average),
                shown_percent(row.endless_share),
            ]
        }),
    ));
    card.blocks.push(table(
        "By type",
        &["type", "keys", "bytes", "share", "elements"],
        report.kinds.iter().map(|row| {
            vec![
                row.kind.clone(),
                count_text(row.keys as u64),
                shown_bytes(row.bytes),
                shown_percent(row.share),
                // What strings are long in are bytes.
                if row.kind == Kind::String.word() { String::new() } else { count_text(row.elements) },
            ]
        }),
    ));
    card.blocks.push(Block::Bars {
        title: "Keys by time left".into(),
        bars: report
            .lifetimes
            .iter()
            .filter(|row| row.keys > 0.0)
            .map(|row| Bar {
                label: row.label.clone(),
                value: row.keys,
                shown: format!("{} · {}", count_text(row.keys as u64), shown_bytes(row.bytes)),
            })
            .collect(),
    });
    let keys = |rows: &[KeyRow]| {
        rows.iter()
            .map(|row| {
                let elements = row.elements.map(|n| format!("{} {}", count_text(n), row.unit)).unwrap_or_default();
                vec![
                    row.key.clone(),
                    row.kind.clone(),
                    row.bytes.map_or_else(|| "?".into(), |bytes| shown_bytes(bytes as f64)),
                    elements,
                ]
            })
            .collect::<Vec<_>>()
    };
    card.blocks.push(table("Largest", &["key", "type", "bytes", "elements"], keys(&report.largest).into_iter()));
    card.blocks.push(table("Longest", &["key", "type", "bytes", "elements"], keys(&report.longest).into_iter()));
    let overhead: u64 = facts.databases.iter().fold(0, |sum, database| sum.saturating_add(database.overhead()));
    card.footer = Some(format!(
        "bytes are what MEMORY USAGE of {} would say{}; the databases' own tables take {} more{}",
        facts.rules.of,
        if facts.rules.own { "" } else { ", which the version that wrote this may count otherwise" },
        shown_bytes(overhead as f64),
        facts
            .used_memory
            .map(|used| format!("; the server used {} in all", shown_bytes(used as f64)))
            .unwrap_or_default()
    ));
    card
}

/// Why a file that was read to its end may not be what the server wrote, all the same.
fn unsure(facts: &Facts) -> Option<&'static str> {
    match facts.checksum {
        Checksum::Right(_) => None,
        Checksum::Disabled => Some("The file has no checksum (rdbchecksum no): a changed byte would not show."),
        Checksum::Unchecked => Some("The checksum was not looked at: a changed byte would not show."),
    }
}

fn written(facts: &Facts, now: i64) -> String {
    let by = facts.created_by.as_deref().unwrap_or("an unknown version");
    let server = if facts.is_valkey() { "Valkey" } else { "Redis" };
    let when = facts.created_at.map(|at| match jiff::Timestamp::from_second(at) {
        Ok(time) => format!(", {time}{}", age(now.saturating_sub(at))),
        Err(_) => String::new(),
    });
    format!("written by {server} {by}, RDB version {}{}", facts.version, when.unwrap_or_default())
}

fn age(seconds: i64) -> String {
    match seconds {
        ..0 => " (in the future: one of the clocks is wrong)".into(),
        0..120 => format!(" ({seconds} s ago)"),
        120..7_200 => format!(" ({} min ago)", seconds / 60),
        7_200..172_800 => format!(" ({} h ago)", seconds / 3600),
        _ => format!(" ({} days ago)", seconds / 86_400),
    }
}

fn fields(facts: &Facts, now: i64) -> Vec<Field> {
    let mut fields = Vec::new();
    let mut add = |label: &str, value: String| {
        fields.push(Field { label: label.into(), value, level: None, hint: None });
    };
    if facts.version > 0 {
        add("Written", written(facts, now).trim_start_matches("written ").to_owned());
    }
    add("Read", format!("{} bytes", count_text(facts.read)));
    add("Keys", count_text(facts.keys()));
    add(
        "Checksum",
        match facts.checksum {
            Checksum::Right(sum) => format!("right ({sum:016x})"),
            Checksum::Disabled => "none (rdbchecksum no)".into(),
            Checksum::Unchecked if facts.complete => "not looked at".into(),
            Checksum::Unchecked => "not reached, or wrong".into(),
        },
    );
    if facts.functions > 0 {
        add("Function libraries", count_text(facts.functions));
    }
    if let (Some(id), Some(offset)) = (&facts.replication_id, facts.replication_offset) {
        add("Replication", format!("{id} at {offset}"));
    }
    fields
}

fn databases(facts: &Facts) -> Table {
    let rows = facts.databases.iter().map(|database| {
        // The hint counts what was there when the save began.
        vec![
            format!("db{}", database.db),
            count_text(database.keys),
            database.announced.map(count_text).unwrap_or_default(),
            count_text(database.expiring),
            count_text(database.expired),
            shown_bytes(database.bytes as f64),
        ]
    });
    match table("Databases", &["db", "keys", "announced", "with TTL", "expired", "in memory"], rows.take(64)) {
        Block::Table(table) => Table { total: Some(facts.databases.len() as u64), ..table },
        _ => Table::default(),
    }
}

fn table(title: &str, columns: &[&str], rows: impl Iterator<Item = Vec<String>>) -> Block {
    let column = |(at, title): (usize, &&str)| Column {
        title: (*title).to_owned(),
        align: if at == 0 || *title == "type" { Align::Left } else { Align::Right },
    };
    Block::Table(Table {
        title: Some(title.to_owned()),
        columns: columns.iter().enumerate().map(column).collect(),
        rows: rows.map(|row| row.into_iter().map(|text| Cell { text, level: None }).collect()).collect(),
        empty: Some("nothing".into()),
        total: None,
    })
}

fn keys_text(count: u64) -> String {
    format!("{} {}", count_text(count), if count == 1 { "key" } else { "keys" })
}

fn count_text(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
