//! `bot.toml` to settings.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, sync::LazyLock, time::Duration};

use super::{
    Audit, BackupRoom, BotSettings, Deadlines, Log, LogFormat, SlackSettings, SlackTransport, StoreRoom, Work, check,
    check::Private,
    sheet::{At, Sheet, suggest},
    wire::{BadSide, BotFile, ChatPlatform, LogFormatWord, ScheduleWire, SlackMode, ThresholdWire},
};
use crate::{
    bot::Schedule,
    model::{Direction, Place, PlaceKind, Platform, Threshold},
    policy::ConsentTimes,
};

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);
const YEARS: Duration = Duration::from_secs(86_400 * 3_660);

/// The compiled-in defaults: every key there is.
pub(super) const DEFAULTS: &str = include_str!("../../config/bot.toml");

/// Reads the team's `bot.toml` over the defaults.
pub(super) fn read(sheet: &mut Sheet) -> Option<BotSettings> {
    let file: BotFile = sheet.read_over(Some(DEFAULTS))?;
    Some(settings(sheet, &file))
}

fn settings(sheet: &mut Sheet, file: &BotFile) -> BotSettings {
    let millis = Duration::from_millis;
    let deadlines = Deadlines {
        command: check::duration(sheet, &file.deadlines.command, "deadlines.command", SECOND, 3_600 * SECOND),
        call: check::duration(sheet, &file.deadlines.call, "deadlines.call", millis(50), 600 * SECOND),
        connect: check::duration(sheet, &file.deadlines.connect, "deadlines.connect", millis(50), 60 * SECOND),
        progress: check::duration(sheet, &file.deadlines.progress, "deadlines.progress", millis(100), 60 * SECOND),
        stop: check::duration(sheet, &file.deadlines.stop, "deadlines.stop", millis(100), 600 * SECOND),
    };
    let store = StoreRoom {
        path: check::path(sheet, &file.store.path, "store.path"),
        key_file: check::path(sheet, &file.store.key_file, "store.key_file"),
        keep: check::duration(sheet, &file.store.keep, "store.keep", DAY, YEARS),
        keep_figures: check::duration(sheet, &file.store.keep_figures, "store.keep_figures", SECOND * 3_600, YEARS),
        keep_snapshots: check::duration(
            sheet,
            &file.store.keep_snapshots,
            "store.keep_snapshots",
            SECOND * 3_600,
            YEARS,
        ),
        snapshot_bytes: check::bytes(sheet, &file.store.snapshot_bytes, "store.snapshot_bytes", 1 << 20, 1 << 50),
    };
    BotSettings {
        work: Work { queue: file.work.queue as usize, at_once: file.work.at_once as usize },
        deadlines,
        consent: consent(sheet, file),
        alerts: (!file.consent.alerts.value.is_empty())
            .then(|| check::path(sheet, &file.consent.alerts, "consent.alerts")),
        store,
        backups: backups(sheet, file),
        web: listen(sheet, file),
        console: console(sheet, file),
        slack: slack(sheet, file),
        audit: audit(sheet, file),
        log: log(sheet, file),
        thresholds: thresholds(sheet, file),
    }
}

fn consent(sheet: &mut Sheet, file: &BotFile) -> ConsentTimes {
    let wire = &file.consent;
    let mut length =
        |written: &At<String>, what: &str, most: Duration| check::duration(sheet, written, what, SECOND, most);
    let times = ConsentTimes {
        within: length(&wire.within, "consent.within", 7 * DAY),
        remind_before: length(&wire.remind_before, "consent.remind_before", 7 * DAY),
        page_after: length(&wire.page_after, "consent.page_after", 7 * DAY),
        break_glass_after: length(&wire.break_glass_after, "consent.break_glass_after", 7 * DAY),
        severity_for: length(&wire.severity_for, "consent.severity_for", 7 * DAY),
    };
    // Whichever of them the team's file says is the one to mend.
    let at = |one: &At<String>| one.at.or(wire.within.at);
    if times.remind_before >= times.within {
        let hint = "make it shorter than `consent.within`".to_owned();
        let reason = "`consent.remind_before` is as long as a plan waits at all, so nobody would be reminded";
        sheet.wrong(at(&wire.remind_before), reason, hint);
    }
    if times.page_after + times.break_glass_after >= times.within {
        let hint = "make the two together shorter than `consent.within`".to_owned();
        let reason = "after `consent.page_after` and `consent.break_glass_after` the plan has expired already";
        let nearest = wire.break_glass_after.at.or(wire.page_after.at).or(wire.within.at);
        sheet.wrong(nearest, reason, hint);
    }
    times
}

