//! A keyspace with everything in it, and all of it compared before and after.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use rediscue::{
    exec::{
        Exec, ExecSettings, Hands, Looking, Settled, Touched,
        aside::{CountFor, Meant, Measured, Watched},
    },
    model::{Address, Credential, Identity, Instance, Place, PlaceKind, Platform, RunId, Service},
    policy::{CommandSet, Consent, Grant, Only, Person, Policy, Role, Rules, Said, TouchPermit},
    runbook::{
        Change, Command, Cost, Deed, Kept, Kind, PLAN_VERSION, Plan, PlanStep, PlanTarget, Reach, Retime, Risk, Select,
        Undo,
    },
    store::{Store, StoreSettings},
};

use super::{looking, redis::RedisServer};

/// What the server says of one key: the digest of its value, and when it expires.
pub(crate) type Seen = BTreeMap<Vec<u8>, (String, i64)>;

/// Sessions of several organisations as JSON and as hashes, and a key of every other type.
///
/// Session `i` belongs to `org-(i % 4)`; every third is without a deadline.
pub(crate) fn furnish(server: &RedisServer, sessions: usize) {
    let mut admin = server.admin();
    for from in (0..sessions).step_by(500) {
        let mut pipe = redis::pipe();
        for i in from..sessions.min(from + 500) {
            let org = format!("org-{}", i % 4);
            let created = 1_700_000_000_000_u64 + i as u64;
            if i % 2 == 0 {
                let value = format!(
                    r#"{{"organisationId":"{org}","createdAt":{created},"user":"u{i}","x":"{}"}}"#,
                    "y".repeat(i % 90)
                );
                pipe.cmd("SET").arg(key(i)).arg(value).ignore();
            } else {
                pipe.cmd("HSET")
                    .arg(key(i))
                    .arg("organisationId")
                    .arg(&org)
                    .arg("createdAt")
                    .arg(created)
                    .arg("n")
                    .arg(i)
                    .ignore();
            }
            if i % 3 != 0 {
                pipe.cmd("PEXPIRE").arg(key(i)).arg(3_600_000 + i).ignore();
            }
        }
        pipe.exec(&mut admin).unwrap();
    }
    let mut pipe = redis::pipe();
    pipe.cmd("RPUSH").arg("other:list").arg("a").arg("1").arg(vec![0_u8, 255]).ignore();
    pipe.cmd("SADD").arg("other:set").arg("1").arg("2").arg("three").ignore();
    pipe.cmd("SADD").arg("other:ints").arg("1").arg("2").arg("300000").ignore();
    pipe.cmd("ZADD").arg("other:zset").arg("1.5").arg("a").arg("-inf").arg("b").ignore();
    pipe.cmd("XADD").arg("other:stream").arg("1-1").arg("f").arg("v").ignore();
    pipe.cmd("SET").arg("other:number").arg("12345").ignore();
    pipe.cmd("SET").arg(&[b'o', 0xff, b'{', b'}', 0][..]).arg("not text").ignore();
    for i in 0..300 {
        pipe.cmd("HSET").arg("other:hash").arg(format!("f{i}")).arg("v".repeat(40)).ignore();
        pipe.cmd("ZADD").arg("other:board").arg(i).arg(format!("m{i}")).ignore();
    }
    pipe.exec(&mut admin).unwrap();
}

/// The name of session `i`: some have a hash tag of their own.
pub(crate) fn key(i: usize) -> String {
    if i.is_multiple_of(5) { format!("session:{{u{i}}}:a") } else { format!("session:{i}") }
}

/// Every key, compared by what its value means to the server itself.
pub(crate) fn seen(server: &RedisServer) -> Seen {
    let mut admin = server.admin();
    let names: Vec<Vec<u8>> = redis::cmd("KEYS").arg("*").query(&mut admin).unwrap();
    let mut found = Seen::new();
    for names in names.chunks(500) {
        let mut pipe = redis::pipe();
        pipe.cmd("TIME");
        for name in names {
            pipe.cmd("DEBUG").arg("DIGEST-VALUE").arg(name);
            pipe.cmd("PTTL").arg(name);
        }
        let mut replies: std::vec::IntoIter<redis::Value> =
            pipe.query::<Vec<redis::Value>>(&mut admin).unwrap().into_iter();
        let time: Vec<i64> = redis::from_redis_value(replies.next().unwrap()).unwrap();
        for name in names {
            let digest: Vec<String> = redis::from_redis_value(replies.next().unwrap()).unwrap();
            let ttl: i64 = redis::from_redis_value(replies.next().unwrap()).unwrap();
            let deadline = if ttl < 0 { -1 } else { ttl + time[0] * 1_000 + time[1] / 1_000 };
            found.insert(name.clone(), (digest[0].clone(), deadline));
        }
    }
    found
}

