//! CLIENT KILL, by id alone: every version knows that form, and an id is never given twice.

use serde_json::Value;

use super::{Lane, Touched, refused};
use crate::{
    diagnosis::reading,
    exec::{fault::Fault, wire::Wire},
    model::Progress,
    runbook::{ClientFilter, spared},
};

/// How far it has come.
#[derive(Default)]
struct Tally {
    cut: u64,
    /// They went by themselves.
    gone: u64,
    /// They were looked at again and were none of those meant any more.
    spared: u64,
}

impl Tally {
    fn words(&self) -> String {
        let mut words = vec![format!("{} closed", self.cut)];
        if self.gone > 0 {
            words.push(format!("{} had left by themselves", self.gone));
        }
        if self.spared > 0 {
            words.push(format!("{} no longer fitted and were left alone", self.spared));
        }
        words.join(", ")
    }
}

impl Lane<'_> {
    async fn listed(&self, wire: &Wire, argv: &[&str]) -> Result<Vec<Value>, Fault> {
        let words: Vec<String> = argv.iter().map(|&word| word.to_owned()).collect();
        match reading::read(&words, self.call(wire, argv).await?) {
            Value::Array(clients) => Ok(clients),
            _ => Ok(Vec::new()),
        }
    }

    /// One client as it is now; `None` when it is gone.
    async fn client(&self, wire: &Wire, id: u64) -> Result<Option<Value>, Fault> {
        let found = match self.listed(wire, &["CLIENT", "LIST", "ID", &id.to_string()]).await {
            // Before 6.2 there is only the whole list.
            Err(Fault::Server(line)) if !line.starts_with("NOPERM") => self.listed(wire, &["CLIENT", "LIST"]).await?,
            found => found?,
        };
        Ok(found.into_iter().find(|client| id_of(client) == Some(id)))
    }

    pub(super) async fn kill_clients(&self, filter: &ClientFilter, most: u64) -> Touched {
        let wire = match self.open().await {
            Ok(wire) => wire,
            Err(error) => return Touched::Untouched(error),
        };
        let meant =
            |client: &Value| !spared(client, self.instance) && filter.fits(client, jiff::Timestamp::now().as_second());
        let listed = match self.listed(&wire, &["CLIENT", "LIST"]).await {
            Ok(listed) => listed,
            Err(fault) => return Touched::Untouched(self.explain(&fault, "CLIENT")),
        };
        let chosen: Vec<u64> = listed.iter().filter(|client| meant(client)).filter_map(id_of).collect();
        if chosen.len() as u64 > most {
            return Touched::Untouched(refused(
                &format!("{} connections fit now, and at most {most} were consented to", chosen.len()),
                "more of them came after the plan was made",
                "ask for the change again, or narrow it",
            ));
        }
        let mut tally = Tally::default();
        for (at, &id) in chosen.iter().enumerate() {
            if self.cx.stop.is_cancelled() {
                let why = refused("it was stopped", "somebody stopped the run", "ask again for those that are left");
                return self.broken_off(&tally, &chosen[at..], why);
            }
            let fault = match self.client(&wire, id).await {
                Ok(None) => {
                    tally.gone += 1;
                    continue;
                }
                Ok(Some(client)) if !meant(&client) => {
                    tally.spared += 1;
                    continue;
                }
                Ok(Some(_)) => match self.call(&wire, &["CLIENT", "KILL", "ID", &id.to_string()]).await {
                    Ok(Value::Number(killed)) if killed.as_u64() == Some(0) => {
                        tally.gone += 1;
                        continue;
                    }
                    Ok(_) => {
                        tally.cut += 1;
                        self.tell(at as u64 + 1, chosen.len() as u64);
                        continue;
                    }
                    Err(fault @ Fault::Server(_)) => {
                        return self.broken_off(&tally, &chosen[at..], self.explain(&fault, "CLIENT"));
                    }
                    Err(fault) => fault,
                },
                Err(fault) => fault,
            };
            return self.look_who_is_left(&tally, &chosen, &fault).await;
        }
        let left = match self.listed(&wire, &["CLIENT", "LIST"]).await {
            // Flagged `A`, it is closed as soon as the server comes round to it.
            Ok(listed) => listed
                .iter()
                .filter(|client| !client.get("flags").and_then(Value::as_str).unwrap_or_default().contains('A'))
                .filter(|client| id_of(client).is_some_and(|id| chosen.contains(&id)))
                .count() as u64,
            Err(fault) => return self.look_who_is_left(&tally, &chosen, &fault).await,
        };
        if left > tally.spared {
            return Touched::Otherwise { found: format!("{} of them connected still", left - tally.spared) };
        }
        Touched::Verified(format!("{}; those that are wanted connect anew", tally.words()))
    }

    /// A run that ends before the last of them.
    fn broken_off(&self, tally: &Tally, rest: &[u64], why: crate::diagnosis::Explained) -> Touched {
        if tally.cut == 0 {
            return Touched::Untouched(why);
        }
        Touched::Partly { why, left: format!("{}, {} were not reached", tally.words(), rest.len()) }
    }

    /// The connection was lost: which of them are there tells what was done.
    async fn look_who_is_left(&self, tally: &Tally, chosen: &[u64], fault: &Fault) -> Touched {
        let why = self.explain(fault, "CLIENT");
        let Ok(wire) = self.open().await else { return Touched::Uncertain(why) };
        match self.listed(&wire, &["CLIENT", "LIST"]).await {
            Ok(listed) => {
                let left = listed.iter().filter(|client| id_of(client).is_some_and(|id| chosen.contains(&id))).count();
                match (left == chosen.len(), left == 0) {
                    (true, false) if tally.cut == 0 => Touched::Untouched(why),
                    (_, true) => Touched::Verified("looked again: none of them is connected any more".to_owned()),
                    _ => Touched::Partly {
                        why,
                        left: format!("looked again: {left} of {} are still connected", chosen.len()),
                    },
                }
            }
            Err(_) => Touched::Uncertain(why),
        }
    }

    fn tell(&self, done: u64, total: u64) {
        if let Some(progress) = &self.cx.progress {
            progress.send_replace(Progress {
                doing: "closing connections".to_owned(),
                done,
                total: Some(total),
                unit: "clients".to_owned(),
                rate: None,
                left_s: None,
            });
        }
    }
}

fn id_of(client: &Value) -> Option<u64> {
    client.get("id").and_then(Value::as_u64)
}
