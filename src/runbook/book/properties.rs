//! What holds for every runbook, whatever its steps come to: no step is taken
//! twice, order is kept, an ended run does nothing more, and going on from what
//! was written down at any moment leads to the same end.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    model::{
        Address, Credential, Deployment, Environment, Identity, Instance, PersonId, Place, PlaceKind, Platform, RunId,
        Service, Tick,
    },
    runbook::{ArgumentValue, Arguments, Compiled},
};

fn service() -> Service {
    Service {
        name: "shop".parse().unwrap(),
        title: "shop".to_owned(),
        environment: Environment::Staging,
        owner: "team".into(),
        instances: vec![Instance {
            name: "main".parse().unwrap(),
            deployment: Deployment::Standalone(Address::Tcp { host: "127.0.0.1".into(), port: 6379 }),
            database: 0,
            tls: None,
            look: Credential::default(),
            touch: None,
            scan_replica: false,
        }],
        patterns: vec![],
        queues: vec![],
        thresholds: BTreeMap::new(),
        declared: BTreeMap::new(),
        endpoints: vec![],
        metrics: vec![],
        logs: vec![],
        links: vec![],
        contacts: vec![],
        impact: vec![],
    }
}

fn person(name: &str) -> PersonId {
    name.parse().unwrap()
}

fn begin(steps: Vec<BookStep>, arguments: &Arguments) -> BookRun {
    let book = Book { steps, compiled: Compiled::default() };
    BookRun::begin(BookStart {
        run: RunId::from_bits(7),
        command: "mend",
        book: &book,
        line: "mend shop".to_owned(),
        service: &service(),
        instance: "main".parse().unwrap(),
        place: Place {
            platform: Platform::Console,
            team: "h".into(),
            channel: "c".into(),
            thread: None,
            kind: PlaceKind::Channel,
            via: None,
        },
        requester: person("ana"),
        asker: Identity { platform: Platform::Console, team: "h".into(), user: "ana".into() },
        arguments,
        begun_ms: 0,
    })
}

fn step(id: usize, act: Act, or: Or, gated: bool) -> BookStep {
    BookStep {
        id: format!("s{id}"),
        say: format!("step {id}"),
        when: gated.then(|| format!("args.when{id}")),
        act,
        otherwise: None,
        or,
    }
}

fn line(what: &str) -> String {
    format!("{what} {{{{ service.name }}}}")
}

fn any_act(id: usize) -> impl Strategy<Value = Act> {
    prop_oneof![
        Just(Act::Look { line: line("status") }),
        Just(Act::Touch { line: line("maxmemory 1gb") }),
        Just(Act::Check { holds: format!("args.check{id}") }),
        Just(Act::Wait {
            line: line("status"),
            until: format!("s{id}.figures.x >= 4"),
            every_ms: 1_000,
            most_ms: 4_500
        }),
        Just(Act::Watch {
            line: line("status"),
            holds: format!("s{id}.figures.x >= 1"),
            every_ms: 1_000,
            lasts_ms: 2_500,
            roll_back: id.is_multiple_of(2)
        }),
        Just(Act::Approve { by: None, risk: None }),
        Just(Act::Manual { words: "do it".into(), verify: None }),
        Just(Act::Manual {
            words: "do it".into(),
            verify: Some(Verify { line: line("status"), holds: format!("s{id}.figures.x >= 2") })
        }),
    ]
}

fn any_steps() -> impl Strategy<Value = Vec<BookStep>> {
    let or = prop_oneof![Just(Or::Stop), Just(Or::Continue), Just(Or::Continue), Just(Or::Manual)];
    prop::collection::vec((any::<prop::sample::Index>(), or, any::<bool>()), 1..8).prop_flat_map(|shape| {
        let acts: Vec<_> = (0..shape.len()).map(any_act).collect();
        acts.prop_map(move |acts| {
            let steps = acts.into_iter().zip(&shape).enumerate();
            steps.map(|(id, (act, (_, or, gated)))| step(id, act, *or, *gated)).collect()
        })
    })
}

/// What the world answers: the same to the same question.
#[derive(Debug, Clone)]
struct World {
    figures: Vec<u8>,
    ends: Vec<u8>,
    /// Plans by id: what became of them, however often it is asked.
    plans: BTreeMap<RunId, TouchEnd>,
    proposed: Vec<RunId>,
    now: i64,
}

