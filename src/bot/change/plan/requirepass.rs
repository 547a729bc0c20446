//! The plan that replaces the one password of servers that know no users.

use super::{Draft, Maker, Unplanned, step, trouble, undo};
use crate::{
    bot::command::plain_card,
    model::Deployment,
    runbook::{Change, Plan, Reach, Risk, Undo},
};

/// The draft of a `rotate-password` where there are no users.
pub(super) fn set(maker: &Maker<'_>, user: &str, in_two_steps: bool) -> Result<Draft, Unplanned> {
    let wish = maker.wish;
    if user != "default" {
        return Err(Unplanned::Failed(trouble(
            format!("these servers know no user {user}"),
            "they know no users at all: one password is everybody's",
            "`/redis rotate-password default` replaces that one",
        )));
    }
    if in_two_steps {
        let what =
            "These servers know no users: their one password is replaced at one stroke, and nothing is to be finished.";
        return Err(Unplanned::Misunderstood(Box::new(plain_card(&wish.command.name, what, None))));
    }
    if wish.instance.touch.as_ref().is_none_or(|credential| credential.password.is_none()) {
        return Err(Unplanned::Failed(trouble(
            "these servers need no password",
            "the profile names none, so there is none to rotate; a password would turn everybody away at once",
            "set one by hand, together with those who use it",
        )));
    }
    let file = format!("{}-{}-{user}-{}", wish.service.name, wish.instance.name, wish.run);
    let path = maker.hall.store.handover().path(&file);
    let mut warnings = vec![
        "The old password is good no longer from then on: whoever logs in anew needs the new one. Connections that are open stay.".to_owned(),
        "This bot itself logs in with it: put the new one where its profile's `password` points at once; until then it can look, by the connections it has, and change nothing.".to_owned(),
        "`/redis rewrite-config` writes it into the server's configuration file; without that, a restart brings the old password back.".to_owned(),
        "Servers before 7.0 may note the command that sets it in their slow log: `/redis slowlog-reset` empties it.".to_owned(),
    ];
    if maker.primaries.iter().any(|primary| primary.target.replicas > 0) {
        warnings.push(
            "Replicas log in to their primary with it when they connect anew: give them the new one (masterauth)."
                .to_owned(),
        );
    }
    if let Deployment::Sentinel { .. } = wish.instance.deployment {
        warnings.push(
            "Sentinels log in with it: give them the new one (auth-pass), or they take the servers for dead."
                .to_owned(),
        );
    }
    let steps = (0..maker.primaries.len()).map(|target| step(target, Change::SetRequirePass { file: file.clone() }));
    Ok(Draft {
        steps: steps.collect(),
        reach: Reach {
            what: "everybody who logs in to these servers: they know one password, and no users".to_owned(),
            exact: true,
            ..Reach::default()
        },
        facts: vec![(
            "The new password".to_owned(),
            format!(
                "made by this bot and never shown; in {} on the bot's host, which its own user alone can read",
                path.display()
            ),
        )],
        warnings,
        undo: Undo::By("the old password, which lies beside the new one, is set again".to_owned()),
        risk: Risk::High,
        undoes: None,
    })
}

/// The draft that sets the old password again.
pub(super) async fn back(maker: &Maker<'_>, plan: &Plan, file: &str, on: usize) -> Result<Draft, Unplanned> {
    if undo::taken_back(maker.hall, &plan.run).await? {
        return Err(Unplanned::Nothing("The old password was set again already.".to_owned()));
    }
    Ok(Draft {
        steps: vec![step(on, Change::RestoreRequirePass { file: file.to_owned() })],
        reach: Reach {
            what: "everybody who logs in: the new password goes".to_owned(),
            exact: true,
            ..Reach::default()
        },
        facts: Vec::new(),
        warnings: vec![
            "Whoever uses the new password already is turned away; this bot too, until its profile names the old one."
                .to_owned(),
        ],
        undo: Undo::Never("`/redis rotate-password default` makes another one".to_owned()),
        risk: Risk::High,
        undoes: None,
    })
}
