//! Plans that remove keys, give them other deadlines, or free what is aside.

use std::{
    sync::PoisonError,
    time::{Duration, Instant},
};

use super::{Draft, Maker, Unplanned, step, trouble, undo};
use crate::{
    bot::{change::CALL, command::plain_card},
    exec::{
        aside::{Doubts, LARGEST_DUMP, Meant, Measured, Spread, Watched},
        touching,
    },
    keyspace::glob,
    model::{Address, Service},
    runbook::{Change, Kept, Keys, Reach, Retime, Risk, Select, Undo, Wanted, show_bytes, show_count, show_number},
};

/// Keys are counted within this; what is not reached by then is estimated.
pub(super) const COUNT_WITHIN: Duration = Duration::from_secs(60);
/// How far counts may be off when the plan is made again, in per cent.
pub(super) const TOLERANCE: u32 = 5;
/// Keys named on the card.
pub(super) const SAMPLE: usize = 5;

/// The draft of a `remove-keys`.
pub(super) async fn remove(maker: &Maker<'_>, wanted: &Wanted) -> Result<Draft, Unplanned> {
    let select = select(maker, wanted)?;
    let one = wanted.get("key").is_some();
    let whole = matches!(select.keys, Keys::Every) || (select == Select::matching(wanted.need("pattern")) && !one);
    if whole && !is_on(wanted, "all") && !matches!(select.keys, Keys::One(_)) {
        let next = match select.keys {
            Keys::Every => "name a narrower pattern than `*`; or say `--all`, which is critical",
            _ => "narrow it by `--where`, `--idle`, `--no-ttl` or `--type`; or say `--all`, which is critical",
        };
        return Err(misunderstood(maker, format!("That means {}, live ones among them.", select.what()), next));
    }
    let keep = match (wanted.get("aside").and_then(|ms| ms.parse().ok()), is_on(wanted, "no_undo")) {
        (Some(_), true) => {
            let what = "`--aside` keeps the keys and `--no-undo` does not.".to_owned();
            return Err(misunderstood(maker, what, "give one of them"));
        }
        (Some(ms), false) => Kept::Aside(ms),
        (None, true) => Kept::Nothing,
        (None, false) => Kept::Snapshot,
    };
    let found = Counted::of(maker, &select, None).await?;
    if found.keys == 0 {
        return Err(found.nothing(maker, &select, "remove"));
    }
    let mut facts = found.facts(&select);
    let mut warnings = to_review(maker, &select);
    warnings.extend(better_a_deadline(maker, &select));
    let kept = match keep {
        Kept::Snapshot => {
            room(maker, &found, found.huge.1)?;
            if found.huge.0 > 0 {
                warnings.push(format!(
                    "{} ({}), larger than {} each, would hold the server up while written out: kept aside on the server, \
                     they take their memory until `/redis clear-aside {}`.",
                    show_count(found.huge.0, "key"),
                    show_bytes(found.huge.1),
                    show_bytes(LARGEST_DUMP),
                    maker.wish.run
                ));
            }
            "in an encrypted snapshot, as long as snapshots are kept".to_owned()
        }
        Kept::Aside(ms) => {
            warnings.push("Memory is freed only when they expire there.".to_owned());
            format!("aside on the server, for {}", crate::model::show_duration(Duration::from_millis(ms)))
        }
        Kept::Nothing => "not at all".to_owned(),
    };
    facts.push(("Kept".to_owned(), kept));
    let mut risk = if one || matches!(select.keys, Keys::One(_)) { Risk::Medium } else { Risk::High };
    if whole && !matches!(select.keys, Keys::One(_)) {
        risk = Risk::Critical;
    }
    let mut undo = match keep {
        Kept::Nothing => {
            risk = risk.raised();
            Undo::Never("nothing is kept of what is removed, as `--no-undo` asks".to_owned())
        }
        _ => Undo::By("keys come back with the deadlines they had; what would have expired since does not".to_owned()),
    };
    if keep != Kept::Nothing
        && let Some(pattern) = undo::forbidden(maker.wish.service, &select)
    {
        // As good as nothing kept, to whoever has to decide now.
        risk = risk.raised();
        undo = Undo::Never(format!(
            "the profile does not let keys of {} come back (`revive = false` for its {}); what is removed stays sealed, \
             and `undo` is refused until {}, the owner, lifts that",
            pattern.glob, pattern.name, maker.wish.service.owner
        ));
    }
    let now_ms = maker.wish.made_ms;
    let steps = found.steps(maker, |keys| Change::RemoveKeys { select: select.clone(), now_ms, keys, keep });
    Ok(Draft { steps, reach: found.reach(&select), facts, warnings, undo, risk, undoes: None })
}

