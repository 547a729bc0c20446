//! `policy.toml` to rules.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    bot, check, service,
    sheet::{At, Sheet, suggest},
    wire::{
        AccountWire, ApprovalWire, BadgeWire, ChannelWire, GrantWire, LimitWire, ModeWord, PolicyFile, RiskWord,
        RoleWire,
    },
};
use crate::{
    model::{Badge, Identity, PersonId, Platform, ServiceName},
    policy::{
        AT_THE_MACHINE, Approval, Channel, CommandSet, Crowd, Grant, Limit, Limits, Mode, Only, Person, PlaceSet, Role,
        Rules,
    },
    runbook::Risk,
};

/// The names that rules may speak of.
pub(super) struct Names<'a> {
    /// Services, also those whose file has problems.
    pub(super) services: &'a BTreeSet<String>,
    /// Commands, also those whose file has problems.
    pub(super) commands: &'a BTreeSet<String>,
    /// Other words for commands, with the command each means.
    pub(super) aliases: &'a BTreeMap<String, String>,
    /// Headings of help.
    pub(super) groups: &'a BTreeSet<String>,
}

/// Reads the policy; `None` when the file is no TOML.
pub(super) fn read(sheet: &mut Sheet, names: &Names) -> Option<Rules> {
    let file: PolicyFile = sheet.read()?;
    let rules = Rules {
        mode: match file.mode {
            ModeWord::Normal => Mode::Normal,
            ModeWord::Observe => Mode::Observe,
        },
        keepers: keepers(sheet, &file),
        people: people(sheet, &file),
        crowds: crowds(sheet, &file),
        roles: roles(sheet, &file, names),
        tiers: tiers(sheet, &file),
        on_call: on_call(sheet, &file),
        owners: owners(sheet, &file, names),
        channels: channels(sheet, &file, names),
        limits: limits(&file),
    };
    let lent = rules.crowds.values().flat_map(|crowd| &crowd.roles);
    let held: BTreeSet<&String> = rules.people.values().flat_map(|person| &person.roles).chain(lent).collect();
    let kept = |role: &At<RoleWire>| role.value.on_call.is_some();
    for (name, role) in file.roles.iter().filter(|(name, role)| !held.contains(name) && !kept(role)) {
        sheet.warn(role.at, format!("nobody holds the role `{name}`"), None);
    }
    if file.people.is_empty() && file.crowds.is_empty() {
        sheet.warn(None, "names no people, so everybody is refused everything", None);
    }
    Some(rules)
}

fn keepers(sheet: &mut Sheet, file: &PolicyFile) -> Vec<PersonId> {
    let people = || file.people.keys().map(String::as_str);
    file.keepers
        .iter()
        .filter(|keeper| check::known(sheet, keeper, "person", people().collect::<Vec<_>>()))
        .filter_map(|keeper| keeper.value.parse().ok())
        .collect()
}

fn people(sheet: &mut Sheet, file: &PolicyFile) -> BTreeMap<PersonId, Person> {
    let roles: Vec<&str> = file.roles.keys().map(String::as_str).collect();
    let mut owners: BTreeMap<Identity, String> = BTreeMap::new();
    let mut people = BTreeMap::new();
    for (id, written) in &file.people {
        let wire = &written.value;
        let mut person = Person { name: wire.name.clone().unwrap_or_else(|| id.clone()), ..Person::default() };
        for role in &wire.roles {
            if check::known(sheet, role, "role", roles.iter().copied()) {
                person.roles.insert(role.value.clone());
            }
        }
        let slack = wire.slack.iter().filter_map(|account| chat_account(sheet, Platform::Slack, account));
        let mut accounts: Vec<(Option<usize>, Identity)> = slack.collect();
        accounts.extend(wire.discord.iter().filter_map(|account| chat_account(sheet, Platform::Discord, account)));
        for user in &wire.console {
            if user.value.is_empty() {
                sheet.wrong(user.at, "an account must have a user", None);
                continue;
            }
            let identity = Identity { platform: Platform::Console, team: String::new(), user: user.value.clone() };
            accounts.push((user.at, identity));
        }
        if accounts.is_empty() && !sheet.is_hurt(written.at) {
            let hint = "add `slack = [{ team = \"T…\", user = \"U…\" }]`, `discord` or `console`".to_owned();
            sheet.warn(written.at, format!("`{id}` has no account, so nobody can speak as them"), hint);
        }
        for (at, identity) in accounts {
            match owners.get(&identity) {
                Some(owner) if owner != id => {
                    let hint = "an account belongs to one person; take it from one of them".to_owned();
                    let reason = format!(
                        "the account {} is claimed by both `{owner}` and `{id}`",
                        check::shorten(&identity.to_string())
                    );
                    sheet.wrong(at, reason, hint);
                }
                _ => {
                    owners.insert(identity.clone(), id.clone());
                    person.identities.insert(identity);
                }
            }
        }
        match id.parse::<PersonId>() {
            Ok(id) => {
                people.insert(id, person);
            }
            Err(error) => sheet.wrong(written.at, error, None),
        }
    }
    people
}

