//! Surveys against a server made of a table of buckets, which counts every question it is asked.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use super::{
    Aim, Ask, Checkpoint, Doing, Kind, LANES, Method, Outcome, Part, Report, Sample, Showing, Step, Survey, cursor,
    wire::{Batch, Finder, replies},
};

/// A server: keys in buckets, walked as Redis walks them.
struct Server {
    table: Vec<Vec<String>>,
    version: &'static str,
    policy: &'static str,
    no_touch: bool,
    /// Share of a core that others use.
    busy: f64,
    cpu: f64,
    now: Duration,
    asked: BTreeMap<String, u64>,
    refused: Vec<&'static str>,
    /// Keys that begin like this may not be asked about.
    barred: Option<&'static str>,
}

fn bytes_of(name: &str) -> u64 {
    100 + name.len() as u64 * 10
}

impl Server {
    fn new(keys: usize) -> Self {
        let mut table = vec![Vec::new(); keys.next_power_of_two()];
        let buckets = table.len() as u64;
        for n in 0..keys {
            let name = if n % 5 == 0 { format!("tenant:t{}:wm:{n}", n % 30) } else { format!("session:{n:08x}") };
            let at = super::top::hash(name.as_bytes()) % buckets;
            table[at as usize].push(name);
        }
        Self {
            table,
            version: "7.0.15",
            policy: "noeviction",
            no_touch: false,
            busy: 0.05,
            cpu: 0.0,
            now: Duration::ZERO,
            asked: BTreeMap::new(),
            refused: Vec::new(),
            barred: None,
        }
    }

    fn keys(&self) -> usize {
        self.table.iter().map(Vec::len).sum()
    }

    /// Doubles the table, as Redis does when it fills.
    fn grow(&mut self) {
        let mut larger = vec![Vec::new(); self.table.len() * 2];
        let buckets = larger.len() as u64;
        for name in self.table.drain(..).flatten() {
            let at = super::top::hash(name.as_bytes()) % buckets;
            larger[at as usize].push(name);
        }
        self.table = larger;
    }

    fn pass(&mut self, time: Duration, ours: f64) {
        self.now += time;
        self.cpu += time.as_secs_f64() * self.busy + ours;
    }

    fn answer(&mut self, batch: &Batch) -> Vec<u8> {
        let mut finder = Finder::default();
        assert!(finder.look(&batch.bytes, batch.replies).unwrap());
        let commands: Vec<Vec<String>> = replies(&batch.bytes, batch.replies)
            .unwrap()
            .iter()
            .map(|command| {
                let words = command.array().unwrap().iter();
                words.map(|word| String::from_utf8_lossy(word.text().unwrap()).into_owned()).collect()
            })
            .collect();
        let mut out = Vec::new();
        for words in &commands {
            self.cpu += 1.0e-6;
            self.one(words, &mut out);
        }
        self.pass(Duration::from_micros(60 + batch.replies as u64), 15.0e-6);
        out
    }

