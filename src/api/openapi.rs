//! The OpenAPI 3.1 document, made of the table of routes.

use axum::Json;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::problem::ErrorBody;
use super::{Need, Route, routes};

pub(super) async fn document() -> Json<Value> {
    Json(describe(&routes()))
}

fn describe(routes: &[Route]) -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = "/components/schemas".into();
    settings.meta_schema = None;
    let mut generator = settings.into_generator();
    let problem = generator.subschema_for::<ErrorBody>();
    let mut paths: Map<String, Value> = Map::new();
    for route in routes {
        let mut operation = json!({
            "summary": route.about,
            "parameters": parameters(route),
            "responses": {"default": {
                "description": "What went wrong and what to do",
                "content": {"application/json": {"schema": problem}},
            }},
        });
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

fn parameters(route: &Route) -> Vec<Value> {
    let in_path = route.path.split('/').filter_map(|part| {
        let name = part.strip_prefix('{')?.strip_suffix('}')?;
        let schema = json!({"type": "string"});
        Some(json!({"name": name, "in": "path", "required": true, "schema": schema}))
    });
    let in_query = route.query.iter().map(|(name, about)| {
        let schema = json!({"type": "string"});
        json!({"name": name, "in": "query", "description": about, "schema": schema})
    });
    in_path.chain(in_query).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
