//! One route of the API or the pages: its address, what it needs, what goes in and comes out.

use std::sync::Arc;

use axum::{
    handler::Handler,
    http::Method,
    routing::{MethodRouter, on},
};
use schemars::{JsonSchema, SchemaGenerator};

use super::{Api, Need};

pub(super) type SchemaOf = fn(&mut SchemaGenerator) -> schemars::Schema;

/// One route.
pub(crate) struct Route {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) need: Need,
    /// What it does, for the OpenAPI document.
    pub(super) about: &'static str,
    /// The parameters of the query, as the properties of an object.
    pub(super) query: Option<SchemaOf>,
    pub(super) body: Option<SchemaOf>,
    pub(super) answer: Option<SchemaOf>,
    /// The content type of a good answer.
    pub(super) content: &'static str,
    pub(super) handler: MethodRouter<Arc<Api>>,
}

impl Route {
    /// A route; a page of the UI is one as well.
    pub(crate) fn new<H, T>(
        method: Method,
        path: &'static str,
        need: Need,
        about: &'static str,
        handler: H,
    ) -> Self
    where
        H: Handler<T, Arc<Api>>,
        T: 'static,
    {
        let filter = method.clone().try_into().expect("a method that axum knows");
        Self {
            method,
            path,
            need,
            about,
            query: None,
            body: None,
            answer: None,
            content: "application/json",
            handler: on(filter, handler),
        }
    }

    pub(super) fn query<T: JsonSchema>(mut self) -> Self {
        self.query = Some(|generator| T::json_schema(generator));
        self
    }

    pub(super) fn body<T: JsonSchema>(mut self) -> Self {
        self.body = Some(|generator| generator.subschema_for::<T>());
        self
    }

    pub(super) fn answer<T: JsonSchema>(mut self) -> Self {
        self.answer = Some(|generator| generator.subschema_for::<T>());
        self
    }

    pub(super) fn content(mut self, content: &'static str) -> Self {
        self.content = content;
        self
    }
}
