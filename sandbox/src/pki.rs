//! Temporary certificates.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};

/// A certificate with its key, in files and in memory.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// The certificate, PEM.
    pub(crate) cert: String,
    /// The private key, PKCS#8 in PEM.
    pub(crate) key: String,
}

impl Identity {
    /// Writes `NAME.crt` and `NAME.key` into `folder` and returns their paths.
    pub(crate) fn write(&self, folder: &Path, name: &str) -> Result<(PathBuf, PathBuf)> {
        let cert = folder.join(format!("{name}.crt"));
        let key = folder.join(format!("{name}.key"));
        fs::write(&cert, &self.cert).with_context(|| format!("cannot write `{}`", cert.display()))?;
        fs::write(&key, &self.key).with_context(|| format!("cannot write `{}`", key.display()))?;
        Ok((cert, key))
    }
}

/// A certificate authority for one sandbox.
#[derive(Debug)]
pub(crate) struct Authority {
    cert: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Creates an authority with this common name.
    pub(crate) fn new(name: &str) -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        params.distinguished_name = subject(name, None);
        let cert = params.self_signed(&key)?.pem();
        Ok(Self { cert, issuer: Issuer::new(params, key) })
    }

    /// The certificate of the authority, PEM.
    pub(crate) fn cert(&self) -> &str {
        &self.cert
    }

    /// A server certificate for these names and addresses.
    pub(crate) fn server(&self, names: &[&str]) -> Result<Identity> {
        self.sign(server(names)?)
    }

    /// As [`Self::server`], valid from the year 3000 on.
    pub(crate) fn future_server(&self, names: &[&str]) -> Result<Identity> {
        let mut params = server(names)?;
        params.not_before = date_time_ymd(3000, 1, 1);
        self.sign(params)
    }

    /// A client certificate: Kubernetes uses the common name as user and the organisation as group.
    pub(crate) fn client(&self, user: &str, group: &str) -> Result<Identity> {
        self.sign(client(user, group)?)
    }

    /// As [`Self::client`], valid until the year 2000.
    pub(crate) fn expired_client(&self, user: &str, group: &str) -> Result<Identity> {
        let mut params = client(user, group)?;
        params.not_after = date_time_ymd(2000, 1, 1);
        self.sign(params)
    }

    fn sign(&self, mut params: CertificateParams) -> Result<Identity> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let cert = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Identity { cert, key: key.serialize_pem() })
    }
}

fn server(names: &[&str]) -> Result<CertificateParams> {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names)?;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.distinguished_name = subject("sandbox", None);
    Ok(params)
}

fn client(user: &str, group: &str) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.distinguished_name = subject(user, Some(group));
    Ok(params)
}

fn subject(name: &str, group: Option<&str>) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    if let Some(group) = group {
        subject.push(DnType::OrganizationName, group);
    }
    subject.push(DnType::CommonName, name);
    subject
}

/// A key pair for signing service account tokens: private and public key, PEM.
pub(crate) fn signing_key() -> Result<(String, String)> {
    let key = KeyPair::generate()?;
    Ok((key.serialize_pem(), key.public_key_pem()))
}
