//! One type a request: what it is read from, what the OpenAPI document says of it, and what a field may hold.
//!
//! [`request!`] declares a request, a line a field. Everything else follows from the type of the field ([`Field`]): how it
//! is read from JSON, a form, a query string or a message of gRPC, which values it refuses and in which words, and its
//! schema.

use chrono::{DateTime, Utc};
use serde_json::Value;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{AdditionalProperties, KnownFormat, ObjectBuilder, SchemaFormat, SchemaType, Type};
use utoipa::openapi::{RefOr, Required, Schema};

use super::fields::{Fields, Submitted};
use super::problems::Problems;

/// What a field of a request holds.
pub(crate) trait Field: Sized {
    /// Its schema, without null.
    fn schema() -> Schema;

    /// Takes the field of this name. `None`: it is absent, or was refused with a problem.
    fn read(fields: &mut Fields, name: &str) -> Option<Self>;
}

/// A field that must be there, or an [`Option`] of one that need not. Null is as good as absent.
pub(crate) trait Member: Sized {
    /// Whether it must be there.
    const IS_REQUIRED: bool;

    /// The schema of what it holds.
    fn schema() -> Schema;

    /// Takes the field. One that must be there and is not is a problem, and holds a default that nobody gets to see.
    fn take(fields: &mut Fields, name: &str) -> Self;
}

impl<T: Field + Default> Member for T {
    const IS_REQUIRED: bool = true;

    fn schema() -> Schema {
        T::schema()
    }

    fn take(fields: &mut Fields, name: &str) -> Self {
        let value = T::read(fields, name);
        if value.is_none() && !fields.has_problem(name) {
            fields.problems().add(name, "must be given");
        }
        value.unwrap_or_default()
    }
}

impl<T: Field> Member for Option<T> {
    const IS_REQUIRED: bool = false;

    fn schema() -> Schema {
        T::schema()
    }

    fn take(fields: &mut Fields, name: &str) -> Self {
        T::read(fields, name)
    }
}

/// What a request says of one of its fields.
#[derive(Clone)]
pub(crate) struct Described {
    pub(crate) name: &'static str,
    /// Without null.
    pub(crate) schema: Schema,
    pub(crate) is_required: bool,
}

impl Described {
    /// A field as its type describes it, or in words of its own.
    pub(crate) fn new<T: Member>(name: &'static str, doc: &[&str]) -> Self {
        let mut described = Self { name, schema: T::schema(), is_required: T::IS_REQUIRED };
        if !doc.is_empty() {
            match &mut described.schema {
                Schema::Array(array) => array.description = Some(lines(doc)),
                Schema::Object(object) => object.description = Some(lines(doc)),
                _ => {}
            }
        }
        described
    }

    /// What is as good as leaving it out.
    pub(crate) fn with_default(mut self, default: impl Into<Value>) -> Self {
        if let Schema::Object(object) = &mut self.schema {
            object.default = Some(default.into());
        }
        self
    }

    pub(crate) fn with_example(mut self, example: Value) -> Self {
        match &mut self.schema {
            Schema::Array(array) => array.examples = vec![example],
            Schema::Object(object) => object.examples = vec![example],
            _ => {}
        }
        self
    }

    /// What is absent keeps its value, so that there are no defaults.
    pub(crate) fn keeps(fields: &mut [Self]) {
        for field in fields {
            if let Schema::Object(object) = &mut field.schema {
                object.default = None;
            }
        }
    }
}

/// A request that [`request!`] has declared.
pub(crate) trait Request: Sized {
    /// Its fields, in order.
    fn fields() -> Vec<Described>;

    /// Takes every field that it has.
    fn take(fields: &mut Fields) -> Self;
}

impl Fields {
    /// Reads a request; what is left over is unknown.
    pub(crate) fn read<T: Request>(mut self) -> Submitted<T> {
        let value = T::take(&mut self);
        Submitted { value, said: self.said(), problems: self.finish() }
    }
}