fn crowds(sheet: &mut Sheet, file: &PolicyFile) -> BTreeMap<String, Crowd> {
    let roles: Vec<&str> = file.roles.keys().map(String::as_str).collect();
    let mut crowds = BTreeMap::new();
    for (name, written) in &file.crowds {
        check::word(sheet, name, written.at, "crowds");
        let wire = &written.value;
        let mut crowd = Crowd { about: wire.about.clone().unwrap_or_default(), ..Crowd::default() };
        for role in &wire.roles {
            if check::known(sheet, role, "role", roles.iter().copied()) {
                more_than_looks(sheet, file, name, role);
                crowd.roles.insert(role.value.clone());
            }
        }
        crowd.badges.extend(wire.slack.iter().filter_map(|badge| slack_badge(sheet, badge)));
        if (wire.roles.is_empty() || wire.slack.is_empty()) && !sheet.is_hurt(written.at) {
            let hint = "it takes `roles` and `slack = [{ team = \"T…\", group = \"S…\" }]`".to_owned();
            sheet.warn(written.at, format!("the crowd `{name}` lets nobody look at anything"), hint);
        }
        crowds.insert(name.clone(), crowd);
    }
    crowds
}

/// Whoever lends a crowd a role that allows more must not believe that it has that too.
fn more_than_looks(sheet: &mut Sheet, file: &PolicyFile, crowd: &str, role: &At<String>) {
    let Some(lent) = file.roles.get(&role.value) else { return };
    let more = |grant: &At<GrantWire>| grant.value.reveal || grant.value.commands.iter().any(|set| set.value == "*");
    if !lent.value.approves.is_empty() || lent.value.on_call.is_some() || lent.value.may.iter().any(more) {
        let hint = "approvers and those who change things are named in `[people]`, by team and user id".to_owned();
        let reason = format!("of the role `{}` the crowd `{crowd}` has the looks alone", role.value);
        sheet.warn(role.at, reason, hint);
    }
}

fn slack_badge(sheet: &mut Sheet, written: &At<BadgeWire>) -> Option<Badge> {
    let BadgeWire { team, group, email } = &written.value;
    if sheet.is_hurt(written.at) {
        return None;
    }
    let id = |text: &str, first: char| text.starts_with(first) && text.chars().all(|c| c.is_ascii_alphanumeric());
    if !id(team, 'T') && !id(team, 'E') {
        let hint = "the workspace's id stands in the address of Slack in a browser".to_owned();
        sheet.wrong(written.at, "a crowd must say its workspace by its id (`T…`)", hint);
        return None;
    }
    let (platform, team) = (Platform::Slack, team.clone());
    match (group, email) {
        (Some(group), None) if id(&group.value, 'S') => {
            Some(Badge::Group { platform, team, group: group.value.clone() })
        }
        (Some(group), None) => {
            let hint = "its id (`S…`) stands at the end of the address of the group's page; handles change".to_owned();
            sheet.wrong(group.at, "a user group must be named by its id", hint);
            None
        }
        (None, Some(email)) => {
            let address = email.value.trim().to_lowercase();
            let halves = address.split_once('@').filter(|(user, host)| !user.is_empty() && host.contains('.'));
            if halves.is_none_or(|(_, host)| host.contains('@')) || address.contains(char::is_whitespace) {
                // Whose it is, is nobody else's business: it is not repeated.
                let hint = "write one whole address; a crowd of a whole domain is a user group".to_owned();
                sheet.wrong(email.at, "that is no e-mail address", hint);
                return None;
            }
            Some(Badge::Email { platform, team, email: address })
        }
        (Some(_), Some(_)) | (None, None) => {
            let hint = "write `{ team = \"T…\", group = \"S…\" }` or `{ team = \"T…\", email = \"…\" }`".to_owned();
            sheet.wrong(written.at, "it must say `group` or `email`, one of them", hint);
            None
        }
    }
}

