//! How a request is read: whom it is from, body, query string, id in the path.
//!
//! Owns content types and the bounds of each kind of body in bytes. What the fields mean is the rules' matter.

use axum::extract::multipart::MultipartError;
use axum::extract::{FromRequest, FromRequestParts, Multipart, Query, RawPathParams, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use hostsync_model::audit::{Actor, Role};
use utoipa::IntoParams;
use utoipa::openapi::Required;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};

use crate::access::{EnqueuePermit, MAX_SMALL_BYTES, declared_length, in_time, read_body};
use crate::app::Api;
use crate::error::ApiError;
use crate::request::{self, Described, Fields, JsonObject, MAX_FIELDS, Problems, Submitted, read_id};
use crate::runs::host_file::MAX_FILE_BYTES;
use crate::runs::idempotency::{self, Fingerprint, SentKey};

/// Largest body with a host list: 100,000 addresses of 45 characters, each with quotes, comma and a line break with
/// indentation.
pub(crate) const MAX_HOST_LIST_BYTES: usize = 6 * 1024 * 1024;

/// Largest JSON body with a host file: in JSON a line break takes two bytes, so a file of very short lines doubles.
pub(crate) const MAX_FILE_JSON_BYTES: usize = 2 * MAX_FILE_BYTES + 64 * 1024;

/// Largest form with a host file: the file, the other fields and the boundaries.
pub(crate) const MAX_FILE_FORM_BYTES: usize = MAX_FILE_BYTES + 64 * 1024;

/// Most fields of a form, the file among them.
const MAX_PARTS: usize = MAX_FIELDS;

/// What some editors begin a file with, and some programs a body.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// The part of a form that holds the file.
pub(crate) const FILE_PART: &str = "file";

/// A JSON object of at most `MAX_BYTES`, read as a `T`.
pub(crate) struct JsonBody<T, const MAX_BYTES: usize = MAX_SMALL_BYTES>(pub(crate) Submitted<T>);

impl<T: request::Request, const MAX_BYTES: usize> FromRequest<Api> for JsonBody<T, MAX_BYTES> {
    type Rejection = ApiError;

    async fn from_request(request: Request, api: &Api) -> Result<Self, ApiError> {
        if !is_json(request.headers()) {
            return Err(ApiError::UnsupportedMediaType("application/json"));
        }
        let object = read_json(api, request, MAX_BYTES).await?;
        Ok(Self(Fields::from_json(object).read()))
    }
}

/// A JSON object of at most `MAX_BYTES` that enqueues, read as a `T`, with the `Idempotency-Key` it came with.
pub(crate) struct EnqueueBody<T, const MAX_BYTES: usize = MAX_SMALL_BYTES> {
    pub(crate) submitted: Submitted<T>,
    pub(crate) key: Option<SentKey>,
}

impl<T: request::Request, const MAX_BYTES: usize> FromRequest<Api> for EnqueueBody<T, MAX_BYTES> {
    type Rejection = ApiError;

    async fn from_request(request: Request, api: &Api) -> Result<Self, ApiError> {
        let key = sent_key(request.headers())?;
        if !is_json(request.headers()) {
            return Err(ApiError::UnsupportedMediaType("application/json"));
        }
        let object = read_json(api, request, MAX_BYTES).await?;
        let key = key.map(|key| SentKey::new(key, of_object(&object)));
        Ok(Self { submitted: Fields::from_json(object).read(), key })
    }
}

/// The same where a body may be absent, which is as good as an empty object.
pub(crate) struct OptionalEnqueueBody<T> {
    pub(crate) submitted: Submitted<T>,
    pub(crate) key: Option<SentKey>,
}

impl<T: request::Request> FromRequest<Api> for OptionalEnqueueBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, api: &Api) -> Result<Self, ApiError> {
        let headers = request.headers();
        let has_body = headers.contains_key(header::CONTENT_TYPE)
            || headers.contains_key(header::TRANSFER_ENCODING)
            || declared_length(headers).is_some_and(|length| length > 0);
        if has_body {
            let EnqueueBody { submitted, key } = EnqueueBody::<T>::from_request(request, api).await?;
            return Ok(Self { submitted, key });
        }
        let object = JsonObject::default();
        let key = sent_key(headers)?.map(|key| SentKey::new(key, of_object(&object)));
        Ok(Self { submitted: Fields::from_json(object).read(), key })
    }
}