/// Declares a request. A field is required unless it is an [`Option`]; its documentation is that of its type unless it has
/// one of its own; `..name: Type` has all the fields of another request. With `absent keeps` an absent field is no default.
macro_rules! request {
    (
        $(#[doc = $doc:literal])*
        $vis:vis struct $Request:ident as $name:literal $(, absent $keeps:ident)? {
            $(
                $(#[doc = $field_doc:literal])*
                $field:ident: $Field:ty $(, default $default:expr)? $(, example $example:expr)?;
            )*
            $(..$part:ident: $Part:ty;)*
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Default)]
        $vis struct $Request {
            $($(#[doc = $field_doc])* $vis $field: $Field,)*
            $($vis $part: $Part,)*
        }

        impl $crate::request::Request for $Request {
            fn fields() -> Vec<$crate::request::Described> {
                let own: Vec<$crate::request::Described> = vec![$(
                    $crate::request::Described::new::<$Field>(
                        stringify!($field),
                        &[$($field_doc),*],
                    )
                    $(.with_default($default))?
                    $(.with_example(serde_json::json!($example)))?,
                )*];
                own.into_iter()$(.chain(<$Part as $crate::request::Request>::fields()))*.collect()
            }

            fn take(fields: &mut $crate::request::Fields) -> Self {
                Self {
                    $($field: $crate::request::Member::take(fields, stringify!($field)),)*
                    $($part: <$Part as $crate::request::Request>::take(fields),)*
                }
            }
        }

        impl utoipa::PartialSchema for $Request {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                #[allow(unused_mut, reason = "changed only where what is absent keeps its value")]
                let mut fields = <Self as $crate::request::Request>::fields();
                $($crate::request::Described::$keeps(&mut fields);)?
                $crate::request::body_schema(&[$($doc),*], fields)
            }
        }

        impl utoipa::ToSchema for $Request {
            fn name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }
        }

        impl utoipa::IntoParams for $Request {
            fn into_params(
                _: impl Fn() -> Option<utoipa::openapi::path::ParameterIn>,
            ) -> Vec<utoipa::openapi::path::Parameter> {
                $crate::request::query_parameters(<Self as $crate::request::Request>::fields())
            }
        }
    };
}
pub(crate) use request;

/// The schema of a JSON body: an object that has these fields and no others. A field that need not be there may be null.
pub(crate) fn body_schema(doc: &[&str], mut fields: Vec<Described>) -> RefOr<Schema> {
    for field in fields.iter_mut().filter(|field| !field.is_required) {
        or_null(&mut field.schema);
    }
    form_schema(&lines(doc), fields)
}

/// The schema of a form with these fields as its parts, and no others. A part is there or not, never null.
pub(crate) fn form_schema(doc: &str, fields: Vec<Described>) -> RefOr<Schema> {
    object(doc, fields).additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(false))).into()
}

/// The schema of an answer that always has these fields, and none of them null.
pub(crate) fn answer_schema(doc: &str, mut fields: Vec<Described>) -> RefOr<Schema> {
    for field in &mut fields {
        field.is_required = true;
    }
    object(doc, fields).into()
}

fn object(doc: &str, fields: Vec<Described>) -> ObjectBuilder {
    let mut object = ObjectBuilder::new().description(Some(doc));
    for Described { name, schema, is_required } in fields {
        object = object.property(name, schema);
        if is_required {
            object = object.required(name);
        }
    }
    object
}

/// The same fields as parameters of a query string.
pub(crate) fn query_parameters(fields: Vec<Described>) -> Vec<Parameter> {
    let parameter = |Described { name, mut schema, is_required }: Described| {
        let (mut description, mut examples) = (None, Vec::new());
        if let Schema::Object(object) = &mut schema {
            (description, examples) = (object.description.take(), std::mem::take(&mut object.examples));
        }
        ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Query)
            .description(description)
            .required(if is_required { Required::True } else { Required::False })
            .example(examples.into_iter().next())
            .schema(Some(schema))
            .build()
    };
    fields.into_iter().map(parameter).collect()
}

/// The lines of a doc comment.
fn lines(doc: &[&str]) -> String {
    doc.iter().map(|line| line.trim()).collect::<Vec<_>>().join("\n")
}

