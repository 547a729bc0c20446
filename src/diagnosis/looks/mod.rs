//! Which Redis commands only look.
//!
//! A table, reviewed line by line, because the server's own flags do not
//! decide it: `CONFIG GET` and `SLOWLOG GET` are flagged `admin` like
//! `CONFIG SET`, while `KEYS` is flagged `readonly` and stops the server. What
//! is not in the table is not sent.
//!
//! Some commands are safe only when bounded (`LRANGE key 0 99`, but not
//! `LRANGE key 0 -1`): those carry a bound, checked on the arguments given.
//! Arguments that still hold a template (`{{ … }}`) are let through and
//! checked again when they are bound.

mod bounds;
mod table;

use bounds::Bound;

/// What the table says of one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LookVerdict {
    /// It only looks.
    Look {
        /// The answer holds what users stored: it is shown as a shape unless revealed.
        reads_values: bool,
    },
    /// It changes nothing worth keeping, and still is not sent.
    Refused {
        /// Why, in one sentence.
        why: String,
        /// What to use in its place.
        instead: String,
    },
    /// It changes something.
    Write,
    /// The table does not know it.
    NotListed,
}

/// One line of the table.
#[derive(Debug, Clone, Copy)]
enum Row {
    /// Looks; the answer holds no user data beyond key names.
    Look,
    /// Looks at what users stored.
    Values,
    /// Looks, when the bound holds.
    Bounded(bool, Bound),
    /// Not sent: why, and what instead.
    Refused(&'static str, &'static str),
    /// Changes something.
    Write,
}

/// Judges a command by its name, its subcommand where it has one, and its bounds.
pub fn classify(argv: &[String]) -> LookVerdict {
    let Some(name) = argv.first().map(|word| word.to_ascii_lowercase()) else { return LookVerdict::NotListed };
    let full = match argv.get(1) {
        Some(sub) if table::CONTAINERS.contains(&name.as_str()) => format!("{name} {}", sub.to_ascii_lowercase()),
        _ => name,
    };
    let Ok(at) = table::ROWS.binary_search_by(|(key, _)| (*key).cmp(full.as_str())) else {
        return LookVerdict::NotListed;
    };
    match table::ROWS[at].1 {
        // The one look whose argument turns it into a change.
        _ if full == "acl log" && argv.get(2).is_some_and(|word| word.eq_ignore_ascii_case("reset")) => {
            LookVerdict::Write
        }
        Row::Look => LookVerdict::Look { reads_values: false },
        Row::Values => LookVerdict::Look { reads_values: true },
        Row::Bounded(reads_values, bound) => match bounds::check(bound, argv) {
            Ok(()) => LookVerdict::Look { reads_values },
            Err((why, instead)) => LookVerdict::Refused { why, instead },
        },
        Row::Refused(why, instead) => LookVerdict::Refused { why: why.into(), instead: instead.into() },
        Row::Write => LookVerdict::Write,
    }
}

/// Whether the command is about a key, which stands right after its name (and subcommand).
pub fn names_key(argv: &[String]) -> bool {
    let Some(name) = argv.first().map(|word| word.to_ascii_lowercase()) else { return false };
    let full = match argv.get(1) {
        Some(sub) if table::CONTAINERS.contains(&name.as_str()) => format!("{name} {}", sub.to_ascii_lowercase()),
        _ => name,
    };
    table::KEYED.binary_search(&full.as_str()).is_ok()
}

/// Every command (and subcommand, after a space) the table judges, in order.
pub fn listed() -> impl Iterator<Item = &'static str> {
    table::ROWS.iter().map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(line: &str) -> LookVerdict {
        classify(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    const LOOK: LookVerdict = LookVerdict::Look { reads_values: false };
    const VALUES: LookVerdict = LookVerdict::Look { reads_values: true };

    #[test]
    fn the_table_is_sorted_and_names_nothing_twice() {
        for pair in table::ROWS.windows(2) {
            assert!(pair[0].0 < pair[1].0, "{} stands before {}", pair[0].0, pair[1].0);
        }
        assert!(table::KEYED.is_sorted());
        for keyed in table::KEYED {
            assert!(table::ROWS.binary_search_by(|(name, _)| name.cmp(keyed)).is_ok(), "{keyed} is judged nowhere");
        }
    }

    #[test]
    fn every_container_has_subcommands_and_they_have_a_container() {
        for (name, _) in table::ROWS {
            if let Some((container, _)) = name.split_once(' ') {
                assert!(table::CONTAINERS.contains(&container), "{container} is missing from CONTAINERS");
            }
        }
    }

    #[test]
    fn subcommands_are_judged_apart_and_case_does_not_matter() {
        assert_eq!(verdict("CONFIG GET maxmemory"), LOOK);
        assert_eq!(verdict("config set maxmemory 1"), LookVerdict::Write);
        assert_eq!(verdict("SlowLog gEt 10"), LOOK);
        assert_eq!(verdict("SLOWLOG RESET"), LookVerdict::Write);
        assert_eq!(verdict("CLIENT LIST"), LOOK);
        assert_eq!(verdict("CLIENT KILL ID 3"), LookVerdict::Write);
        assert_eq!(verdict("GET session:1"), VALUES);
        assert_eq!(verdict("CONFIG"), LookVerdict::NotListed);
        assert_eq!(verdict("FROBNICATE now"), LookVerdict::NotListed);
        assert_eq!(classify(&[]), LookVerdict::NotListed);
    }

    #[test]
    fn what_walks_everything_is_refused_with_the_safe_command() {
        for line in ["KEYS *", "HGETALL h", "SMEMBERS s", "SORT_RO l", "MONITOR", "LRANGE l 0 -1", "XRANGE s - +"] {
            let LookVerdict::Refused { why, instead } = verdict(line) else { panic!("{line} is not refused") };
            assert!(!why.is_empty() && !instead.is_empty(), "{line}");
        }
        assert_eq!(verdict("FLUSHALL"), LookVerdict::Write);
        assert_eq!(verdict("EVAL x 0"), LookVerdict::Write);
    }
}