/// The same keys with the same values, and deadlines within a second.
pub(crate) fn assert_same(before: &Seen, after: &Seen) {
    let names = |seen: &Seen| seen.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(before).len(), names(after).len(), "as many keys as before");
    for (name, (digest, deadline)) in before {
        let shown = String::from_utf8_lossy(name);
        let (digest_now, deadline_now) = after.get(name).unwrap_or_else(|| panic!("{shown} is missing"));
        assert_eq!(digest, digest_now, "{shown} has another value");
        let same = (*deadline == -1) == (*deadline_now == -1) && (deadline - deadline_now).abs() <= 1_000;
        assert!(same, "{shown} expired at {deadline} and now at {deadline_now}");
    }
}

/// Somebody who may change keys of one server, without the bot around.
pub(crate) struct Hand {
    pub(crate) exec: Exec,
    pub(crate) service: Arc<Service>,
    pub(crate) store: Store,
    pub(crate) address: Address,
    pub(crate) cx: Looking,
    run_id: String,
}

impl Hand {
    /// At a server, with a store in `dir`.
    pub(crate) async fn on(server: &RedisServer, dir: &Path) -> Self {
        Self::at(server.instance(), server.address(), &server.info("run_id"), StoreSettings::in_dir(dir)).await
    }

    /// At a server, by way of `address`.
    pub(crate) async fn at(mut instance: Instance, address: Address, run_id: &str, store: StoreSettings) -> Self {
        instance.touch = Some(Credential::default());
        Self {
            exec: Exec::new(ExecSettings::default()),
            service: Arc::new(looking::service(vec![instance])),
            store: Store::open(store).await.unwrap(),
            address,
            cx: Looking {
                deadline: Instant::now() + Duration::from_secs(120),
                call: Duration::from_secs(2),
                stop: Default::default(),
                progress: None,
                partial: None,
            },
            run_id: run_id.to_owned(),
        }
    }

    /// The server was started anew.
    pub(crate) fn meets_again(&mut self, run_id: &str) {
        self.run_id = run_id.to_owned();
    }

    /// A plan of one change on this server, which needs nobody's consent.
    pub(crate) fn plan(&self, run: u64, change: Change) -> Plan {
        Plan {
            version: PLAN_VERSION,
            run: RunId::from_bits(run),
            command: "purge".into(),
            wanted: Vec::new(),
            service: self.service.name.clone(),
            instance: self.service.instances[0].name.clone(),
            targets: vec![PlanTarget {
                address: self.address.to_string(),
                run_id: self.run_id.clone(),
                replicas: 0,
                lag_bytes: None,
            }],
            steps: vec![PlanStep { target: 0, change }],
            reach: Reach { tolerance_percent: 5, ..Reach::default() },
            facts: Vec::new(),
            warnings: Vec::new(),
            undo: Undo::By("test".into()),
            risk: Risk::Low,
            requester: "ann".parse().unwrap(),
            asker: Identity { platform: Platform::Console, team: String::new(), user: "ann".into() },
            made_ms: 0,
            expires_ms: i64::MAX,
            lasts_ms: None,
            undoes: None,
            asks: None,
            rolls_back: None,
        }
    }

    fn policy(&self) -> Policy {
        let grant = Grant {
            commands: [CommandSet::Every].into(),
            services: Only::Any,
            environments: Only::Any,
            places: Only::Any,
            reveal: false,
        };
        let identity = Identity { platform: Platform::Console, team: String::new(), user: "ann".into() };
        let person = Person { name: "Ann".into(), identities: [identity].into(), roles: ["all".into()].into() };
        Policy::new(Rules {
            people: BTreeMap::from([("ann".parse().unwrap(), person)]),
            roles: BTreeMap::from([("all".into(), Role { grants: vec![grant], ..Role::default() })]),
            ..Rules::default()
        })
    }