fn or_null(schema: &mut Schema) {
    if let Schema::Object(object) = schema {
        if let SchemaType::Type(only) = &object.schema_type {
            object.schema_type = SchemaType::from_iter([only.clone(), Type::Null]);
        }
        if let Some(words) = &mut object.enum_values {
            words.push(Value::Null);
        }
    }
}

/// The schema of a text whose form has a name.
pub(crate) fn text_schema(format: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).format(Some(SchemaFormat::Custom(format.to_owned())))
}

/// Declares a text field by what it may be; a `max` in characters is checked.
macro_rules! text_field {
    (
        $(#[doc = $doc:literal])*
        $Type:ident $(, format $format:literal)? $(, max $max:expr)? $(, default $default:literal)? $(, example $example:literal)?
    ) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub(crate) struct $Type(pub(crate) String);

        impl From<$Type> for String {
            fn from(text: $Type) -> Self {
                text.0
            }
        }

        impl $crate::request::Field for $Type {
            fn schema() -> utoipa::openapi::Schema {
                utoipa::openapi::schema::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::schema::Type::String)
                    .description(Some([$($doc.trim()),*].join("\n")))
                    $(.format(Some(utoipa::openapi::schema::SchemaFormat::Custom($format.to_owned()))))?
                    $(.max_length(Some($max)))?
                    $(.default(Some($default.into())))?
                    $(.examples([serde_json::json!($example)]))?
                    .build()
                    .into()
            }

            fn read(fields: &mut $crate::request::Fields, name: &str) -> Option<Self> {
                let text = fields.text(name)?;
                $($crate::request::at_most(name, &text, $max, fields.problems());)?
                Some(Self(text))
            }
        }
    };
}
pub(crate) use text_field;

/// Checks the length of a text in characters.
pub(crate) fn at_most(field: &str, text: &str, max_chars: usize, problems: &mut Problems) {
    let length = text.chars().count();
    if length > max_chars {
        problems.add(field, format!("must have at most {max_chars} characters, not {length}"));
    }
}

/// The schema of a closed set of words.
pub(crate) fn word_schema<'a>(words: impl IntoIterator<Item = &'a str>, description: &str) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(words.into_iter().map(str::to_owned).collect::<Vec<_>>()))
        .description(Some(description))
}

/// The schema of a field of an answer that holds what a request may hold as well.
pub(crate) fn schema_of<T: Field>() -> RefOr<Schema> {
    T::schema().into()
}

/// As [`schema_of`], where null is possible.
pub(crate) fn schema_or_null<T: Field>() -> RefOr<Schema> {
    let mut schema = T::schema();
    or_null(&mut schema);
    schema.into()
}

/// Free text, to the letter.
impl Field for String {
    fn schema() -> Schema {
        ObjectBuilder::new().schema_type(Type::String).build().into()
    }

    fn read(fields: &mut Fields, name: &str) -> Option<Self> {
        fields.text(name)
    }
}

impl Field for bool {
    fn schema() -> Schema {
        ObjectBuilder::new().schema_type(Type::Boolean).build().into()
    }

    fn read(fields: &mut Fields, name: &str) -> Option<Self> {
        fields.flag(name)
    }
}

/// An instant: RFC 3339 with any offset, cut to the millisecond.
impl Field for DateTime<Utc> {
    fn schema() -> Schema {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .build()
            .into()
    }

    fn read(fields: &mut Fields, name: &str) -> Option<Self> {
        fields.time(name)
    }
}

/// A whole number from `MIN` to `MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Whole<const MIN: u64, const MAX: u64>(pub(crate) u64);

impl<const MIN: u64, const MAX: u64> Field for Whole<MIN, MAX> {
    fn schema() -> Schema {
        let is_id = MAX > u64::from(u32::MAX);
        let object = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .format(Some(SchemaFormat::KnownFormat(if is_id { KnownFormat::Int64 } else { KnownFormat::Int32 })))
            .minimum(Some(MIN));
        let object = if is_id { object } else { object.maximum(Some(MAX)) };
        object.build().into()
    }

    fn read(fields: &mut Fields, name: &str) -> Option<Self> {
        fields.number(name, MIN..=MAX).map(Self)
    }
}