/// The one `Idempotency-Key` of a request.
fn sent_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let mut values = headers.get_all(idempotency::HEADER).into_iter();
    let (first, second) = (values.next(), values.next());
    let problem = match (first, second) {
        (None, _) => return Ok(None),
        (Some(_), Some(_)) => "is given twice".to_owned(),
        (Some(value), None) if idempotency::is_key(value.as_bytes()) => {
            return Ok(value.to_str().ok().map(str::to_owned));
        }
        (Some(_), None) => {
            format!("must be 1 to {} visible characters of ASCII, without blanks", idempotency::MAX_KEY_CHARS)
        }
    };
    Err(Problems::of(idempotency::HEADER, problem).into())
}

/// The header, as the OpenAPI document tells of it.
impl IntoParams for SentKey {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let key = ObjectBuilder::new()
            .schema_type(Type::String)
            .min_length(Some(1))
            .max_length(Some(idempotency::MAX_KEY_CHARS))
            .pattern(Some("^[!-~]{1,255}$"));
        let parameter = ParameterBuilder::new()
            .name(idempotency::HEADER)
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some(
                "Of your own making, such as a UUID: the same key and body at the same path within 24 hours get the first \
                 answer again and enqueue nothing. 1 to 255 visible characters of ASCII.",
            ))
            .schema(Some(key))
            .example(Some("8e03978e-40d5-43e8-bc93-6894a57f9324".into()));
        vec![parameter.build()]
    }
}

fn of_object(object: &JsonObject) -> Fingerprint {
    let mut fingerprint = Fingerprint::new();
    fingerprint.add_json(&object.0);
    fingerprint
}

/// A host file with the `Idempotency-Key` it came with.
pub(crate) struct FileEnqueue {
    pub(crate) body: FileBody,
    pub(crate) key: Option<SentKey>,
}

impl FromRequest<Api> for FileEnqueue {
    type Rejection = ApiError;

    async fn from_request(request: Request, api: &Api) -> Result<Self, ApiError> {
        let key = sent_key(request.headers())?;
        let body = FileBody::from_request(request, api).await?;
        let key = key.map(|key| SentKey::new(key, body.fingerprint()));
        Ok(Self { body, key })
    }
}

/// A host file with the fields beside it: JSON with `file_content`, or a form with a part `file`.
pub(crate) enum FileBody {
    /// All fields, the file among them as a text.
    Json(JsonObject),
    /// The file apart from the other fields.
    Form {
        /// `None`: there is no part `file`.
        file: Option<Vec<u8>>,
        /// The other parts.
        fields: Vec<(String, String)>,
    },
}

impl FileBody {
    /// Of a form the parts count, not how they were put together.
    fn fingerprint(&self) -> Fingerprint {
        match self {
            Self::Json(object) => of_object(object),
            Self::Form { file, fields } => {
                let mut fingerprint = Fingerprint::new();
                let mut fields: Vec<_> = fields.iter().collect();
                fields.sort();
                for (name, text) in fields {
                    fingerprint.add(name, text.as_bytes());
                }
                if let Some(file) = file {
                    fingerprint.add(FILE_PART, file);
                }
                fingerprint
            }
        }
    }
}

impl FromRequest<Api> for FileBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, api: &Api) -> Result<Self, ApiError> {
        if is_json(request.headers()) {
            return read_json(api, request, MAX_FILE_JSON_BYTES).await.map(Self::Json);
        }
        if !is_type(request.headers(), "multipart/form-data") {
            return Err(ApiError::UnsupportedMediaType("application/json or multipart/form-data"));
        }
        in_time(read_form(request, api)).await
    }
}

