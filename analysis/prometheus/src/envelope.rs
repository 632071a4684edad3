//! What a body of the query API means. Strict: what is not a well-formed success of an instant query gives no value.

use std::borrow::Cow;
use std::fmt;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use sluice_analysis::{Answer, FailureKind, QueryFailure};

use crate::classify::kind_of_error_type;

/// An instant query's samples carry the evaluation time, so that an older one comes from a cache that did not look at
/// the time that was asked for. Five minutes is how far Prometheus itself looks back for a sample.
const SAMPLE_AGE_S_MAX: f64 = 300.0;

/// Warnings shown in a message.
const WARNINGS_SHOWN_MAX: usize = 3;

/// The frame around every answer of the API.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    status: Cow<'a, str>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(rename = "errorType", default)]
    error_type: Option<String>,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    warnings: Option<Vec<String>>,
    #[serde(default)]
    infos: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(rename = "resultType", borrow)]
    result_type: Cow<'a, str>,
    #[serde(borrow)]
    result: &'a RawValue,
}

#[derive(Deserialize)]
struct Series<'a> {
    #[serde(rename = "metric")]
    _metric: Labels,
    #[serde(borrow, default)]
    value: Option<Point<'a>>,
    #[serde(default)]
    histogram: Option<IgnoredAny>,
}

/// Time in seconds, and the number as text.
#[derive(Deserialize)]
struct Point<'a>(f64, #[serde(borrow)] Cow<'a, str>);

/// A map from text to text, looked at and not kept.
struct Labels;

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LabelsVisitor;
        impl<'de> Visitor<'de> for LabelsVisitor {
            type Value = Labels;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of labels")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Labels, A::Error> {
                while map.next_entry::<IgnoredAny, String>()?.is_some() {}
                Ok(Labels)
            }
        }
        deserializer.deserialize_map(LabelsVisitor)
    }
}

/// The words of an error envelope: its type and its message.
pub(crate) struct ErrorWords {
    pub(crate) error_type: Option<String>,
    pub(crate) message: String,
}

/// The error that a body reports, if it is one of the API's.
pub(crate) fn error_words(body: &[u8]) -> Option<ErrorWords> {
    let envelope: Envelope<'_> = object(str::from_utf8(body).ok()?).ok()?;
    (envelope.status == "error").then(|| words_of(&envelope))
}

fn words_of(envelope: &Envelope<'_>) -> ErrorWords {
    let kind = envelope.error_type.as_deref().unwrap_or("error");
    let message = format!("{kind}: {}", envelope.error.as_deref().unwrap_or("no reason given"));
    ErrorWords { error_type: envelope.error_type.clone(), message }
}

/// Reads an object. Derived code would also take an array of the fields' values, which no server of this API sends.
fn object<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, serde_json::Error> {
    if !text.trim_start_matches([' ', '\t', '\r', '\n']).starts_with('{') {
        return Err(serde::de::Error::custom("not an object"));
    }
    serde_json::from_str(text)
}

/// Why a body cannot be read. The decoder's own words are left out: they quote what they stumbled over.
fn unreadable(error: &serde_json::Error) -> QueryFailure {
    let what = match error.classify() {
        serde_json::error::Category::Syntax => "not JSON",
        serde_json::error::Category::Eof => "cut off",
        serde_json::error::Category::Data | serde_json::error::Category::Io => "not of the form of the query API",
    };
    transient(format!("the body of the answer is {what}"))
}

/// What the body of a 200 says about a query evaluated at `at`.
pub(crate) fn decode(body: &[u8], at: DateTime<Utc>) -> Answer {
    match decode_values(body, at) {
        Ok((values, warnings)) if !warnings.is_empty() => {
            let shown: Vec<&str> = warnings.iter().take(WARNINGS_SHOWN_MAX).map(String::as_str).collect();
            let more = warnings.len() - shown.len();
            let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
            Answer::Partial { values, message: format!("{}{more}", shown.join("; ")) }
        }
        Ok((values, _)) if values.is_empty() => Answer::Empty,
        Ok((values, _)) => Answer::Values(values),
        Err(failure) => Answer::Failed(failure),
    }
}

