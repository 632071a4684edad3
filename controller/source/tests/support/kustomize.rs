//! The real kustomize, and a renderer that runs it in the real jail.

use std::path::PathBuf;

use sluice_source::render::{RenderLimits, Renderer};

/// Found by `SLUICE_KUSTOMIZE`, on the `PATH`, or where the test cluster keeps its binaries.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("SLUICE_KUSTOMIZE") {
        return PathBuf::from(path);
    }
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let on_path = std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect::<Vec<_>>()).unwrap_or_default();
    let places = on_path.into_iter().chain(cache.map(|cache| cache.join("sluice/cluster/bin")));
    let found = places.map(|place| place.join("kustomize")).find(|path| path.is_file());
    found.expect(
        "these tests need kustomize 5: put it on the PATH, name it in SLUICE_KUSTOMIZE, or build the test cluster's binaries",
    )
}

pub fn renderer() -> Renderer {
    Renderer { kustomize: binary(), limits: RenderLimits::default(), jail: vec![env!("CARGO_BIN_EXE_jail").into()] }
}
