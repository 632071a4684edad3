//! Snapshots: what a revision renders to, stored in the cluster, immutable, addressed by digest, checked when read. A rollback
//! needs no Git.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sluice_cluster::object::{ObjectKey, Objects, Propagation, ReadError, WriteError};
use sluice_plan::Render;

/// Bytes of one shard before base64: a Secret holds 1 MiB of data, an object about 1.5 MB on the wire.
const SHARD_BYTES: usize = 700 * 1024;
/// Shards of one snapshot: 64 of them hold more than any render may have.
const SHARDS_MAX: usize = 64;
/// Bytes that a snapshot may unpack to; above the 20 MiB that a renderer may print.
const UNPACKED_BYTES_MAX: u64 = 64 << 20;
const LABEL_SYNC_UID: &str = "sluice.dev/snapshot-of";
const LABEL_DIGEST: &str = "sluice.dev/digest";
const ANNOTATION_SHARDS: &str = "sluice.dev/shards";
const SECRET_TYPE: &str = "sluice.dev/snapshot";
/// Characters of a digest in names and labels; the whole digest is checked on reading.
const DIGEST_CHARS: usize = 40;

/// Why a snapshot cannot be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("snapshot {digest} cannot be read; check the controller's Role for Secrets in its namespace")]
    Read { digest: String, source: ReadError },
    #[error("snapshot {digest} cannot be stored; check the controller's Role for Secrets in its namespace")]
    Write { digest: String, source: WriteError },
    #[error("snapshot {digest} is damaged ({what}); traffic stays where it is, push a commit to replace it")]
    Damaged { digest: String, what: &'static str },
    #[error("the render is too large to be stored: {bytes} bytes packed")]
    TooLarge { bytes: usize },
}

/// The snapshots of one GitSync.
#[derive(Clone)]
pub struct Snapshots {
    objects: Objects,
    namespace: String,
    sync_uid: String,
}

impl Snapshots {
    #[must_use]
    pub fn new(objects: Objects, namespace: &str, sync_uid: &str) -> Self {
        Self { objects, namespace: namespace.to_owned(), sync_uid: sync_uid.to_owned() }
    }

    /// Whether they are those of the GitSync with this uid.
    #[must_use]
    pub fn are_of(&self, uid: &str) -> bool {
        self.sync_uid == uid
    }

    fn key(&self, digest: &str, shard: usize) -> ObjectKey {
        let uid: String = self.sync_uid.chars().take(8).collect();
        let digest: String = digest.chars().take(DIGEST_CHARS).collect();
        ObjectKey::new("", "v1", "Secret", Some(&self.namespace), &format!("snapshot-{uid}-{digest}-{shard}"))
    }

    /// Stores a render. Storing the same twice is no error.
    ///
    /// # Errors
    /// [`SnapshotError`].
    pub async fn store(&self, render: &Render) -> Result<(), SnapshotError> {
        let list: Vec<&Value> = render.objects.values().collect();
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        let packed = serde_json::to_vec(&list)
            .ok()
            .and_then(|text| encoder.write_all(&text).ok())
            .and_then(|()| encoder.finish().ok())
            .ok_or(SnapshotError::Damaged { digest: render.digest.clone(), what: "it cannot be packed" })?;
        let shards: Vec<&[u8]> = packed.chunks(SHARD_BYTES).collect();
        if shards.len() > SHARDS_MAX {
            return Err(SnapshotError::TooLarge { bytes: packed.len() });
        }
        // The first shard tells how many there are: it is written last, so that a snapshot with a first shard is whole.
        for (index, shard) in shards.iter().enumerate().rev() {
            let key = self.key(&render.digest, index);
            let data = k8s_openapi::ByteString(shard.to_vec());
            let object = json!({
                "apiVersion": "v1", "kind": "Secret", "type": SECRET_TYPE, "immutable": true,
                "metadata": {
                    "name": key.name, "namespace": self.namespace,
                    "labels": {
                        LABEL_SYNC_UID: self.sync_uid,
                        LABEL_DIGEST: render.digest.chars().take(DIGEST_CHARS).collect::<String>(),
                    },
                    "annotations": {ANNOTATION_SHARDS: shards.len().to_string()},
                },
                "data": {"render": data},
            });
            match self.objects.create(&key, &object, sluice_crds::names::FIELD_MANAGER).await {
                Ok(_) | Err(WriteError::AlreadyExists { .. }) => {}
                Err(source) => return Err(SnapshotError::Write { digest: render.digest.clone(), source }),
            }
        }
        Ok(())
    }