    fn one(&mut self, words: &[String], out: &mut Vec<u8>) {
        let text = |out: &mut Vec<u8>, text: &str| out.extend(format!("${}\r\n{text}\r\n", text.len()).bytes());
        let name = match words[0].as_str() {
            "MEMORY" | "OBJECT" | "CLIENT" => format!("{} {}", words[0], words[1]),
            name => name.to_owned(),
        };
        *self.asked.entry(name.clone()).or_default() += 1;
        if self.refused.contains(&name.as_str()) {
            out.extend(b"-NOPERM no\r\n");
            return;
        }
        let key = match words[0].as_str() {
            "TYPE" | "PTTL" | "HLEN" => &words[1],
            "MEMORY" | "OBJECT" => &words[2],
            _ => "",
        };
        if self.barred.is_some_and(|barred| key.starts_with(barred)) {
            out.extend(b"-NOPERM this user has no permissions to access one of the keys used as arguments\r\n");
            return;
        }
        match name.as_str() {
            "CLIENT NO-TOUCH" if self.no_touch => out.extend(b"+OK\r\n"),
            "CLIENT NO-TOUCH" => out.extend(b"-ERR Unknown subcommand\r\n"),
            "PING" => out.extend(b"+PONG\r\n"),
            "DBSIZE" => out.extend(format!(":{}\r\n", self.keys()).bytes()),
            "INFO" => {
                let info = format!(
                    "redis_version:{}\r\nrun_id:r\r\nmaxmemory_policy:{}\r\nused_cpu_user_main_thread:{:.6}\r\n",
                    self.version, self.policy, self.cpu
                );
                text(out, &info);
            }
            "TYPE" if words[1].starts_with("tenant") => out.extend(b"+hash\r\n"),
            "TYPE" => out.extend(b"+string\r\n"),
            "PTTL" if words[1].ends_with('3') => out.extend(b":-1\r\n"),
            "PTTL" => out.extend(b":5000\r\n"),
            "MEMORY USAGE" => out.extend(format!(":{}\r\n", bytes_of(&words[2])).bytes()),
            "HLEN" => out.extend(b":6\r\n"),
            "OBJECT FREQ" => out.extend(format!(":{}\r\n", words[2].len()).bytes()),
            "OBJECT IDLETIME" => {
                out.extend(if words[2].ends_with("77") { b":0\r\n".to_vec() } else { b":900\r\n".to_vec() })
            }
            "SCAN" => {
                let mask = self.table.len() as u64 - 1;
                let option = |name: &str| words.iter().position(|word| word == name).map(|at| words[at + 1].clone());
                let count: usize = option("COUNT").unwrap().parse().unwrap();
                let glob = option("MATCH");
                let mut cursor: u64 = words[1].parse().unwrap();
                let (mut names, mut visits) = (Vec::new(), count * 10);
                loop {
                    names.extend(self.table[(cursor & mask) as usize].iter());
                    cursor = cursor::next(cursor, mask);
                    visits -= 1;
                    if cursor == 0 || names.len() >= count || visits == 0 {
                        break;
                    }
                }
                names.retain(|name| {
                    glob.as_ref().is_none_or(|glob| super::glob::matches(glob.as_bytes(), name.as_bytes()))
                });
                out.extend(b"*2\r\n");
                text(out, &cursor.to_string());
                out.extend(format!("*{}\r\n", names.len()).bytes());
                names.into_iter().for_each(|name| text(out, name));
            }
            other => panic!("{other} was asked"),
        }
    }
}

/// Runs a survey to its end, both lanes in turn. `between` is called before each batch.
fn run(
    server: &mut Server,
    survey: &mut Survey,
    mut between: impl FnMut(&mut Server, &mut Survey, u64),
) -> Option<Sample> {
    let mut owed: [Option<(Vec<u8>, usize)>; LANES] = [const { None }; LANES];
    let mut done = [false; LANES];
    let mut wake = [Duration::ZERO; LANES];
    let mut first = None;
    let mut batches = 0;
    while !done.iter().all(|done| *done) {
        let mut moved = false;
        for lane in 0..LANES {
            if done[lane] || server.now < wake[lane] {
                continue;
            }
            moved = true;
            let (bytes, count) = owed[lane].take().unwrap_or_default();
            let step = survey.step(lane, &replies(&bytes, count).unwrap(), server.now);
            first = survey.first().or(first);
            match step {
                Step::Send(batch) => {
                    batches += 1;
                    between(server, survey, batches);
                    owed[lane] = Some((server.answer(&batch), batch.replies));
                }
                Step::Wait(wait) => wake[lane] = server.now + wait,
                Step::Done => done[lane] = true,
                Step::Failed(line) => panic!("{line}"),
            }
        }
        if !moved {
            server.pass(Duration::from_micros(200), 0.0);
        }
        assert!(batches < 1_000_000 && server.now < Duration::from_secs(300), "it does not end");
    }
    first
}

fn ask(aim: Aim) -> Ask {
    Ask { sample: 2_000, ..Ask::new(aim) }
}

fn check(server: &Server, outcome: &Outcome) {
    let names = || server.table.iter().flatten();
    assert!(outcome.complete);
    assert_eq!(outcome.walked, names().count() as u64);
    assert_eq!(outcome.tally.total.bytes, names().map(|name| bytes_of(name)).sum::<u64>());
    assert_eq!(outcome.tally.total.endless_keys, names().filter(|name| name.ends_with('3')).count() as u64);
}

