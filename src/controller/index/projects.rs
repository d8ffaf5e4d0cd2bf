//! What the project of an application lets it do: from where, to where, which kinds, when, and as
//! whom.

use std::sync::{Arc, PoisonError, RwLock};

use crate::config::Projects;
use crate::crd::Application;
use crate::object::ResourceKey;
use crate::plan::{Applicant, permit, permit_objects};

/// The projects of the newest settings.
pub(crate) struct ProjectsInForce {
    /// The agent's namespace: its Applications may be in any project.
    agent_namespace: String,
    current: RwLock<Arc<Current>>,
}

pub(in crate::controller) struct Current {
    pub(in crate::controller) projects: Projects,
    /// The account of applications that have none otherwise; empty for the agent's own.
    default_account: String,
}

impl ProjectsInForce {
    pub(crate) fn new(agent_namespace: &str, projects: Projects, default_account: String) -> Self {
        Self {
            agent_namespace: agent_namespace.to_owned(),
            current: RwLock::new(Arc::new(Current {
                projects,
                default_account,
            })),
        }
    }

    /// Takes new ones; says whether anything is different.
    pub(crate) fn set(&self, projects: Projects, default_account: String) -> bool {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if current.projects == projects && current.default_account == default_account {
            return false;
        }
        *current = Arc::new(Current {
            projects,
            default_account,
        });
        true
    }

    pub(in crate::controller) fn current(&self) -> Arc<Current> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The ServiceAccount that an application is applied as: its own, that of its project, the
    /// default one, or none for the agent's.
    pub(in crate::controller) fn account(&self, application: &Application) -> Option<String> {
        let current = self.current();
        let project = current.projects.get(&application.spec.project);
        let of_project = project.and_then(|project| project.service_account_name.clone());
        let own = application.spec.service_account_name.clone();
        [
            own,
            of_project.unwrap_or_default(),
            current.default_account.clone(),
        ]
        .into_iter()
        .find(|account| !account.is_empty())
    }

    /// What the project does not permit: of the spec alone, or of objects as well.
    pub(in crate::controller) fn refusals<'a>(
        &self,
        application: &Application,
        objects: impl IntoIterator<Item = &'a ResourceKey>,
    ) -> Vec<String> {
        let current = self.current();
        let applicant = Applicant {
            key: &application.key,
            spec: &application.spec,
            agent_namespace: &self.agent_namespace,
        };
        let project = current.projects.get(&application.spec.project);
        let objects = objects.into_iter();
        let objects = objects.map(|key| (key, !key.namespace.is_empty()));
        permit(project, &applicant, objects)
    }

    /// Why the project does not let an object be touched, also not to delete it.
    pub(in crate::controller) fn forbids(
        &self,
        application: &Application,
        key: &ResourceKey,
    ) -> Option<String> {
        let current = self.current();
        let name = &application.spec.project;
        let Some(project) = current.projects.get(name) else {
            return Some(format!("{key}: there is no project \"{name}\""));
        };
        let from = &application.key.namespace;
        if let Err(why) = project.permits_application_namespace(from, &self.agent_namespace) {
            return Some(format!("{key}: {why}"));
        }
        let object = (key, !key.namespace.is_empty());
        permit_objects(project, [object]).into_iter().next()
    }
}
