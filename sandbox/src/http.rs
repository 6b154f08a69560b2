//! The parts of HTTP and TLS that the simulated servers need.

use std::io::Read;
use std::sync::Arc;

use anyhow::{Result, bail};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::pki::Identity;

/// Maximum size of the head of a request in bytes.
const HEAD_LIMIT: usize = 64 << 10;

/// The TLS configuration of a server with this certificate.
pub(crate) fn tls_config(identity: &Identity) -> Result<ServerConfig> {
    let cert = CertificateDer::from_pem_slice(identity.cert.as_bytes())?;
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![cert], key)?)
}

/// Reads a head including its empty line, byte by byte so that nothing after it is consumed; `None` at the end of the stream.
pub(crate) fn read_head(stream: &mut impl Read) -> Result<Option<String>> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() > HEAD_LIMIT {
            bail!("the head of the request is too long");
        }
        if stream.read(&mut byte)? == 0 {
            return Ok(None);
        }
        head.push(byte[0]);
    }
    Ok(Some(String::from_utf8(head)?))
}

/// A header of a request, by its case-insensitive name.
pub(crate) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().skip(1).find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

/// The length of the body.
pub(crate) fn content_length(head: &str) -> Result<usize> {
    header(head, "content-length").map_or(Ok(0), |length| Ok(length.parse()?))
}
