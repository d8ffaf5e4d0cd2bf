//! The body of a request that does something: one JSON object, read strictly.

use axum::{
    Json,
    extract::{FromRequest, Request},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::Problem;
use super::unique::Unique;

/// The fields of a body. Unlike `Json` alone it takes no list for them: the values of a list would
/// be taken for the fields in the order they are written in the code, and `[]` for all defaults.
pub(super) struct Fields<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Fields<T> {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let Json(Unique(fields)) = Json::<Unique>::from_request(request, state)
            .await
            .map_err(IntoResponse::into_response)?;
        let Value::Object(fields) = fields else {
            return Err(wrong("it is no object").into_response());
        };
        read(fields).map(Self).map_err(IntoResponse::into_response)
    }
}

fn wrong(why: &str) -> Problem {
    let why = format!("the body cannot be read: {why}");
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, why)
}

fn read<T: DeserializeOwned>(fields: Map<String, Value>) -> Result<T, Problem> {
    // None of our lists holds lists: one that does stands in for an object.
    let mut lists = fields.values().filter_map(Value::as_array).flatten();
    if lists.any(Value::is_array) {
        return Err(wrong("a list within a list"));
    }
    serde_json::from_value(Value::Object(fields)).map_err(|error| wrong(&error.to_string()))
}

#[cfg(test)]
mod tests {
    use axum::body;
    use serde_json::json;

    use super::*;
    use crate::crd::SyncOperation;

    #[tokio::test]
    async fn only_an_object_holds_fields() {
        for (sent, expected) in [
            (json!({}), 200),
            (json!({"prune": true}), 200),
            (json!({"resources": [{"kind": "Service"}]}), 200),
            (json!([]), 422),
            (json!([true]), 422),
            (json!({"resources": [[]]}), 422),
            (json!({"prune": "yes"}), 422),
            (json!({"syncStrategy": {"hook": {"force": true}}}), 200),
            (json!({"syncStrategy": null}), 200),
            (json!({"syncStrategy": []}), 422),
            (json!({"syncStrategy": [null, null]}), 422),
            (json!({"syncStrategy": {"apply": [true]}}), 422),
            (json!(null), 422),
        ] {
            let request = Request::post("/")
                .header("content-type", "application/json")
                .body(body::Body::from(sent.to_string()));
            let read = Fields::<SyncOperation>::from_request(request.unwrap(), &()).await;
            let status = read.map_or_else(|answer| answer.status().as_u16(), |_| 200);
            assert_eq!(status, expected, "{sent}");
        }
    }
}
