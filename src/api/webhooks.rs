//! Receivers of webhooks with their last deliveries, and how long the last changes took. For who
//! may list the Applications of the agent's own namespace; others are named to who may list them.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{Path, State},
};
use schemars::JsonSchema;
use serde::Serialize;

use super::repositories::Permitted;
use super::{Api, Identity, Problem};
use crate::crd::{ApplicationKey, Timing};
use crate::telemetry::Delivery as Answer;
use crate::trigger::{Delivery, Timed, Verdict};

/// One receiver.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReceiverRow {
    pub(crate) name: String,
    /// Whose deliveries it takes.
    pub(crate) provider: String,
    /// Where a forge sends them, on the port for webhooks.
    pub(crate) path: String,
    /// How often each answer was given since the agent began.
    pub(crate) answers: Vec<AnswerCount>,
    /// The newest first.
    pub(crate) deliveries: Vec<DeliveryRow>,
}

/// How often an answer was given.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct AnswerCount {
    pub(crate) answer: &'static str,
    pub(crate) count: u64,
}

/// An authentic delivery.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeliveryRow {
    pub(crate) id: String,
    pub(crate) event: String,
    pub(crate) at: String,
    pub(crate) repository: String,
    pub(crate) reference: String,
    pub(crate) verdicts: Vec<VerdictRow>,
    /// Applications that are not named, as there are many or the caller may not list them.
    pub(crate) more: usize,
}

/// What a delivery came to for one application.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct VerdictRow {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) verdict: Verdict,
    /// How long each stage took, where something changed.
    pub(crate) timing: Option<Timing>,
}

/// A change of an application with its stages.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct TimingRow {
    /// The id of the delivery that caused it; empty for a poll or a person.
    pub(crate) delivery: String,
    #[serde(flatten)]
    pub(crate) timing: Timing,
}

const ANSWERS: [Answer; 10] = [
    Answer::Accepted,
    Answer::Ping,
    Answer::Ignored,
    Answer::Replayed,
    Answer::Unauthorized,
    Answer::Malformed,
    Answer::TooLarge,
    Answer::Unsupported,
    Answer::TimedOut,
    Answer::Overloaded,
];

pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Extension(identity): Extension<Identity>,
) -> Result<Json<Vec<ReceiverRow>>, Problem> {
    api.receivers(&identity).await.map(Json)
}

pub(super) async fn timings(
    State(api): State<Arc<Api>>,
    Path((namespace, name)): Path<(String, String)>,
) -> Result<Json<Vec<TimingRow>>, Problem> {
    let key = ApplicationKey { namespace, name };
    // One that is not there has no timings either, and says so.
    api.application(&key).await?;
    Ok(Json(api.timings(&key)))
}

impl Api {
    /// How long the last changes of an application took, the newest first.
    pub(crate) fn timings(&self, application: &ApplicationKey) -> Vec<TimingRow> {
        let timings = self.journal.timings(application).into_iter();
        timings
            .map(|Timed { delivery, timing }| TimingRow { delivery, timing })
            .collect()
    }

    /// The receivers with their last deliveries.
    pub(crate) async fn receivers(&self, identity: &Identity) -> Result<Vec<ReceiverRow>, Problem> {
        if !self.may_list(identity, &self.about.home).await? {
            let needed = format!("list applications in namespace {}", self.about.home);
            return Err(Problem::forbidden(identity.name(), &needed));
        }
        let mut permitted = Permitted::default();
        let mut rows = Vec::new();
        for receiver in self.journal.receivers() {
            let mut deliveries = Vec::new();
            for delivery in self.journal.deliveries(&receiver.name) {
                deliveries.push(self.delivery(identity, &mut permitted, delivery).await?);
            }
            let counts = ANSWERS.map(|answer| AnswerCount {
                answer: answer.as_str(),
                count: self.metrics.deliveries(&receiver.name, answer),
            });
            rows.push(ReceiverRow {
                path: format!("/hooks/{}", receiver.name),
                name: receiver.name,
                provider: receiver.provider.to_owned(),
                answers: counts.into_iter().filter(|it| it.count > 0).collect(),
                deliveries,
            });
        }
        Ok(rows)
    }

    async fn delivery(
        &self,
        identity: &Identity,
        permitted: &mut Permitted,
        delivery: Delivery,
    ) -> Result<DeliveryRow, Problem> {
        let mut verdicts = Vec::new();
        let mut more = delivery.more;
        for (application, verdict) in delivery.verdicts {
            if !permitted.may_list(self, identity, &application).await? {
                more += 1;
                continue;
            }
            let mut timings = self.journal.timings(&application).into_iter();
            let caused = timings.find(|it| !it.delivery.is_empty() && it.delivery == delivery.id);
            verdicts.push(VerdictRow {
                namespace: application.namespace,
                name: application.name,
                verdict,
                timing: caused.map(|it| it.timing),
            });
        }
        Ok(DeliveryRow {
            id: delivery.id,
            event: delivery.event,
            at: delivery.at,
            repository: delivery.repository,
            reference: delivery.reference,
            verdicts,
            more,
        })
    }
}