fn backups(sheet: &mut Sheet, file: &BotFile) -> BackupRoom {
    let written = &file.backups;
    BackupRoom {
        dir: (!written.dir.value.is_empty()).then(|| check::path(sheet, &written.dir, "backups.dir")),
        keep: check::duration(sheet, &written.keep, "backups.keep", DAY, YEARS),
        keep_last: written.keep_last.max(1) as usize,
        schedules: written.schedules.iter().filter_map(|schedule| self::schedule(sheet, schedule)).collect(),
    }
}

fn schedule(sheet: &mut Sheet, written: &At<ScheduleWire>) -> Option<Schedule> {
    let ScheduleWire { service, instance, at, by } = &written.value;
    let mut wrong = |value: &At<String>, what: &str, why: String, hint: &str| {
        // What is missing has no line of its own.
        sheet.wrong(value.at.or(written.at), format!("`backups.schedules.{what}` {why}"), hint.to_owned());
    };
    let minute = minute(&at.value);
    if minute.is_none() {
        wrong(at, "at", "is no time of the day".to_owned(), "write hours and minutes in UTC: `03:00`");
    }
    let named = service.value.parse();
    if let Err(error) = &named {
        wrong(service, "service", format!("is no service's name: {error}"), "name a file of services/");
    }
    let person = by.value.parse();
    if let Err(error) = &person {
        wrong(by, "by", format!("is no person's name: {error}"), "name a person of policy.toml");
    }
    let instance = match instance.as_ref().map(|written| (written, written.value.parse())) {
        None => None,
        Some((_, Ok(name))) => Some(name),
        Some((written, Err(error))) => {
            wrong(written, "instance", format!("is no instance's name: {error}"), "leave it out for the first");
            return None;
        }
    };
    Some(Schedule { service: named.ok()?, instance, minute: minute?, by: person.ok()? })
}

/// `03:00` as the minute of the day.
fn minute(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let two = |text: &str, below: u16| {
        let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u16>().ok().filter(|number| digits && *number < below)
    };
    Some(two(hours, 24)? * 60 + two(minutes, 60)?)
}

fn listen(sheet: &mut Sheet, file: &BotFile) -> Option<SocketAddr> {
    let written = &file.web.listen;
    let address = written.value.parse::<SocketAddr>();
    if address.is_err() {
        let hint = "write an IP address and a port: `127.0.0.1:9122`, `0.0.0.0:9122`, `[::]:9122`".to_owned();
        sheet.wrong(written.at, "`web.listen` is no address to listen on", hint);
    }
    address.ok().filter(|_| file.web.enabled)
}

fn console(sheet: &mut Sheet, file: &BotFile) -> Option<PathBuf> {
    let socket = check::path(sheet, &file.console.socket, "console.socket");
    // The kernel's limit for the path of a socket is 108 bytes with its end.
    if socket.as_os_str().len() > 107 {
        sheet.wrong(
            file.console.socket.at,
            "`console.socket` is longer than the 107 bytes a socket's path may have",
            None,
        );
    }
    file.console.enabled.then_some(socket)
}

fn slack(sheet: &mut Sheet, file: &BotFile) -> Option<SlackSettings> {
    let slack = &file.slack;
    let bot_token = check::secret(sheet, &slack.bot_token, "slack.bot_token");
    let app_token = check::secret(sheet, &slack.app_token, "slack.app_token");
    let signing_secret = check::secret(sheet, &slack.signing_secret, "slack.signing_secret");
    let command = slack.command.value.clone();
    let word = command.strip_prefix('/').unwrap_or("");
    if word.is_empty() || word.len() > 31 || word.contains(char::is_whitespace) {
        let hint = "a slash and one word: `/redis`".to_owned();
        sheet.wrong(slack.command.at, "`slack.command` is no slash command", hint);
    }
    let api = check::url(sheet, &slack.api, "slack.api", Private::Allowed).trim_end_matches('/').to_owned();
    let transport = match slack.mode.value {
        SlackMode::Socket => SlackTransport::Socket { app_token },
        SlackMode::Http => {
            if slack.enabled && !file.web.enabled {
                let hint =
                    "Slack's requests arrive on the listener: set `web.enabled = true`, or use `mode = \"socket\"`";
                sheet.wrong(slack.mode.at, "`slack.mode` is `http`, and there is no listener", hint.to_owned());
            }
            SlackTransport::Http { signing_secret }
        }
    };
    slack.enabled.then_some(SlackSettings { transport, bot_token, command, api })
}