    /// Reads a render and checks its digest; `None` when it was never stored.
    ///
    /// # Errors
    /// [`SnapshotError`].
    pub async fn load(&self, digest: &str) -> Result<Option<Render>, SnapshotError> {
        let read = |source| SnapshotError::Read { digest: digest.to_owned(), source };
        let damaged = |what| SnapshotError::Damaged { digest: digest.to_owned(), what };
        let Some(first) = self.objects.get(&self.key(digest, 0)).await.map_err(read)? else { return Ok(None) };
        let count: usize =
            sluice_plan::view::annotation(&first, ANNOTATION_SHARDS).parse().map_err(|_| damaged("its size is unknown"))?;
        let mut packed = shard(first).ok_or_else(|| damaged("a shard has no data"))?;
        for index in 1..count.min(SHARDS_MAX) {
            let next =
                self.objects.get(&self.key(digest, index)).await.map_err(read)?.ok_or_else(|| damaged("a shard is missing"))?;
            packed.extend(shard(next).ok_or_else(|| damaged("a shard has no data"))?);
        }
        let mut text = Vec::new();
        GzDecoder::new(packed.as_slice())
            .take(UNPACKED_BYTES_MAX)
            .read_to_end(&mut text)
            .map_err(|_| damaged("it cannot be unpacked"))?;
        let list: Vec<Value> = serde_json::from_slice(&text).map_err(|_| damaged("it cannot be decoded"))?;
        let render = Render::from_objects(list).map_err(|_| damaged("it holds no render"))?;
        if render.digest == digest { Ok(Some(render)) } else { Err(damaged("its digest differs")) }
    }

    /// Deletes the snapshots of this GitSync that nothing names any more.
    ///
    /// # Errors
    /// [`SnapshotError`].
    pub async fn collect(&self, keep: &[String]) -> Result<(), SnapshotError> {
        let labels = format!("{LABEL_SYNC_UID}={}", self.sync_uid);
        let all = || "of this GitSync".to_owned();
        let listing = self
            .objects
            .list("", "v1", "Secret", Some(&self.namespace), Some(&labels), SHARDS_MAX * 32)
            .await
            .map_err(|source| SnapshotError::Read { digest: all(), source })?;
        for secret in &listing.items {
            let digest = sluice_plan::view::label(secret, LABEL_DIGEST);
            if keep.iter().any(|kept| kept.starts_with(digest)) {
                continue;
            }
            let name = sluice_plan::check::name_of(secret);
            let key = ObjectKey::new("", "v1", "Secret", Some(&self.namespace), name);
            self.objects
                .delete(&key, sluice_plan::view::uid(secret), None, Propagation::Background)
                .await
                .map_err(|source| SnapshotError::Write { digest: digest.to_owned(), source })?;
        }
        Ok(())
    }
}

/// Deletes snapshots of GitSyncs that are gone: deleted while no controller ran.
///
/// # Errors
/// [`SnapshotError`].
pub async fn collect_orphans(objects: &Objects, namespace: &str, living: &[String]) -> Result<(), SnapshotError> {
    let listing = objects
        .list("", "v1", "Secret", Some(namespace), Some(LABEL_SYNC_UID), SHARDS_MAX * 1024)
        .await
        .map_err(|source| SnapshotError::Read { digest: "of deleted GitSyncs".to_owned(), source })?;
    let mut gone: Vec<&str> = listing.items.iter().map(|secret| sluice_plan::view::label(secret, LABEL_SYNC_UID)).collect();
    gone.sort_unstable();
    gone.dedup();
    for uid in gone.into_iter().filter(|uid| !living.iter().any(|living| living == uid)) {
        Snapshots::new(objects.clone(), namespace, uid).collect(&[]).await?;
    }
    Ok(())
}

fn shard(secret: Value) -> Option<Vec<u8>> {
    let data = secret.get("data")?.get("render")?.clone();
    serde_json::from_value::<k8s_openapi::ByteString>(data).ok().map(|bytes| bytes.0)
}
