//! Answer bodies that end in time: by a total deadline, or after too long a silence.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep};
use tower::BoxError;

use super::fault::StackFault;
use super::guard::RawBody;

pub(crate) enum Limit {
    /// The whole call, from its beginning.
    Total { timeout: Duration },
    /// Between two pieces of the answer.
    Idle { idle: Duration },
}

pub(crate) struct TimedBody {
    body: RawBody,
    limit: Limit,
    timer: Pin<Box<Sleep>>,
    /// The call counts against the request budget until its answer was read.
    _slot: Option<OwnedSemaphorePermit>,
}

impl TimedBody {
    pub(crate) fn new(body: RawBody, limit: Limit, end: Instant, slot: Option<OwnedSemaphorePermit>) -> Self {
        Self { body, limit, timer: Box::pin(tokio::time::sleep_until(end)), _slot: slot }
    }
}

pub(crate) fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl HttpBody for TimedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        match this.limit {
            Limit::Total { timeout } => {
                // first, so that an answer that trickles without pause cannot outlast it
                if this.timer.as_mut().poll(context).is_ready() {
                    return Poll::Ready(Some(Err(StackFault::Deadline { timeout_ms: whole_ms(timeout), sent: true }.into())));
                }
                Pin::new(&mut this.body).poll_frame(context)
            }
            Limit::Idle { idle } => match Pin::new(&mut this.body).poll_frame(context) {
                Poll::Ready(frame) => {
                    this.timer.as_mut().reset(Instant::now() + idle);
                    Poll::Ready(frame)
                }
                Poll::Pending => {
                    ready!(this.timer.as_mut().poll(context));
                    Poll::Ready(Some(Err(StackFault::Idle { idle_ms: whole_ms(idle) }.into())))
                }
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
