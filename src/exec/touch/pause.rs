//! CLIENT PAUSE, which the server ends by itself, and CLIENT UNPAUSE.

use std::time::Duration;

use super::{Lane, Touched, Write, refused};
use crate::{exec::fault::Fault, model::show_duration};

/// A server that has not answered a trifle after this long holds it back.
const HELD_BACK: Duration = Duration::from_millis(400);

impl Lane<'_> {
    pub(super) async fn pause_writes(&self, ms: u64, all: bool) -> Touched {
        let wire = match self.open().await {
            Ok(wire) => wire,
            Err(error) => return Touched::Untouched(error),
        };
        let length = ms.to_string();
        let mut argv = vec!["CLIENT", "PAUSE", &length];
        // Before 6.2 there is no such word, and no other way than all.
        if !all {
            argv.push("WRITE");
        }
        let ends = format!("it ends by itself within {}", show_duration(Duration::from_millis(ms)));
        match self.call(&wire, &argv).await {
            Ok(_) => {}
            Err(fault @ Fault::Server(_)) => return Touched::Untouched(self.explain(&fault, "CLIENT")),
            Err(fault) => {
                let mut why = self.explain(&fault, "CLIENT");
                why.next = format!("{ends}; {}", why.next);
                return Touched::Uncertain(why);
            }
        }
        if all {
            let until = self.budget.until().min(tokio::time::Instant::now() + HELD_BACK);
            return match wire.call(&redis::cmd("PING"), until).await {
                Err(fault) if fault.is_silence() => Touched::Verified(format!("everything is held back; {ends}")),
                _ => Touched::Otherwise { found: "that it still answers".to_owned() },
            };
        }
        match self.write(&wire, HELD_BACK).await {
            Write::Held => Touched::Verified(format!("a write that was tried is held back; {ends}")),
            Write::Unknown => Touched::Verified(format!("the server said so, and no write could be tried; {ends}")),
            Write::Taken => Touched::Otherwise { found: "that it still takes writes".to_owned() },
            Write::Refused(why) => Touched::Otherwise { found: format!("that it refuses writes ({why})") },
        }
    }

    pub(super) async fn resume_writes(&self) -> Touched {
        let wire = match self.open().await {
            Ok(wire) => wire,
            Err(error) => return Touched::Untouched(error),
        };
        match self.call(&wire, &["CLIENT", "UNPAUSE"]).await {
            Ok(_) => {}
            Err(fault @ Fault::Server(_)) => return Touched::Untouched(self.explain(&fault, "CLIENT")),
            Err(fault) => return Touched::Uncertain(self.explain(&fault, "CLIENT")),
        }
        match self.write(&wire, HELD_BACK).await {
            Write::Taken => Touched::Verified("a write that was tried went through".to_owned()),
            Write::Unknown => Touched::Verified("the server said so, and no write could be tried".to_owned()),
            Write::Held => Touched::Otherwise { found: "that writes are still held back".to_owned() },
            Write::Refused(why) => Touched::Partly {
                why: refused(
                    "writes are held back no longer, and refused",
                    &why,
                    "see `/redis doctor` for what the server is short of",
                ),
                left: "The pause is over.".to_owned(),
            },
        }
    }
}
