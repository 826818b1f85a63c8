//! OTLP logs: the messages of `opentelemetry.proto.collector.logs.v1` that are sent, and how records become them.
//!
//! Written out by hand, because it is a handful and the crates that carry all of them bring an SDK along. `tests/e2e/export` reads them
//! with the official library.

use super::record::Record;
use crate::model::shown;
use prost::Message;
use serde_json::Value;

/// `SEVERITY_NUMBER_INFO` and `_WARN`.
const INFO: i32 = 9;
const WARN: i32 = 13;

#[derive(Clone, PartialEq, Message)]
struct ExportLogsServiceRequest {
    #[prost(message, repeated, tag = "1")]
    resource_logs: Vec<ResourceLogs>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceLogs {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_logs: Vec<ScopeLogs>,
}

#[derive(Clone, PartialEq, Message)]
struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeLogs {
    #[prost(message, optional, tag = "1")]
    scope: Option<InstrumentationScope>,
    #[prost(message, repeated, tag = "2")]
    log_records: Vec<LogRecord>,
}

#[derive(Clone, PartialEq, Message)]
struct InstrumentationScope {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    version: String,
}

#[derive(Clone, PartialEq, Message)]
struct LogRecord {
    #[prost(fixed64, tag = "1")]
    time_unix_nano: u64,
    #[prost(fixed64, tag = "11")]
    observed_time_unix_nano: u64,
    #[prost(int32, tag = "2")]
    severity_number: i32,
    #[prost(string, tag = "3")]
    severity_text: String,
    #[prost(message, optional, tag = "5")]
    body: Option<AnyValue>,
    #[prost(message, repeated, tag = "6")]
    attributes: Vec<KeyValue>,
    #[prost(bytes = "vec", tag = "9")]
    trace_id: Vec<u8>,
    #[prost(string, tag = "12")]
    event_name: String,
}

#[derive(Clone, PartialEq, Message)]
struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct AnyValue {
    #[prost(oneof = "Any", tags = "1, 2, 3, 4")]
    value: Option<Any>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Any {
    #[prost(string, tag = "1")]
    String(String),
    #[prost(bool, tag = "2")]
    Bool(bool),
    #[prost(int64, tag = "3")]
    Int(i64),
    #[prost(double, tag = "4")]
    Double(f64),
}

#[derive(Clone, PartialEq, Message)]
struct ExportLogsServiceResponse {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<ExportLogsPartialSuccess>,
}

#[derive(Clone, PartialEq, Message)]
struct ExportLogsPartialSuccess {
    #[prost(int64, tag = "1")]
    rejected_log_records: i64,
    #[prost(string, tag = "2")]
    error_message: String,
}

/// Whose log it is, for the resource.
#[derive(Debug, Clone)]
pub(super) struct Whose {
    pub(super) origin: String,
    pub(super) host: String,
}

/// The request that carries these records.
pub(super) fn request(records: &[Record], whose: &Whose) -> Vec<u8> {
    let resource = Resource {
        attributes: vec![
            text("service.name", "jitgate"),
            text("service.version", env!("CARGO_PKG_VERSION")),
            text("service.instance.id", &whose.host),
            text("jitgate.log", &whose.origin),
        ],
    };
    // `audit` or `events`; behind that may be an epoch.
    let is_word = |part: &&str| !part.bytes().all(|byte| byte.is_ascii_digit());
    let log = whose.origin.rsplit('/').find(is_word).unwrap_or_default();
    let scope = InstrumentationScope {
        name: format!("jitgate.{log}"),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let log_records = records.iter().map(|record| log_record(record, whose)).collect();
    let scope_logs = vec![ScopeLogs { scope: Some(scope), log_records }];
    let logs = ResourceLogs { resource: Some(resource), scope_logs };
    ExportLogsServiceRequest { resource_logs: vec![logs] }.encode_to_vec()
}

/// How many records an answer says were rejected, and why, `None` if it took them all; `None` outside of that: it is no answer of OTLP.
pub(super) fn rejected(answer: &[u8]) -> Option<Option<(u64, String)>> {
    let partial = ExportLogsServiceResponse::decode(answer).ok()?.partial_success;
    Some(partial.and_then(|partial| {
        let count = u64::try_from(partial.rejected_log_records).ok().filter(|count| *count > 0)?;
        Some((count, partial.error_message))
    }))
}

fn log_record(record: &Record, whose: &Whose) -> LogRecord {
    let nanos = u64::try_from(record.time.as_micros()).unwrap_or(0).saturating_mul(1_000);
    let mut attributes = vec![text("log.record.uid", &format!("{}#{}", whose.origin, record.seq))];
    let ours = record.fields.iter().filter_map(|(name, value)| {
        Some(KeyValue { key: format!("jitgate.{name}"), value: Some(AnyValue { value: Some(any(value)?) }) })
    });
    attributes.extend(ours);
    LogRecord {
        time_unix_nano: nanos,
        observed_time_unix_nano: nanos,
        severity_number: if record.notable { WARN } else { INFO },
        severity_text: if record.notable { "WARN" } else { "INFO" }.to_owned(),
        body: Some(AnyValue { value: Some(Any::String(record.text.clone())) }),
        attributes,
        trace_id: record.trace_id.map(Vec::from).unwrap_or_default(),
        event_name: format!("jitgate.{}", record.kind),
    }
}

fn text(key: &str, value: &str) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(Any::String(value.to_owned())) }) }
}

fn any(value: &Value) -> Option<Any> {
    match value {
        Value::Null => None,
        Value::Bool(value) => Some(Any::Bool(*value)),
        Value::Number(number) => Some(match number.as_i64() {
            Some(value) => Any::Int(value),
            None => Any::Double(number.as_f64()?),
        }),
        Value::String(value) => Some(Any::String(shown::escaped(value))),
        Value::Array(_) | Value::Object(_) => Some(Any::String(shown::escaped(&value.to_string()))),
    }
}
