//! A command file as it is written. The documentation of each key here is
//! what editors show, through the JSON Schema.

use schemars::JsonSchema;
use serde::Deserialize;

use super::read::At;

/// Text with its place in the file.
pub(super) type Str = At<String>;

/// A command: what is typed, what is looked at, what is said.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "Rediscue command file")]
pub(super) struct CommandFile {
    /// What is typed after `/redis`: lowercase letters, digits and `-`.
    pub(super) name: Option<Str>,
    /// Other words for it.
    pub(super) aliases: Vec<Str>,
    /// One line for help.
    pub(super) summary: Option<Str>,
    /// A paragraph for `help NAME`.
    pub(super) about: Option<String>,
    /// Lines to type, without `/redis`.
    pub(super) examples: Vec<Str>,
    /// The heading it stands under in help.
    pub(super) group: Option<Group>,
    /// How much it asks of a server.
    pub(super) cost: Option<CostWord>,
    /// The whole command is answered within this: `10s`.
    pub(super) deadline: Option<Str>,
    /// One call is given up after this: `3s`.
    pub(super) call_deadline: Option<Str>,
    /// The answer goes to the asker alone.
    pub(super) private: bool,
    /// Words it takes.
    pub(super) arguments: Vec<At<Argument>>,
    /// What is looked at.
    pub(super) steps: Vec<At<StepTable>>,
    /// What is said.
    pub(super) card: Option<Card>,
    /// What is changed; a command that changes something has no steps and no card of its own.
    pub(super) touches: Vec<At<TouchTable>>,
    /// It counts as at least so risky, whatever its touches say themselves.
    pub(super) risk: Option<RiskWord>,
}

/// One thing a command changes.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TouchTable {
    /// What kind of change it is: `set-config`.
    #[serde(rename = "do")]
    pub(super) what: Option<Str>,
    /// Its words, each a template: `value = "{{ args.value }}"`.
    pub(super) with: std::collections::BTreeMap<String, Str>,
    /// CEL; the change is left out when it is false.
    pub(super) when: Option<Str>,
}

/// Levels of risk.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum RiskWord {
    /// Nobody but the asker.
    Low,
    /// One other person who may run the command.
    Medium,
    /// One approver.
    High,
    /// Two approvers.
    Critical,
}

/// Headings of help.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Group {
    /// Health of servers and services.
    Look,
    /// Keys and what they hold.
    Keys,
    /// What changes something.
    Change,
    /// The bot itself.
    Bot,
}

/// Classes of cost; limits are per class.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum CostWord {
    /// A few O(1) calls.
    Cheap,
    /// Bounded work: lists of clients, logs, samples.
    Moderate,
    /// Walks, monitors, many looks.
    Heavy,
}

/// A word the command takes.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Argument {
    /// Its name; `--NAME VALUE` when it is a flag.
    pub(super) name: Option<Str>,
    /// One line for help.
    pub(super) about: Option<String>,
    /// Its type.
    #[serde(rename = "type")]
    pub(super) kind: Option<At<ArgumentType>>,
    /// Smallest, for `integer`.
    pub(super) min: Option<At<i64>>,
    /// Largest, for `integer`.
    pub(super) max: Option<At<i64>>,
    /// Shortest, for `duration`: `1s`.
    pub(super) shortest: Option<Str>,
    /// Longest, for `duration`: `1m`.
    pub(super) longest: Option<Str>,
    /// The words it may be, for `choice`.
    pub(super) choices: Option<At<Vec<String>>>,
    /// Most characters, for `text`.
    pub(super) length: Option<At<u32>>,
    /// What of the profile it names, for `of`.
    pub(super) of: Option<At<Thing>>,
    /// Given as `--name VALUE` instead of by position.
    pub(super) flag: bool,
    /// Must be given.
    pub(super) required: bool,
    /// Used when it is not given, as it would be typed.
    pub(super) default: Option<Str>,
}

