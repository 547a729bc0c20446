//! Somebody who may look, at a service made for the test.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use rediscue::{
    diagnosis::{Explained, Observation},
    exec::{Exec, ExecSettings, Looking, Target},
    model::{Actor, Badges, Environment, Identity, Instance, Place, PlaceKind, Platform, RunId, Service},
    policy::{Ask, CommandSet, Grant, Only, Permit, Person, Policy, Role, Rules, Verdict},
    runbook::{Command, Cost, Kind, Look, Nodes},
};
use tokio_util::sync::CancellationToken;

/// A service `test` with these instances and nothing else.
pub(crate) fn service(instances: Vec<Instance>) -> Service {
    Service {
        name: "test".parse().unwrap(),
        title: "Test".into(),
        environment: Environment::Dev,
        owner: "tests".into(),
        instances,
        patterns: Vec::new(),
        queues: Vec::new(),
        thresholds: BTreeMap::new(),
        declared: BTreeMap::new(),
        endpoints: Vec::new(),
        metrics: Vec::new(),
        logs: Vec::new(),
        links: Vec::new(),
        contacts: Vec::new(),
        impact: Vec::new(),
    }
}

/// A permit, made by a real policy for a person who may look at everything.
pub(crate) fn permit(service: &Service, reveal: bool) -> Permit {
    let identity = Identity { platform: Platform::Console, team: String::new(), user: "ann".into() };
    let person: rediscue::model::PersonId = "ann".parse().unwrap();
    let grant = Grant {
        commands: BTreeSet::from([CommandSet::Every]),
        services: Only::Any,
        environments: Only::Any,
        places: Only::Any,
        reveal: true,
    };
    let policy = Policy::new(Rules {
        people: BTreeMap::from([(
            person.clone(),
            Person {
                name: "Ann".into(),
                identities: BTreeSet::from([identity.clone()]),
                roles: BTreeSet::from(["all".into()]),
            },
        )]),
        roles: BTreeMap::from([("all".into(), Role { grants: vec![grant], ..Role::default() })]),
        ..Rules::default()
    });
    let place = Place {
        platform: Platform::Console,
        team: String::new(),
        channel: "local".into(),
        thread: None,
        kind: PlaceKind::Direct,
        via: None,
    };
    let actor = Actor { identity, person: Some(person), display: "ann".into(), badges: Badges::default() };
    let command = Command {
        name: "look".into(),
        aliases: Vec::new(),
        summary: String::new(),
        about: None,
        examples: Vec::new(),
        group: "look".into(),
        arguments: Vec::new(),
        cost: Cost::Cheap,
        deadline: Duration::from_secs(10),
        call_deadline: Duration::from_secs(2),
        private: false,
        source: "test".into(),
        kind: Kind::BuiltIn,
    };
    let ask = Ask {
        actor: &actor,
        place: &place,
        command: &command,
        service: Some(service),
        reveal,
        run: &RunId::from_bits(1),
        now: jiff::Timestamp::UNIX_EPOCH,
    };
    match policy.decide(&ask) {
        Verdict::Allow(permit) => permit,
        Verdict::Deny(refusal) => panic!("{}", refusal.why),
    }
}

/// Looks at one service, the way the bot does.
#[derive(Debug, Clone)]
pub(crate) struct Looker {
    pub(crate) exec: Exec,
    pub(crate) service: Arc<Service>,
    pub(crate) call: Duration,
    pub(crate) deadline: Duration,
    pub(crate) reveal: bool,
    pub(crate) stop: CancellationToken,
}

impl Looker {
    /// At an instance, with a second for a call and three for a look.
    pub(crate) fn at(instance: Instance) -> Self {
        Self::of(service(vec![instance]))
    }

    /// At a service.
    pub(crate) fn of(service: Service) -> Self {
        Self {
            exec: Exec::new(ExecSettings::default()),
            service: Arc::new(service),
            call: Duration::from_secs(1),
            deadline: Duration::from_secs(3),
            reveal: false,
            stop: CancellationToken::new(),
        }
    }

    fn looking(&self) -> Looking {
        Looking {
            deadline: Instant::now() + self.deadline,
            call: self.call,
            stop: self.stop.clone(),
            progress: None,
            partial: None,
        }
    }

    /// Carries out a look at the default instance.
    pub(crate) async fn look(&self, look: Look) -> Observation {
        let permit = permit(&self.service, self.reveal);
        self.exec.look(&permit, &self.service, &self.service.instances[0], &look, &self.looking()).await
    }

    /// A Redis command, words parted by spaces.
    pub(crate) async fn redis(&self, line: &str, nodes: Nodes) -> Observation {
        self.look(Look::Redis { argv: line.split(' ').map(str::to_owned).collect(), nodes }).await
    }

    /// The error of a Redis command that must fail.
    pub(crate) async fn refusal(&self, line: &str) -> Explained {
        self.redis(line, Nodes::Primaries).await.merged.expect_err(line)
    }

    /// Who would be asked.
    pub(crate) async fn target(&self) -> Result<Target, Explained> {
        let permit = permit(&self.service, self.reveal);
        self.exec.target(&permit, &self.service, &self.service.instances[0], &self.looking()).await
    }
}