#[test]
fn a_survey_samples_first_and_then_counts_every_key_once() {
    let mut server = Server::new(20_000);
    let mut survey = Survey::new(ask(Aim::Bigkeys), Vec::new());
    let first = run(&mut server, &mut survey, |_, _, _| {}).expect("there is a first answer");
    assert!((2_000..2_100).contains(&first.seen), "{}", first.seen);
    assert_eq!(first.clusters.iter().map(|&size| u64::from(size)).sum::<u64>(), first.seen);
    let outcome = survey.outcome();
    check(&server, &outcome);
    assert_eq!(outcome.tally.kinds[Kind::Hash as usize].0.keys, 4_000);
    // 7.0 has no NO-TOUCH, so nothing that touches was asked.
    assert!(!server.asked.contains_key("HLEN"), "{:?}", server.asked);
}

#[test]
fn one_lane_counts_every_key_too_and_the_other_stays_out_of_its_way() {
    for lanes in [1, 2] {
        let mut server = Server::new(15_000);
        let mut ask = ask(Aim::Memkeys);
        ask.limits.lanes = lanes;
        let mut survey = Survey::new(ask, Vec::new());
        let mut at_work = 0;
        run(&mut server, &mut survey, |_, survey, _| at_work = at_work.max(survey.lanes_at_work()));
        assert_eq!(at_work, lanes);
        check(&server, &survey.outcome());
    }
}

#[test]
fn an_audit_of_lifetimes_weighs_all_that_never_expire_and_some_of_the_others() {
    let keys = 130_000;
    let mut server = Server::new(keys);
    let mut survey = Survey::new(ask(Aim::TtlAudit), Vec::new());
    let first = run(&mut server, &mut survey, |_, _, _| {}).unwrap();
    let outcome = survey.outcome();
    let names = || server.table.iter().flatten();
    let bytes = |endless: bool| names().filter(|name| name.ends_with('3') == endless).map(|name| bytes_of(name)).sum();
    let (endless, all): (u64, u64) = (bytes(true), bytes(true) + bytes(false));
    let total = outcome.tally.total;
    assert_eq!((outcome.walked, total.keys, total.endless_bytes), (keys as u64, keys as u64, endless));
    let within = outcome.tally.bytes_within();
    assert!(within > 0.0 && within < all as f64 * 0.02, "{within} of {all}");
    assert!((total.bytes as f64 - all as f64).abs() < within * 2.0, "{} ± {within} of {all}", total.bytes);
    let lived: u64 = outcome.tally.lifetimes.iter().map(|(_, bytes)| bytes).sum();
    assert_eq!(lived + endless, total.bytes);
    // One in eight of those that expire, after the first; the sample had weighed its own.
    let weighed = server.asked["MEMORY USAGE"] - first.keys.len() as u64;
    // 40,000 first, and of 90,000 others one in twenty never expires and one in eight of the rest is weighed.
    assert!((53_000..58_000).contains(&weighed), "{weighed}");
    // Whoever wants all of them weighed gets that.
    let mut server = Server::new(keys);
    let mut survey = Survey::new(Ask { weigh: true, ..ask(Aim::TtlAudit) }, Vec::new());
    run(&mut server, &mut survey, |_, _, _| {});
    let outcome = survey.outcome();
    check(&server, &outcome);
    assert_eq!(outcome.tally.bytes_within(), 0.0);
}

#[test]
fn a_small_keyspace_is_walked_at_once() {
    let mut server = Server::new(3_000);
    let mut survey = Survey::new(ask(Aim::Memkeys), Vec::new());
    assert!(run(&mut server, &mut survey, |_, _, _| {}).is_none());
    check(&server, &survey.outcome());
    for keys in [0, 1, 2, 7] {
        let mut server = Server::new(keys);
        let mut survey = Survey::new(ask(Aim::Bigkeys), Vec::new());
        run(&mut server, &mut survey, |_, _, _| {});
        check(&server, &survey.outcome());
    }
}

#[test]
fn elements_are_asked_where_that_touches_nothing_or_somebody_wants_it_anyway() {
    for (no_touch, lengths) in [(true, false), (false, true)] {
        let mut server = Server::new(10_000);
        server.no_touch = no_touch;
        let mut survey = Survey::new(Ask { lengths, ..ask(Aim::Bigkeys) }, Vec::new());
        run(&mut server, &mut survey, |_, _, _| {});
        let outcome = survey.outcome();
        check(&server, &outcome);
        assert_eq!(outcome.no_touch, no_touch);
        assert_eq!(outcome.tally.kinds[Kind::Hash as usize].1, 2_000 * 6);
    }
}