/// What the profile says is to be looked at before it goes, and how to keep it.
fn to_review(maker: &Maker<'_>, select: &Select) -> Vec<String> {
    let (service, instance) = (maker.wish.service, maker.wish.instance);
    let meant = |glob: &str| match &select.keys {
        Keys::One(name) => glob::matches(glob.as_bytes(), name.as_bytes()),
        // One within the other: a star stands for itself too.
        Keys::Matching(pattern) => {
            glob::matches(glob.as_bytes(), pattern.as_bytes()) || glob::matches(pattern.as_bytes(), glob.as_bytes())
        }
        Keys::Every => true,
    };
    let found = service.patterns.iter().filter(|pattern| pattern.review && meant(&pattern.glob));
    found
        .map(|pattern| {
            let about = if pattern.about.is_empty() { "to be looked at before they go" } else { &pattern.about };
            format!(
                "The profile asks for a look at these first ({}: {about}). To keep them beyond the undo: `/redis export {} {}/{}`",
                pattern.name,
                select.to_words(),
                service.name,
                instance.name
            )
        })
        .collect()
}

/// The draft of a `retime-keys`.
pub(super) async fn retime(maker: &Maker<'_>, wanted: &Wanted) -> Result<Draft, Unplanned> {
    let select = select(maker, wanted)?;
    let ttl: Option<u64> = match wanted.get("ttl") {
        Some(OF_THE_PROFILE) => Some(of_the_profile(maker, &select)?),
        given => given.and_then(|ms| ms.parse().ok()),
    };
    let to = match (ttl, is_on(wanted, "only_extend"), is_on(wanted, "only_shorten")) {
        (None, ..) => Retime::Persist,
        (Some(_), true, true) => {
            let what = "`--only-extend` and `--only-shorten` together leave everything as it is.".to_owned();
            return Err(misunderstood(maker, what, "give one of them"));
        }
        (Some(ms), true, false) => Retime::Extend(ms),
        (Some(ms), false, true) => Retime::Shorten(ms),
        (Some(ms), false, false) => Retime::Set(ms),
    };
    let found = Counted::of(maker, &select, Some(to)).await?;
    if found.keys == 0 {
        return Err(match found.left {
            0 => found.nothing(maker, &select, "change"),
            left => Unplanned::Nothing(format!(
                "There is nothing to change on {}: of {} keys, {} are {}, and all of them {}.",
                place(maker),
                show_number(found.of),
                show_number(left),
                select.what(),
                to.so_already()
            )),
        });
    }
    let mut facts = found.facts(&select);
    facts.push(("New deadline".to_owned(), to.what()));
    if found.left > 0 {
        facts.push((
            "Left as they are".to_owned(),
            format!("{} that {}", show_count(found.left, "key"), to.so_already()),
        ));
    }
    let mut warnings = Vec::new();
    let risk = match to {
        Retime::Extend(_) => Risk::Medium,
        Retime::Persist => {
            warnings.push("What never expires stays until somebody removes it.".to_owned());
            Risk::Medium
        }
        // What expires before it is taken back is gone.
        Retime::Set(_) | Retime::Shorten(_) => {
            warnings.push("Keys that expire before this is taken back do not come back.".to_owned());
            if matches!(select.keys, Keys::One(_)) { Risk::Medium } else { Risk::High }
        }
    };
    let now_ms = maker.wish.made_ms;
    let steps = found.steps(maker, |keys| Change::RetimeKeys { select: select.clone(), now_ms, keys, to });
    let undo = Undo::By("each key gets the deadline it had, unless it was given another one since".to_owned());
    Ok(Draft { steps, reach: found.reach(&select), facts, warnings, undo, risk, undoes: None })
}

