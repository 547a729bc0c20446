//! Plans that remove keys, give them other deadlines, or free what is aside.

use std::{
    sync::PoisonError,
    time::{Duration, Instant},
};

use super::{Draft, Maker, Unplanned, step, trouble, undo};
use crate::{
    bot::{change::CALL, command::plain_card},
    exec::{
        aside::{CountFor, Doubts, LARGEST_DUMP, Meant, Measured, Spread},
        touching,
    },
    keyspace::glob,
    model::Address,
    runbook::{Change, Kept, Keys, Reach, Retime, Risk, Select, Undo, Wanted, show_bytes, show_number},
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
        return Err(misunderstood(
            maker,
            format!("That means {}, live ones among them.", select.what()),
            "narrow it by `--where`, `--idle`, `--no-ttl` or `--type`; or say `--all`, which is critical",
        ));
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
    let found = Counted::of(maker, &select).await?;
    if found.keys == 0 {
        return Err(Unplanned::Nothing(format!(
            "There is nothing to remove: no key is meant by that.{}",
            found.not_meant()
        )));
    }
    let mut facts = found.facts(&select);
    let mut warnings = to_review(maker, &select);
    let kept = match keep {
        Kept::Snapshot => {
            room(maker, &found, found.huge.1)?;
            if found.huge.0 > 0 {
                warnings.push(format!(
                    "{} keys ({}) are larger than {} and would hold the server up while they are written out: they are \
                     kept aside on the server, and take their memory until `/redis clear-aside {}`.",
                    show_number(found.huge.0),
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
    let undo = match keep {
        Kept::Nothing => {
            risk = risk.raised();
            Undo::Never("nothing is kept of what is removed, as `--no-undo` asks".to_owned())
        }
        _ => Undo::By("keys come back with the deadlines they had; what would have expired since does not".to_owned()),
    };
    if keep != Kept::Nothing
        && let Some(pattern) = undo::forbidden(maker.wish.service, &select)
    {
        warnings.push(format!(
            "The profile does not let keys of {} come back (`revive = false` for its {}): while it says so, `undo` is refused.",
            pattern.glob, pattern.name
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
    let ttl: Option<u64> = wanted.get("ttl").and_then(|ms| ms.parse().ok());
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
    let found = Counted::of(maker, &select).await?;
    if found.keys == 0 {
        return Err(Unplanned::Nothing(format!(
            "There is nothing to change: no key is meant by that.{}",
            found.not_meant()
        )));
    }
    let mut facts = found.facts(&select);
    facts.push(("New deadline".to_owned(), to.what()));
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

/// The draft of a `clear-aside`.
pub(super) async fn clear(maker: &Maker<'_>, wanted: &Wanted) -> Result<Draft, Unplanned> {
    let nothing = |why: String| misunderstood(maker, why, "the run's id stands at the foot of its card");
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
    if maker.wish.count == CountFor::Run {
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
    pub(super) async fn of(maker: &Maker<'_>, select: &Select) -> Result<Self, Unplanned> {
        let wish = maker.wish;
        let cx = touching(Instant::now() + COUNT_WITHIN, CALL);
        let to = (wish.service, wish.instance);
        let parts = maker.hall.exec.measure(maker.permit, to, select, wish.made_ms, wish.count, &cx).await?;
        let on = parts.iter().filter_map(|(address, found)| Some((address.clone(), found.names.clone()?))).collect();
        maker.meant.lock().unwrap_or_else(PoisonError::into_inner).push(Meant { select: select.clone(), on });
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

    pub(super) fn not_meant(&self) -> String {
        self.doubts
            .as_ref()
            .map_or_else(String::new, |doubts| format!(" Not meant, because it could not be told: {doubts}."))
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
            tolerance_percent: TOLERANCE,
        }
    }

    /// A step for each primary that holds some of them.
    pub(super) fn steps(&self, maker: &Maker<'_>, change: impl Fn(u64) -> Change) -> Vec<crate::runbook::PlanStep> {
        let at = |address: &Address| maker.primaries.iter().position(|primary| primary.address == *address);
        let parts = self.parts.iter().filter(|(_, found)| found.keys > 0);
        parts.filter_map(|(address, found)| Some(step(at(address)?, change(found.keys)))).collect()
    }
}