#[test]
fn a_table_that_grows_while_it_is_walked_loses_and_repeats_nothing() {
    for grow_at in [150, 400, 900, 1_400] {
        let mut server = Server::new(15_000);
        let mut survey = Survey::new(ask(Aim::TtlAudit), Vec::new());
        run(&mut server, &mut survey, |server, _, batches| {
            if batches == grow_at {
                server.grow();
            }
        });
        check(&server, &survey.outcome());
    }
}

#[test]
fn a_walk_that_was_stopped_goes_on_where_it_was() {
    for stop_at in [300, 700, 1_100] {
        let mut server = Server::new(15_000);
        let mut survey = Survey::new(ask(Aim::Bigkeys), Vec::new());
        run(&mut server, &mut survey, |_, survey, batches| {
            if batches == stop_at {
                survey.stop();
            }
        });
        let checkpoint = survey.checkpoint();
        let stopped = survey.outcome();
        assert!(!stopped.complete && stopped.walked > 0 && stopped.walked < 15_000);
        // It survives being written down.
        let text = serde_json::to_string(&checkpoint).unwrap();
        let checkpoint: Checkpoint = serde_json::from_str(&text).unwrap();
        assert!(checkpoint.is_worth_keeping());
        let before = server.asked["MEMORY USAGE"];
        let mut survey = Survey::new(ask(Aim::Bigkeys), Vec::new());
        survey.resume(checkpoint, Duration::from_secs(7));
        run(&mut server, &mut survey, |_, _, _| {});
        let outcome = survey.outcome();
        assert_eq!(outcome.resumed, Some(Duration::from_secs(7)));
        check(&server, &outcome);
        assert!(server.asked["MEMORY USAGE"] - before < 15_000 - stopped.walked + 500);
    }
}

#[test]
fn a_walk_whose_connection_broke_goes_on_without_counting_twice() {
    let mut server = Server::new(15_000);
    let mut survey = Survey::new(ask(Aim::Bigkeys), Vec::new());
    let mut kept = None;
    run(&mut server, &mut survey, |_, survey, batches| {
        // In the middle of everything, batches in flight and all.
        if batches == 333 || batches == 777 {
            kept = Some(survey.checkpoint());
        }
    });
    let mut survey = Survey::new(ask(Aim::Bigkeys), Vec::new());
    survey.resume(kept.unwrap(), Duration::from_secs(7));
    run(&mut server, &mut survey, |_, _, _| {});
    check(&server, &survey.outcome());
}

#[test]
fn a_checkpoint_of_another_question_or_another_start_of_the_server_is_not_used() {
    let mut server = Server::new(15_000);
    let mut survey = Survey::new(ask(Aim::Bigkeys), Vec::new());
    run(&mut server, &mut survey, |_, survey, batches| {
        if batches == 500 {
            survey.stop();
        }
    });
    let checkpoint = survey.checkpoint();
    assert!(checkpoint.clone().fits(&ask(Aim::Memkeys), &[]).is_none());
    let mut survey = Survey::new(ask(Aim::Memkeys), Vec::new());
    survey.resume(checkpoint, Duration::from_secs(7));
    run(&mut server, &mut survey, |_, _, _| {});
    let outcome = survey.outcome();
    assert_eq!(outcome.resumed, None);
    check(&server, &outcome);
}

#[test]
fn a_server_at_ninety_percent_is_left_alone() {
    let mut server = Server::new(20_000);
    server.busy = 0.9;
    let mut survey = Survey::new(ask(Aim::Bigkeys), Vec::new());
    assert!(run(&mut server, &mut survey, |_, _, _| {}).is_none());
    let outcome = survey.outcome();
    assert!(outcome.left_alone && outcome.walked == 0 && outcome.dbsize == 20_000);
    for never in ["SCAN", "TYPE", "PTTL", "MEMORY USAGE"] {
        assert!(!server.asked.contains_key(never), "{never}");
    }
}

#[test]
fn a_server_without_room_for_a_walk_is_only_sampled() {
    let mut server = Server::new(20_000);
    server.busy = 0.8;
    let mut survey = Survey::new(ask(Aim::Bigkeys), Vec::new());
    assert!(run(&mut server, &mut survey, |_, _, _| {}).is_some());
    let outcome = survey.outcome();
    assert!(outcome.skipped_walk && outcome.walked == 0);
}