impl World {
    fn of(figures: Vec<u8>, ends: Vec<u8>) -> Self {
        Self { figures, ends, plans: BTreeMap::new(), proposed: Vec::new(), now: 1_000 }
    }

    fn pick(from: &[u8], at: usize) -> u8 {
        from[at % from.len()]
    }

    fn looks(&self, step: usize, nth: u32) -> Result<Value, String> {
        match Self::pick(&self.figures, step * 7 + nth as usize) {
            0 => Err("it was busy".to_owned()),
            x => Ok(json!({"ok": true, "verdict": "seen", "figures": {"x": x}, "findings": []})),
        }
    }

    fn touches(&mut self, plan: &RunId) -> TouchEnd {
        if let Some(end) = self.plans.get(plan) {
            return end.clone();
        }
        self.proposed.push(plan.clone());
        let end = match Self::pick(&self.ends, self.plans.len()) {
            0 => TouchEnd::Not { said: "declined".into(), untouched: true },
            1 => TouchEnd::Done { said: "done".into(), undo: None, changed: true, own_way_back: false },
            2 => TouchEnd::Done { said: "so already".into(), undo: None, changed: false, own_way_back: false },
            end => TouchEnd::Done {
                said: "done".into(),
                undo: Some(format!("undo {plan}")),
                changed: true,
                own_way_back: end > 3,
            },
        };
        self.plans.insert(plan.clone(), end.clone());
        end
    }
}

/// What happens after what is next was done.
fn answer(run: &BookRun, next: &Next, world: &mut World) -> Option<Happened> {
    match next {
        Next::Look { step, .. } => {
            Some(Happened::Looked { step: *step, saw: world.looks(*step, run.progress[*step].looks) })
        }
        Next::Touch { slot, plan, .. } => Some(Happened::Touched { slot: *slot, end: world.touches(plan) }),
        Next::Ask { step, .. } => {
            let yes = World::pick(&world.ends, *step) != 0;
            Some(Happened::Approved { step: *step, by: Some(person("bo")), yes, said: None })
        }
        Next::Revert { at, .. } => {
            let end = TouchEnd::Done { said: "taken back".into(), undo: None, changed: true, own_way_back: false };
            Some(Happened::Touched { slot: Slot::Back(*at), end })
        }
        Next::People => {
            let step = run.waits_for_a_person().expect("somebody is waited for");
            Some(Happened::Ticked { step, by: person("ana") })
        }
        Next::At(at) => {
            world.now = *at;
            None
        }
        Next::Ended => None,
    }
}

/// Goes through to the end. `crashes`: at these moments the bot dies before it
/// hears what it did, and begins again from what was written down.
fn goes(mut run: BookRun, world: &mut World, crashes: &BTreeSet<usize>) -> (BookRun, Vec<(usize, StepState)>) {
    let service = service();
    let mut course = Vec::new();
    let mut verified = BTreeMap::<usize, u32>::new();
    for moment in 0..500 {
        let next = run.advance(&service, world.now);
        for (at, step) in run.progress.iter().enumerate() {
            if step.state != StepState::Open && !course.contains(&(at, step.state)) {
                course.push((at, step.state));
            }
        }
        if next == Next::Ended {
            return (run, course);
        }
        let written = serde_json::to_string(&run).unwrap();
        let happened = answer(&run, &next, world);
        if crashes.contains(&moment) {
            run = serde_json::from_str(&written).unwrap();
            continue;
        }
        if let Some(happened) = happened {
            // A person does not tick for ever what never looks done.
            if let Happened::Ticked { step, .. } = &happened {
                let times = verified.entry(*step).or_default();
                *times += 1;
                if *times > 3 {
                    run.hear(Happened::Aborted(person("ana")), &service, world.now).unwrap();
                    continue;
                }
            }
            run.hear(happened, &service, world.now).unwrap();
            world.now += 100;
        }
    }
    panic!("it never ends: {run:?}")
}

fn arguments(bits: u16) -> Arguments {
    (0..8)
        .flat_map(|id| {
            let bit = |at: u16| ArgumentValue::Switch(bits >> (id * 2 + at) & 1 == 1);
            [(format!("when{id}"), bit(0)), (format!("check{id}"), bit(1))]
        })
        .collect()
}

