//! `services/NAME.toml` to a service's profile.

use std::{collections::BTreeSet, time::Duration};

use regex::Regex;
use reqwest::header::{HeaderName, HeaderValue as HttpValue};

use super::{
    bot::{self, Thresholds},
    check::{self, Private},
    sheet::{At, Sheet},
    wire::{EndpointWire, EnvironmentWord, HeaderWire, InstanceWire, LogWire, MethodWord, ServiceFile},
};
use crate::model::{
    Contact, Credential, Deployment, Endpoint, Environment, HeaderValue, HttpMethod, Instance, InstanceName,
    KeyPattern, Link, LogFrom, LogSource, MetricsSource, Queue, Service, ServiceName, Tls,
};

const MILLISECOND: Duration = Duration::from_millis(1);
const TEN_YEARS: Duration = Duration::from_secs(86_400 * 3_660);
const LONGEST_REQUEST: Duration = Duration::from_secs(120);
/// An endpoint that says nothing gets this long.
const REQUEST: Duration = Duration::from_secs(5);

/// Reads a profile; `None` when the file is no TOML.
pub(super) fn read(sheet: &mut Sheet, name: ServiceName, defaults: &Thresholds) -> Option<Service> {
    let file: ServiceFile = sheet.read()?;
    Some(service(sheet, name, &file, defaults))
}

fn service(sheet: &mut Sheet, name: ServiceName, file: &ServiceFile, defaults: &Thresholds) -> Service {
    Service {
        title: file.title.clone().unwrap_or_else(|| name.to_string()),
        name,
        environment: environment(file.environment),
        owner: file.owner.clone(),
        instances: instances(sheet, &file.instances),
        patterns: patterns(sheet, file),
        queues: queues(sheet, file),
        thresholds: thresholds(sheet, file, defaults),
        declared: declared(sheet, file),
        endpoints: file.endpoints.iter().map(|(name, endpoint)| read_endpoint(sheet, name, endpoint)).collect(),
        metrics: metrics(sheet, file),
        logs: file.logs.iter().filter_map(|(name, log)| read_log(sheet, name, log)).collect(),
        links: file
            .links
            .iter()
            .map(|link| Link { title: link.value.title.clone(), url: check::link(sheet, &link.value.url, "links.url") })
            .collect(),
        contacts: file
            .contacts
            .iter()
            .map(|contact| Contact { role: contact.value.role.clone(), who: contact.value.who.clone() })
            .collect(),
        impact: file.impact.iter().map(|line| (line.works, line.what.clone())).collect(),
    }
}

/// What the word means.
pub(super) fn environment(word: EnvironmentWord) -> Environment {
    match word {
        EnvironmentWord::Dev => Environment::Dev,
        EnvironmentWord::Staging => Environment::Staging,
        EnvironmentWord::Prod => Environment::Prod,
    }
}

fn instances(sheet: &mut Sheet, written: &[At<InstanceWire>]) -> Vec<Instance> {
    let mut names = BTreeSet::new();
    written
        .iter()
        .enumerate()
        .filter_map(|(index, wire)| {
            let instance = read_instance(sheet, wire, &format!("instances[{index}]"))?;
            if !names.insert(instance.name.clone()) {
                let hint = "give each a `name`; the first is the one meant by default".to_owned();
                sheet.wrong(wire.at, format!("there are two instances named `{}`", instance.name), hint);
            }
            Some(instance)
        })
        .collect()
}

fn read_instance(sheet: &mut Sheet, written: &At<InstanceWire>, path: &str) -> Option<Instance> {
    let wire = &written.value;
    let deployment = deployment(sheet, written, path);
    let name = match &wire.name {
        None => "main".parse::<InstanceName>().expect("a fixed, valid name"),
        Some(name) => match name.value.parse() {
            Ok(parsed) => parsed,
            Err(error) => {
                sheet.wrong(name.at, error, None);
                return None;
            }
        },
    };
    let database = wire.database.as_ref().map_or(0, |database| database.value);
    if let (Some(at), true, true) = (&wire.database, database != 0, wire.cluster.is_some()) {
        sheet.wrong(at.at, "a Cluster has no database but 0", None);
    }
    if wire.user.is_some() && wire.password.is_none() && !sheet.is_hurt(written.at) {
        let hint = "say where its password is: `password = { env = \"NAME\" }`".to_owned();
        sheet.wrong(written.at, "the instance has a `user` without a `password`", hint);
    }
    let credential = |user: &Option<String>, password| Credential { user: user.clone(), password };
    let look = wire.password.as_ref().map(|password| check::secret(sheet, password, &format!("{path}.password")));
    let touch = wire.touch.as_ref().map(|touch| {
        let password =
            touch.password.as_ref().map(|password| check::secret(sheet, password, &format!("{path}.touch.password")));
        credential(&touch.user, password)
    });
    Some(Instance {
        name,
        deployment: deployment?,
        database,
        tls: tls(sheet, written, path),
        look: credential(&wire.user, look),
        touch,
        scan_replica: wire.scan_replica,
    })
}