/// Stands for the deadline that the profile declares.
const OF_THE_PROFILE: &str = "profile";

/// The deadline that the profile declares for all of these keys, in milliseconds.
fn of_the_profile(maker: &Maker<'_>, select: &Select) -> Result<u64, Unplanned> {
    declared(maker.wish.service, select).map(|(ttl, _)| ttl).ok_or_else(|| {
        let what = format!("The profile of {} declares no TTL for {}.", maker.wish.service.name, select.what());
        misunderstood(maker, what, "say how long they are to live: `/redis expire PATTERN 15m`")
    })
}

/// The TTL of the profile's pattern that holds all of these keys, and that pattern's name.
pub(in crate::bot::change) fn declared<'s>(service: &'s Service, select: &Select) -> Option<(u64, &'s str)> {
    let holds = |glob: &str| match &select.keys {
        Keys::One(name) | Keys::Matching(name) => glob::matches(glob.as_bytes(), name.as_bytes()),
        Keys::Every => false,
    };
    service
        .patterns
        .iter()
        .filter(|pattern| holds(&pattern.glob))
        .find_map(|pattern| Some((u64::try_from(pattern.ttl?.as_millis()).unwrap_or(u64::MAX), pattern.name.as_str())))
}

/// Keys without a deadline that should have one: to give it to them takes nothing away, and can be taken back.
fn better_a_deadline(maker: &Maker<'_>, select: &Select) -> Option<String> {
    let (ttl, name) = declared(maker.wish.service, select).filter(|_| select.no_ttl)?;
    let wish = maker.wish;
    Some(format!(
        "Safer: the profile gives its {name} a TTL of {}, and these lack it. `/redis expire {} {}/{}` sets it on them \
         and removes nothing.",
        crate::model::show_duration(Duration::from_millis(ttl)),
        select.to_words(),
        wish.service.name,
        wish.instance.name
    ))
}

/// Where it is, for a sentence.
fn place(maker: &Maker<'_>) -> String {
    format!("{}/{}", maker.wish.service.name, maker.wish.instance.name)
}

/// The draft of a `clear-aside`.
pub(super) async fn clear(maker: &Maker<'_>, wanted: &Wanted) -> Result<Draft, Unplanned> {
    let nothing = |not: undo::NotBack| {
        Unplanned::Misunderstood(Box::new(plain_card(&maker.wish.command.name, not.why, not.next)))
    };
    let row = undo::of(maker.hall, wanted.need("run")).await.map_err(nothing)?;
    let mut steps = Vec::new();
    for (seq, done) in row.plan.steps.iter().enumerate() {
        if matches!(done.change, Change::RemoveKeys { .. }) {
            let on = undo::on(maker, &row.plan, done)?;
            steps.push(step(on, Change::ClearAside { run: row.plan.run.clone(), seq }));
        }
    }
    if steps.is_empty() {
        return Err(Unplanned::Nothing("That run keeps nothing aside.".to_owned()));
    }
    Ok(Draft {
        steps,
        reach: Reach { what: format!("what run {} keeps aside", row.plan.run), exact: true, ..Reach::default() },
        facts: Vec::new(),
        warnings: Vec::new(),
        undo: Undo::Never("what is freed is gone; what that run put into a snapshot stays there".to_owned()),
        risk: Risk::High,
        undoes: None,
    })
}

