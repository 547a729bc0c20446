//! The rooms keep to their arrows: who may import whom, what a thinking room
//! may not touch, and which outside crate belongs to which room.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

const WORDS: &[&str] = &["model", "chart"];
const THINKING: &[&str] = &["alert", "diagnosis", "escalation", "incident", "keyspace", "policy", "runbook"];

/// Room, and the rooms it may import besides the words. The same table stands in ARCHITECTURE.md.
fn arrows() -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    let thinking = || THINKING.iter().copied();
    let doing = ["store", "exec", "chat", "pager", "web"];
    let below_the_hall = || thinking().chain(doing);
    let table: Vec<(&str, Vec<&str>)> = vec![
        ("model", vec![]),
        ("chart", vec![]),
        ("alert", vec![]),
        ("diagnosis", vec![]),
        ("incident", vec!["alert"]),
        ("escalation", vec!["incident"]),
        ("runbook", vec!["diagnosis"]),
        ("keyspace", vec!["diagnosis"]),
        ("policy", vec!["runbook", "diagnosis"]),
        ("store", thinking().collect()),
        ("exec", thinking().chain(["store"]).collect()),
        ("chat", vec![]),
        ("pager", vec!["escalation"]),
        ("web", vec!["store"]),
        ("bot", below_the_hall().collect()),
        ("config", below_the_hall().chain(["bot"]).collect()),
        ("app", below_the_hall().chain(["bot", "config"]).collect()),
    ];
    table.into_iter().map(|(room, may)| (room, may.into_iter().chain(WORDS.iter().copied()).collect())).collect()
}

/// What a thinking room may not name: it takes values and `now`, and gives values back.
const NOT_THINKING: &[&str] = &[
    "async ",
    ".await",
    "tokio",
    "futures_util",
    "std::env",
    "std::fs",
    "std::net",
    "std::process",
    "std::thread",
    "File::",
    "Instant::now",
    "SystemTime::now",
    "Timestamp::now",
    "Zoned::now",
    "rand::",
    "reqwest",
    "redis::",
    "sqlx",
    "tracing::",
];

/// Outside crates, and the only places that may name them.
const BELONGS: &[(&str, &[&str])] = &[
    ("slack_morphism", &["src/chat/slack"]),
    ("serenity", &["src/chat/discord"]),
    ("rustyline", &["src/chat/console", "src/app"]),
    ("sqlx", &["src/store"]),
    ("redis", &["src/exec", "src/app"]),
    ("cel", &["src/runbook"]),
    ("minijinja", &["src/runbook"]),
    ("axum", &["src/web", "src/chat/slack", "src/pager", "src/app"]),
    ("clap", &["src/app", "src/main.rs"]),
    ("nix", &["src/app", "src/chat/console", "src/exec", "src/bot"]),
    ("governor", &["src/exec", "src/bot", "src/chat/slack", "src/chat/discord"]),
];

struct Source {
    path: PathBuf,
    room: String,
    /// Without comments, texts and tests.
    code: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files_under(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .flat_map(|path| if path.is_dir() { files_under(&path) } else { vec![path] })
        .collect();
    files.sort();
    files
}

fn sources() -> Vec<Source> {
    files_under(&root().join("src"))
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| {
            let inside = path.strip_prefix(root()).unwrap().to_owned();
            let room = inside.components().nth(1).unwrap().as_os_str().to_str().unwrap();
            let room = room.trim_end_matches(".rs").to_owned();
            Source { code: code(&fs::read_to_string(&path).unwrap()), room, path: inside }
        })
        .filter(|source| source.room != "lib" && source.room != "main")
        // A room's own tests in files of their own may read samples.
        .filter(|source| !source.path.ends_with("tests.rs"))
        .collect()
}

/// The code of a file: comments and texts blanked, its tests (which stand last) left out.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let mut out = String::with_capacity(text.len());
    let chars: Vec<char> = text.chars().collect();
    let mut at = 0;
    let starts = |at: usize, with: &str| with.chars().enumerate().all(|(i, c)| chars.get(at + i) == Some(&c));
    while at < chars.len() {
        if starts(at, "//") {
            while at < chars.len() && chars[at] != '\n' {
                at += 1;
            }
        } else if starts(at, "/*") {
            while at < chars.len() && !starts(at, "*/") {
                at += 1;
            }
            at += 2;
        } else if chars[at] == 'r' && (starts(at, "r\"") || starts(at, "r#")) && !out.ends_with(char::is_alphanumeric) {
            let hashes = chars[at + 1..].iter().take_while(|&&c| c == '#').count();
            if chars.get(at + 1 + hashes) != Some(&'"') {
                out.push('r');
                at += 1;
                continue;
            }
            let end: String = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
            at += 2 + hashes;
            while at < chars.len() && !starts(at, &end) {
                at += 1;
            }
            at += end.len();
            out.push_str("\"\"");
        } else if chars[at] == '"' {
            at += 1;
            while at < chars.len() && chars[at] != '"' {
                at += if chars[at] == '\\' { 2 } else { 1 };
            }
            at += 1;
            out.push_str("\"\"");
        } else if starts(at, "'\"'") || starts(at, "'\\\"'") {
            at += if chars[at + 1] == '\\' { 4 } else { 3 };
            out.push_str("' '");
        } else {
            out.push(chars[at]);
            at += 1;
        }
    }
    out
}

