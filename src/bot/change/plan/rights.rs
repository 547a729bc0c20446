//! Whether the user for changes may do what a plan would: told before anybody is asked for their word.

use super::{Maker, trouble};
use crate::{
    diagnosis::Explained,
    runbook::{Change, PlanStep},
};

/// What the user for changes may not do.
struct Lacking {
    user: String,
    command: String,
    /// On which server.
    at: String,
}

/// Whether the user may do what these steps need.
///
/// # Errors
/// The first command the user may not run.
pub(super) async fn held(maker: &Maker<'_>, steps: &[PlanStep]) -> Result<(), Explained> {
    demand(maker, steps.iter().flat_map(|step| step.change.needs())).await
}

/// Whether the user may do what brings back what a change did.
///
/// # Errors
/// The first command the user may not run.
pub(super) async fn held_for_the_way_back(maker: &Maker<'_>, change: &Change) -> Result<(), Explained> {
    demand(maker, change.needs_for_the_way_back().into_iter()).await
}

/// What is in the way of taking these steps back, for a plan that says that they can be.
pub(super) async fn way_back(maker: &Maker<'_>, steps: &[PlanStep]) -> Option<String> {
    let lacking = lacking(maker, steps.iter().flat_map(|step| step.change.needs_for_the_way_back())).await?;
    let Lacking { user, command, at } = lacking;
    Some(format!("User `{user}` may not run `{command}` on {at}: until it may, this cannot be taken back."))
}

async fn demand<'a>(maker: &Maker<'_>, commands: impl Iterator<Item = Vec<&'a str>>) -> Result<(), Explained> {
    let Some(Lacking { user, command, at }) = lacking(maker, commands).await else { return Ok(()) };
    Err(trouble(
        format!("user `{user}` may not run `{command}` on {at}"),
        "the ACL of the bot's user for changes does not include it; managed servers take it from everybody",
        "grant it to the user for changes (`deploy/redis-acl.conf` has all it needs), and ask again",
    ))
}

/// Asks the servers themselves, where they can tell (`ACL DRYRUN`, 7.0); what nobody tells is found out by the run.
async fn lacking<'a>(maker: &Maker<'_>, commands: impl Iterator<Item = Vec<&'a str>>) -> Option<Lacking> {
    let user = maker.wish.instance.touch.as_ref()?.user.as_deref().unwrap_or("default");
    let mut asked: Vec<Vec<&str>> = Vec::new();
    for command in commands {
        if asked.contains(&command) {
            continue;
        }
        let argv: Vec<&str> = ["ACL", "DRYRUN", user].into_iter().chain(command.iter().copied()).collect();
        for (primary, told) in maker.primaries.iter().zip(maker.read(&argv).await) {
            // It may refuse the key we named for want of one; that says nothing of those that are meant.
            let refused = told.is_ok_and(|told| told.as_str().is_some_and(|told| told.contains("permissions to run")));
            if refused {
                return Some(Lacking {
                    user: user.to_owned(),
                    command: name(&command),
                    at: primary.address.to_string(),
                });
            }
        }
        asked.push(command);
    }
    None
}

/// A command without its arguments.
fn name(command: &[&str]) -> String {
    let words = if ["CONFIG", "CLIENT", "SLOWLOG", "ACL"].contains(&command[0]) { 2 } else { 1 };
    command[..words].join(" ")
}
