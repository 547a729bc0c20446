//! Every expression and template of one command, compiled once.

use std::{collections::HashMap, fmt, sync::Arc};

use minijinja::{Environment, Value};

use super::{
    Scope,
    expression::{NoValue, Program},
    template::{self, Marked},
};

/// The compiled texts of a command, found by their source.
///
/// A command made in code may leave this empty: what is not found is compiled on the spot.
#[derive(Clone)]
pub struct Compiled {
    programs: Arc<HashMap<String, Program>>,
    templates: Arc<Environment<'static>>,
}

impl Default for Compiled {
    fn default() -> Self {
        Compiler::default().finish()
    }
}

impl fmt::Debug for Compiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compiled").field("programs", &self.programs.len()).finish_non_exhaustive()
    }
}

impl Compiled {
    pub(in crate::runbook) fn value(&self, source: &str, scope: &Scope) -> Result<Value, NoValue> {
        match self.programs.get(source) {
            Some(program) => program.value(scope),
            None => Program::parse(source).map_err(NoValue::Mistake)?.value(scope),
        }
    }

    /// Whether a condition holds; no condition always does.
    pub(in crate::runbook) fn holds(&self, source: Option<&str>, scope: &Scope) -> bool {
        let Some(source) = source else { return true };
        match self.programs.get(source) {
            Some(program) => program.holds(scope),
            None => Program::parse(source).is_ok_and(|program| program.holds(scope)),
        }
    }

    /// Whether a condition holds whatever the names that are not known yet will stand for; `None`: it depends on them.
    pub(in crate::runbook) fn decided(
        &self,
        source: &str,
        scope: &Scope,
        unknown: &dyn Fn(&str) -> bool,
    ) -> Option<bool> {
        match self.programs.get(source) {
            Some(program) => program.decided(scope, unknown),
            None => Program::parse(source).map_or(Some(false), |program| program.decided(scope, unknown)),
        }
    }

    /// The names from outside that a template reads; `None`: it is no template.
    pub(in crate::runbook) fn reads(&self, source: &str) -> Option<Vec<String>> {
        let template = self.templates.template_from_str(source).ok()?;
        Some(template.undeclared_variables(false).into_iter().collect())
    }

    pub(in crate::runbook) fn render(&self, source: &str, scope: &Scope) -> Result<Marked, String> {
        template::render(&self.templates, source, scope)
    }
}

/// Collects what a command file holds.
pub(in crate::runbook) struct Compiler {
    programs: HashMap<String, Program>,
    templates: Environment<'static>,
}

impl Default for Compiler {
    fn default() -> Self {
        Self { programs: HashMap::new(), templates: template::environment() }
    }
}

impl Compiler {
    /// Compiles an expression.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(in crate::runbook) fn expression(&mut self, source: &str) -> Result<&Program, String> {
        let program = Program::parse(source)?;
        Ok(self.programs.entry(source.to_owned()).or_insert(program))
    }

    /// Compiles a template and says which names it reads, as `info.used_memory`.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(in crate::runbook) fn template(&mut self, source: &str) -> Result<Vec<String>, String> {
        if source.len() > template::SOURCE_LIMIT {
            return Err(format!("the template is longer than {} characters", template::SOURCE_LIMIT));
        }
        if let Some(filter) = template::unknown_filters(source).first() {
            let hint = crate::runbook::words::nearest(filter, template::FILTERS.iter().copied())
                .map(|near| format!("; did you mean `{near}`?"))
                .unwrap_or_default();
            return Err(format!("there is no filter `{filter}`{hint}"));
        }
        self.templates
            .add_template_owned(source.to_owned(), source.to_owned())
            .map_err(|error| template::reason(&error))?;
        let template = self.templates.get_template(source).map_err(|error| template::reason(&error))?;
        let mut names: Vec<String> = template.undeclared_variables(true).into_iter().collect();
        names.sort_unstable();
        Ok(names)
    }

    pub(in crate::runbook) fn finish(self) -> Compiled {
        Compiled { programs: Arc::new(self.programs), templates: Arc::new(self.templates) }
    }
}