/// The rooms named after `crate::`, one by one or in a group.
fn imported(code: &str) -> BTreeSet<String> {
    let mut rooms = BTreeSet::new();
    for after in code.split("crate::").skip(1) {
        let name =
            |text: &str| text.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
        let Some(group) = after.strip_prefix('{') else {
            rooms.insert(name(after));
            continue;
        };
        let mut depth = 0;
        let mut word = String::new();
        for c in group.chars() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    rooms.insert(name(&word));
                    word.clear();
                }
                c if depth == 0 => word.push(c),
                _ => {}
            }
        }
        rooms.insert(name(&word));
    }
    rooms.remove("");
    rooms
}

/// Does `code` name the crate (not a longer word that ends or begins with it)?
fn names(code: &str, krate: &str) -> bool {
    let path = format!("{krate}::");
    code.match_indices(&path)
        .any(|(at, _)| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':'))
}

#[test]
fn every_room_imports_only_what_the_table_allows() {
    let arrows = arrows();
    let mut wrong = Vec::new();
    for source in sources() {
        let Some(may) = arrows.get(source.room.as_str()) else {
            wrong.push(format!("{}: the room `{}` is not in the table", source.path.display(), source.room));
            continue;
        };
        for room in imported(&source.code) {
            if room != source.room && arrows.contains_key(room.as_str()) && !may.contains(room.as_str()) {
                wrong.push(format!("{}: `{}` may not import `{room}`", source.path.display(), source.room));
            }
        }
        // `super::super::…` out of the room would go round the table.
        let depth = source.path.components().count() - if source.path.ends_with("mod.rs") { 3 } else { 2 };
        if source.code.contains(&"super::".repeat(depth + 1)) {
            wrong.push(format!("{}: leaves its room by `super`", source.path.display()));
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn the_table_names_the_rooms_there_are() {
    let lib = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let there: BTreeSet<&str> =
        lib.lines().filter_map(|line| line.strip_prefix("pub mod ")).map(|name| name.trim_end_matches(';')).collect();
    assert_eq!(there, arrows().keys().copied().collect());
}

#[test]
fn thinking_rooms_only_think() {
    let mut wrong = Vec::new();
    for source in sources() {
        if !THINKING.contains(&source.room.as_str()) && !WORDS.contains(&source.room.as_str()) {
            continue;
        }
        for banned in NOT_THINKING {
            let found = source
                .code
                .match_indices(banned)
                .any(|(at, _)| !source.code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'));
            if found {
                wrong.push(format!("{}: a thinking room names `{}`", source.path.display(), banned.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn outside_crates_stay_in_their_rooms() {
    let mut wrong = Vec::new();
    for source in sources() {
        for (krate, places) in BELONGS {
            if names(&source.code, krate) && !places.iter().any(|place| source.path.starts_with(place)) {
                wrong.push(format!("{}: `{krate}` belongs to {}", source.path.display(), places.join(", ")));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn every_story_is_told() {
    let mut lost = Vec::new();
    for dir in ["tests/it/stories", "tests/it/world"] {
        for path in files_under(&root().join(dir)) {
            let is_module = path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("mod.rs");
            let parent = path.parent().unwrap().join("mod.rs");
            if !is_module || !parent.exists() {
                continue;
            }
            let name = path.file_stem().unwrap().to_str().unwrap();
            let told = fs::read_to_string(&parent).unwrap();
            if !told.lines().any(|line| line.ends_with(&format!("mod {name};"))) {
                lost.push(format!("{} is not in {}", path.display(), parent.display()));
            }
        }
    }
    assert!(lost.is_empty(), "\n{}\n", lost.join("\n"));
}

#[test]
fn every_dependency_says_why_it_is_there() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let mut silent = Vec::new();
    let (mut section, mut before) = ("", "");
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        } else if section.contains("dependencies") && line.contains('=') && !before.starts_with('#') {
            silent.push(line);
        }
        before = line;
    }
    assert!(silent.is_empty(), "no comment above:\n{}\n", silent.join("\n"));
}

#[test]
fn imports_are_read_in_groups_and_alone_but_not_in_comments_texts_or_tests() {
    let text = r##"
        use crate::{model::{Card, Level}, exec::Exec, store};
        fn f() { let _ = crate::bot::x("crate::app"); } // crate::web
        const RAW: &str = r#"crate::pager "quoted" "#;
        #[cfg(test)]
mod tests {
        use crate::chat; }
    "##;
    let found: Vec<String> = imported(&code(text)).into_iter().collect();
    assert_eq!(found, ["bot", "exec", "model", "store"]);
    assert!(names("let x = redis::cmd(1);", "redis") && !names("my_redis::cmd()", "redis"));
}