proptest! {
    #[test]
    fn nothing_is_done_twice_in_any_other_order_or_after_the_end(
        steps in any_steps(),
        bits in any::<u16>(),
        figures in prop::collection::vec(0u8..6, 1..40),
        ends in prop::collection::vec(0u8..6, 1..8),
    ) {
        let mut world = World::of(figures, ends);
        let (run, course) = goes(begin(steps, &arguments(bits)), &mut world, &BTreeSet::new());
        let once: BTreeSet<&RunId> = world.proposed.iter().collect();
        prop_assert_eq!(once.len(), world.proposed.len(), "a plan was proposed twice");
        let order: Vec<usize> = course.iter().map(|(step, _)| *step).collect();
        prop_assert!(order.is_sorted(), "{:?}", course);
        prop_assert!(run.is_over() && run.ended_ms.is_some());
        let mut after = run.clone();
        for happened in [
            Happened::Ticked { step: 0, by: person("bo") },
            Happened::Resumed(person("bo")),
            Happened::Aborted(person("bo")),
            Happened::Looked { step: 0, saw: Ok(json!({})) },
            Happened::Touched { slot: Slot::Step(0), end: TouchEnd::Not { said: String::new(), untouched: true } },
        ] {
            prop_assert_eq!(after.hear(happened, &service(), world.now + 1), Err(NotNow::Over));
        }
        prop_assert_eq!(after.advance(&service(), world.now + 1_000_000), Next::Ended);
        prop_assert_eq!(after, run);
    }

    #[test]
    fn whenever_the_bot_dies_the_run_comes_to_the_same_end(
        steps in any_steps(),
        bits in any::<u16>(),
        figures in prop::collection::vec(0u8..6, 1..40),
        ends in prop::collection::vec(0u8..6, 1..8),
        crashes in prop::collection::btree_set(0usize..40, 0..12),
    ) {
        let start = begin(steps, &arguments(bits));
        let mut calm = World::of(figures.clone(), ends.clone());
        let (whole, _) = goes(start.clone(), &mut calm, &BTreeSet::new());
        let mut world = World::of(figures, ends);
        let (cut, _) = goes(start, &mut world, &crashes);
        prop_assert_eq!(calm.proposed, world.proposed);
        prop_assert_eq!(whole, cut);
    }

    #[test]
    fn a_pause_holds_every_step_and_an_abort_ends_it_once_nothing_is_in_flight(
        steps in any_steps(),
        bits in any::<u16>(),
        figures in prop::collection::vec(0u8..6, 1..40),
        ends in prop::collection::vec(0u8..6, 1..8),
        moments in 0usize..20,
    ) {
        let service = service();
        let mut world = World::of(figures, ends);
        let mut run = begin(steps, &arguments(bits));
        let mut next = run.advance(&service, world.now);
        for _ in 0..moments {
            if let Some(happened) = answer_if_going(&run, &next, &mut world) {
                run.hear(happened, &service, world.now).unwrap();
            }
            next = run.advance(&service, world.now);
        }
        if matches!(run.phase, Phase::Going) {
            run.hear(Happened::Paused(person("bo")), &service, world.now).unwrap();
            let held = run.clone();
            let next = run.advance(&service, world.now + 1_000_000);
            prop_assert!(matches!(next, Next::People | Next::Touch { .. } | Next::Ask { .. }), "{:?}", next);
            prop_assert_eq!(&run.progress, &held.progress);
            let again = run.hear(Happened::Paused(person("bo")), &service, world.now);
            prop_assert_eq!(again, Err(NotNow::Paused));
        }
        if !run.is_over() {
            run.hear(Happened::Aborted(person("bo")), &service, world.now).unwrap();
            let next = run.advance(&service, world.now);
            if next != Next::Ended {
                let happened = answer(&run, &next, &mut world).expect("only what is in flight is waited for");
                run.hear(happened, &service, world.now).unwrap();
                prop_assert_eq!(run.advance(&service, world.now), Next::Ended);
            }
            let aborted = matches!(&run.phase, Phase::Ended { how: How::Aborted { .. } });
            prop_assert!(aborted, "{:?}", run.phase);
        }
    }
}

