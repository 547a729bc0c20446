//! Plans that rotate the password of a user: a new one beside the old, then
//! the old one gone. The secret is made when the run is carried out and is in
//! no plan; what a plan holds is the name of its file.

use serde_json::Value;

use super::{Draft, Maker, Unplanned, clients, requirepass, step, together, trouble, undo};
use crate::{
    bot::command::plain_card,
    diagnosis::{Explained, Role},
    model::Deployment,
    runbook::{Change, ClientFilter, Plan, Reach, Risk, Undo, Wanted, spared},
    store::PlanState,
};

/// The draft of a `rotate-password`, or of its end.
pub(super) async fn rotate(maker: &Maker<'_>, wanted: &Wanted) -> Result<Draft, Unplanned> {
    let user = wanted.need("user");
    let on = |name: &str| wanted.get(name) == Some("true");
    let plain = !user.is_empty() && user.chars().all(|c| c.is_ascii_alphanumeric() || "_-.@:".contains(c));
    if !plain {
        let what = "A user's name has letters, digits and `_-.@:` only.";
        return Err(Unplanned::Misunderstood(Box::new(plain_card(&maker.wish.command.name, what, None))));
    }
    let passwords = match passwords(maker, user).await {
        Ok(passwords) => passwords,
        // Before 6.0, and where it is renamed or denied to all, there is no ACL.
        Err(error) if error.code == "UNKNOWN_COMMAND" => {
            return requirepass::set(maker, user, on("finish") || on("cut"));
        }
        Err(error) => return Err(error.into()),
    };
    if on("finish") {
        return finish(maker, user, on("cut")).await;
    }
    if on("cut") {
        let what = "Connections are cut when the old password goes.";
        let next = format!("`/redis rotate-password {user} --finish --cut`");
        return Err(Unplanned::Misunderstood(Box::new(plain_card(&maker.wish.command.name, what, Some(next)))));
    }
    add(maker, user, &passwords).await
}

/// How many passwords the user has on each server.
async fn passwords(maker: &Maker<'_>, user: &str) -> Result<Vec<u64>, Explained> {
    let mut counts = Vec::new();
    for (target, answer) in maker.read(&["ACL", "GETUSER", user]).await.into_iter().enumerate() {
        let address = &maker.primaries[target].target.address;
        let told = answer?;
        let Some(count) = told.get("passwords").and_then(Value::as_u64) else {
            return Err(trouble(
                format!("{address} knows no user {user}"),
                "users are not replicated: each server has its own list",
                "see `/redis acl-log` for the users there are, and make it on every server first",
            ));
        };
        let flags = told.get("flags").and_then(Value::as_array);
        if flags.is_some_and(|flags| flags.iter().any(|flag| flag == "nopass")) {
            return Err(trouble(
                format!("{user} needs no password at {address}"),
                "it is set up with nopass, so there is none to rotate; a password would turn everybody away at once",
                "give it one by hand, together with those who use it",
            ));
        }
        counts.push(count);
    }
    Ok(counts)
}

async fn add(maker: &Maker<'_>, user: &str, passwords: &[u64]) -> Result<Draft, Unplanned> {
    let wish = maker.wish;
    let file = format!("{}-{}-{user}-{}", wish.service.name, wish.instance.name, wish.run);
    let path = maker.hall.store.handover().path(&file);
    let steps = (0..maker.primaries.len())
        .map(|target| step(target, Change::AddPassword { user: user.to_owned(), file: file.clone() }))
        .collect();
    let mut warnings = own_user(maker, user);
    if passwords.iter().any(|&count| count > 1) {
        warnings.push(format!("{user} has several passwords already: an earlier rotation may not be finished."));
    }
    let followed = maker.primaries.iter().any(|primary| primary.target.replicas > 0);
    if user == "default" && followed {
        warnings.push("Replicas may log in to their primary as this user: give them the new password (masterauth) before the old one goes.".to_owned());
    }
    if user == "default" && matches!(wish.instance.deployment, Deployment::Sentinel { .. }) {
        warnings.push(
            "Sentinels may log in as this user: give them the new password (auth-pass) before the old one goes."
                .to_owned(),
        );
    }
    let replicas: u64 = maker.primaries.iter().map(|primary| primary.target.replicas).sum();
    let known = maker.nodes.iter().filter(|node| node.node.role == Some(Role::Replica)).count() as u64;
    if replicas > known {
        warnings.push(format!(
            "{} replicas are not named by the profile and keep their own users: after a failover, the old password holds there.",
            replicas - known
        ));
    }
    warnings.push(kept(maker, "a restart forgets the new password, and only the old one is good again").await);
    let next = format!(
        "give the new one to those who log in as {user}; when all of them use it, `/redis rotate-password {user} --finish`"
    );
    Ok(Draft {
        steps,
        reach: Reach {
            what: format!("the user {user} on every server, replicas too; the old password stays good"),
            exact: true,
            ..Reach::default()
        },
        facts: vec![
            (
                "The new password".to_owned(),
                format!(
                    "made by this bot and never shown; in {} on the bot's host, which its own user alone can read",
                    path.display()
                ),
            ),
            ("Then".to_owned(), next),
        ],
        warnings,
        undo: Undo::By("the new password is dropped again; the old one was good all the time".to_owned()),
        risk: Risk::High,
        undoes: None,
    })
}