pub(super) fn misunderstood(maker: &Maker<'_>, what: String, next: &str) -> Unplanned {
    Unplanned::Misunderstood(Box::new(plain_card(&maker.wish.command.name, what, Some(next.to_owned()))))
}

pub(super) fn is_on(wanted: &Wanted, name: &str) -> bool {
    wanted.get(name) == Some("true")
}

pub(super) fn select(maker: &Maker<'_>, wanted: &Wanted) -> Result<Select, Unplanned> {
    let named = |text: &str| maker.hall.exec.named(maker.wish.service, maker.wish.instance, text);
    let mut select = match wanted.get("key") {
        Some(key) => Select::key(&named(key)),
        None => match Select::matching(wanted.need("pattern")) {
            Select { keys: Keys::One(name), .. } => Select::key(&named(&name)),
            other => other,
        },
    };
    if let Keys::One(name) = &select.keys
        && crate::diagnosis::redact::is_handle(name)
    {
        let what = format!("No key is known here by the handle {name}.");
        return Err(misunderstood(maker, what, "show it again with `keys` or `inspect`, or type the key's own name"));
    }
    select.predicate = wanted.get("where").map(str::to_owned);
    select.no_ttl = is_on(wanted, "no_ttl");
    select.idle_s = wanted.get("idle").and_then(|ms| ms.parse::<u64>().ok()).map(|ms| ms / 1_000);
    select.kind = wanted.get("type").map(str::to_owned);
    Ok(select)
}

/// What can be kept of it has to fit, without the bytes that are not kept.
pub(super) fn room(maker: &Maker<'_>, found: &Counted, without: u64) -> Result<(), Unplanned> {
    if maker.wish.count.is_for_a_run() {
        // It was looked at for the plan that was shown. The count for the run weighs nothing, and the file keeps its
        // bound by itself: what does not fit after all gets its name back.
        return Ok(());
    }
    let snapshots = maker.hall.store.snapshots().map_err(|error| {
        trouble(
            format!("what is removed or copied could not be kept: {error}"),
            "the snapshots are beside the bot's store",
            "mend that, or keep removed keys aside on the server with `--aside 1h`",
        )
    })?;
    let dumped = found.bytes.saturating_sub(without);
    // What Redis needs to hold them is more than what they take written out.
    if dumped / 2 > snapshots.room() {
        return Err(Unplanned::Failed(trouble(
            format!(
                "{} of keys do not fit into the {} that snapshots may still take",
                show_bytes(dumped),
                show_bytes(snapshots.room())
            ),
            "`store.snapshot_bytes` bounds them",
            "take fewer at once, keep removed ones aside with `--aside 1h`, drop exports that are no longer needed, or raise the bound",
        )));
    }
    Ok(())
}

/// What a selection came to on all primaries.
pub(super) struct Counted {
    pub(super) keys: u64,
    bytes: u64,
    /// Keys that are meant and would be left as they are.
    left: u64,
    without_deadline: u64,
    /// Keys too large to be dumped, and their bytes.
    pub(super) huge: (u64, u64),
    /// How they are spread over types and names.
    pub(super) spread: Spread,
    of: u64,
    clients: u64,
    exact: bool,
    doubts: Option<String>,
    sample: Vec<String>,
    parts: Vec<(Address, Measured)>,
}

