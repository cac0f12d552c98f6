//! The OpenAPI document: what the routes say of themselves, put together.
//!
//! Owns the parts that belong to no route (title, authentication, the operator's routes). A test holds the document
//! against the router and against `openapi.json`.

use std::collections::BTreeSet;

use utoipa::openapi::path::Operation;
use utoipa::openapi::schema::AdditionalProperties;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, OpenApi, OpenApiBuilder, RefOr, Schema, ServerBuilder};

/// The name of the one way to authenticate.
const BEARER: &str = "bearer";

const DESCRIPTION: &str = "hostsync fills a CMDB's tables with the load of its hosts, read from Elasticsearch, on \
    schedules and by hand.\n\nEvery JSON body begins with `success` and `message`. An error adds `code`, a stable word, \
    and, for bad input, `errors` with a message for each field. Unknown fields and query parameters are refused by name; \
    a null is an absent field. Times are RFC 3339 in UTC with milliseconds. Lists have `limit` and an opaque `cursor`; \
    `next_cursor` is absent on the last page.\n\nA token has one of two roles: `viewer` reads, `operator` also writes.";

/// What the document says before any route adds itself.
pub(crate) fn base() -> OpenApi {
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("`api.operator_token` or `api.viewer_token` of the configuration"))
        .build();
    OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title("hostsync")
                .version(env!("CARGO_PKG_VERSION"))
                .description(Some(DESCRIPTION))
                .license(Some(utoipa::openapi::LicenseBuilder::new().name(env!("CARGO_PKG_LICENSE")).build()))
                .build(),
        )
        .servers(Some([ServerBuilder::new().url("/").build()]))
        .components(Some(
            ComponentsBuilder::new().security_scheme(BEARER, SecurityScheme::Http(bearer)).build(),
        ))
        .build()
}

/// What is the same for many routes and so said once: that they need a token, and that their bodies take no other fields.
pub(crate) fn complete(mut document: OpenApi) -> OpenApi {
    let mut bodies = BTreeSet::new();
    for (path, item) in &mut document.paths.paths {
        let needs_token = path.starts_with(crate::routes::BASE_PATH);
        let operations = [&mut item.get, &mut item.put, &mut item.post, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            if needs_token {
                operation.security = Some(vec![SecurityRequirement::new::<_, [&str; 0], &str>(BEARER, [])]);
            }
            bodies.extend(body_schemas(operation));
        }
    }
    if let Some(components) = &mut document.components {
        for name in bodies {
            if let Some(RefOr::T(Schema::Object(body))) = components.schemas.get_mut(&name) {
                body.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
            }
        }
    }
    document
}

/// The names of the schemas of an operation's request body.
fn body_schemas(operation: &Operation) -> Vec<String> {
    let Some(RefOr::T(body)) = &operation.request_body else {
        return Vec::new();
    };
    let contents = body.content.values();
    contents
        .filter_map(|content| match content {
            RefOr::T(content) => content.schema.as_ref(),
            RefOr::Ref(_) => None,
        })
        .filter_map(|schema| match schema {
            RefOr::Ref(reference) => reference.ref_location.rsplit('/').next().map(str::to_owned),
            RefOr::T(_) => None,
        })
        .collect()
}
