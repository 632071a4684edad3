//! The connection to a real API server: hyper without replay of requests, TLS and credentials by kube.

use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::{Body, ConfigExt as _};
use tower::{BoxError, Layer as _, Service};

use super::fault::StackError;
use super::guard::{GatedBody, RawBody, RawFuture, RawService};
use crate::gate::Witness;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Finds dead peers of watches, on which nothing is ever written.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);
/// Well below the 90 s after which the API server drops an idle connection: a request on a connection that is just being
/// dropped fails, and here it is not replayed.
const POOL_IDLE: Duration = Duration::from_secs(30);
const POOL_IDLE_CONNECTIONS: usize = 64;

type Connector = hyper_util::client::legacy::connect::HttpConnector;

#[derive(Clone)]
struct Wire<C> {
    client: hyper_util::client::legacy::Client<C, GatedBody>,
}

impl<C> Service<Request<Body>> for Wire<C>
where
    C: hyper_util::client::legacy::connect::Connect + Clone + Send + Sync + 'static,
{
    type Response = Response<RawBody>;
    type Error = BoxError;
    type Future = RawFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> RawFuture {
        let witness = request.extensions_mut().remove::<Witness>();
        let answer = self.client.request(request.map(|body| GatedBody::new(body, witness)));
        Box::pin(async move { Ok(answer.await?.map(|body| body.map_err(BoxError::from).boxed_unsync())) })
    }
}

/// The bare connection, which the gate wraps, relative to the address of the cluster.
pub(crate) fn wire(config: &kube::Config) -> Result<RawService, StackError> {
    if let Some(proxy) = &config.proxy_url {
        // its address may hold a password
        return Err(StackError::Proxy { proxy: proxy.host().unwrap_or("without host").to_owned() });
    }
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // it fails only if another thread was first, which serves as well
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    }
    let mut connector: Connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    connector.set_keepalive(Some(TCP_KEEPALIVE));
    let connector = config.rustls_https_connector_with_connector(connector).map_err(|error| StackError::Tls(Box::new(error)))?;
    let client = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
        // a request that was cancelled on a reused connection is not sent again: it may be a write
        .retry_canceled_requests(false)
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(POOL_IDLE)
        .pool_max_idle_per_host(POOL_IDLE_CONNECTIONS)
        .build(connector);
    Ok(RawService::new(config.base_uri_layer().layer(Wire { client })))
}

/// Credentials and extra headers, outside the gate: fetching a token may take time.
pub(crate) fn with_credentials(config: &kube::Config, guarded: RawService) -> Result<RawService, StackError> {
    let mut plain = config.clone();
    // impersonation is the business of the identity of each client
    plain.auth_info.impersonate = None;
    plain.auth_info.impersonate_uid = None;
    plain.auth_info.impersonate_groups = None;
    plain.auth_info.impersonate_user_extra = None;
    let credentials = |error| StackError::Credentials(Box::new(error));
    let headers = plain.extra_headers_layer().map_err(credentials)?;
    let service = headers.layer(guarded);
    Ok(match plain.auth_layer().map_err(credentials)? {
        Some(auth) => RawService::new(auth.layer(service)),
        None => RawService::new(service),
    })
}