    fn permit(&self, plan: &Plan) -> TouchPermit {
        let command = Command {
            name: plan.command.clone(),
            aliases: Vec::new(),
            summary: String::new(),
            about: None,
            examples: Vec::new(),
            group: "change".into(),
            arguments: Vec::new(),
            cost: Cost::Heavy,
            deadline: Duration::from_secs(10),
            call_deadline: Duration::from_secs(2),
            private: false,
            source: "test".into(),
            kind: Kind::BuiltIn,
        };
        let place = Place {
            platform: Platform::Console,
            team: String::new(),
            channel: "local".into(),
            thread: None,
            kind: PlaceKind::Direct,
            via: None,
        };
        match self.policy().consent(plan, &command, &self.service, &place, Said::default(), jiff::Timestamp::UNIX_EPOCH)
        {
            Consent::Granted(permit) => *permit,
            other => panic!("{other:?}"),
        }
    }

    fn hands(&self) -> Hands<'_> {
        Hands {
            instance: &self.service.instances[0],
            address: &self.address,
            store: &self.store,
            meant: &[],
            cx: &self.cx,
        }
    }

    /// Carries the plan's only step out.
    pub(crate) async fn touch(&self, plan: &Plan) -> Touched {
        self.exec.touch(&self.permit(plan), plan, 0, &self.hands()).await
    }

    /// Counts what the plan's only step is about as a bot does right before a run, and what was come upon.
    pub(crate) async fn count(&self, plan: &Plan) -> (u64, Vec<Meant>) {
        self.count_what_was_watched(plan, &[]).await
    }

    /// Counts what is shown with a plan, and what of it is kept true from then on.
    pub(crate) async fn count_for_a_plan(&self, plan: &Plan) -> (u64, Vec<Watched>) {
        let (keys, found) = self.measure(plan, CountFor::Plan { watched: true }).await;
        let on = found.into_iter().filter_map(|(address, found)| Some((address, found.watch?))).collect();
        (keys, vec![Watched { select: chosen(plan).0.clone(), on }])
    }

    /// Counts for a run what a plan counted before.
    pub(crate) async fn count_what_was_watched(&self, plan: &Plan, watched: &[Watched]) -> (u64, Vec<Meant>) {
        let (keys, found) = self.measure(plan, CountFor::Run { watched }).await;
        let on = found.into_iter().filter_map(|(address, found)| Some((address, found.names?))).collect();
        (keys, vec![Meant { select: chosen(plan).0.clone(), on }])
    }

    async fn measure(&self, plan: &Plan, count: CountFor<'_>) -> (u64, Vec<(Address, Measured)>) {
        let (permit, of) = (self.permit(plan), (&self.service, &self.service.instances[0]));
        let found = self.exec.measure(permit.look(), of, chosen(plan), 0, count, &self.cx).await.unwrap();
        (found.iter().map(|(_, found)| found.keys).sum(), found)
    }

    /// Carries the plan's only step out on what a count came upon.
    pub(crate) async fn touch_what_was_counted(&self, plan: &Plan, meant: &[Meant]) -> Touched {
        let hands = Hands { meant, ..self.hands() };
        self.exec.touch(&self.permit(plan), plan, 0, &hands).await
    }

    /// Tidies up after a step that was cut short.
    pub(crate) async fn settle(&self, plan: &Plan) -> Settled {
        let permit = self.policy().tidying(plan, jiff::Timestamp::UNIX_EPOCH);
        self.exec.settle(&permit, plan, 0, &self.hands()).await.unwrap()
    }

    /// Brings back what run `run` did.
    pub(crate) async fn restore(&self, run: u64) -> Touched {
        let change =
            Change::RestoreKeys { run: RunId::from_bits(run), seq: 0, what: "test".into(), did: Deed::default() };
        self.touch(&self.plan(run + 1_000_000, change)).await
    }
}

/// What the only step of a plan chooses, and the deadline it would get.
fn chosen(plan: &Plan) -> (&Select, Option<Retime>) {
    match &plan.steps[0].change {
        Change::RemoveKeys { select, .. } | Change::ExportKeys { select, .. } => (select, None),
        Change::RetimeKeys { select, to, .. } => (select, Some(*to)),
        other => panic!("{other:?} is not about keys that are chosen"),
    }
}

/// A removal of what a pattern means, into a snapshot.
pub(crate) fn removal(pattern: &str, keys: u64) -> Change {
    Change::RemoveKeys { select: Select::matching(pattern), now_ms: 0, keys, keep: Kept::Snapshot }
}
