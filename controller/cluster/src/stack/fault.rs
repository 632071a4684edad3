//! Failures that the client stack itself produces, as opposed to answers of the API server.

use std::error::Error;

/// Found in the error chain of a call; [`StackFault::within`] digs it out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StackFault {
    #[error("not sent: this process does not hold the leader lease")]
    NotLeader,
    #[error("the leader lease ended while the write was under way; whether it was accepted is unknown")]
    LeaseEnded,
    #[error("no complete answer within {timeout_ms} ms ({})", if *.sent { "the request was sent" } else { "the request was not sent" })]
    Deadline { timeout_ms: u64, sent: bool },
    #[error("the stream was silent for {idle_ms} ms")]
    Idle { idle_ms: u64 },
    #[error("not sent: the watch client does not write")]
    WatchClientWrite,
}

impl StackFault {
    /// The fault in an error chain, if the stack caused it.
    #[must_use]
    pub fn within<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a StackFault> {
        let mut current = Some(error);
        while let Some(error) = current {
            if let Some(fault) = error.downcast_ref::<StackFault>() {
                return Some(fault);
            }
            current = error.source();
        }
        None
    }
}

/// A cluster configuration that the stack cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    #[error("the credentials of the cluster configuration cannot be used; check the kubeconfig or the mounted token")]
    Credentials(#[source] Box<kube::Error>),
    #[error(
        "the TLS settings of the cluster configuration cannot be used; check the certificate authority and client certificate"
    )]
    Tls(#[source] Box<kube::Error>),
    #[error("the cluster configuration names a proxy ({proxy}), which is not supported; add the API server to NO_PROXY")]
    Proxy { proxy: String },
    #[error("{field} of the cluster configuration is no valid header value")]
    Header { field: &'static str },
    #[error("service account {namespace:?}/{name:?} is no valid name; use lower-case letters, digits, '-' and '.'")]
    ServiceAccount { namespace: String, name: String },
}
