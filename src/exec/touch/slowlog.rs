//! SLOWLOG RESET.

use super::{Lane, Touched};
use crate::exec::fault::Fault;

impl Lane<'_> {
    pub(super) async fn reset_slowlog(&self) -> Touched {
        let wire = match self.open().await {
            Ok(wire) => wire,
            Err(error) => return Touched::Untouched(error),
        };
        match self.call(&wire, &["SLOWLOG", "RESET"]).await {
            Ok(_) => {}
            Err(fault @ Fault::Server(_)) => return Touched::Untouched(self.explain(&fault, "SLOWLOG")),
            Err(fault) => return Touched::Uncertain(self.explain(&fault, "SLOWLOG")),
        }
        match self.call(&wire, &["SLOWLOG", "LEN"]).await.map(|reply| reply.as_u64()) {
            Ok(Some(left)) => Touched::Verified(format!("{left} entries in the slow log now")),
            Ok(None) => Touched::Verified("the server said it is empty".to_owned()),
            Err(fault) => Touched::Uncertain(self.explain(&fault, "SLOWLOG")),
        }
    }
}