fn deployment(sheet: &mut Sheet, written: &At<InstanceWire>, path: &str) -> Option<Deployment> {
    let wire = &written.value;
    let sentinel_only = [
        (wire.master.is_some(), "master"),
        (wire.sentinel_user.is_some(), "sentinel_user"),
        (wire.sentinel_password.is_some(), "sentinel_password"),
    ];
    if wire.sentinels.is_none() {
        for (_, key) in sentinel_only.into_iter().filter(|(given, _)| *given) {
            sheet.wrong(written.at, format!("`{key}` means nothing without `sentinels`"), None);
        }
    }
    let addresses = |sheet: &mut Sheet, written: &[At<String>], what: &str| {
        written.iter().map(|address| check::address(sheet, address, what)).collect::<Vec<_>>()
    };
    match (&wire.address, &wire.sentinels, &wire.cluster) {
        (Some(address), None, None) => {
            Some(Deployment::Standalone(check::address(sheet, address, &format!("{path}.address"))))
        }
        (None, Some(sentinels), None) => {
            if sentinels.is_empty() {
                sheet.wrong(written.at, "`sentinels` must hold at least one", None);
            }
            let password = wire
                .sentinel_password
                .as_ref()
                .map(|at| check::secret(sheet, at, &format!("{path}.sentinel_password")));
            let master = match &wire.master {
                Some(master) => master.value.clone(),
                None if sheet.is_hurt(written.at) => String::new(),
                None => {
                    let hint = "write the name of the `sentinel monitor` line".to_owned();
                    sheet.wrong(written.at, "`sentinels` are given without `master`", hint);
                    String::new()
                }
            };
            Some(Deployment::Sentinel {
                sentinels: addresses(sheet, sentinels, &format!("{path}.sentinels")),
                master,
                credential: Credential { user: wire.sentinel_user.clone(), password },
            })
        }
        (None, None, Some(seeds)) => {
            if seeds.is_empty() {
                sheet.wrong(written.at, "`cluster` must hold at least one node", None);
            }
            Some(Deployment::Cluster { seeds: addresses(sheet, seeds, &format!("{path}.cluster")) })
        }
        _ if sheet.is_hurt(written.at) => None,
        _ => {
            let hint = "write `address`, or `sentinels` with `master`, or `cluster`".to_owned();
            sheet.wrong(written.at, "the instance must say in exactly one way how it is found", hint);
            None
        }
    }
}

fn tls(sheet: &mut Sheet, written: &At<InstanceWire>, path: &str) -> Option<Tls> {
    let wire = &written.value;
    let mut file = |file: &Option<At<String>>, what: &str| file.as_ref().map(|file| check::path(sheet, file, what));
    let tls = Tls {
        ca: file(&wire.tls_ca, &format!("{path}.tls_ca")),
        cert: file(&wire.tls_cert, &format!("{path}.tls_cert")),
        key: file(&wire.tls_key, &format!("{path}.tls_key")),
        server_name: wire.tls_server_name.as_ref().map(|name| name.value.clone()),
    };
    if tls.cert.is_some() != tls.key.is_some() {
        sheet.wrong(written.at, "`tls_cert` and `tls_key` belong together", None);
    }
    match wire.tls {
        Some(true) => Some(tls),
        None | Some(false) if tls != Tls::default() => {
            let hint = "say `tls = true` too".to_owned();
            sheet.wrong(written.at, "keys of TLS are given, and TLS is not switched on", hint);
            None
        }
        None | Some(false) => None,
    }
}

fn patterns(sheet: &mut Sheet, file: &ServiceFile) -> Vec<KeyPattern> {
    file.patterns
        .iter()
        .map(|(name, pattern)| {
            let what = format!("patterns.{name}");
            check::word(sheet, name, pattern.at, "patterns");
            if !sheet.is_hurt(pattern.at) {
                check::glob(sheet, &pattern.value.glob, &format!("{what}.glob"));
            }
            let ttl = pattern.value.ttl.as_ref();
            KeyPattern {
                name: name.clone(),
                glob: pattern.value.glob.value.clone(),
                ttl: ttl.map(|ttl| check::duration(sheet, ttl, &format!("{what}.ttl"), MILLISECOND, TEN_YEARS)),
                about: pattern.value.about.clone().unwrap_or_default(),
                revive: pattern.value.revive.unwrap_or(true),
                review: pattern.value.review.unwrap_or_default(),
            }
        })
        .collect()
}