#[test]
fn what_is_refused_is_left_out_and_said() {
    let mut server = Server::new(10_000);
    server.refused = vec!["MEMORY USAGE", "INFO", "CLIENT NO-TOUCH"];
    let mut survey = Survey::new(ask(Aim::Memkeys), Vec::new());
    run(&mut server, &mut survey, |_, _, _| {});
    let outcome = survey.outcome();
    assert_eq!((outcome.walked, outcome.tally.total.bytes), (10_000, 0));
    assert_eq!(outcome.denied, [("MEMORY USAGE".to_owned(), "NOPERM no".to_owned())]);
    assert!(server.asked["MEMORY USAGE"] < 100, "{}", server.asked["MEMORY USAGE"]);
}

fn told(ask: &Ask, outcome: Outcome) -> Report {
    Report::of_outcomes(ask, vec![Part { address: "s:1".to_owned(), found: outcome }], None, Showing::default())
}

#[test]
fn keys_that_may_not_be_read_are_in_no_figure_and_counted() {
    for aim in [Aim::Bigkeys, Aim::Memkeys, Aim::TtlAudit] {
        let mut server = Server::new(10_000);
        server.barred = Some("tenant");
        let ask = ask(aim);
        let mut survey = Survey::new(ask.clone(), Vec::new());
        let sample = run(&mut server, &mut survey, |_, _, _| {}).unwrap();
        let readable = || server.table.iter().flatten().filter(|name| name.starts_with("session"));
        let first = Report::of_samples(&ask, &[Part { address: "s:1".to_owned(), found: sample }], Showing::default());
        assert!(first.barred > 300 && (7_500.0..8_500.0).contains(&first.keys), "{} {}", first.barred, first.keys);
        let outcome = survey.outcome();
        assert_eq!((outcome.walked, outcome.barred, outcome.denied.len()), (8_000, 2_000, 0));
        assert_eq!(outcome.tally.total.bytes, readable().map(|name| bytes_of(name)).sum::<u64>());
        let report = told(&ask, outcome);
        assert_eq!((report.keys, report.barred, report.exact), (8_000.0, 2_000, false));
        assert!(report.weighed && report.timed && report.denied.is_none());
        let kinds: Vec<&str> = report.kinds.iter().map(|row| row.kind.as_str()).collect();
        assert_eq!(kinds, if aim == Aim::Bigkeys { vec!["string"] } else { vec![] });
    }
}

#[test]
fn what_is_refused_in_the_middle_of_a_walk_is_unknown_of_all_of_it() {
    for (command, rule) in [("MEMORY USAGE", "+memory|usage"), ("PTTL", "+pttl"), ("TYPE", "+type")] {
        let mut server = Server::new(15_000);
        let ask = ask(Aim::Bigkeys);
        let mut survey = Survey::new(ask.clone(), Vec::new());
        run(&mut server, &mut survey, |server, _, batches| {
            if batches == 500 {
                server.refused.push(command);
            }
        });
        // It is so of a walk that goes on from there, too.
        let checkpoint = serde_json::to_string(&survey.checkpoint()).unwrap();
        let mut again = Survey::new(ask.clone(), Vec::new());
        again.resume(serde_json::from_str(&checkpoint).unwrap(), Duration::from_secs(7));
        for survey in [survey, again] {
            let report = told(&ask, survey.outcome());
            assert_eq!((report.keys, report.seen), (15_000.0, 15_000), "they are counted all the same");
            assert_eq!((report.weighed, report.timed), (command != "MEMORY USAGE", command != "PTTL"));
            assert_eq!(report.kinds.is_empty(), command == "TYPE");
            let denied = report.denied.unwrap();
            assert_eq!(denied.rules, rule);
            assert_eq!(denied.evidence, format!("s:1 refuses {command} (NOPERM)"));
        }
    }
}

#[test]
fn where_names_may_not_be_listed_what_info_tells_is_told() {
    for keys in [300, 20_000] {
        let mut server = Server::new(keys);
        server.refused = vec!["SCAN"];
        let ask = ask(Aim::Memkeys);
        let mut survey = Survey::new(ask.clone(), Vec::new());
        assert!(run(&mut server, &mut survey, |_, _, _| {}).is_none(), "there is nothing to answer first");
        let report = told(&ask, survey.outcome());
        assert_eq!(
            (report.method, report.keys, report.exact, report.weighed),
            (Method::Denied, keys as f64, false, false)
        );
        assert_eq!(report.denied.unwrap().what, "which keys there are");
        assert!(report.notes[0].starts_with(&format!("INFO of s:1 tells {keys} keys")), "{:?}", report.notes);
        assert!(server.asked["SCAN"] <= LANES as u64, "it is not asked again and again");
    }
}

