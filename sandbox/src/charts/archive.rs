//! Packs files into the archive that `helm package` would make, with the same bytes each time.

use std::collections::BTreeMap;

use flate2::{Compression, GzBuilder};

/// The `.tgz` of a chart's files, all in the folder `name`. Owner, mode and time are fixed, the order is the map's, but
/// `Chart.yaml` comes first: Helm's own archives begin with it.
pub(super) fn pack(name: &str, files: &BTreeMap<String, String>) -> std::io::Result<Vec<u8>> {
    let gzip = GzBuilder::new().mtime(0).write(Vec::new(), Compression::default());
    let mut tar = tar::Builder::new(gzip);
    let (first, rest): (Vec<_>, Vec<_>) = files.iter().partition(|(path, _)| *path == "Chart.yaml");
    for (path, text) in first.into_iter().chain(rest) {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_size(text.len() as u64);
        tar.append_data(&mut header, format!("{name}/{path}"), text.as_bytes())?;
    }
    tar.into_inner()?.finish()
}