fn chat_account(sheet: &mut Sheet, platform: Platform, written: &At<AccountWire>) -> Option<(Option<usize>, Identity)> {
    let AccountWire { team, user } = &written.value;
    if user.contains('@') || user.contains(char::is_whitespace) {
        let hint = "write the user id the platform shows in a profile (`U…`): names and e-mail addresses change owners";
        sheet.wrong(written.at, "an account's user must be an id", hint.to_owned());
        return None;
    }
    if sheet.is_hurt(written.at) {
        return None;
    }
    if team.is_empty() || user.is_empty() {
        sheet.wrong(written.at, "an account must have a team and a user", None);
        return None;
    }
    Some((written.at, Identity { platform, team: team.clone(), user: user.clone() }))
}

fn roles(sheet: &mut Sheet, file: &PolicyFile, names: &Names) -> BTreeMap<String, Role> {
    let channels: Vec<&str> = file.channels.keys().map(String::as_str).collect();
    file.roles
        .iter()
        .map(|(name, written)| {
            check::word(sheet, name, written.at, "roles");
            let wire = &written.value;
            let grants = wire.may.iter().map(|grant| read_grant(sheet, grant, names, &channels)).collect();
            let approves = wire.approves.iter().map(|one| approval(sheet, one, names, &channels)).collect();
            let tier = wire.tier.as_ref().filter(|tier| {
                let tiers = tier_names(file);
                check::known(sheet, tier, "tier", tiers.iter().map(String::as_str))
            });
            let duties = file.on_call.keys().map(String::as_str);
            let on_call = wire.on_call.as_ref().filter(|duty| check::known(sheet, duty, "duty", duties));
            let role = Role {
                about: wire.about.clone().unwrap_or_default(),
                grants,
                approves,
                tier: tier.map(|tier| tier.value.clone()),
                on_call: on_call.map(|duty| duty.value.clone()),
            };
            (name.clone(), role)
        })
        .collect()
}

fn approval(sheet: &mut Sheet, written: &At<ApprovalWire>, names: &Names, channels: &[&str]) -> Approval {
    let ApprovalWire { commands, services, environments, from, up_to } = written.value.clone();
    let grant = GrantWire { commands, services, environments, from, reveal: false };
    Approval {
        grant: read_grant(sheet, &At { value: grant, at: written.at }, names, channels),
        up_to: match up_to {
            RiskWord::Medium => Risk::Medium,
            RiskWord::High => Risk::High,
            RiskWord::Critical => Risk::Critical,
        },
    }
}

/// The tiers as they are written, or those most teams have.
fn tier_names(file: &PolicyFile) -> Vec<String> {
    match &file.tiers {
        Some(tiers) => tiers.iter().map(|tier| tier.value.clone()).collect(),
        None => ["L1", "L2", "L3", "DBA"].map(str::to_owned).into(),
    }
}

fn tiers(sheet: &mut Sheet, file: &PolicyFile) -> Vec<String> {
    let mut seen = BTreeSet::new();
    for tier in file.tiers.iter().flatten() {
        if tier.value.is_empty() || tier.value.len() > 16 || !tier.value.chars().all(|c| c.is_ascii_alphanumeric()) {
            let hint = "use at most 16 letters and digits, as in `L2`".to_owned();
            sheet.wrong(tier.at, format!("`{}` is no name of a tier", check::shorten(&tier.value)), hint);
        } else if !seen.insert(&tier.value) {
            sheet.wrong(tier.at, format!("the tier `{}` is there twice", tier.value), None);
        }
    }
    tier_names(file)
}