/// Types of arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum ArgumentType {
    /// A whole number between `min` and `max`.
    Integer,
    /// A length of time between `shortest` and `longest`.
    Duration,
    /// A number of bytes: `100mb`.
    Bytes,
    /// One of `choices`.
    Choice,
    /// There or not: `--blocked`.
    Switch,
    /// A key's exact name, or a handle.
    Key,
    /// A Redis glob.
    Pattern,
    /// What must hold of a key's value: `FIELD=VALUE`, `FIELD < now-12h`.
    Where,
    /// Free text of at most `length` characters.
    Text,
    /// The name of a command.
    Command,
    /// The name of something the profile lists, see `of`.
    Of,
    /// A setting of the server that may be changed.
    Parameter,
}

/// Things a profile lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Thing {
    /// HTTP endpoints.
    Endpoints,
    /// Metrics pages.
    Metrics,
    /// Logs.
    Logs,
    /// Queues.
    Queues,
    /// Key patterns.
    Patterns,
}

/// One look. Exactly one of the look keys (`redis`, `latency`, `monitor`, `connectivity`,
/// `rates`, `tcp`, `http`, `metrics`, `logs`, `backups`, `command`, `keyspace`, `derive`) says at what.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct StepTable {
    /// The name its result has in conditions and templates.
    pub(super) id: Option<Str>,
    /// CEL; the step is left out when it is false. Sees `args`, `service`, and `item` with `each`.
    pub(super) when: Option<Str>,
    /// Its failure does not make the verdict UNKNOWN.
    pub(super) optional: bool,
    /// Begin only when this earlier step has ended.
    pub(super) after: Option<Str>,
    /// One look for each thing of this kind in the profile; `item` is the thing.
    pub(super) each: Option<Thing>,
    /// Numbers of the look that come from arguments, each a template:
    /// `{ time = "{{ args.time }}" }`. Known: time, lines, samples, over, delta, last, events.
    pub(super) fill: std::collections::BTreeMap<String, Str>,
    /// A Redis command that only looks: `["INFO", "memory"]`.
    pub(super) redis: Option<At<Vec<Str>>>,
    /// With `redis`: which servers are asked.
    pub(super) nodes: Option<At<NodesWord>>,
    /// One key: its type first, then what that type allows.
    pub(super) inspect: Option<At<Inspect>>,
    /// Client-side latency by PING.
    pub(super) latency: Option<At<Latency>>,
    /// MONITOR, bounded.
    pub(super) monitor: Option<At<Monitor>>,
    /// DNS, TCP, TLS, AUTH, PING to every address, each timed.
    pub(super) connectivity: Option<At<Nothing>>,
    /// Two INFOs, so that counters become rates.
    pub(super) rates: Option<At<Rates>>,
    /// Can a TCP connection be made?
    pub(super) tcp: Option<At<Tcp>>,
    /// A request to an endpoint of the profile.
    pub(super) http: Option<At<Http>>,
    /// A scrape of a metrics page of the profile.
    pub(super) metrics: Option<At<Metrics>>,
    /// Lines of a log of the profile.
    pub(super) logs: Option<At<Logs>>,
    /// What is kept of the instance; no server is asked.
    pub(super) backups: Option<At<Backups>>,
    /// What another diagnostic finds.
    pub(super) command: Option<Str>,
    /// A survey of the keyspace.
    pub(super) keyspace: Option<At<Keyspace>>,
    /// Something worked out from earlier steps.
    pub(super) derive: Option<Str>,
    /// With `derive`: the steps it is worked out from.
    pub(super) from: Option<At<Vec<Str>>>,
}

/// Which servers are asked.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum NodesWord {
    /// Every primary.
    Primaries,
    /// Replicas too.
    All,
    /// One is enough.
    Any,
    /// The primary that holds the key.
    Key,
}

/// No options.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// Options of `inspect`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Inspect {
    /// The key's exact name, or a handle; a template.
    pub(super) key: Option<Str>,
    /// How many of its first elements, 0 to 100; 10 when not said.
    pub(super) sample: Option<At<u32>>,
    /// Measure its length twice this far apart.
    pub(super) over: Option<Str>,
}

/// Options of `latency`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Latency {
    /// How many PINGs, 1 to 10000; 100 when not said.
    pub(super) samples: Option<At<u32>>,
}

/// Options of `monitor`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Monitor {
    /// For how long, `100ms` to `1m`; `5s` when not said.
    pub(super) time: Option<Str>,
    /// At most this many lines, up to 100000; 1000 when not said.
    pub(super) lines: Option<At<u32>>,
}