fn answer_if_going(run: &BookRun, next: &Next, world: &mut World) -> Option<Happened> {
    match next {
        Next::People if run.waits_for_a_person().is_none() => None,
        next => answer(run, next, world),
    }
}

fn touch() -> Act {
    Act::Touch { line: "maxmemory 1gb".into() }
}

fn watch() -> Act {
    Act::Watch {
        line: "status".into(),
        holds: "s2.figures.x >= 1".into(),
        every_ms: 1_000,
        lasts_ms: 60_000,
        roll_back: false,
    }
}

#[test]
fn a_watch_that_fails_takes_back_what_was_changed_last_first_and_leaves_what_it_rests_on() {
    let service = service();
    let steps =
        vec![step(0, touch(), Or::Stop, false), step(1, touch(), Or::Stop, false), step(2, watch(), Or::Stop, false)];
    let mut run = begin(steps, &Arguments::new());
    for at in 0..2 {
        let Next::Touch { slot, .. } = run.advance(&service, 0) else { panic!("{run:?}") };
        assert_eq!(slot, Slot::Step(at));
        let undo = Some(format!("undo {at}"));
        let end = TouchEnd::Done { said: "done".into(), undo, changed: true, own_way_back: true };
        run.hear(Happened::Touched { slot, end }, &service, 0).unwrap();
    }
    assert!(matches!(run.advance(&service, 0), Next::Look { step: 2, .. }));
    run.hear(Happened::Looked { step: 2, saw: Ok(json!({"verdict": "worse", "figures": {"x": 0}})) }, &service, 0)
        .unwrap();
    let Next::Touch { slot, line, .. } = run.advance(&service, 0) else { panic!("{run:?}") };
    assert_eq!((slot, line.as_str()), (Slot::Back(0), "undo 1"));
    run.hear(Happened::Touched { slot, end: TouchEnd::Not { said: "declined".into(), untouched: true } }, &service, 0)
        .unwrap();
    assert_eq!(run.advance(&service, 0), Next::Ended);
    assert_eq!(run.phase, Phase::Ended { how: How::Returned { step: 2, whole: false } });
    assert_eq!(run.back[1].state, StepState::Skipped, "what came before it is left");
}

#[test]
fn a_watch_with_roll_back_takes_back_without_another_word_only_what_consent_was_told_of() {
    let service = service();
    let by_itself = Act::Watch {
        line: "status".into(),
        holds: "s2.figures.x >= 1".into(),
        every_ms: 1_000,
        lasts_ms: 60_000,
        roll_back: true,
    };
    let steps =
        vec![step(0, touch(), Or::Stop, false), step(1, touch(), Or::Stop, false), step(2, by_itself, Or::Stop, false)];
    let mut run = begin(steps, &Arguments::new());
    assert_eq!(run.watched_after(0).as_deref(), Some("step 3 (step 2)"));
    assert_eq!(run.watched_after(2), None);
    for at in 0..2 {
        let Next::Touch { slot, .. } = run.advance(&service, 0) else { panic!("{run:?}") };
        let undo = Some(format!("undo {at}"));
        let end = TouchEnd::Done { said: "done".into(), undo, changed: true, own_way_back: at == 1 };
        run.hear(Happened::Touched { slot, end }, &service, 0).unwrap();
    }
    let changed = run.progress[1].plan.clone().unwrap();
    run.advance(&service, 0);
    run.hear(Happened::Looked { step: 2, saw: Ok(json!({"figures": {"x": 0}})) }, &service, 0).unwrap();
    assert_eq!(run.advance(&service, 0), Next::Revert { at: 0, plan: changed });
    let end = TouchEnd::Done { said: "as it was".into(), undo: None, changed: true, own_way_back: false };
    run.hear(Happened::Touched { slot: Slot::Back(0), end }, &service, 0).unwrap();
    let Next::Touch { slot, line, .. } = run.advance(&service, 0) else { panic!("{run:?}") };
    assert_eq!((slot, line.as_str()), (Slot::Back(1), "undo 0"), "nobody was told of this one: it is asked for");
}

