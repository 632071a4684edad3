//! No body, however it was made, panics or gives a value that a well-formed success does not hold.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use chrono::{DateTime, Utc};
use proptest::prelude::*;
use serde_json::{Value, json};
use sluice_analysis::Answer;

use crate::envelope::{decode, error_words};

const AT_S: i64 = 1_750_000_000;

fn at() -> DateTime<Utc> {
    DateTime::from_timestamp(AT_S, 0).unwrap()
}

/// The same rules, read off a tree. `None`: nothing usable.
fn model(body: &[u8]) -> Option<Vec<f64>> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let data = (body.as_object()?.get("status")?.as_str()? == "success").then(|| body.get("data")).flatten()?;
    let number = |point: &Value| match point.as_array()?.as_slice() {
        [time, Value::String(text)] if time.as_f64()? >= AT_S as f64 - 300.0 => match text.as_str() {
            "NaN" => Some(f64::NAN),
            "+Inf" | "Inf" => Some(f64::INFINITY),
            "-Inf" => Some(f64::NEG_INFINITY),
            text => text.parse().ok().filter(|v: &f64| v.is_finite()),
        },
        _ => None,
    };
    let result = data.as_object()?.get("result")?;
    match data.get("resultType")?.as_str()? {
        "scalar" => Some(vec![number(result)?]),
        "vector" => result
            .as_array()?
            .iter()
            .map(|series| {
                let labels = series.as_object()?.get("metric")?.as_object()?;
                let plain = labels.values().all(Value::is_string) && series.get("histogram").is_none_or(Value::is_null);
                if plain { number(series.get("value")?) } else { None }
            })
            .collect(),
        _ => None,
    }
}

fn agrees(body: &[u8]) -> Result<(), TestCaseError> {
    let _ = error_words(body);
    let values = match decode(body, at()) {
        Answer::Values(values) => {
            prop_assert!(!values.is_empty());
            values
        }
        Answer::Partial { values, message } => {
            prop_assert!(!message.is_empty() || values.is_empty() || !body.is_empty());
            values
        }
        Answer::Empty => Vec::new(),
        Answer::Failed(failure) => {
            prop_assert!(!failure.message.is_empty());
            return Ok(());
        }
    };
    let expected = model(body);
    let bits = |values: Vec<f64>| values.into_iter().map(f64::to_bits).collect::<Vec<_>>();
    prop_assert_eq!(expected.map(bits), Some(bits(values)));
    Ok(())
}

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (AT_S - 700..AT_S + 700).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[0-9.eE+-]{0,8}".prop_map(Value::from),
        proptest::sample::select(vec!["success", "error", "vector", "scalar", "matrix", "NaN", "+Inf", "inf", "1.5", "1e999"])
            .prop_map(Value::from),
    ]
}

fn tree() -> impl Strategy<Value = Value> {
    let key = proptest::sample::select(vec![
        "status",
        "data",
        "resultType",
        "result",
        "metric",
        "value",
        "histogram",
        "warnings",
        "infos",
        "error",
        "errorType",
        "x",
    ]);
    leaf().prop_recursive(5, 40, 4, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(key.clone(), inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())),
        ]
    })
}

/// A well-formed success, one part of which may be replaced by something else.
fn nearly_well_formed() -> impl Strategy<Value = Value> {
    let number = prop_oneof![
        any::<f64>().prop_map(|v| format!("{v:?}")),
        "[0-9]{1,3}(\\.[0-9])?",
        Just("NaN".into()),
        Just("+Inf".into())
    ];
    let series = proptest::collection::vec((number, AT_S - 400..AT_S + 400), 0..4);
    (series, proptest::option::of((0_usize..10, leaf()))).prop_map(|(series, replaced)| {
        let result: Vec<Value> = series
            .into_iter()
            .map(|(number, time_s)| json!({"metric": {"pod": "a"}, "value": [time_s, number.replace("inf", "+Inf")]}))
            .collect();
        let mut body = json!({"status": "success", "data": {"resultType": "vector", "result": result}});
        if let Some((place, by)) = replaced {
            let pointer = [
                "",
                "/status",
                "/data",
                "/data/resultType",
                "/data/result",
                "/data/result/0",
                "/data/result/0/metric",
                "/data/result/0/metric/pod",
                "/data/result/0/value",
                "/data/result/0/value/1",
            ][place];
            if let Some(part) = body.pointer_mut(pointer) {
                *part = by;
            }
        }
        body
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn bytes_of_any_kind(body in proptest::collection::vec(any::<u8>(), 0..400)) {
        agrees(&body)?;
    }

    #[test]
    fn trees_of_any_shape(body in tree()) {
        agrees(body.to_string().as_bytes())?;
    }

    #[test]
    fn successes_with_one_part_replaced(body in nearly_well_formed()) {
        agrees(body.to_string().as_bytes())?;
    }

    #[test]
    fn successes_cut_off_or_with_a_byte_changed(body in nearly_well_formed(), cut in any::<usize>(), byte in any::<u8>(), change in any::<bool>()) {
        let mut body = body.to_string().into_bytes();
        let place = cut % body.len();
        if change { body[place] = byte } else { body.truncate(place) }
        agrees(&body)?;
    }
}

#[test]
fn a_success_written_as_an_array_is_not_one() {
    let body = br#"["success",{"resultType":"scalar","result":[1750000000,"1"]},null,null,null,null]"#;
    assert!(matches!(decode(body, at()), Answer::Failed(_)));
    let body = br#"{"status":"success","data":{"resultType":"vector","result":[[{},[1750000000,"1"],null]]}}"#;
    assert!(matches!(decode(body, at()), Answer::Failed(_)));
    let body = br#"{"status":"success","data":["scalar",[1750000000,"1"]]}"#;
    assert!(matches!(decode(body, at()), Answer::Failed(_)));
}

#[test]
fn nesting_without_end_is_refused_without_exhausting_the_stack() {
    for frame in ["[", "{\"status\":", "{\"status\":\"success\",\"data\":{\"resultType\":\"vector\",\"result\":["] {
        assert!(matches!(decode(frame.repeat(100_000).as_bytes(), at()), Answer::Failed(_)));
    }
    let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    let body = format!(r#"{{"status":"success","data":{{"resultType":"scalar","result":[1750000000,"1"]}},"extra":{deep}}}"#);
    // what is not looked at may be odd, and must only be harmless
    let _ = decode(body.as_bytes(), at());
    let body = format!(r#"{{"status":"success","data":{{"resultType":"vector","result":{deep}}}}}"#);
    assert!(matches!(decode(body.as_bytes(), at()), Answer::Failed(_)));
}