fn on_call(sheet: &mut Sheet, file: &PolicyFile) -> BTreeMap<String, BTreeSet<PersonId>> {
    let named: BTreeSet<&str> =
        file.roles.values().filter_map(|role| role.value.on_call.as_ref()).map(|duty| duty.value.as_str()).collect();
    file.on_call
        .iter()
        .map(|(duty, present)| {
            let at = present.first().and_then(|person| person.at);
            check::word(sheet, duty, at, "on_call");
            if present.is_empty() {
                sheet.warn(None, format!("nobody is on call for `{duty}`"), None);
            } else if !named.contains(duty.as_str()) {
                let hint = format!("write `on_call = \"{duty}\"` in the role they should hold");
                sheet.warn(at, format!("no role is for whoever is on call for `{duty}`"), hint);
            }
            (duty.clone(), persons(sheet, file, present))
        })
        .collect()
}

fn owners(sheet: &mut Sheet, file: &PolicyFile, names: &Names) -> BTreeMap<ServiceName, BTreeSet<PersonId>> {
    file.owners
        .iter()
        .filter_map(|(service, owners)| {
            let written = At { value: service.clone(), at: owners.first().and_then(|owner| owner.at) };
            Some((service_name(sheet, &written, names)?, persons(sheet, file, owners)))
        })
        .collect()
}

fn persons(sheet: &mut Sheet, file: &PolicyFile, written: &[At<String>]) -> BTreeSet<PersonId> {
    let people: Vec<&str> = file.people.keys().map(String::as_str).collect();
    written
        .iter()
        .filter(|person| check::known(sheet, person, "person", people.iter().copied()))
        .filter_map(|person| person.value.parse().ok())
        .collect()
}

fn read_grant(sheet: &mut Sheet, written: &At<GrantWire>, names: &Names, channels: &[&str]) -> Grant {
    let wire = &written.value;
    let commands = commands(sheet, &wire.commands, names);
    if wire.commands.is_empty() || wire.services.is_empty() {
        sheet.warn(written.at, "an empty list grants nothing", "write `[\"*\"]` for all".to_owned());
    }
    let places = match &wire.from {
        None => Only::Any,
        Some(from) => Only::These(
            from.iter()
                .filter_map(|place| match place.value.as_str() {
                    "direct" => Some(PlaceSet::Direct),
                    "console" => Some(PlaceSet::Console),
                    _ => {
                        let words = channels.iter().copied().chain(["direct", "console"]);
                        check::known(sheet, place, "channel", words).then(|| PlaceSet::Channel(place.value.clone()))
                    }
                })
                .collect(),
        ),
    };
    Grant {
        commands,
        services: services(sheet, &wire.services, names),
        environments: match &wire.environments {
            None => Only::Any,
            Some(some) => Only::These(some.iter().map(|word| service::environment(*word)).collect()),
        },
        places,
        reveal: wire.reveal,
    }
}

fn channels(sheet: &mut Sheet, file: &PolicyFile, names: &Names) -> BTreeMap<String, Channel> {
    let mut seen: BTreeMap<(Platform, String, String), String> = BTreeMap::new();
    file.channels
        .iter()
        .map(|(name, written)| {
            check::word(sheet, name, written.at, "channels");
            if matches!(name.as_str(), "direct" | "console") {
                sheet.wrong(
                    written.at,
                    format!("a channel cannot be named `{name}`: the word means another place"),
                    None,
                );
            }
            let wire = &written.value;
            let platform = bot::platform(wire.platform);
            let nameless = wire.team.is_empty() || wire.channel.is_empty();
            if platform != Platform::Console && nameless && !sheet.is_hurt(written.at) {
                let hint = "ids as the platform shows them: `team = \"T…\"`, `channel = \"C…\"`".to_owned();
                sheet.wrong(written.at, format!("`channels.{name}` must say `team` and `channel`"), hint);
            }
            let channel = Channel {
                platform,
                team: wire.team.clone(),
                channel: wire.channel.clone(),
                service: wire.service.as_ref().and_then(|service| service_name(sheet, service, names)),
                services: wire.services.as_ref().map_or(Only::Any, |some| services(sheet, some, names)),
                commands: wire.commands.as_ref().map_or(Only::Any, |some| Only::These(commands(sheet, some, names))),
            };
            let place = (channel.platform, channel.team.clone(), channel.channel.clone());
            if let Some(other) = seen.insert(place, name.clone()) {
                let hint = "join their rules in one of them".to_owned();
                sheet.wrong(written.at, format!("`{other}` and `{name}` are the same channel"), hint);
            }
            default_is_allowed(sheet, name, wire, &channel);
            (name.clone(), channel)
        })
        .collect()
}

