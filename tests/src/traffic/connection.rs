//! One HTTP/1.1 connection, without a pool and without retries.

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use super::record::Outcome;

/// Bytes of an answer that are read; podinfo's has 400.
const BODY_BYTES_MAX: usize = 64 << 10;

pub struct Connection {
    sender: SendRequest<Empty<Bytes>>,
}

impl Connection {
    pub async fn open(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).await.context("connect")?;
        stream.set_nodelay(true).context("connect")?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.context("handshake")?;
        // ends when the sender is dropped or the other side closes; its error is the request's
        tokio::spawn(connection);
        Ok(Self { sender })
    }

    pub async fn get(&mut self, host: &str) -> Result<Outcome> {
        self.sender.ready().await.map_err(Unsent)?;
        let request = hyper::Request::get("/").header("host", host).body(Empty::new()).context("request")?;
        let answer = match self.sender.send_request(request).await {
            Err(error) if error.is_canceled() => return Err(Unsent(error).into()),
            answer => answer.context("send")?,
        };
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), BODY_BYTES_MAX).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!("body: {error}"))?.to_bytes();
        if status != 200 {
            return Ok(Outcome::Status(status));
        }
        // podinfo tells which configuration it runs with: the message is the version of a revision
        let answer: Value = serde_json::from_slice(&body).context("body")?;
        let text = |field: &str| answer.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(Outcome::Answer { version: text("message"), pod: text("hostname") })
    }
}

/// A request that never left.
#[derive(Debug, thiserror::Error)]
#[error("the connection was closed before the request was sent")]
struct Unsent(#[source] hyper::Error);

pub fn is_unsent(error: &anyhow::Error) -> bool {
    error.is::<Unsent>()
}