async fn finish(maker: &Maker<'_>, user: &str, cut: bool) -> Result<Draft, Unplanned> {
    let file = begun(maker, user).await?;
    let handover = maker.hall.store.handover();
    let Some(made) = handover.made(&file) else {
        return Err(Unplanned::Failed(trouble(
            "the new password's file is gone",
            "without it nobody knows which of the passwords is the new one",
            "undo the rotation, or begin another",
        )));
    };
    let filter = ClientFilter { user: Some(user.to_owned()), ..ClientFilter::default() };
    let before = ClientFilter { before_s: Some(made.as_second()), ..filter.clone() };
    let now_s = jiff::Timestamp::now().as_second();
    let (mut all, mut older) = (0, 0);
    for answer in maker.read(&["CLIENT", "LIST"]).await {
        let Value::Array(clients) = answer? else { continue };
        let theirs = || clients.iter().filter(|client| !spared(client, maker.wish.instance));
        all += theirs().filter(|client| filter.fits(client, now_s)).count();
        older += theirs().filter(|client| before.fits(client, now_s)).count();
    }
    let steps = (0..maker.primaries.len())
        .map(|target| step(target, Change::DropOtherPasswords { user: user.to_owned(), file: file.clone() }))
        .collect();
    let mut warnings =
        vec![format!("Whoever still logs in as {user} with an old password is turned away from then on.")];
    warnings.extend(own_user(maker, user));
    if !cut && all > 0 {
        warnings.push(
            "Connections that are open stay logged in, whichever password they came with; --cut closes them."
                .to_owned(),
        );
    }
    warnings.push(kept(maker, "a restart brings the old password back").await);
    let draft = Draft {
        steps,
        reach: Reach {
            what: format!("the user {user} on every server, replicas too: every password but the new one goes"),
            exact: true,
            ..Reach::default()
        },
        facts: vec![(
            "Connected".to_owned(),
            format!("{all} as {user}; {older} of them since before the new password was made, so with an old one"),
        )],
        warnings,
        undo: Undo::Never("nobody kept the old password; another rotation gives another one".to_owned()),
        risk: Risk::High,
        undoes: None,
    };
    if !cut || all == 0 {
        return Ok(draft);
    }
    // Which password a connection came with cannot be told: all of them are cut, and those with the new one come back.
    let everywhere: Vec<usize> = (0..maker.primaries.len()).collect();
    let cutting = clients::meant(maker, &filter, &everywhere).await?;
    Ok(together(vec![draft, cutting]).expect("two drafts make one"))
}

