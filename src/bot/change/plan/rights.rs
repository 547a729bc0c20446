//! Whether the user for changes may do what a plan would: told before anybody is asked for their word.

use super::{Maker, trouble};
use crate::{diagnosis::Explained, runbook::PlanStep};

/// Asks the servers themselves, where they can tell (`ACL DRYRUN`, 7.0); what nobody tells is found out by the run.
///
/// # Errors
/// The first command the user may not run.
pub(super) async fn held(maker: &Maker<'_>, steps: &[PlanStep]) -> Result<(), Explained> {
    let Some(touch) = &maker.wish.instance.touch else { return Ok(()) };
    let user = touch.user.as_deref().unwrap_or("default");
    let mut asked: Vec<Vec<&str>> = Vec::new();
    for command in steps.iter().flat_map(|step| step.change.needs()) {
        if asked.contains(&command) {
            continue;
        }
        let argv: Vec<&str> = ["ACL", "DRYRUN", user].into_iter().chain(command.iter().copied()).collect();
        for (primary, told) in maker.primaries.iter().zip(maker.read(&argv).await) {
            // It may refuse the key we named for want of one; that says nothing of those that are meant.
            let refused = told.is_ok_and(|told| told.as_str().is_some_and(|told| told.contains("permissions to run")));
            if refused {
                return Err(trouble(
                    format!("user `{user}` may not run `{}` on {}", name(&command), primary.address),
                    "the ACL of the bot's user for changes does not include it; managed servers take it from everybody",
                    "grant it to the user for changes (`deploy/redis-acl.conf` has all it needs), and ask again",
                ));
            }
        }
        asked.push(command);
    }
    Ok(())
}

/// A command without its arguments.
fn name(command: &[&str]) -> String {
    let words = if ["CONFIG", "CLIENT", "SLOWLOG", "ACL"].contains(&command[0]) { 2 } else { 1 };
    command[..words].join(" ")
}