fn queues(sheet: &mut Sheet, file: &ServiceFile) -> Vec<Queue> {
    file.queues
        .iter()
        .map(|(name, queue)| {
            check::word(sheet, name, queue.at, "queues");
            let (warn, crit) = (queue.value.warn, queue.value.crit);
            if matches!((warn, crit), (Some(warn), Some(crit)) if warn > crit) {
                sheet.wrong(queue.at, format!("`queues.{name}`: `crit` must not be reached before `warn`"), None);
            }
            if queue.value.key.value.is_empty() && !sheet.is_hurt(queue.at) {
                sheet.wrong(queue.value.key.at, format!("`queues.{name}.key` is empty"), None);
            }
            Queue { name: name.clone(), key: queue.value.key.value.clone(), warn_depth: warn, crit_depth: crit }
        })
        .collect()
}

fn thresholds(sheet: &mut Sheet, file: &ServiceFile, defaults: &Thresholds) -> Thresholds {
    let mut thresholds = defaults.clone();
    for (name, written) in &file.thresholds {
        let like = defaults.get(name);
        if like.is_none() && written.value.about.is_none() && !sheet.is_hurt(written.at) {
            let hint = bot::unknown_figure(name, defaults.keys().map(String::as_str));
            sheet.wrong(written.at, format!("there is no figure `{name}`"), hint);
        }
        thresholds.insert(name.clone(), bot::threshold(sheet, name, written, like));
    }
    thresholds
}

fn declared(sheet: &mut Sheet, file: &ServiceFile) -> std::collections::BTreeMap<String, String> {
    for (name, value) in &file.declared {
        let plain = name.to_ascii_lowercase();
        // Redis's own secrets among its parameters: `drift` would have to show them.
        if matches!(plain.as_str(), "requirepass" | "masterauth" | "tls-key-file-pass" | "tls-client-key-file-pass") {
            sheet.wrong(
                value.at,
                format!("`declared.{name}` would hold a secret, and secrets may not be written in files like this"),
                "take the line out and change the secret".to_owned(),
            );
        }
    }
    file.declared.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.value.clone())).collect()
}

fn metrics(sheet: &mut Sheet, file: &ServiceFile) -> Vec<MetricsSource> {
    file.metrics
        .iter()
        .map(|(name, source)| {
            check::word(sheet, name, source.at, "metrics");
            MetricsSource {
                name: name.clone(),
                url: check::url(sheet, &source.value.url, &format!("metrics.{name}.url"), Private::Allowed),
                select: source.value.select.clone(),
            }
        })
        .collect()
}

fn read_log(sheet: &mut Sheet, name: &str, log: &At<LogWire>) -> Option<LogSource> {
    check::word(sheet, name, log.at, "logs");
    for (filter, written) in &log.value.filters {
        check::word(sheet, filter, written.at, "filters");
        if let Err(error) = Regex::new(&written.value) {
            // The error draws the pattern over several lines; its last says what is wrong.
            let said = error.to_string();
            let last = said.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            let hint = "lookaround and backreferences are not available".to_owned();
            sheet.wrong(written.at, format!("`logs.{name}.filters.{filter}` is no regular expression: {last}"), hint);
        }
    }
    let from = match (&log.value.file, &log.value.url) {
        (Some(file), None) => LogFrom::File(check::path(sheet, file, &format!("logs.{name}.file"))),
        (None, Some(url)) => LogFrom::Http(check::url(sheet, url, &format!("logs.{name}.url"), Private::Allowed)),
        (None, None) if sheet.is_hurt(log.at) => return None,
        (Some(_), Some(_)) | (None, None) => {
            sheet.wrong(log.at, format!("`logs.{name}` must say `file` or `url`, one of them"), None);
            return None;
        }
    };
    let filters = log.value.filters.iter().map(|(name, pattern)| (name.clone(), pattern.value.clone())).collect();
    Some(LogSource { name: name.to_owned(), from, filters })
}

