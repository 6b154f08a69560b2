//! Downloads files from web servers.

use std::io::Read as _;
use std::time::Duration;

use tokio::sync::oneshot;
use ureq::tls::{RootCerts, TlsConfig};

use super::Toolbox;
use crate::base::error::Error;
use crate::base::files::LARGEST;

/// The timeout of a download.
const TIMEOUT: Duration = Duration::from_mins(1);

impl Toolbox {
    /// Downloads a file over HTTPS, through the proxy that the environment names. The certificates of the system are trusted.
    ///
    /// # Errors
    ///
    /// `Ok(Err(_))` with the reason when the download fails; `Err(_)` when k3s-boot is interrupted.
    pub(crate) async fn download(&self, url: &str) -> Result<Result<Vec<u8>, String>, Error> {
        let (sender, receiver) = oneshot::channel();
        let (url, timeout) = (url.to_owned(), self.clock.cap(TIMEOUT));
        // Not a task of the runtime, whose end would wait for the download.
        std::thread::spawn(move || sender.send(fetch(&url, timeout)));
        let downloaded = async { receiver.await.unwrap_or_else(|_| Err("it was given up".to_owned())) };
        tokio::select! {
            result = downloaded => Ok(result),
            stopped = self.runner.stop().sleep(timeout + Duration::from_secs(1)) => {
                stopped?;
                Ok(Err(format!("no answer within {}", humantime::format_duration(timeout))))
            }
        }
    }
}

fn fetch(url: &str, timeout: Duration) -> Result<Vec<u8>, String> {
    let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
    let agent = ureq::Agent::config_builder()
        .https_only(true)
        .tls_config(tls)
        .timeout_global(Some(timeout))
        .user_agent(concat!("k3s-boot/", env!("CARGO_PKG_VERSION")))
        .build()
        .new_agent();
    let response = agent.get(url).call().map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    let mut reader = response.into_body().into_reader().take(LARGEST + 1);
    reader.read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > LARGEST {
        Err(format!("it is larger than {} MiB", LARGEST >> 20))
    } else {
        Ok(bytes)
    }
}
