//! What a request can do to the cluster, read from its method and address alone.

use http::{Method, Uri};

/// Access reviews are questions put as a POST.
const REVIEW_PREFIX: &str = "/apis/authorization.k8s.io/";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RequestClass {
    Read,
    Watch,
    /// A mutating verb that the server promises not to store. Allowed without the lease: it changes nothing.
    DryRun,
    Write,
}

impl RequestClass {
    #[must_use]
    pub fn of(method: &Method, uri: &Uri) -> Self {
        if *method == Method::GET || *method == Method::HEAD || *method == Method::OPTIONS {
            return if is_watch(uri) { Self::Watch } else { Self::Read };
        }
        if *method == Method::POST && uri.path().starts_with(REVIEW_PREFIX) {
            return Self::Read;
        }
        if is_dry_run(uri) { Self::DryRun } else { Self::Write }
    }

    /// Does the verb change objects, stored or not?
    #[must_use]
    pub fn mutates(self) -> bool {
        matches!(self, Self::DryRun | Self::Write)
    }
}

fn parameters(uri: &Uri) -> impl Iterator<Item = (&str, &str)> {
    uri.query().unwrap_or_default().split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

fn is_watch(uri: &Uri) -> bool {
    parameters(uri).any(|(key, value)| key == "watch" && (value == "true" || value == "1"))
}

/// Every `dryRun` must be `All`: anything else counts as a write, so that a doubtful address never passes a closed gate.
fn is_dry_run(uri: &Uri) -> bool {
    let mut values = parameters(uri).filter(|(key, _)| *key == "dryRun").map(|(_, value)| value).peekable();
    values.peek().is_some() && values.all(|value| value == "All")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    fn class(method: Method, uri: &str) -> RequestClass {
        RequestClass::of(&method, &uri.parse().unwrap())
    }

    #[test]
    fn the_class_follows_from_method_and_query() {
        for (method, uri, expected) in [
            (Method::GET, "/api/v1/pods", RequestClass::Read),
            (Method::GET, "/api/v1/pods?watch=true&x=y", RequestClass::Watch),
            (Method::GET, "/api/v1/pods?watch=1", RequestClass::Watch),
            (Method::GET, "/api/v1/pods?watch=false", RequestClass::Read),
            (Method::POST, "/api/v1/namespaces/a/pods", RequestClass::Write),
            (Method::PATCH, "/x?dryRun=All", RequestClass::DryRun),
            (Method::PATCH, "/x?fieldManager=a&dryRun=All&force=true", RequestClass::DryRun),
            (Method::PATCH, "/x?dryRun=", RequestClass::Write),
            (Method::PATCH, "/x?dryRun=All&dryRun=", RequestClass::Write),
            (Method::PATCH, "/x?xdryRun=All", RequestClass::Write),
            (Method::PATCH, "/x?dryrun=All", RequestClass::Write),
            (Method::DELETE, "/x?dryRun=all", RequestClass::Write),
            (Method::POST, "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", RequestClass::Read),
            (Method::PUT, "/apis/authorization.k8s.io/v1/x", RequestClass::Write),
            (Method::CONNECT, "/x", RequestClass::Write),
        ] {
            assert_eq!(class(method.clone(), uri), expected, "{method} {uri}");
        }
    }
}