fn read_endpoint(sheet: &mut Sheet, name: &str, written: &At<EndpointWire>) -> Endpoint {
    let wire = &written.value;
    let what = format!("endpoints.{name}");
    check::word(sheet, name, written.at, "endpoints");
    let private = if wire.allow_private { Private::Allowed } else { Private::Refused };
    let url = check::url(sheet, &wire.url, &format!("{what}.url"), private);
    let headers = headers(sheet, &what, wire, &url);
    let method = match wire.method {
        MethodWord::Get => HttpMethod::Get,
        MethodWord::Head => HttpMethod::Head,
        MethodWord::Post => HttpMethod::Post,
    };
    if let (Some(body), true) = (&wire.body, method != HttpMethod::Post) {
        sheet.wrong(body.at, format!("`{what}.body` is sent by a POST only"), "say `method = \"POST\"`".to_owned());
    }
    if wire.health && method == HttpMethod::Post && !wire.safe && !sheet.is_hurt(written.at) {
        let hint = "say `safe = true` if it changes nothing that matters".to_owned();
        sheet.wrong(written.at, format!("`{what}` is a POST, and `health` may not send it"), hint);
    }
    for status in wire.expect.iter().flatten().filter(|status| !(100..=599).contains(&status.value)) {
        sheet.wrong(status.at, format!("`{what}.expect`: {} is no HTTP status", status.value), None);
    }
    if let Some(degraded) = &wire.degraded
        && !(degraded.value.pointer.is_empty() || degraded.value.pointer.starts_with('/'))
    {
        let hint = "write it like `/status` or `/checks/0/state`".to_owned();
        sheet.wrong(degraded.at, format!("`{what}.degraded.pointer` is no JSON pointer"), hint);
    }
    let timeout = wire.timeout.as_ref().map_or(REQUEST, |timeout| {
        check::duration(sheet, timeout, &format!("{what}.timeout"), MILLISECOND * 10, LONGEST_REQUEST)
    });
    let slow = wire
        .slow
        .as_ref()
        .map(|slow| check::duration(sheet, slow, &format!("{what}.slow"), MILLISECOND, LONGEST_REQUEST));
    if let (Some(at), Some(slow)) = (&wire.slow, slow)
        && slow >= timeout
    {
        sheet.warn(at.at, format!("`{what}.slow` is never reached: the request is given up first"), None);
    }
    Endpoint {
        name: name.to_owned(),
        url,
        method,
        safe: wire.safe,
        expect: match &wire.expect {
            Some(expect) if !expect.is_empty() => expect.iter().map(|status| status.value).collect(),
            _ => vec![200],
        },
        headers,
        body: wire.body.as_ref().map(|body| body.value.clone()),
        degraded: wire.degraded.as_ref().map(|at| (at.value.pointer.clone(), at.value.is.clone())),
        timeout,
        slow,
        health: wire.health,
        statuspage: wire.statuspage,
        allow_private: wire.allow_private,
    }
}

fn headers(sheet: &mut Sheet, what: &str, wire: &EndpointWire, url: &str) -> Vec<(String, HeaderValue)> {
    let mut headers = Vec::new();
    for (name, written) in &wire.headers {
        let what = format!("{what}.headers.{name}");
        let plain = name.to_ascii_lowercase();
        if HeaderName::from_bytes(name.as_bytes()).is_err() {
            sheet.wrong(written.at, format!("`{what}` is no header's name"), None);
        } else if matches!(plain.as_str(), "host" | "content-length" | "transfer-encoding" | "connection" | "upgrade") {
            sheet.wrong(written.at, format!("`{what}` is not yours to set: it follows from the request"), None);
        }
        let value = match &written.value {
            HeaderWire::Kept(secret) => {
                if url.starts_with("http://") && !wire.allow_private {
                    let hint = "use https".to_owned();
                    sheet.warn(written.at, format!("`{what}` sends a secret over an unencrypted connection"), hint);
                }
                let secret = At { value: secret.clone(), at: written.at };
                HeaderValue::Secret(check::secret(sheet, &secret, &what))
            }
            HeaderWire::Plain(text) => {
                if check::is_secret_name(name) {
                    let hint = "write where it is, `{ env = \"NAME\" }` or `{ file = \"/path\" }`, and change the secret: \
                                this file may have been read";
                    let reason = format!("`{what}` holds a secret, and secrets may not be written in files like this");
                    sheet.wrong(written.at, reason, hint.to_owned());
                } else if HttpValue::from_str(text).is_err() {
                    sheet.wrong(written.at, format!("`{what}` has characters that no header may hold"), None);
                }
                HeaderValue::Plain(text.clone())
            }
        };
        headers.push((name.clone(), value));
    }
    headers
}