/// Options of `rates`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Rates {
    /// How long between the two, `100ms` to `30s`; `1s` when not said.
    pub(super) over: Option<Str>,
}

/// Options of `tcp`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Tcp {
    /// `host:port`, fixed here; the instance's own addresses when not said.
    pub(super) address: Option<Str>,
}

/// Options of `http`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Http {
    /// The name of an endpoint of the profile; a template.
    pub(super) endpoint: Option<Str>,
    /// Values for `{argument}` in its URL; templates.
    pub(super) arguments: std::collections::BTreeMap<String, Str>,
    /// A JSON pointer whose value is wanted.
    pub(super) pointer: Option<Str>,
    /// Read a server-sent event stream and stop after this many events.
    pub(super) events: Option<At<u32>>,
}

/// Options of `metrics`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Metrics {
    /// The name of a metrics page of the profile; a template.
    pub(super) source: Option<Str>,
    /// Prefixes of the metric names wanted; templates.
    pub(super) select: Vec<Str>,
    /// Scrape twice this far apart and say what changed.
    pub(super) delta: Option<Str>,
}

/// Options of `logs`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Logs {
    /// The name of a log of the profile; a template.
    pub(super) source: Option<Str>,
    /// A named filter of the profile, or a regular expression; a template.
    pub(super) filter: Option<Str>,
    /// How many of the last matching lines, 1 to 500; 20 when not said.
    pub(super) last: Option<At<u32>>,
}

/// Options of `backups`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Backups {
    /// What is wanted.
    pub(super) what: Option<At<BackupsWord>>,
    /// The name of one, a template; empty: the newest that is whole.
    pub(super) name: Option<Str>,
}

/// What is wanted of the backups.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum BackupsWord {
    /// All of them.
    List,
    /// What the manifest of one says.
    Show,
    /// Every file of one, read to its end and held against its manifest.
    Verify,
    /// Not backups: the exports of keys that are kept, or the one that is named.
    Exports,
}

/// Options of `keyspace`. Those but `survey` are templates; one that comes out empty was not given.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Keyspace {
    /// What is wanted.
    pub(super) survey: Option<At<SurveyWord>>,
    /// A Redis glob.
    pub(super) pattern: Option<Str>,
    /// How many of the first.
    pub(super) top: Option<Str>,
    /// Which page of them.
    pub(super) page: Option<Str>,
    /// Characters that part a key's name.
    pub(super) separators: Option<Str>,
    /// `true`: ask for elements though it touches keys.
    pub(super) lengths: Option<Str>,
    /// `true`: weigh every key, also where those that never expire are what it is about.
    pub(super) weigh: Option<Str>,
    /// `true`: be content with the first answer.
    pub(super) sample: Option<Str>,
    /// One server of the instance, by its address, instead of all primaries.
    pub(super) node: Option<Str>,
}

/// Surveys of the keyspace.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum SurveyWord {
    /// The largest keys of each type.
    Bigkeys,
    /// Bytes, counts and lifetimes by prefix.
    Memkeys,
    /// The keys touched most.
    Hotkeys,
    /// How many keys match.
    Keys,
    /// Which keys never expire.
    TtlAudit,
    /// Who moves the bytes.
    Clients,
}

/// The card.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Card {
    /// Said when nothing is wrong; a template.
    pub(super) healthy: Option<Str>,
    /// Take the findings of `command` steps into this card.
    pub(super) gather: bool,
    /// Named numbers and texts, in order.
    pub(super) figures: Vec<At<Figure>>,
    /// What may be found.
    pub(super) findings: Vec<At<Finding>>,
    /// A checklist: what has to hold, each line ticked, failed, or not to be checked from here.
    pub(super) checks: Vec<At<CheckLine>>,
    /// Paragraphs.
    pub(super) texts: Vec<At<Paragraph>>,
    /// Tables.
    pub(super) tables: Vec<At<Table>>,
    /// Bar charts.
    pub(super) bars: Vec<At<Bars>>,
    /// Remembered figures over time.
    pub(super) series: Vec<At<Series>>,
    /// Monospaced text.
    pub(super) code: Vec<At<Paragraph>>,
    /// Buttons.
    pub(super) actions: Vec<At<Button>>,
}

