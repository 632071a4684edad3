//! Names that are part of the product's contract: annotations, labels, finalizers, field managers.

/// The API group of all kinds.
pub const GROUP: &str = "sluice.dev";
/// The version of all kinds.
pub const VERSION: &str = "v1alpha1";

/// Passes the present gate of the release of the named commit.
pub const PROMOTE: &str = "sluice.dev/promote";
/// Passes all gates of the release of the named commit.
pub const PROMOTE_FULL: &str = "sluice.dev/promote-full";
/// Takes the release of the named commit back.
pub const ABORT: &str = "sluice.dev/abort";
/// Lifts the quarantine of the named commit once.
pub const RETRY: &str = "sluice.dev/retry";
/// Holds all forward motion while it is "true".
pub const PAUSE: &str = "sluice.dev/pause";
/// Lets a braked prune go on; the value is the digest of exactly that prune.
pub const APPROVE_PRUNE: &str = "sluice.dev/approve-prune";
/// All commands that are consumed once.
pub const COMMANDS: [&str; 5] = [PROMOTE, PROMOTE_FULL, ABORT, RETRY, APPROVE_PRUNE];
/// Appended to a command's annotation: the user name that the API server saw, stamped by the chart's admission policy.
pub const BY_SUFFIX: &str = "-by";

/// On every object that a GitSync applies: the GitSync's name and namespace. Prune deletes nothing that lacks them.
pub const LABEL_GITSYNC: &str = "sluice.dev/gitsync";
/// See [`LABEL_GITSYNC`].
pub const LABEL_GITSYNC_NAMESPACE: &str = "sluice.dev/gitsync-namespace";
/// On objects that live only while a release is in motion: the Release's name.
pub const LABEL_RELEASE: &str = "sluice.dev/release";
/// On the content-named copies of ConfigMaps and Secrets: the name that Git gives the original.
pub const LABEL_COPY_OF: &str = "sluice.dev/copy-of";
/// On objects of a release in motion: the epoch of the leader that last touched them. Removed at rest.
pub const LABEL_EPOCH: &str = "sluice.dev/epoch";

/// On GitSyncs and Rollouts while a release is in motion, and only then: uninstalling at rest meets no finalizer.
pub const FINALIZER_IN_MOTION: &str = "sluice.dev/in-motion";

/// The one manager of every field that Sluice applies. It never changes.
pub const FIELD_MANAGER: &str = "sluice";
/// Co-owns `spec.replicas` when Git gives the number up to an autoscaler: a sole manager that drops it sets it to 1.
pub const FIELD_MANAGER_REPLICAS: &str = "sluice-replicas";

/// Kubernetes' own label that tells the pods of one ReplicaSet from another's.
pub const POD_TEMPLATE_HASH: &str = "pod-template-hash";