#[test]
fn hot_keys_are_told_with_type_and_bytes_however_many_are_as_hot() {
    let mut server = Server::new(20_000);
    let ask = ask(Aim::Hotkeys);
    let mut survey = Survey::new(ask.clone(), Vec::new());
    let mut seen = Vec::new();
    run(&mut server, &mut survey, |_, survey, _| {
        if seen.last() != Some(&survey.doing()) {
            seen.push(survey.doing());
        }
    });
    assert_eq!(seen[..3], [Doing::Sampling, Doing::Counting, Doing::Watching(1, 8)]);
    assert_eq!(seen[seen.len() - 2..], [Doing::Watching(8, 8), Doing::Naming]);
    let outcome = survey.outcome();
    // Watching takes seconds that the count did not.
    assert!(outcome.took - outcome.counted_after.unwrap() > Duration::from_secs(6));
    assert!(outcome.hot.len() > 20, "{} are used in every second", outcome.hot.len());
    let report = told(&ask, outcome);
    assert_eq!(report.hot.len(), 10);
    for row in &report.hot {
        assert!(row.kind != "?" && row.bytes.is_some() && row.fresh == Some(8), "{row:?}");
    }
}

#[test]
fn as_many_prefixes_are_told_as_are_wanted() {
    for prefixes in [1, 2, 12] {
        let mut server = Server::new(3_000);
        let ask = Ask { prefixes, ..ask(Aim::Memkeys) };
        let mut survey = Survey::new(ask.clone(), Vec::new());
        run(&mut server, &mut survey, |_, _, _| {});
        let report = told(&ask, survey.outcome());
        assert_eq!(report.prefixes.len(), prefixes.min(2), "{:?}", report.prefixes);
        assert_eq!(report.prefixes.iter().map(|row| row.keys).sum::<f64>(), 3_000.0);
        // One row is everything, with all of the tree below it.
        assert_eq!(report.opens.as_deref(), (prefixes == 1).then_some("*"));
    }
}

#[test]
fn keys_that_match_are_counted_by_group_and_shown_the_same_each_time() {
    let mut shown = Vec::new();
    for _ in 0..2 {
        let mut server = Server::new(20_000);
        let mut question = ask(Aim::Keys).matching("tenant:*");
        question.wanted.names = 20;
        let mut survey = Survey::new(question, Vec::new());
        let first = run(&mut server, &mut survey, |_, _, _| {}).unwrap();
        assert!(first.keys.len() < first.seen as usize / 3);
        let outcome = survey.outcome();
        assert_eq!(outcome.walked, 4_000);
        let groups: HashMap<_, _> = outcome.tally.groups().sorted().into_iter().collect();
        assert_eq!(groups.len(), 6, "tenants are the multiples of five below thirty");
        assert!(groups.values().all(|group| (666..=667).contains(&group.sums.keys)));
        let names: Vec<_> = outcome.tally.handful().into_iter().map(|named| named.name).collect();
        assert_eq!(names.len(), 20);
        assert!(names.iter().all(|name| outcome.named[name].0 == Some(Kind::Hash)));
        shown.push(names);
    }
    assert_eq!(shown[0], shown[1]);
}

#[test]
fn hot_keys_come_from_the_counter_or_from_looking_again_and_again() {
    let mut server = Server::new(10_000);
    server.policy = "allkeys-lfu";
    let mut survey = Survey::new(ask(Aim::Hotkeys), Vec::new());
    run(&mut server, &mut survey, |_, _, _| {});
    let outcome = survey.outcome();
    assert_eq!(outcome.hot[0].freq, server.table.iter().flatten().map(|name| name.len() as u64).max());
    let mut server = Server::new(10_000);
    let mut survey = Survey::new(ask(Aim::Hotkeys), Vec::new());
    run(&mut server, &mut survey, |_, _, _| {});
    let outcome = survey.outcome();
    assert!(!outcome.hot.is_empty());
    assert!(
        outcome.hot.iter().all(|hot| hot.name.ends_with(b"77") && hot.fresh == Some((8, 8))),
        "{:?}",
        outcome.hot[0]
    );
}
