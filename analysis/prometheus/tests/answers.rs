//! Every kind of answer, given by a server on loopback.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should stop")]

mod support;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures::StreamExt;
use sluice_analysis::{Answer, FailureKind};
use sluice_prometheus::PrometheusConfig;
use support::{AT_S, Server, ask, ask_one, error, failure, json, response, success, vector, whole_failure};

use FailureKind::{Permanent, Transient};

async fn answer_to(body: String) -> Answer {
    ask_one(move |_| json(200, &body)).await
}

#[tokio::test]
async fn a_vector_gives_one_number_for_each_series() {
    assert_eq!(answer_to(success(&vector(&["0.5"]), "")).await, Answer::Values(vec![0.5]));
    let several = answer_to(success(&vector(&["1e-05", "-3", "4.25e+6"]), "")).await;
    assert_eq!(several, Answer::Values(vec![1e-5, -3.0, 4.25e6]));
}

#[tokio::test]
async fn an_empty_vector_is_empty_and_not_zero() {
    assert_eq!(answer_to(success(&vector(&[]), "")).await, Answer::Empty);
}

#[tokio::test]
async fn nan_and_infinities_arrive_as_what_they_are() {
    let Answer::Values(values) = answer_to(success(&vector(&["NaN", "+Inf", "-Inf"]), "")).await else { panic!() };
    assert!(values[0].is_nan());
    assert_eq!(&values[1..], [f64::INFINITY, f64::NEG_INFINITY]);
}

#[tokio::test]
async fn numbers_that_prometheus_would_not_write_are_refused() {
    for odd in ["", "inf", "infinity", "nan", "0x10", "1_000", "1e999", "one", " 1"] {
        let (kind, words) = failure(answer_to(success(&vector(&[odd]), "")).await);
        assert_eq!((kind, words.as_str()), (Transient, "a sample of the result is not a number"), "{odd:?}");
    }
}

