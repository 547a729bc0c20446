//! CONFIG SET, which some servers only pretend to obey, and CONFIG REWRITE.

use serde_json::Value;

use super::{Lane, Touched, refused};
use crate::{
    diagnosis::Explained,
    exec::{fault::Fault, wire::Wire},
    runbook::Parameter,
};

impl Lane<'_> {
    async fn setting(&self, wire: &Wire, parameter: &str) -> Result<Option<String>, Fault> {
        Ok(match self.call(wire, &["CONFIG", "GET", parameter]).await? {
            Value::Array(pair) => pair.get(1).and_then(Value::as_str).map(str::to_owned),
            Value::Object(map) => map.get(parameter).and_then(Value::as_str).map(str::to_owned),
            _ => None,
        })
    }

    pub(super) async fn set_config(&self, parameter: &str, old: &str, new: &str) -> Touched {
        let wire = match self.open().await {
            Ok(wire) => wire,
            Err(error) => return Touched::Untouched(error),
        };
        let explain = |fault: &Fault| self.explain(fault, "CONFIG");
        match self.setting(&wire, parameter).await {
            Ok(Some(found)) if found == old => {}
            Ok(found) => {
                return Touched::Untouched(refused(
                    &format!("{parameter} is {} now, not {}", shown(found.as_deref().unwrap_or("unknown")), shown(old)),
                    "somebody changed it after the plan was made",
                    "ask for the change again",
                ));
            }
            Err(fault) => return Touched::Untouched(explain(&fault)),
        }
        match self.call(&wire, &["CONFIG", "SET", parameter, new]).await {
            Ok(_) => {}
            // The server itself said no: it did nothing.
            Err(fault @ Fault::Server(_)) => return Touched::Untouched(explain(&fault)),
            Err(fault) => return self.look_again(parameter, old, new, explain(&fault)).await,
        }
        match self.setting(&wire, parameter).await {
            // The file is of use when all that is in memory is in it.
            Ok(Some(found)) if found == new && parameter == "appendonly" && new == "yes" => {
                match self.until_aof_is_written(wire).await {
                    Touched::Verified(said) => Touched::Verified(format!("appendonly is yes, and {said}")),
                    other => other,
                }
            }
            Ok(Some(found)) if same(parameter, &found, new) => holds(parameter, new),
            Ok(Some(found)) => Touched::Otherwise { found },
            Ok(None) => Touched::Uncertain(refused(
                &format!("the server no longer tells {parameter}"),
                "it took the change and may not say so",
                "look at it with `/redis config`",
            )),
            Err(fault) => self.look_again(parameter, old, new, explain(&fault)).await,
        }
    }

    /// The answer was lost: the value itself tells whether it was done.
    async fn look_again(&self, parameter: &str, old: &str, new: &str, why: Explained) -> Touched {
        let Ok(wire) = self.open().await else { return Touched::Uncertain(why) };
        match self.setting(&wire, parameter).await {
            Ok(Some(found)) if same(parameter, &found, new) => holds(parameter, new),
            // The old value is no proof: what was sent may still be on its way.
            Ok(Some(found)) if found != old => Touched::Otherwise { found },
            _ => Touched::Uncertain(why),
        }
    }

    pub(super) async fn save_acl(&self) -> Touched {
        let wire = match self.open().await {
            Ok(wire) => wire,
            Err(error) => return Touched::Untouched(error),
        };
        match self.call(&wire, &["ACL", "SAVE"]).await {
            Ok(_) => Touched::Verified("the aclfile holds the users as they are now".to_owned()),
            Err(fault @ Fault::Server(_)) => Touched::Untouched(self.explain(&fault, "ACL")),
            Err(fault) => Touched::Uncertain(self.explain(&fault, "ACL")),
        }
    }

    pub(super) async fn rewrite_config(&self) -> Touched {
        let wire = match self.open().await {
            Ok(wire) => wire,
            Err(error) => return Touched::Untouched(error),
        };
        match self.call(&wire, &["CONFIG", "REWRITE"]).await {
            Ok(_) => Touched::Verified("the configuration file holds what is set now".to_owned()),
            // The server writes a new file aside and renames it: when it says no, the old one is as it was.
            Err(fault @ Fault::Server(_)) => Touched::Untouched(self.explain(&fault, "CONFIG")),
            Err(fault) => Touched::Uncertain(self.explain(&fault, "CONFIG")),
        }
    }
}

fn same(parameter: &str, found: &str, wanted: &str) -> bool {
    Parameter::find(parameter).map_or(found == wanted, |known| known.same(found, wanted))
}

fn shown(value: &str) -> &str {
    if value.is_empty() { "empty" } else { value }
}

fn holds(parameter: &str, new: &str) -> Touched {
    Touched::Verified(format!("read again: {parameter} is {}", shown(new)))
}
