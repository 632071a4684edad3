//! Who a request is made as: the controller itself, or a tenant's service account that it impersonates.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use kube::config::AuthInfo;

use super::fault::StackError;

const USER: HeaderName = HeaderName::from_static("impersonate-user");
const GROUP: HeaderName = HeaderName::from_static("impersonate-group");
const UID: HeaderName = HeaderName::from_static("impersonate-uid");
const IMPERSONATE_PREFIX: &str = "impersonate-";
/// Names of objects: RFC 1123 subdomain.
const NAME_MAX: usize = 253;
/// Names of namespaces: RFC 1123 label.
const NAMESPACE_MAX: usize = 63;

/// A service account whose name was checked, so that it cannot spell another identity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceAccountRef {
    namespace: String,
    name: String,
}

impl ServiceAccountRef {
    pub fn new(namespace: &str, name: &str) -> Result<Self, StackError> {
        let label = |text: &str, extra: &str, max: usize| {
            !text.is_empty()
                && text.len() <= max
                && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || extra.contains(c))
                && text.starts_with(|c: char| c.is_ascii_alphanumeric())
                && text.ends_with(|c: char| c.is_ascii_alphanumeric())
        };
        if label(namespace, "", NAMESPACE_MAX) && label(name, ".", NAME_MAX) {
            Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
        } else {
            Err(StackError::ServiceAccount { namespace: namespace.to_owned(), name: name.to_owned() })
        }
    }

    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The user name the API server sees.
    #[must_use]
    pub fn user(&self) -> String {
        format!("system:serviceaccount:{}:{}", self.namespace, self.name)
    }
}

/// The impersonation headers of one client; empty for the process's own identity.
#[derive(Clone, Debug, Default)]
pub(crate) struct Identity {
    headers: Vec<(HeaderName, HeaderValue)>,
    user: Option<String>,
}

impl Identity {
    /// The identity of the configuration, including what it impersonates itself (`kubectl --as`).
    pub(crate) fn of_config(auth: &AuthInfo) -> Result<Self, StackError> {
        let value = |field: &'static str, text: &str| HeaderValue::from_str(text).map_err(|_| StackError::Header { field });
        let mut headers = Vec::new();
        if let Some(user) = &auth.impersonate {
            headers.push((USER, value("the impersonated user", user)?));
        }
        if let Some(uid) = &auth.impersonate_uid {
            headers.push((UID, value("the impersonated uid", uid)?));
        }
        for group in auth.impersonate_groups.iter().flatten() {
            headers.push((GROUP, value("an impersonated group", group)?));
        }
        Ok(Self { headers, user: auth.impersonate.clone() })
    }

    /// The user alone: for a service account's name the API server adds the account's three groups itself (seen with a
    /// SelfSubjectReview on 1.36.3), and naming them would need the right to impersonate groups, `system:masters` included.
    pub(crate) fn of_service_account(account: &ServiceAccountRef) -> Self {
        let user = account.user();
        // the names were checked: every character is one a header may hold
        let headers = HeaderValue::from_str(&user).map(|value| (USER, value)).into_iter().collect();
        Self { headers, user: Some(user) }
    }

    pub(crate) fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// Replaces whatever identity the request asked for.
    pub(crate) fn stamp(&self, headers: &mut HeaderMap) {
        let foreign: Vec<HeaderName> =
            headers.keys().filter(|name| name.as_str().starts_with(IMPERSONATE_PREFIX)).cloned().collect();
        for name in foreign {
            headers.remove(name);
        }
        for (name, value) in &self.headers {
            headers.append(name.clone(), value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn a_name_that_could_spell_another_identity_is_refused() {
        for (namespace, name) in [
            ("shop:x", "a"),
            ("shop", "a:b"),
            ("", "a"),
            ("shop", ""),
            ("shop", "a\r\nb"),
            ("Shop", "a"),
            ("a.b", "c"),
            ("-a", "b"),
        ] {
            assert!(ServiceAccountRef::new(namespace, name).is_err(), "{namespace}/{name}");
        }
        assert_eq!(ServiceAccountRef::new("shop", "deployer.v2").unwrap().user(), "system:serviceaccount:shop:deployer.v2");
    }

    #[test]
    fn stamping_replaces_what_the_request_asked_for() {
        let mut headers = HeaderMap::new();
        headers.append(USER, HeaderValue::from_static("admin"));
        headers.append("impersonate-extra-scopes", HeaderValue::from_static("all"));
        Identity::default().stamp(&mut headers);
        assert!(headers.is_empty());
        let account = ServiceAccountRef::new("shop", "deployer").unwrap();
        Identity::of_service_account(&account).stamp(&mut headers);
        assert_eq!(headers.get_all(USER).iter().collect::<Vec<_>>(), ["system:serviceaccount:shop:deployer"]);
        assert!(!headers.contains_key(GROUP), "the API server adds the groups of the account itself");
    }
}