#[tokio::test]
async fn warnings_make_an_answer_partial_and_notes_do_not() {
    let warned = success(&vector(&["0.5"]), r#","warnings":["store 10.0.0.3 is\nunavailable","b","c","d"]"#);
    let expected = Answer::Partial { values: vec![0.5], message: "store 10.0.0.3 is unavailable; b; c (and 1 more)".into() };
    assert_eq!(answer_to(warned).await, expected);
    let noted = success(&vector(&["0.5"]), r#","infos":["PromQL info: metric might not be a counter"],"warnings":[]"#);
    assert_eq!(answer_to(noted).await, Answer::Values(vec![0.5]));
    let odd = success(&vector(&["0.5"]), r#","warnings":"all is lost""#);
    assert_eq!(failure(answer_to(odd).await).0, Transient);
}

#[tokio::test]
async fn a_scalar_is_one_number() {
    let scalar = format!(r#"{{"resultType":"scalar","result":[{AT_S},"7"]}}"#);
    assert_eq!(answer_to(success(&scalar, "")).await, Answer::Values(vec![7.0]));
}

#[tokio::test]
async fn results_that_are_no_instant_numbers_are_refused_for_good() {
    for (data, words) in [
        (format!(r#"{{"resultType":"string","result":[{AT_S},"up"]}}"#), "the query gives a string"),
        (
            format!(r#"{{"resultType":"matrix","result":[{{"metric":{{}},"values":[[{AT_S},"1"]]}}]}}"#),
            "the query gives a range of samples",
        ),
        (
            format!(r#"{{"resultType":"vector","result":[{{"metric":{{}},"histogram":[{AT_S},{{"count":"1","sum":"2"}}]}}]}}"#),
            "the query gives a native histogram",
        ),
        (r#"{"resultType":"tensor","result":[]}"#.to_owned(), "the query gives a kind of result that is not known"),
    ] {
        let (kind, message) = failure(answer_to(success(&data, "")).await);
        assert_eq!(kind, Permanent, "{message}");
        assert!(message.starts_with(words), "{message}");
    }
}

#[tokio::test]
async fn a_series_with_two_samples_or_none_is_refused() {
    for sample in [format!(r#","value":[{AT_S},"1"],"histogram":[{AT_S},{{}}]"#), String::new(), r#","value":null"#.to_owned()] {
        let data = format!(r#"{{"resultType":"vector","result":[{{"metric":{{}}{sample}}}]}}"#);
        let (kind, words) = failure(answer_to(success(&data, "")).await);
        assert_eq!((kind, words.as_str()), (Transient, "a series of the result has not exactly one sample"));
    }
}

#[tokio::test]
async fn an_error_with_status_200_is_judged_by_its_type() {
    for (kind, expected) in [
        ("timeout", Transient),
        ("canceled", Transient),
        ("unavailable", Transient),
        ("execution", Permanent),
        ("bad_data", Permanent),
        ("internal", Permanent),
        ("not_found", Permanent),
        ("something_new", Permanent),
    ] {
        let (found, words) = failure(answer_to(error(kind, "reason")).await);
        assert_eq!((found, words), (expected, format!("{kind}: reason")));
    }
}

#[tokio::test]
async fn a_refusal_is_judged_by_its_status() {
    for (status, kind, expected) in [
        (400, "bad_data", Permanent),
        (401, "x", Permanent),
        (403, "x", Permanent),
        (404, "not_found", Permanent),
        (405, "x", Permanent),
        (406, "not_acceptable", Permanent),
        (408, "x", Transient),
        (422, "execution", Permanent),
        (422, "timeout", Transient),
        (422, "canceled", Transient),
        (429, "x", Transient),
        (499, "canceled", Transient),
        (500, "internal", Transient),
        (502, "x", Transient),
        (503, "timeout", Transient),
        (504, "x", Transient),
        (204, "x", Transient),
    ] {
        let (found, words) = failure(ask_one(move |_| json(status, &error(kind, "reason"))).await);
        assert_eq!(found, expected, "{status}");
        assert!(words.starts_with(&format!("HTTP {status} ")), "{words}");
        assert!(status == 204 || words.ends_with(&format!(": {kind}: reason")), "{words}");
    }
}

#[tokio::test]
async fn pages_of_proxies_are_passing_failures_and_their_html_is_not_shown() {
    let page = || "<html><body>Sorry <script>alert(1)</script></body></html>";
    let (kind, words) = failure(ask_one(move |_| response(503, "text/html", page())).await);
    assert_eq!((kind, words.as_str()), (Transient, "HTTP 503 Service Unavailable"));
    let (kind, words) = failure(ask_one(move |_| response(200, "text/html; charset=utf-8", page())).await);
    assert_eq!((kind, words.as_str()), (Transient, "200 with text/html instead of JSON: a login page or another server's?"));
    let (kind, words) = failure(ask_one(|_| response(503, "text/plain", "upstream connect error\r\n")).await);
    assert_eq!((kind, words.as_str()), (Transient, "HTTP 503 Service Unavailable: upstream connect error"));
    // said to be JSON
    let (kind, words) = failure(ask_one(move |_| json(200, page())).await);
    assert_eq!((kind, words.as_str()), (Transient, "the body of the answer is not of the form of the query API"));
}

#[tokio::test]
async fn a_server_that_wants_to_be_left_alone_is_heard() {
    let busy = |status: u16| {
        move |_: &support::Asked| Response::builder().status(status).header("retry-after", "17").body(Body::empty()).unwrap()
    };
    assert_eq!(whole_failure(ask_one(busy(429)).await).retry_after_s, Some(17));
    assert_eq!(whole_failure(ask_one(busy(503)).await).retry_after_s, Some(17));
    assert_eq!(whole_failure(ask_one(busy(403)).await).retry_after_s, None);
}

#[tokio::test]
async fn broken_json_is_a_passing_failure_that_quotes_nothing() {
    for body in [
        "",
        "{",
        "null",
        "[]",
        "{}",
        r#"{"status":"success"}"#,
        r#"{"status":"maybe"}"#,
        r#"{"status":"success","status":"success"}"#,
    ] {
        let (kind, words) = failure(answer_to(body.to_owned()).await);
        assert_eq!(kind, Transient, "{body}: {words}");
        assert!(body.is_empty() || !words.contains(body), "{words}");
    }
}

#[tokio::test]
async fn an_old_answer_is_refused_and_one_from_the_future_is_not() {
    let scalar = |s: i64| success(&format!(r#"{{"resultType":"scalar","result":[{s},"7"]}}"#), "");
    let (kind, words) = failure(answer_to(scalar(AT_S - 301)).await);
    assert_eq!(kind, Transient);
    assert!(words.contains("301 s older"), "{words}");
    assert_eq!(answer_to(scalar(AT_S - 299)).await, Answer::Values(vec![7.0]));
    assert_eq!(answer_to(scalar(AT_S + 3600)).await, Answer::Values(vec![7.0]));
}

#[tokio::test]
async fn a_body_over_the_limit_is_not_read_to_its_end_announced_or_not() {
    let long = success(&vector(&["0.5"; 200]), "");
    for announced in [true, false] {
        let long = long.clone();
        let server = Server::start(move |_| {
            if announced {
                return json(200, &long);
            }
            let first = futures::stream::iter([Ok::<_, std::io::Error>(Bytes::from(long.clone()))]);
            // never ends: only a reader that counts comes back
            let body = Body::from_stream(first.chain(futures::stream::repeat_with(|| Ok(Bytes::from_static(&[b' '; 512])))));
            Response::builder().header("content-type", "application/json").body(body).unwrap()
        })
        .await;
        let config = PrometheusConfig { body_max_bytes: 1000, ..PrometheusConfig::new(&server.url) };
        let (kind, words) = failure(ask(config).await);
        assert_eq!((kind, words.as_str()), (Transient, "the answer is longer than 1000 bytes: aggregate in the query"));
    }
}

#[tokio::test]
async fn a_body_of_exactly_the_limit_is_read_and_one_byte_more_is_not() {
    let body = success(&vector(&["0.5"]), "");
    let length = body.len();
    let server = Server::start(move |_| {
        // in two parts, so that no length is announced
        let (first, second) = body.split_at(10);
        let parts = [first, second].map(|part| Ok::<_, std::io::Error>(Bytes::from(part.to_owned())));
        let body = Body::from_stream(futures::stream::iter(parts));
        Response::builder().header("content-type", "application/json").body(body).unwrap()
    })
    .await;
    let config = |body_max_bytes| PrometheusConfig { body_max_bytes, ..PrometheusConfig::new(&server.url) };
    assert_eq!(ask(config(length)).await, Answer::Values(vec![0.5]));
    assert_eq!(failure(ask(config(length - 1)).await).0, Transient);
}

#[tokio::test]
async fn a_packed_body_is_unpacked_under_the_same_limit() {
    let pack = |plain: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        std::io::Write::write_all(&mut encoder, plain).unwrap();
        encoder.finish().unwrap()
    };
    let packed_answer = |body: Vec<u8>, encoding: &'static str| {
        move |_: &support::Asked| {
            let response = Response::builder().header("content-type", "application/json").header("content-encoding", encoding);
            response.body(Body::from(body.clone())).unwrap()
        }
    };
    let small = pack(success(&vector(&["0.5"]), "").as_bytes());
    assert_eq!(ask_one(packed_answer(small.clone(), "gzip")).await, Answer::Values(vec![0.5]));
    let bomb = pack(&vec![b' '; 8 << 20]);
    assert!(bomb.len() < 16 << 10);
    assert!(failure(ask_one(packed_answer(bomb, "gzip")).await).1.contains("longer than 4194304 bytes"));
    assert_eq!(failure(ask_one(packed_answer(small[..20].to_vec(), "gzip")).await).0, Transient);
    assert_eq!(failure(ask_one(packed_answer(small, "br")).await).0, Transient);
}
