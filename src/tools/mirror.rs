//! Registries that are asked for charts in place of others.

use crate::base::url::Url;
use crate::tools::charts::ChartRef;

/// A registry whose charts come from another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChartMirror {
    /// The registry in the URLs of charts, with a port if they have one.
    registry: String,
    /// The host of the mirror, and the path that comes before that of the chart.
    location: String,
    /// Whether the mirror has no TLS.
    is_plain: bool,
}

impl ChartMirror {
    /// Parses `REGISTRY=[https://|http://|oci://]HOST[/PATH]`.
    ///
    /// # Errors
    ///
    /// The text has another form.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let expected = "expected REGISTRY=URL, such as `ghcr.io=https://registry.example.org/ghcr.io`";
        let (registry, url) = text.split_once('=').ok_or(expected)?;
        let is_plain = url.starts_with("http://");
        let location = match url.split_once("://") {
            Some(("http" | "https" | "oci", location)) => location,
            Some(_) => return Err(expected.to_owned()),
            None => url,
        };
        let location = location.trim_end_matches('/');
        let is_host = |host: &str| !host.is_empty() && !host.contains(['/', '@', ' ', '?', '#']);
        if !is_host(registry) || !location.split('/').all(is_host) {
            return Err(expected.to_owned());
        }
        Ok(Self { registry: registry.to_owned(), location: location.to_owned(), is_plain })
    }
}

/// The mirrors of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct ChartMirrors(pub Vec<ChartMirror>);

impl ChartMirrors {
    /// The URL from which helm fetches a chart.
    pub(crate) fn address(&self, chart: &ChartRef) -> String {
        let address = chart.address();
        let Some(url) = Url::parse(&address) else { return address };
        let Some(mirror) = self.0.iter().find(|mirror| mirror.registry == url.authority()) else {
            return address;
        };
        let path = address.strip_prefix(&format!("oci://{}", mirror.registry)).unwrap_or_default();
        format!("oci://{}{path}", mirror.location)
    }

    /// Whether a URL of [`Self::address`] has no TLS.
    pub(crate) fn is_plain(&self, address: &str) -> bool {
        self.0.iter().filter(|mirror| mirror.is_plain).any(|mirror| {
            let below = address.strip_prefix("oci://").and_then(|rest| rest.strip_prefix(&mirror.location));
            below.is_some_and(|below| below.starts_with('/'))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charts_of_a_registry_come_from_its_mirror() {
        let mirrors = [
            "ghcr.io=https://registry.example.org/ghcr.io/",
            "quay.io=http://10.0.0.5:5000",
            "localhost:5000=a.example.org/x",
        ];
        let mirrors = ChartMirrors(mirrors.map(|text| ChartMirror::parse(text).unwrap()).to_vec());
        let address = |chart: &str| mirrors.address(&ChartRef::new(chart, "1.2.3"));
        assert_eq!(address("oci://ghcr.io/o/chart"), "oci://registry.example.org/ghcr.io/o/chart");
        assert_eq!(
            address("oci://ghcr.io/o/chart@sha256:12"),
            "oci://registry.example.org/ghcr.io/o/chart@sha256:12"
        );
        let plain = address("oci://quay.io/o/chart");
        assert_eq!(plain, "oci://10.0.0.5:5000/o/chart");
        assert_eq!(address("oci://localhost:5000/chart"), "oci://a.example.org/x/chart");
        for other in ["oci://docker.io/o/chart", "oci://ghcr.io.example.org/chart"] {
            assert_eq!(address(other), other);
        }
        assert!(mirrors.is_plain(&plain));
        assert!(!mirrors.is_plain("oci://10.0.0.5:50001/chart"));
        assert!(!mirrors.is_plain(&address("oci://ghcr.io/o/chart")));
    }

    #[test]
    fn other_forms_are_refused() {
        for text in [
            "ghcr.io",
            "=x",
            "ghcr.io=",
            "ghcr.io/a=x",
            "ghcr.io=ftp://x",
            "ghcr.io=https://",
            "a=u:p@h",
            "a=b//c",
        ] {
            assert!(ChartMirror::parse(text).unwrap_err().starts_with("expected REGISTRY=URL"), "{text}");
        }
    }
}