fn audit(sheet: &mut Sheet, file: &BotFile) -> Audit {
    let audit = &file.audit;
    let anchor_every =
        check::duration(sheet, &audit.anchor_every, "audit.anchor_every", Duration::from_secs(60), 31 * DAY);
    let platform = platform(audit.platform.value);
    if platform == Platform::Console {
        let hint = "name a channel of `slack` or `discord`".to_owned();
        sheet.wrong(
            audit.platform.at,
            "`audit.platform`: the console is on the same machine, so it is no witness",
            hint,
        );
    }
    let channel = match (audit.team.value.is_empty(), audit.channel.value.is_empty()) {
        (true, true) => None,
        (false, false) => Some(Place {
            platform,
            team: audit.team.value.clone(),
            channel: audit.channel.value.clone(),
            thread: None,
            kind: PlaceKind::Channel,
            via: None,
        }),
        (no_team, _) => {
            let (given, missing) =
                if no_team { (&audit.channel, "audit.team") } else { (&audit.team, "audit.channel") };
            sheet.wrong(given.at, format!("`{missing}` is missing: a channel is named by both"), None);
            None
        }
    };
    Audit { channel, anchor_every }
}

/// What the word means.
pub(super) fn platform(word: ChatPlatform) -> Platform {
    match word {
        ChatPlatform::Slack => Platform::Slack,
        ChatPlatform::Discord => Platform::Discord,
        ChatPlatform::Console => Platform::Console,
    }
}

fn log(sheet: &mut Sheet, file: &BotFile) -> Log {
    let filter = file.log.filter.value.clone();
    if let Err(error) = filter.parse::<tracing_subscriber::filter::Targets>() {
        let hint = "write a level, or targets with levels: `info`, `warn,rediscue::exec=debug`".to_owned();
        sheet.wrong(file.log.filter.at, format!("`log.filter` is no filter: {error}"), hint);
    }
    let format = match file.log.format {
        LogFormatWord::Text => LogFormat::Text,
        LogFormatWord::Json => LogFormat::Json,
    };
    Log { format, filter }
}

fn thresholds(sheet: &mut Sheet, file: &BotFile) -> Thresholds {
    // Those of the defaults stand in no file of the team's; what does is the team's own line.
    let own = |written: &At<ThresholdWire>| written.at.is_some();
    let known = || DEFAULT_NAMES.iter().map(String::as_str);
    for (name, written) in file.thresholds.iter().filter(|(_, written)| own(written)) {
        if written.value.about.is_none() && !sheet.is_hurt(written.at) && !known().any(|other| other == name) {
            sheet.wrong(written.at, format!("there is no figure `{name}`"), unknown_figure(name, known()));
        }
    }
    file.thresholds.iter().map(|(name, wire)| (name.clone(), threshold(sheet, name, wire, None))).collect()
}

/// What to do about a figure nobody knows.
pub(super) fn unknown_figure<'n>(name: &str, known: impl IntoIterator<Item = &'n str>) -> String {
    suggest(name, known).unwrap_or_else(|| {
        "the names are in bot.toml under [thresholds]; a figure of your own says what it is: `about = \"…\"`".to_owned()
    })
}

/// The figures that the bot's own commands know.
static DEFAULT_NAMES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let file: BotFile = toml::from_str(DEFAULTS).expect("a test reads the compiled-in defaults");
    file.thresholds.into_keys().collect()
});

/// A threshold; which side is bad comes from `like` when the file does not say.
pub(super) fn threshold(
    sheet: &mut Sheet,
    name: &str,
    written: &At<ThresholdWire>,
    like: Option<&Threshold>,
) -> Threshold {
    let ThresholdWire { warn, crit, bad, .. } = written.value;
    let direction = match (bad, like) {
        (Some(BadSide::High), _) | (None, None) => Direction::HighIsBad,
        (Some(BadSide::Low), _) => Direction::LowIsBad,
        (None, Some(like)) => like.direction,
    };
    if let (Some(warn), Some(crit)) = (warn, crit) {
        let (in_order, how) = match direction {
            Direction::HighIsBad => (warn <= crit, "above"),
            Direction::LowIsBad => (warn >= crit, "below"),
        };
        if !in_order {
            let hint = format!(
                "high figures are {}; say `bad = \"{}\"` if it is the other way round",
                if direction == Direction::HighIsBad { "bad" } else { "good" },
                if direction == Direction::HighIsBad { "low" } else { "high" }
            );
            sheet.wrong(
                written.at,
                format!("`thresholds.{name}`: `crit` must not be reached before `warn`, it must be {how} it"),
                hint,
            );
        }
    }
    Threshold { warn, crit, direction }
}

/// The thresholds of the compiled-in defaults, for when the team's `bot.toml` cannot be read.
pub(super) fn default_settings() -> BotSettings {
    let mut sheet = Sheet::new(PathBuf::from("bot.toml"), "");
    let settings = read(&mut sheet).expect("a test reads the compiled-in defaults");
    debug_assert_eq!(sheet.problems(), Vec::new());
    settings
}

/// Names of figures with their defaults.
pub(super) type Thresholds = BTreeMap<String, Threshold>;
