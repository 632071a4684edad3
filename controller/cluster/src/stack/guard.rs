//! The innermost layer: holds every mutating request against the lease gate, and against nothing else.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use kube::client::Body;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Service};

use super::class::RequestClass;
use super::counts::Counters;
use super::fault::StackFault;
use crate::gate::{Gate, Witness};

/// Only the elector's requests carry it, and only towards Leases it opens the way.
#[derive(Clone, Debug)]
pub(crate) struct LeaseTraffic;

const LEASE_PREFIX: &str = "/apis/coordination.k8s.io/v1/namespaces/";

/// Set once the request was handed to the transport: from then on a missing answer is an unknown outcome.
#[derive(Clone, Debug, Default)]
pub(crate) struct SentMark(Arc<AtomicBool>);

impl SentMark {
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

pub(crate) type RawBody = UnsyncBoxBody<Bytes, BoxError>;
pub(crate) type RawService = BoxCloneSyncService<Request<Body>, Response<RawBody>, BoxError>;
pub(crate) type RawFuture = Pin<Box<dyn Future<Output = Result<Response<RawBody>, BoxError>> + Send>>;

#[derive(Clone)]
pub(crate) struct Guarded {
    pub(crate) transport: RawService,
    pub(crate) gate: Gate,
    pub(crate) counters: Arc<Counters>,
}

impl Service<Request<Body>> for Guarded {
    type Response = Response<RawBody>;
    type Error = BoxError;
    type Future = RawFuture;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.transport.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> RawFuture {
        let class = RequestClass::of(request.method(), request.uri());
        let of_elector = request.extensions().get::<LeaseTraffic>().is_some() && is_lease(request.uri().path());
        let permit = if class == RequestClass::Write && !of_elector {
            match self.gate.admit() {
                Some(permit) => Some(permit),
                None => {
                    self.counters.refused();
                    return Box::pin(std::future::ready(Err(StackFault::NotLeader.into())));
                }
            }
        } else {
            None
        };
        if of_elector {
            self.counters.lease_sent();
        } else {
            self.counters.sent(class);
        }
        if let Some(mark) = request.extensions().get::<SentMark>() {
            mark.0.store(true, Ordering::Release);
        }
        let Some(permit) = permit else {
            return Box::pin(self.transport.call(request));
        };
        let witness = permit.witness();
        request.extensions_mut().insert(witness.clone());
        let answer = self.transport.call(request);
        Box::pin(async move {
            let answer = WithinTerm { answer: Box::pin(answer), ended: Box::pin(witness.clone().ended()), witness }.await;
            drop(permit);
            answer
        })
    }
}

fn is_lease(path: &str) -> bool {
    path.strip_prefix(LEASE_PREFIX).and_then(|rest| rest.split('/').nth(1)) == Some("leases")
}

/// Polls the transport only while the term holds. The clock is read on every poll, not only when a timer fires: after a pause
/// of the whole process the connection may be found ready before the timer is.
struct WithinTerm<F, E> {
    answer: Pin<Box<F>>,
    ended: Pin<Box<E>>,
    witness: Witness,
}

impl<F, E> Future for WithinTerm<F, E>
where
    F: Future<Output = Result<Response<RawBody>, BoxError>>,
    E: Future<Output = ()>,
{
    type Output = Result<Response<RawBody>, BoxError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if !this.witness.holds() || this.ended.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(StackFault::LeaseEnded.into()));
        }
        this.answer.as_mut().poll(context)
    }
}

/// A request body that is handed to the connection only while the term holds: the connection runs in a task of its own and may
/// get round to it late. A body cut off leaves an incomplete request, which the server does not carry out.
pub(crate) struct GatedBody {
    body: Body,
    witness: Option<Witness>,
}

impl GatedBody {
    pub(crate) fn new(body: Body, witness: Option<Witness>) -> Self {
        Self { body, witness }
    }
}

impl HttpBody for GatedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.witness.as_ref().is_some_and(|witness| !witness.holds()) {
            return Poll::Ready(Some(Err(StackFault::LeaseEnded.into())));
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        Poll::Ready(frame.map(|frame| frame.map_err(BoxError::from)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