/// A named number or text.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Figure {
    /// The name it is judged, remembered and charted by.
    pub(super) name: Option<Str>,
    /// The label on the card; without one it is worked out and not shown.
    pub(super) label: Option<String>,
    /// CEL giving a number, a text or nothing.
    pub(super) value: Option<Str>,
    /// Template; sees `value`.
    pub(super) show: Option<Str>,
    /// The threshold of the profile that judges it.
    pub(super) judge: Option<Str>,
    /// CEL; left out when false.
    pub(super) when: Option<Str>,
    /// Shown in place of a value that could not be worked out.
    pub(super) otherwise: Option<String>,
    /// Remembered, so that the next look can say what changed; true when not said.
    pub(super) remember: Option<bool>,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum LevelWord {
    /// As it should be.
    Ok,
    /// Worth knowing.
    Note,
    /// Nothing can be said.
    Unknown,
    /// Past the warning threshold.
    Warn,
    /// Past the critical threshold.
    Crit,
}

/// A line of the checklist.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct CheckLine {
    /// What has to be so; a template.
    pub(super) what: Option<Str>,
    /// CEL; a value that is not there means that it cannot be checked from here.
    pub(super) holds: Option<Str>,
    /// CEL; it is checked only where this holds.
    pub(super) when: Option<Str>,
    /// Said where it does not hold or cannot be checked; a template.
    pub(super) otherwise: Option<Str>,
}

/// Something that may be found.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Finding {
    /// CEL.
    pub(super) when: Option<Str>,
    /// How bad it is.
    pub(super) level: Option<LevelWord>,
    /// Template: what was found.
    pub(super) what: Option<Str>,
    /// Template: the numbers that show it.
    pub(super) evidence: Option<Str>,
    /// Template: what to do next.
    pub(super) next: Option<Str>,
}

/// A paragraph, or monospaced text.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Paragraph {
    /// CEL; left out when false.
    pub(super) when: Option<Str>,
    /// Template.
    pub(super) text: Option<Str>,
}

/// A table.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Table {
    /// Its title; a template.
    pub(super) title: Option<Str>,
    /// CEL giving a list; each element is `row`.
    pub(super) rows: Option<Str>,
    /// Columns.
    pub(super) columns: Vec<At<Column>>,
    /// At most this many rows; 15 when not said.
    pub(super) limit: Option<At<u32>>,
    /// Said when there are none; a template.
    pub(super) empty: Option<Str>,
    /// CEL; left out when false.
    pub(super) when: Option<Str>,
}

/// A column.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Column {
    /// Heading.
    pub(super) title: Option<String>,
    /// Template; sees `row`.
    pub(super) cell: Option<Str>,
    /// `right` for numbers.
    pub(super) align: Option<AlignWord>,
    /// CEL giving the number that `judge` judges; sees `row`.
    pub(super) value: Option<Str>,
    /// The threshold of the profile that judges it.
    pub(super) judge: Option<Str>,
}

/// Where a cell's text stands.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum AlignWord {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// A bar chart.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Bars {
    /// Title; a template.
    pub(super) title: Option<Str>,
    /// CEL giving a list; each element is `row`.
    pub(super) rows: Option<Str>,
    /// Template.
    pub(super) label: Option<Str>,
    /// CEL giving a number.
    pub(super) value: Option<Str>,
    /// Template.
    pub(super) show: Option<Str>,
    /// At most this many bars; 12 when not said.
    pub(super) limit: Option<At<u32>>,
    /// CEL; left out when false.
    pub(super) when: Option<Str>,
}

/// A remembered figure over time.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Series {
    /// The figure's name.
    pub(super) figure: Option<Str>,
    /// Title.
    pub(super) title: Option<String>,
    /// Unit.
    pub(super) unit: Option<String>,
}

/// A button.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Button {
    /// What stands on it; a template.
    pub(super) label: Option<Str>,
    /// The command it types; a template, in which every value is one word.
    pub(super) command: Option<Str>,
    /// CEL; left out when false.
    pub(super) when: Option<Str>,
}