fn decode_values(body: &[u8], at: DateTime<Utc>) -> Result<(Vec<f64>, Vec<String>), QueryFailure> {
    let text = str::from_utf8(body).map_err(|_| transient("the body of the answer is not text".to_owned()))?;
    let envelope: Envelope<'_> = object(text).map_err(|error| unreadable(&error))?;
    if envelope.status == "error" {
        let words = words_of(&envelope);
        return Err(QueryFailure::new(kind_of_error_type(words.error_type.as_deref()), words.message));
    }
    if envelope.status != "success" {
        return Err(transient("the body's status is neither success nor error".to_owned()));
    }
    if let Some(infos) = envelope.infos.filter(|infos| !infos.is_empty()) {
        tracing::debug!(count = infos.len(), "the query was answered with notes");
    }
    let Some(data) = envelope.data else {
        return Err(transient("the body is a success without data".to_owned()));
    };
    let data: Data<'_> = object(data.get()).map_err(|error| unreadable(&error))?;
    let values = match &*data.result_type {
        "vector" => vector(data.result, at)?,
        "scalar" => {
            let point: Point<'_> = serde_json::from_str(data.result.get()).map_err(|error| unreadable(&error))?;
            vec![number(&point, at)?]
        }
        "matrix" => return Err(permanent("the query gives a range of samples: aggregate it over time to one number")),
        "string" => return Err(permanent("the query gives a string: a number is needed")),
        _ => return Err(permanent("the query gives a kind of result that is not known")),
    };
    Ok((values, envelope.warnings.unwrap_or_default()))
}

fn vector(result: &RawValue, at: DateTime<Utc>) -> Result<Vec<f64>, QueryFailure> {
    let series: Vec<&RawValue> = serde_json::from_str(result.get()).map_err(|error| unreadable(&error))?;
    let value_of = |series: &&RawValue| {
        let series: Series<'_> = object(series.get()).map_err(|error| unreadable(&error))?;
        match (&series.value, &series.histogram) {
            (Some(point), None) => number(point, at),
            (None, Some(_)) => Err(permanent("the query gives a native histogram: take a count, sum or quantile of it")),
            (Some(_), Some(_)) | (None, None) => Err(transient("a series of the result has not exactly one sample".to_owned())),
        }
    };
    series.iter().map(value_of).collect()
}

/// A sample's number, as Prometheus spells it.
fn number(Point(time_s, text): &Point<'_>, at: DateTime<Utc>) -> Result<f64, QueryFailure> {
    let asked_s = seconds(at);
    if asked_s - time_s > SAMPLE_AGE_S_MAX {
        return Err(transient(format!(
            "the answer is {:.0} s older than the time that was asked for: does a cache lie between?",
            asked_s - time_s
        )));
    }
    match &**text {
        "NaN" => Ok(f64::NAN),
        "+Inf" | "Inf" => Ok(f64::INFINITY),
        "-Inf" => Ok(f64::NEG_INFINITY),
        // Rust reads more spellings than Prometheus writes ("infinity", "nan")
        text if text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E')) => {
            text.parse::<f64>().ok().filter(|v| v.is_finite()).ok_or_else(not_a_number)
        }
        _ => Err(not_a_number()),
    }
}

/// Unix seconds with milliseconds, the resolution that Prometheus has.
pub(crate) fn seconds(at: DateTime<Utc>) -> f64 {
    // exact for two hundred thousand years
    #[allow(clippy::cast_precision_loss, reason = "milliseconds of any date that is meant are far below 2^53")]
    let ms = at.timestamp_millis() as f64;
    ms / 1000.0
}

fn not_a_number() -> QueryFailure {
    transient("a sample of the result is not a number".to_owned())
}

fn transient(message: String) -> QueryFailure {
    QueryFailure::new(FailureKind::Transient, message)
}

fn permanent(message: &str) -> QueryFailure {
    QueryFailure::new(FailureKind::Permanent, message)
}