/// The file of the rotation that was begun and neither taken back nor finished.
async fn begun(maker: &Maker<'_>, user: &str) -> Result<String, Explained> {
    let unread = |error: crate::store::StoreError| {
        trouble(
            format!("the store cannot be read: {error}"),
            "earlier runs are written there",
            "see `/redis doctor --bot`",
        )
    };
    let done = maker.hall.store.plans(PlanState::Done).await.map_err(unread)?;
    let ours = |plan: &Plan| (&plan.service, &plan.instance) == (&maker.wish.service.name, &maker.wish.instance.name);
    let rotations = done.iter().filter(|row| ours(&row.plan)).filter_map(|row| {
        row.plan.steps.iter().find_map(|step| match &step.change {
            Change::AddPassword { user: of, file } if of == user => Some((row.plan.made_ms, &row.plan.run, file)),
            _ => None,
        })
    });
    if let Some((_, run, file)) = rotations.max_by_key(|(made_ms, ..)| *made_ms)
        && !undo::taken_back(maker.hall, run).await?
    {
        return Ok(file.clone());
    }
    Err(trouble(
        format!("no rotation of the password of {user} was begun here"),
        "there is no new password that could stay when the old one goes",
        "begin with `/redis rotate-password`, without --finish",
    ))
}

/// The draft that drops the new password again.
pub(super) async fn back(
    maker: &Maker<'_>,
    plan: &Plan,
    user: &str,
    file: &str,
    on: usize,
) -> Result<Draft, Unplanned> {
    if undo::taken_back(maker.hall, &plan.run).await? {
        return Err(Unplanned::Nothing("The new password was dropped already.".to_owned()));
    }
    if passwords(maker, user).await?.get(on) == Some(&1) {
        return Err(Unplanned::Failed(trouble(
            format!("{user} has one password only"),
            "the rotation was finished: without it nobody could log in",
            "rotate again instead",
        )));
    }
    Ok(Draft {
        steps: vec![step(on, Change::DropPassword { user: user.to_owned(), file: file.to_owned() })],
        reach: Reach { what: format!("the user {user}: the new password goes"), exact: true, ..Reach::default() },
        facts: Vec::new(),
        warnings: vec!["Whoever uses the new password already is turned away.".to_owned()],
        undo: Undo::Never("`/redis rotate-password` makes another one".to_owned()),
        risk: Risk::High,
        undoes: None,
    })
}

/// What the bot itself has to do with that user.
fn own_user(maker: &Maker<'_>, user: &str) -> Vec<String> {
    let instance = maker.wish.instance;
    let mut own = std::iter::once(&instance.look).chain(&instance.touch);
    let is_own =
        own.any(|credential| credential.password.is_some() && credential.user.as_deref().unwrap_or("default") == user);
    let warning = format!(
        "This bot itself logs in as {user}: put the new password where its profile's `password` points before the old one goes. It refuses to lock itself out."
    );
    is_own.then_some(warning).into_iter().collect()
}

/// What makes a change of users last, and what happens without it.
async fn kept(maker: &Maker<'_>, otherwise: &str) -> String {
    let answers = maker.read(&["CONFIG", "GET", "aclfile"]).await;
    let file = |answer: &Result<Value, Explained>| {
        answer.as_ref().ok().and_then(|answer| answer.get("aclfile")?.as_str().map(|file| !file.is_empty()))
    };
    let how = match answers.first().and_then(file) {
        Some(true) => "`/redis acl-save` writes it into the server's aclfile",
        _ => "`/redis rewrite-config` writes it into the server's configuration file",
    };
    format!("{how}; without that, {otherwise}.")
}

/// The draft of an `acl-save`.
pub(super) async fn save(maker: &Maker<'_>) -> Result<Draft, Unplanned> {
    for (target, answer) in maker.read(&["CONFIG", "GET", "aclfile"]).await.into_iter().enumerate() {
        if answer?.get("aclfile").and_then(Value::as_str).unwrap_or_default().is_empty() {
            return Err(Unplanned::Failed(trouble(
                format!("{} keeps no aclfile", maker.primaries[target].target.address),
                "its users stand in its configuration file",
                "`/redis rewrite-config` writes them there",
            )));
        }
    }
    Ok(Draft {
        steps: (0..maker.primaries.len()).map(|target| step(target, Change::SaveAcl)).collect(),
        reach: Reach { what: "the aclfile of each server, replicas too".to_owned(), exact: true, ..Reach::default() },
        facts: Vec::new(),
        warnings: vec!["All users go into the file as they are now, whoever changed them.".to_owned()],
        undo: Undo::Never("the file as it was is not kept".to_owned()),
        risk: Risk::Medium,
        undoes: None,
    })
}