impl Counted {
    /// `to`: the deadline they are to get; those that have such a one already are counted apart.
    pub(super) async fn of(maker: &Maker<'_>, select: &Select, to: Option<Retime>) -> Result<Self, Unplanned> {
        let wish = maker.wish;
        let cx = touching(Instant::now() + COUNT_WITHIN, CALL);
        let of = (wish.service, wish.instance);
        let mut parts = maker.hall.exec.measure(maker.permit, of, (select, to), wish.made_ms, wish.count, &cx).await?;
        let on = parts.iter().filter_map(|(address, found)| Some((address.clone(), found.names.clone()?))).collect();
        maker.meant.lock().unwrap_or_else(PoisonError::into_inner).push(Meant { select: select.clone(), on });
        let watch = |(address, found): &mut (Address, Measured)| Some((address.clone(), found.watch.take()?));
        let on = parts.iter_mut().filter_map(watch).collect();
        maker.watched.lock().unwrap_or_else(PoisonError::into_inner).push(Watched { select: select.clone(), on });
        let sum = |figure: &dyn Fn(&Measured) -> u64| parts.iter().map(|(_, found)| figure(found)).sum::<u64>();
        let mut doubts = Doubts::default();
        let mut spread = Spread::default();
        parts.iter().for_each(|(_, found)| {
            doubts.merge(found.doubts);
            spread.merge(found.spread.clone());
        });
        Ok(Self {
            keys: sum(&|found| found.keys),
            bytes: sum(&|found| found.bytes),
            left: sum(&|found| found.left),
            without_deadline: sum(&|found| found.without_deadline),
            huge: (sum(&|found| found.huge.0), sum(&|found| found.huge.1)),
            spread,
            of: sum(&|found| found.of),
            clients: sum(&|found| found.clients),
            exact: parts.iter().all(|(_, found)| found.exact),
            doubts: doubts.words(),
            sample: parts.iter().flat_map(|(_, found)| found.sample.handles.clone()).take(SAMPLE).collect(),
            parts,
        })
    }

    /// Why there is nothing to do, what was looked at, and what may have been meant.
    pub(super) fn nothing(&self, maker: &Maker<'_>, select: &Select, verb: &str) -> Unplanned {
        let doubts = self
            .doubts
            .as_ref()
            .map_or_else(String::new, |doubts| format!(" Not meant, because it could not be told: {doubts}."));
        let glob = match &select.keys {
            Keys::One(name) if name.contains(['*', '?']) => format!(
                " `{}` takes a key's exact name; `/redis purge` takes a pattern such as that.",
                maker.wish.command.name
            ),
            _ => String::new(),
        };
        Unplanned::Nothing(format!(
            "There is nothing to {verb} on {}: of {} keys, none is meant by {}.{doubts}{glob}",
            place(maker),
            show_number(self.of),
            select.what()
        ))
    }

    pub(super) fn facts(&self, select: &Select) -> Vec<(String, String)> {
        let mut facts = vec![
            ("Which".to_owned(), select.what()),
            ("Of the database".to_owned(), format!("{} of {} keys", show_number(self.keys), show_number(self.of))),
            ("Without a deadline".to_owned(), show_number(self.without_deadline)),
            ("Connected clients".to_owned(), show_number(self.clients)),
        ];
        if let Some(doubts) = &self.doubts {
            facts.push(("Not meant, because it could not be told".to_owned(), doubts.clone()));
        }
        facts
    }

    pub(super) fn reach(&self, select: &Select) -> Reach {
        Reach {
            what: select.what(),
            keys: Some(self.keys),
            bytes: Some(self.bytes),
            clients: None,
            sample: self.sample.clone(),
            exact: self.exact,
            at_most: false,
            // One key by its name is never more than one.
            tolerance_percent: if matches!(select.keys, Keys::One(_)) { 0 } else { TOLERANCE },
        }
    }

    /// A step for each primary that holds some of them.
    pub(super) fn steps(&self, maker: &Maker<'_>, change: impl Fn(u64) -> Change) -> Vec<crate::runbook::PlanStep> {
        let at = |address: &Address| maker.primaries.iter().position(|primary| primary.address == *address);
        let parts = self.parts.iter().filter(|(_, found)| found.keys > 0);
        parts.filter_map(|(address, found)| Some(step(at(address)?, change(found.keys)))).collect()
    }
}