fn default_is_allowed(sheet: &mut Sheet, name: &str, wire: &ChannelWire, channel: &Channel) {
    if let (Some(written), Some(service)) = (&wire.service, &channel.service)
        && !channel.services.holds(service)
    {
        let hint = "add it to `services`".to_owned();
        sheet.wrong(written.at, format!("the default service of `{name}` may not be used there"), hint);
    }
}

fn services(sheet: &mut Sheet, written: &[At<String>], names: &Names) -> Only<ServiceName> {
    if written.iter().any(|service| service.value == "*") {
        return Only::Any;
    }
    Only::These(written.iter().filter_map(|service| service_name(sheet, service, names)).collect())
}

fn service_name(sheet: &mut Sheet, written: &At<String>, names: &Names) -> Option<ServiceName> {
    let known = check::known(sheet, written, "service", names.services.iter().map(String::as_str));
    written.value.parse().ok().filter(|_| known)
}

fn commands(sheet: &mut Sheet, written: &[At<String>], names: &Names) -> BTreeSet<CommandSet> {
    written.iter().filter_map(|command| command_set(sheet, command, names)).collect()
}

fn command_set(sheet: &mut Sheet, written: &At<String>, names: &Names) -> Option<CommandSet> {
    match written.value.as_str() {
        "*" => return Some(CommandSet::Every),
        "diagnostics" => return Some(CommandSet::Diagnostics),
        _ => {}
    }
    if let Some(group) = written.value.strip_prefix("group:") {
        let group = At { value: group.to_owned(), at: written.at };
        let known = check::known(sheet, &group, "group of commands", names.groups.iter().map(String::as_str));
        return known.then_some(CommandSet::Group(group.value));
    }
    if names.commands.contains(&written.value) || AT_THE_MACHINE.contains(&written.value.as_str()) {
        return Some(CommandSet::Named(written.value.clone()));
    }
    let hint = match names.aliases.get(&written.value) {
        Some(command) => Some(format!("`{}` is another word for `{command}`; write that", written.value)),
        None if names.groups.contains(&written.value) => Some(format!("did you mean `group:{}`?", written.value)),
        None => suggest(&written.value, names.commands.iter().map(String::as_str).chain(["diagnostics"])),
    };
    let hint = hint.unwrap_or_else(|| "write a command's name, `group:NAME`, `diagnostics` or `*`".to_owned());
    sheet.wrong(written.at, format!("there is no command `{}`", check::shorten(&written.value)), hint);
    None
}

fn limits(file: &PolicyFile) -> Limits {
    let default = Limits::default();
    let limit = |written: &Option<LimitWire>, default: Limit| match written {
        None => default,
        Some(wire) => Limit {
            per_minute: wire.per_minute.unwrap_or(default.per_minute),
            burst: wire.burst.unwrap_or(default.burst),
            at_once: wire.at_once.unwrap_or(default.at_once),
        },
    };
    Limits {
        person: limit(&file.limits.person, default.person),
        instance: limit(&file.limits.instance, default.instance),
        cheap: limit(&file.limits.cheap, default.cheap),
        moderate: limit(&file.limits.moderate, default.moderate),
        heavy: limit(&file.limits.heavy, default.heavy),
    }
}
