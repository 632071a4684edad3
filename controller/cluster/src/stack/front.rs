//! The outer layers of a client: total deadline, request budget, trace hook, identity.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use kube::client::Body;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tower::{BoxError, Service, ServiceExt as _};

use super::class::RequestClass;
use super::fault::StackFault;
use super::guard::{LeaseTraffic, RawService, SentMark};
use super::identity::Identity;
use super::timed::{Limit, TimedBody, whole_ms};
use super::{RequestHook, RequestLine, StackOptions};
use crate::gate::Gate;

/// What all clients of one cluster share.
pub(crate) struct Shared {
    pub(crate) options: StackOptions,
    pub(crate) gate: Gate,
    pub(crate) slots: Arc<Semaphore>,
    pub(crate) sequence: AtomicU64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Calls,
    Watches,
    Election,
}

#[derive(Clone)]
pub(crate) struct Front {
    pub(crate) base: RawService,
    pub(crate) shared: Arc<Shared>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) purpose: Purpose,
}

impl Front {
    /// How long the call may take. A write ends with the lease at the latest.
    fn timeout(&self, class: RequestClass) -> Duration {
        let options = &self.shared.options;
        match (self.purpose, class) {
            (Purpose::Watches, _) => options.watch_head_timeout,
            (Purpose::Calls, RequestClass::Write) => {
                // a closed gate is reported by the gate, not as an elapsed deadline
                let remaining = self.shared.gate.remaining().filter(|remaining| !remaining.is_zero());
                remaining.map_or(options.write_timeout, |remaining| remaining.min(options.write_timeout))
            }
            (_, RequestClass::Write | RequestClass::DryRun) => options.write_timeout,
            (_, RequestClass::Read | RequestClass::Watch) => options.read_timeout,
        }
    }
}

impl Service<Request<Body>> for Front {
    type Response = Response<TimedBody>;
    type Error = BoxError;
    type Future = futures::future::BoxFuture<'static, Result<Response<TimedBody>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        // readiness of the transport is awaited within the deadline of the call
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let class = RequestClass::of(request.method(), request.uri());
        if self.purpose == Purpose::Watches && class.mutates() {
            return Box::pin(std::future::ready(Err(StackFault::WatchClientWrite.into())));
        }
        self.identity.stamp(request.headers_mut());
        let mark = SentMark::default();
        request.extensions_mut().insert(mark.clone());
        if self.purpose == Purpose::Election {
            request.extensions_mut().insert(LeaseTraffic);
        }
        let timeout = self.timeout(class);
        let started = Instant::now();
        let hook = self.shared.options.hook.clone();
        let line = hook.as_ref().map(|_| RequestLine {
            sequence: self.shared.sequence.fetch_add(1, Ordering::Relaxed),
            class,
            method: request.method().clone(),
            path_and_query: request.uri().path_and_query().map(ToString::to_string).unwrap_or_default(),
            user: self.identity.user().map(str::to_owned),
        });
        // watches live long and the elector must never queue: neither takes part in the budget
        let slots = (self.purpose == Purpose::Calls).then(|| self.shared.slots.clone());
        let base = self.base.clone();
        let watches = self.purpose == Purpose::Watches;
        let idle = self.shared.options.watch_idle;
        Box::pin(async move {
            let answer = tokio::time::timeout_at(started + timeout, async {
                let slot = match slots {
                    // never closed, so that the only answer is a permit
                    Some(slots) => slots.acquire_owned().await.ok(),
                    None => None,
                };
                trace(hook.as_ref(), line.as_ref(), |hook, line| hook.before_send(line));
                let answer = base.oneshot(request).await;
                trace(hook.as_ref(), line.as_ref(), |hook, line| {
                    hook.after_reply(line, answer.as_ref().ok().map(|answer| answer.status().as_u16()));
                });
                answer.map(|answer| (answer, slot))
            })
            .await;
            let (answer, slot) =
                answer.map_err(|_| StackFault::Deadline { timeout_ms: whole_ms(timeout), sent: mark.is_set() })??;
            let (limit, end) = if watches {
                (Limit::Idle { idle }, Instant::now() + idle)
            } else {
                (Limit::Total { timeout }, started + timeout)
            };
            Ok(answer.map(|body| TimedBody::new(body, limit, end, slot)))
        })
    }
}

fn trace(hook: Option<&Arc<dyn RequestHook>>, line: Option<&RequestLine>, tell: impl FnOnce(&dyn RequestHook, &RequestLine)) {
    if let (Some(hook), Some(line)) = (hook, line) {
        tell(hook.as_ref(), line);
    }
}
