//! Examples of answers and parameters, put together from what the schemas say of their fields.
//!
//! A route says once what a field looks like; what a whole answer looks like follows from that, so that no example can say
//! what the answer does not. An example that a route gives itself stands.

use serde_json::{Map, Value, json};
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder};
use utoipa::openapi::{OpenApi, RefOr, Response};

use crate::error::Code;
use crate::request::FieldError;
use crate::rest::error::{ErrorBody, status_of};

/// Schemas within schemas that are followed; none of ours is deeper.
const MAX_DEPTH: usize = 16;

/// What an example of a time and of a day says.
const TIME: &str = "2026-01-02T03:04:05.678Z";
const DAY: &str = "2026-01-02";

/// Gives an example to every answer and every parameter that has none.
pub(super) fn add(document: &mut OpenApi) {
    let schemas = document.components.as_ref().and_then(|components| serde_json::to_value(&components.schemas).ok());
    let schemas = Schemas(schemas.unwrap_or_default());
    for item in document.paths.paths.values_mut() {
        for operation in [&mut item.get, &mut item.put, &mut item.post, &mut item.delete].into_iter().flatten() {
            add_to_operation(operation, &schemas);
        }
    }
}

fn add_to_operation(operation: &mut Operation, schemas: &Schemas) {
    for parameter in operation.parameters.iter_mut().flatten() {
        if let RefOr::T(parameter) = parameter {
            add_to_parameter(parameter, schemas);
        }
    }
    for (status, response) in &mut operation.responses.responses {
        if let RefOr::T(response) = response {
            add_to_response(status, response, schemas);
        }
    }
}

fn add_to_parameter(parameter: &mut Parameter, schemas: &Schemas) {
    let told = serde_json::to_value(&*parameter).unwrap_or_default();
    if told.get("example").is_none() {
        let example = schemas.example(&told["schema"]);
        *parameter = ParameterBuilder::from(parameter.clone()).example(Some(example)).build();
    }
}

fn add_to_response(status: &str, response: &mut Response, schemas: &Schemas) {
    let error = first_code(status, &response.description);
    for content in response.content.values_mut() {
        let RefOr::T(content) = content else { continue };
        if content.example.is_some() || !content.examples.is_empty() {
            continue;
        }
        let schema = serde_json::to_value(&content.schema).unwrap_or_default();
        let is_error = schema["$ref"].as_str().is_some_and(|name| name.ends_with("/ErrorBody"));
        content.example = Some(match error {
            Some(code) if is_error => error_example(code),
            _ => schemas.example(&schema),
        });
    }
}

/// The first code of a status that a description tells of.
fn first_code(status: &str, description: &str) -> Option<Code> {
    let told = Code::ALL.iter().filter(|code| status_of(**code).as_str() == status);
    told.filter_map(|code| Some((description.find(&format!("`{}`", code.as_str()))?, *code)))
        .min_by_key(|(at, _)| *at)
        .map(|(_, code)| code)
}

fn error_example(code: Code) -> Value {
    let errors = match code {
        Code::InvalidRequest => {
            vec![FieldError { field: "limit".to_owned(), message: "must be a whole number".to_owned() }]
        }
        _ => Vec::new(),
    };
    let message = errors.first().map_or_else(|| code.meaning().to_owned(), |e| format!("{}: {}", e.field, e.message));
    serde_json::to_value(ErrorBody::new(code, message, errors)).unwrap_or_default()
}

/// The schemas of the document, by name.
struct Schemas(Value);

impl Schemas {
    fn example(&self, schema: &Value) -> Value {
        self.example_within(schema, MAX_DEPTH)
    }

