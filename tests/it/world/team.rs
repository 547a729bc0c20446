//! A team with tiers, whose changes take more than one other person.

use super::{
    chat::{Answer, Chat, ChatBuilder},
    redis::RedisServer,
    room::{Room, house},
};
use rediscue::model::RunId;

/// ana and eli run changes, bo and di approve all of them, lou those of medium risk, cy looks, dora owns the shop.
pub(crate) const TEAM: &str = concat!(
    r#"
mode = "normal"
keepers = ["ana"]

[people.ana]
name = "Ana"
roles = ["operator", "keeper"]
console = ["ana"]
slack = [{ team = "T1", user = "U1" }, { team = "T1", user = "U11" }]

[people.bo]
name = "Bo"
roles = ["l2"]
console = ["bo"]
slack = [{ team = "T1", user = "U2" }, { team = "T1", user = "U12" }]

[people.cy]
name = "Cy"
roles = ["viewer"]
console = ["cy"]
slack = [{ team = "T1", user = "U3" }]

[people.di]
name = "Di"
roles = ["dba"]
console = ["di"]
slack = [{ team = "T1", user = "U4" }]

[people.dora]
name = "Dora"
console = ["dora"]

[people.eli]
name = "Eli"
roles = ["operator"]
console = ["eli"]

[people.lou]
name = "Lou"
roles = ["l1"]
console = ["lou"]

[owners]
shop = ["dora"]

[roles.operator]
may = [{ commands = ["diagnostics", "group:change"], services = ["*"] }]

[roles.l1]
tier = "L1"
may = [{ commands = ["diagnostics"], services = ["*"] }]
approves = [{ commands = ["group:change"], services = ["*"], up_to = "medium" }]

[roles.l2]
tier = "L2"
may = [{ commands = ["diagnostics"], services = ["*"] }]
approves = [{ commands = ["group:change"], services = ["*"] }]

[roles.dba]
tier = "DBA"
may = [{ commands = ["diagnostics"], services = ["*"] }]
approves = [{ commands = ["group:change"], services = ["shop"] }]

[roles.viewer]
may = [{ commands = ["diagnostics"], services = ["*"] }]

[roles.keeper]
may = [{ commands = ["reload"], services = ["*"] }]

"#,
    unhurried!()
);

/// Everybody of the team, and a stranger.
const PEOPLE: [&str; 8] = ["ana", "bo", "cy", "di", "dora", "eli", "lou", "mallory"];

/// Changes a setting, and counts as critical.
pub(crate) const CRITICAL: &str = r#"
name = "set-hard"
summary = "change a setting that must not be changed lightly"
about = "What set-config does, for two approvers."
examples = ["set-hard timeout 300"]
group = "change"
risk = "critical"
cost = "moderate"
deadline = "20s"
call_deadline = "5s"

[[arguments]]
name = "parameter"
about = "the setting"
type = "parameter"
required = true

[[arguments]]
name = "value"
about = "what it is to be"
type = "text"
length = 64
required = true

[[touches]]
do = "set-config"
with = { parameter = "{{ args.parameter }}", value = "{{ args.value }}" }
"#;

/// Two settings, one after the other.
pub(crate) const TWO: &str = r#"
name = "set-two"
summary = "change two settings"
about = "Two steps, one after the other."
examples = ["set-two"]
group = "change"
cost = "moderate"
deadline = "20s"
call_deadline = "5s"

[[touches]]
do = "set-config"
with = { parameter = "slowlog-max-len", value = "99" }

[[touches]]
do = "set-config"
with = { parameter = "slowlog-log-slower-than", value = "777" }
"#;

/// The team's configuration over a server that may be changed.
pub(crate) fn team() -> (RedisServer, ChatBuilder) {
    let (server, builder) = house("normal");
    let builder =
        builder.file("policy.toml", TEAM).file("commands/set-hard.toml", CRITICAL).file("commands/set-two.toml", TWO);
    (server, builder)
}

/// All of them at one terminal.
pub(crate) fn seats(chat: &Chat) -> Room {
    Room::seating(chat, &PEOPLE)
}

/// The run of a plan, from the foot of its card.
pub(crate) fn run_of(plan: &Answer) -> RunId {
    let footer = plan.card().footer.clone().unwrap_or_else(|| panic!("no plan: {}", plan.text()));
    let word = footer.split_whitespace().nth(1).expect("run RUN").to_owned();
    RunId::parse(&word).unwrap_or_else(|| panic!("{footer} names no run: {}", plan.text()))
}