/// Reads a form part by part; the route's `DefaultBodyLimit` bounds it as a whole.
async fn read_form(request: Request, api: &Api) -> Result<FileBody, ApiError> {
    let mut form =
        Multipart::from_request(request, api).await.map_err(|error| ApiError::MalformedBody(error.body_text()))?;
    let mut file = None;
    let mut fields = Vec::new();
    while let Some(part) = form.next_field().await.map_err(|error| form_error(&error))? {
        let name = part.name().unwrap_or_default().to_owned();
        if fields.len() == MAX_PARTS {
            return Err(ApiError::MalformedBody(format!("the form has more than {MAX_PARTS} parts")));
        }
        if name == FILE_PART && file.is_none() {
            let content = part.bytes().await.map_err(|error| form_error(&error))?;
            if content.len() > MAX_FILE_BYTES {
                return Err(ApiError::TooLarge { what: "the host file", limit_bytes: MAX_FILE_BYTES });
            }
            file = Some(content.into());
        } else if name == FILE_PART {
            return Err(ApiError::MalformedBody("the form has more than one part \"file\"".to_owned()));
        } else {
            fields.push((name, part.text().await.map_err(|error| form_error(&error))?));
        }
    }
    Ok(FileBody::Form { file, fields })
}

fn form_error(error: &MultipartError) -> ApiError {
    if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
        ApiError::TooLarge { what: "the body", limit_bytes: MAX_FILE_FORM_BYTES }
    } else {
        ApiError::MalformedBody(error.body_text())
    }
}

async fn read_json(api: &Api, request: Request, limit_bytes: usize) -> Result<JsonObject, ApiError> {
    let bytes = read_body(&api.limits, request, limit_bytes).await?;
    let json = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&bytes);
    serde_json::from_slice(json).map_err(|error| {
        let what = match error.classify() {
            serde_json::error::Category::Data => "it must be one JSON object within bounds, each field given once",
            _ => "it is not JSON",
        };
        ApiError::MalformedBody(format!("{what} ({error})"))
    })
}

/// The media type without its parameters; `None` when there is none or it is no text.
fn content_type(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    value.split(';').next().map(str::trim)
}

fn is_type(headers: &HeaderMap, wanted: &str) -> bool {
    content_type(headers).is_some_and(|media_type| media_type.eq_ignore_ascii_case(wanted))
}

fn is_json(headers: &HeaderMap) -> bool {
    is_type(headers, "application/json")
}

/// A query string, read as a `T`.
pub(crate) struct QueryFields<T>(pub(crate) Submitted<T>);

impl<T: request::Request> FromRequestParts<Api> for QueryFields<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, ApiError> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|error| ApiError::MalformedBody(error.body_text()))?;
        Ok(Self(Fields::from_text(pairs).read()))
    }
}

/// Nothing in the query string: whatever stands there is refused by name.
pub(crate) struct NoQuery;

impl request::Request for NoQuery {
    fn fields() -> Vec<Described> {
        Vec::new()
    }

    fn take(_: &mut Fields) -> Self {
        Self
    }
}

impl FromRequestParts<Api> for NoQuery {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        let QueryFields(Submitted { value, problems, said: _ }) = QueryFields::from_request_parts(parts, api).await?;
        problems.check()?;
        Ok(value)
    }
}

impl FromRequestParts<Api> for EnqueuePermit {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        Self::take(&api.limits, &parts.headers, MAX_FILE_JSON_BYTES).await
    }
}

/// The one id in the path.
pub(crate) struct PathId(pub(crate) u64);

impl FromRequestParts<Api> for PathId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        let params = RawPathParams::from_request_parts(parts, api)
            .await
            .map_err(|error| ApiError::MalformedBody(error.body_text()))?;
        let (name, text) = params.iter().next().unwrap_or(("id", ""));
        Ok(Self(read_id(name, text)?))
    }
}

/// The host in the path, as it was written.
pub(crate) struct PathHost(pub(crate) String);

impl FromRequestParts<Api> for PathHost {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        let params = RawPathParams::from_request_parts(parts, api)
            .await
            .map_err(|error| ApiError::MalformedBody(error.body_text()))?;
        let host = params.iter().find(|(name, _)| *name == "host_ip");
        Ok(Self(host.map(|(_, text)| text.to_owned()).unwrap_or_default()))
    }
}

/// Serves whoever may read.
pub(crate) struct Viewer(pub(crate) Actor);

/// Serves whoever may write.
pub(crate) struct Operator(pub(crate) Actor);

impl FromRequestParts<Api> for Viewer {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        api.guard.demand(&parts.headers, &parts.extensions, Role::Viewer).map(Self)
    }
}

impl FromRequestParts<Api> for Operator {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        api.guard.demand(&parts.headers, &parts.extensions, Role::Operator).map(Self)
    }
}