#[test]
fn a_word_covers_the_changes_up_to_the_next_that_asks_and_no_tick_stands_in_for_it() {
    let service = service();
    let asks = || Act::Approve { by: None, risk: None };
    let mut unwanted = step(2, touch(), Or::Stop, false);
    unwanted.when = Some("1 > 2".to_owned());
    let mut unknown = step(3, touch(), Or::Stop, false);
    unknown.when = Some("s1.done".to_owned());
    let steps = vec![
        step(0, asks(), Or::Manual, false),
        step(1, touch(), Or::Stop, false),
        unwanted,
        unknown,
        step(4, asks(), Or::Stop, false),
        step(5, touch(), Or::Stop, false),
    ];
    let mut run = begin(steps, &Arguments::new());
    let Next::Ask { step: 0, plan } = run.advance(&service, 0) else { panic!("{run:?}") };
    let ahead: Vec<usize> = run.ahead(0, &service, 0).into_iter().map(|(at, _)| at).collect();
    assert_eq!(ahead, [1, 3]);
    assert_eq!(run.agreed_before(1), None, "nobody has agreed yet");
    let mut declined = run.clone();
    let no = Happened::Approved { step: 0, by: None, yes: false, said: None };
    declined.hear(no, &service, 0).unwrap();
    assert_eq!(declined.advance(&service, 0), Next::Ended, "whatever `else` says");
    let yes = Happened::Approved { step: 0, by: Some(person("bo")), yes: true, said: None };
    run.hear(yes, &service, 0).unwrap();
    assert_eq!(run.agreed_before(1), Some((0, plan)));
    assert_eq!(run.agreed_before(5), None, "another word is asked for before that");
}

#[test]
fn the_card_says_every_step_who_ended_it_and_what_can_be_pressed_now() {
    let service = service();
    let manual = Act::Manual { words: "Stop Redis on {{ service.name }}.".into(), verify: None };
    let steps = vec![
        step(0, Act::Look { line: "status".into() }, Or::Stop, false),
        step(1, Act::Check { holds: "false".into() }, Or::Continue, false),
        step(2, manual, Or::Stop, false),
        step(3, Act::Approve { by: Some("dba".into()), risk: None }, Or::Stop, false),
    ];
    let mut run = begin(steps, &Arguments::new());
    run.advance(&service, 0);
    run.hear(Happened::Looked { step: 0, saw: Ok(json!({"verdict": "all well"})) }, &service, 0).unwrap();
    assert_eq!(run.advance(&service, 0), Next::People);
    let name = |person: &PersonId| person.as_str().to_uppercase();
    let card = book_card(&run, &name);
    let crate::model::Block::Checklist(steps) = &card.blocks[0] else { panic!("{card:?}") };
    let ticks: Vec<Tick> = steps.iter().map(|(tick, _)| *tick).collect();
    assert_eq!(ticks, [Tick::Done, Tick::Failed, Tick::Open, Tick::Open]);
    assert!(steps[0].1.to_plain().contains("all well"), "{}", steps[0].1.to_plain());
    assert!(card.blocks.contains(&crate::model::Block::Code("Stop Redis on shop.".to_owned())));
    let commands: Vec<&str> = card.actions.iter().map(|action| action.command.split(' ').next().unwrap()).collect();
    assert_eq!(commands, ["tick", "pause", "abort"]);
    run.hear(Happened::Ticked { step: 2, by: person("bo") }, &service, 5_000).unwrap();
    run.advance(&service, 5_000);
    let card = book_card(&run, &name);
    let crate::model::Block::Checklist(steps) = &card.blocks[0] else { panic!("{card:?}") };
    assert!(steps[2].1.to_plain().ends_with("done 00:00:05 by BO"), "{}", steps[2].1.to_plain());
    assert!(card.actions.iter().any(|action| action.command.starts_with("approve ")));
    run.hear(Happened::Approved { step: 3, by: Some(person("bo")), yes: false, said: None }, &service, 61_000).unwrap();
    run.advance(&service, 61_000);
    let card = book_card(&run, &name);
    let verdict = card.verdict.unwrap().to_plain();
    assert_eq!(verdict, "Stopped at step 4 of 4 (step 3): it was declined. 2 done, 2 failed in 1m1s.");
    assert!(card.actions.is_empty());
}