    fn example_within(&self, schema: &Value, depth: usize) -> Value {
        if depth == 0 {
            return Value::Null;
        }
        if let Some(given) = given(schema) {
            return given.clone();
        }
        if let Some(reference) = schema["$ref"].as_str() {
            let name = reference.rsplit('/').next().unwrap_or_default();
            return self.example_within(&self.0[name], depth - 1);
        }
        if let Some(schemas) = schema["oneOf"].as_array() {
            let first = schemas.iter().find(|schema| schema["type"] != "null");
            return first.map_or(Value::Null, |schema| self.example_within(schema, depth - 1));
        }
        if let Some(schemas) = schema["allOf"].as_array() {
            let parts = schemas.iter().map(|schema| self.example_within(schema, depth - 1));
            return Value::Object(parts.filter_map(|part| part.as_object().cloned()).flatten().collect());
        }
        match schema["type"].as_str() {
            Some("object") => self.object(schema, depth),
            Some("array") => json!([self.example_within(&schema["items"], depth - 1)]),
            Some("string") => match schema["format"].as_str() {
                Some("date-time") => json!(TIME),
                Some("date") => json!(DAY),
                _ => json!(""),
            },
            Some("integer" | "number") => json!(schema["minimum"].as_u64().unwrap_or(0)),
            Some("boolean") => json!(false),
            // Of several types: those that may be null are.
            _ => Value::Null,
        }
    }

    /// An object with what it always has.
    fn object(&self, schema: &Value, depth: usize) -> Value {
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let properties = schema["properties"].as_object().into_iter().flatten();
        let fields = properties.filter(|(name, _)| required.contains(&name.as_str()));
        Value::Object(
            fields.map(|(name, field)| (name.clone(), self.example_within(field, depth - 1))).collect::<Map<_, _>>(),
        )
    }
}

/// What a schema itself gives as an example, else its default, else the first of its words.
fn given(schema: &Value) -> Option<&Value> {
    schema["examples"].get(0).or_else(|| schema.get("default")).or_else(|| schema["enum"].get(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_example_has_what_an_answer_always_has_each_as_its_field_says() {
        let schemas = Schemas(json!({
            "Answer": {
                "type": "object", "required": ["success", "host", "at", "status", "hosts", "maximum"],
                "properties": {
                    "success": {"type": "boolean", "examples": [true]},
                    "host": {"oneOf": [{"type": "null"}, {"$ref": "#/components/schemas/Host"}]},
                    "at": {"type": "string", "format": "date-time"},
                    "status": {"type": "string", "enum": ["pending", "success"]},
                    "hosts": {"type": "array", "items": {"$ref": "#/components/schemas/Host"}},
                    "maximum": {"type": ["number", "null"]},
                    "next_cursor": {"type": "string"},
                },
            },
            "Host": {"allOf": [
                {"type": "object", "required": ["host_ip"], "properties": {"host_ip": {"type": "string", "examples": ["10.0.0.1"]}}},
                {"type": "object", "required": ["attempts"], "properties": {"attempts": {"type": "integer", "minimum": 1}}},
            ]},
        }));
        let host = json!({"host_ip": "10.0.0.1", "attempts": 1});
        assert_eq!(
            schemas.example(&json!({"$ref": "#/components/schemas/Answer"})),
            json!({
                "success": true, "host": host, "at": TIME, "status": "pending", "hosts": [host], "maximum": null,
            })
        );
    }

    #[test]
    fn a_schema_that_holds_itself_comes_to_an_end() {
        let schemas = Schemas(json!({"Node": {"oneOf": [{"$ref": "#/components/schemas/Node"}]}}));
        assert_eq!(schemas.example(&json!({"$ref": "#/components/schemas/Node"})), Value::Null);
    }

    #[test]
    fn an_error_is_shown_by_the_code_that_is_told_of_first() {
        let told = "It has not ended: `execution_not_finished`. Or: `nothing_to_retry`";
        assert_eq!(first_code("409", told), Some(Code::ExecutionNotFinished));
        assert_eq!(first_code("404", told), None);
        assert_eq!(error_example(Code::InvalidRequest)["errors"][0]["field"], "limit");
        assert_eq!(error_example(Code::Forbidden)["code"], "forbidden");
    }
}
