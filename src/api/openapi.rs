//! The OpenAPI 3.1 document, made of the table of routes.

use std::collections::BTreeMap;

use axum::http::Method;
use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::problem::ErrorBody;
use super::{Need, Route};

/// The document of these routes.
pub(super) fn describe(routes: &[Route]) -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = "/components/schemas".into();
    settings.meta_schema = None;
    let mut generator = settings.into_generator();
    let problem = generator.subschema_for::<ErrorBody>();
    let mut paths: Map<String, Value> = Map::new();
    for route in routes {
        let mut operation = json!({
            "summary": route.about,
            "parameters": parameters(route, &mut generator),
            "responses": {},
        });
        for (status, about) in refusals(route) {
            operation["responses"][status.to_string()] = json!({
                "description": about,
                "content": {"application/json": {"schema": problem}},
            });
        }
        let schema = match route.answer {
            Some(answer) => answer(&mut generator).to_value(),
            None => json!({"type": "string"}),
        };
        operation["responses"]["200"] = json!({
            "description": "Done",
            "content": {route.content: {"schema": schema}},
        });
        if let Some(body) = route.body {
            let schema = body(&mut generator);
            operation["requestBody"] =
                json!({"required": true, "content": {"application/json": {"schema": schema}}});
        }
        if route.need != Need::Public {
            operation["security"] = json!([{"token": []}]);
        }
        if let Need::Application(verb) = route.need {
            operation["x-needs"] = format!("{verb} on the application").into();
        }
        let method = route.method.as_str().to_ascii_lowercase();
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[method] = operation;
    }
    json!({
        "openapi": "3.1.0",
        "info": {"title": "Trimtab", "version": env!("CARGO_PKG_VERSION")},
        "paths": paths,
        "components": {
            "schemas": generator.take_definitions(true),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    })
}

/// How a request of this route can end besides well, and what it means.
fn refusals(route: &Route) -> BTreeMap<u16, &'static str> {
    let mut all = BTreeMap::from([
        (400, "The request says something wrong"),
        (414, "The address is too long"),
        (415, "The body is packed, or no JSON"),
        (421, "The host name is not one of the agent's"),
        (429, "Too many requests"),
        (500, "A fault of the agent: its log has the request's id"),
    ]);
    if route.need != Need::Public {
        all.extend([
            (401, "Nobody is logged in"),
            (403, "The caller may not"),
            (404, "There is no such thing"),
            (502, "The cluster or the source says no to the agent"),
            (503, "The cluster does not answer, or too many ask"),
        ]);
    }
    if route.method != Method::GET {
        all.insert(409, "Something else is under way, or was stored meanwhile");
    }
    if route.method != Method::GET || matches!(route.need, Need::Application(_)) {
        all.insert(422, "The cluster or the source refuses what is asked for");
    }
    if route.body.is_some() {
        all.insert(413, "The body is too large");
    }
    all
}

fn parameters(route: &Route, generator: &mut SchemaGenerator) -> Vec<Value> {
    let in_path = route.path.split('/').filter_map(|part| {
        let name = part.strip_prefix('{')?.strip_suffix('}')?;
        let schema = json!({"type": "string", "minLength": 1});
        Some(json!({"name": name, "in": "path", "required": true, "schema": schema}))
    });
    let mut parameters: Vec<Value> = in_path.collect();
    let query = route.query.map(|query| query(generator).to_value());
    let properties = query
        .as_ref()
        .and_then(|query| query["properties"].as_object());
    for (name, property) in properties.into_iter().flatten() {
        let mut schema = property.clone();
        let about = schema
            .as_object_mut()
            .and_then(|it| it.remove("description"));
        let mut parameter = json!({"name": name, "in": "query", "schema": present(schema)});
        if let Some(about) = about {
            parameter["description"] = about;
        }
        parameters.push(parameter);
    }
    parameters
}

/// The schema of a parameter that is there: one that is left out is no null.
fn present(mut schema: Value) -> Value {
    if let Some(schema) = schema.as_object_mut() {
        schema.remove("default");
    }
    if let Some(kinds) = schema["type"].as_array_mut() {
        kinds.retain(|kind| kind != "null");
        if let [kind] = kinds.as_slice() {
            schema["type"] = kind.clone();
        }
    }
    let mut either = schema["anyOf"].as_array().into_iter().flatten();
    let reference = either.find(|it| it["type"] != "null").cloned();
    reference.unwrap_or(schema)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::routes;

    #[test]
    fn every_route_is_described() {
        let routes = routes();
        let document = describe(&routes);
        for route in &routes {
            let method = route.method.as_str().to_ascii_lowercase();
            let operation = &document["paths"][route.path][method];
            assert!(
                operation["summary"].is_string(),
                "{} {}",
                route.method,
                route.path
            );
        }
        assert!(document["components"]["schemas"]["Summary"].is_object());
    }

    #[test]
    fn parameters_and_statuses_are_exact() {
        let document = describe(&routes());
        let logs = &document["paths"]["/api/v1/applications/{namespace}/{name}/logs"]["get"];
        let of = |operation: &Value, name: &str| {
            let all = operation["parameters"].as_array().unwrap().clone();
            all.into_iter().find(|it| it["name"] == name).unwrap()
        };
        assert_eq!(of(logs, "follow")["schema"], json!({"type": "boolean"}));
        let tail = json!({"type": "integer", "format": "uint32", "minimum": 0});
        assert_eq!(of(logs, "tail")["schema"], tail);
        assert!(
            of(logs, "tail")["description"]
                .as_str()
                .unwrap()
                .contains("500")
        );
        let delete = &document["paths"]["/api/v1/applications/{namespace}/{name}"]["delete"];
        assert_eq!(
            of(delete, "cascade")["schema"],
            json!({"$ref": "#/components/schemas/Cascade"})
        );
        let statuses = |operation: &Value| {
            let all = operation["responses"].as_object().unwrap();
            all.keys().cloned().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            statuses(logs),
            "200 400 401 403 404 414 415 421 422 429 500 502 503"
        );
        assert_eq!(
            statuses(&document["paths"]["/api/v1/applications"]["post"]),
            "200 400 401 403 404 409 413 414 415 421 422 429 500 502 503"
        );
        assert_eq!(
            statuses(&document["paths"]["/api/v1/openapi.json"]["get"]),
            "200 400 414 415 421 429 500"
        );
    }
}
