//! What the local chat completes: names from the catalogue and the services.

use crate::{
    bot::Rules,
    chat::console::{CompletedCommand, Completions},
    runbook::ArgumentKind,
};

/// The names people can type under these rules.
pub fn completions(rules: &Rules) -> Completions {
    let mut commands: Vec<CompletedCommand> = rules
        .catalogue
        .all()
        .map(|command| {
            let mut words = Vec::new();
            for argument in &command.arguments {
                if argument.flag {
                    words.push(format!("--{}", argument.name));
                }
                if let (ArgumentKind::Choice(choices), false) = (&argument.kind, argument.flag) {
                    words.extend(choices.iter().cloned());
                }
            }
            CompletedCommand { name: command.name.clone(), summary: command.summary.clone(), words }
        })
        .collect();
    commands.sort_by(|a, b| a.name.cmp(&b.name));
    let mut services = Vec::new();
    for service in rules.services.values() {
        services.push(service.name.to_string());
        if service.instances.len() > 1 {
            services.extend(service.instances.iter().map(|instance| format!("{}/{}", service.name, instance.name)));
        }
    }
    Completions { commands, services, people: Vec::new() }
}
