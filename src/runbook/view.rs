//! What expressions and templates see of a service, an instance and arguments.
//!
//! Chosen field by field: a credential, a header or the query of a URL is
//! never among them, so no template can print one.

use serde_json::{Map, Value, json};

use super::{ArgumentValue, Arguments, Each};
use crate::model::{Deployment, Endpoint, HttpMethod, Instance, KeyPattern, LogSource, MetricsSource, Queue, Service};

pub(super) fn service(service: &Service) -> Value {
    let named = |items: &[Value]| -> Map<String, Value> {
        items.iter().filter_map(|item| Some((item.get("name")?.as_str()?.to_owned(), item.clone()))).collect()
    };
    let all = |each: Each| items(service, each);
    let thresholds: Map<String, Value> = service
        .thresholds
        .iter()
        .map(|(name, threshold)| (name.clone(), json!({"warn": threshold.warn, "crit": threshold.crit})))
        .collect();
    json!({
        "name": service.name.as_str(),
        "title": service.title,
        "environment": service.environment.to_string(),
        "owner": service.owner,
        "instances": service.instances.iter().map(|instance| instance.name.as_str()).collect::<Vec<_>>(),
        "queues": all(Each::Queues),
        "queue": named(&all(Each::Queues)),
        "endpoints": all(Each::Endpoints),
        "endpoint": named(&all(Each::Endpoints)),
        "metrics": all(Each::Metrics),
        "logs": all(Each::Logs),
        "patterns": all(Each::Patterns),
        "pattern": named(&all(Each::Patterns)),
        "links": service.links.iter().map(|link| json!({"title": link.title, "url": link.url})).collect::<Vec<_>>(),
        "contacts": service.contacts.iter().map(|contact| json!({"role": contact.role, "who": contact.who})).collect::<Vec<_>>(),
        "impact": service.impact.iter().map(|(works, what)| json!({"works": works, "what": what})).collect::<Vec<_>>(),
        "declared": service.declared,
        "thresholds": thresholds,
    })
}

/// The things of one kind, as `item` is.
pub(super) fn items(service: &Service, each: Each) -> Vec<Value> {
    match each {
        Each::Endpoints => service.endpoints.iter().map(endpoint).collect(),
        Each::Metrics => service.metrics.iter().map(metrics).collect(),
        Each::Logs => service.logs.iter().map(log).collect(),
        Each::Queues => service.queues.iter().map(queue).collect(),
        Each::Patterns => service.patterns.iter().map(pattern).collect(),
    }
}

/// Their names.
pub(super) fn names<'a>(service: &'a Service, of: &str) -> Vec<&'a str> {
    match of {
        "endpoints" => service.endpoints.iter().map(|endpoint| endpoint.name.as_str()).collect(),
        "metrics" => service.metrics.iter().map(|source| source.name.as_str()).collect(),
        "logs" => service.logs.iter().map(|log| log.name.as_str()).collect(),
        "queues" => service.queues.iter().map(|queue| queue.name.as_str()).collect(),
        "patterns" => service.patterns.iter().map(|pattern| pattern.name.as_str()).collect(),
        _ => Vec::new(),
    }
}

pub(super) fn instance(instance: &Instance) -> Value {
    json!({
        "name": instance.name.as_str(),
        "deployment": match &instance.deployment {
            Deployment::Standalone(_) => "standalone",
            Deployment::Sentinel { .. } => "sentinel",
            Deployment::Cluster { .. } => "cluster",
        },
        "database": instance.database,
        "tls": instance.tls.is_some(),
    })
}

pub(super) fn arguments(arguments: &Arguments) -> Value {
    arguments
        .iter()
        .map(|(name, value)| {
            let value = match value {
                ArgumentValue::Integer(number) => json!(number),
                ArgumentValue::Switch(on) => json!(on),
                ArgumentValue::Text(text) => json!(text),
            };
            (name.clone(), value)
        })
        .collect::<Map<_, _>>()
        .into()
}

fn endpoint(endpoint: &Endpoint) -> Value {
    json!({
        "name": endpoint.name,
        "url": public(&endpoint.url),
        "method": match endpoint.method {
            HttpMethod::Get => "GET",
            HttpMethod::Head => "HEAD",
            HttpMethod::Post => "POST",
        },
        "safe": endpoint.safe || !matches!(endpoint.method, HttpMethod::Post),
        "expect": endpoint.expect,
        "timeout_ms": millis(endpoint.timeout),
        "slow_ms": endpoint.slow.map(millis),
        "health": endpoint.health,
        "statuspage": endpoint.statuspage,
        "takes_arguments": endpoint.url.contains('{'),
    })
}

fn metrics(source: &MetricsSource) -> Value {
    json!({"name": source.name, "url": public(&source.url), "select": source.select})
}

fn log(log: &LogSource) -> Value {
    json!({"name": log.name, "filters": log.filters.keys().collect::<Vec<_>>()})
}

fn queue(queue: &Queue) -> Value {
    json!({"name": queue.name, "key": queue.key, "warn_depth": queue.warn_depth, "crit_depth": queue.crit_depth})
}

fn pattern(pattern: &KeyPattern) -> Value {
    json!({
        "name": pattern.name,
        "glob": pattern.glob,
        "ttl": pattern.ttl.map(|ttl| ttl.as_secs()),
        "about": pattern.about,
        "revive": pattern.revive,
    })
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A URL without the parts that may hold a secret: user, password, query and fragment.
fn public(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let (host, path) = rest.split_once('/').map_or((rest, None), |(host, path)| (host, Some(path)));
            let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
            path.map_or_else(|| format!("{scheme}://{host}"), |path| format!("{scheme}://{host}/{path}"))
        }
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_what_may_be_secret() {
        assert_eq!(public("https://bo:pw@api.example.com:8443/v1/x?token=1#y"), "https://api.example.com:8443/v1/x");
        assert_eq!(public("http://api"), "http://api");
    }
}
