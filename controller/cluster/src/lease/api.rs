//! The three requests an elector makes. Each may fail without saying whether it took effect.

use std::time::Duration;

use http::{Method, StatusCode};
use tokio::time::Instant;

use super::record::Record;
use crate::object::request::{Answer, Call};

/// What came back.
#[derive(Debug)]
pub(super) enum Reply {
    Record(Record),
    Missing,
    /// Somebody else wrote in between.
    Conflict,
    /// Refused, or nobody knows.
    Failed(String),
}

pub(super) struct LeaseApi {
    client: kube::Client,
    collection: String,
    name: String,
}

impl LeaseApi {
    /// The names must be valid segments of an address.
    pub(super) fn new(client: kube::Client, namespace: &str, name: &str) -> Self {
        let collection = format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases");
        Self { client, collection, name: name.to_owned() }
    }

    fn path(&self) -> String {
        format!("{}/{}", self.collection, self.name)
    }

    pub(super) async fn read(&self, timeout: Duration) -> Reply {
        self.send(Call::new(Method::GET, self.path()), timeout).await
    }

    pub(super) async fn create(&self, record: &Record, timeout: Duration) -> Reply {
        self.send(Call::new(Method::POST, self.collection.clone()).json(record.object()), timeout).await
    }

    /// Compare-and-swap by the resourceVersion in the record.
    pub(super) async fn replace(&self, record: &Record, timeout: Duration) -> Reply {
        self.send(Call::new(Method::PUT, self.path()).json(record.object()), timeout).await
    }

    async fn send(&self, call: Call, timeout: Duration) -> Reply {
        match tokio::time::timeout_at(Instant::now() + timeout, call.send(&self.client)).await {
            Err(_) => Reply::Failed(format!("no answer within {} ms", timeout.as_millis())),
            Ok(Err(unanswered)) => Reply::Failed(unanswered.message),
            Ok(Ok(answer)) => judge(&answer),
        }
    }
}

fn judge(answer: &Answer) -> Reply {
    match answer.status {
        status if status.is_success() => match serde_json::from_slice(&answer.body) {
            Ok(object) => Reply::Record(Record::new(object)),
            Err(error) => Reply::Failed(format!("the Lease cannot be decoded: {error}")),
        },
        StatusCode::NOT_FOUND => Reply::Missing,
        StatusCode::CONFLICT => Reply::Conflict,
        other => Reply::Failed(format!("the API server answers {}", other.as_u16())),
    }
}
