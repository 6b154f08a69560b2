//! A small client of the Kubernetes API, for the simulated parts of the cluster.

use std::io::{BufRead as _, BufReader};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use ureq::http::Response;
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};
use ureq::{Agent, Body};

use crate::pki::Identity;

/// Maximum size of an answer in bytes.
const ANSWER_LIMIT: u64 = 64 << 20;
/// Pause before a watch is restarted after an outage, and before a change is retried.
const RETRY: Duration = Duration::from_millis(100);
/// How long a change is retried. An established kind is not served at once: its storage answers 404 or 429 first.
const UNSERVED: Duration = Duration::from_secs(20);

/// A client with the certificate of a user.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    agent: Agent,
    server: String,
    name: String,
}

/// An event of a watch.
#[derive(Debug)]
pub(crate) struct Event {
    /// `ADDED`, `MODIFIED` or `DELETED`.
    pub(crate) kind: String,
    /// The object after the change.
    pub(crate) object: Value,
}

impl Client {
    /// A client of `server` (`https://HOST:PORT`), whose certificate `authority` (PEM) signed, with the user of `identity`.
    /// `name` is its user agent and field manager.
    pub(crate) fn new(server: &str, authority: &str, identity: &Identity, name: &str) -> Result<Self> {
        let root = Certificate::from_pem(authority.as_bytes())?;
        let cert = Certificate::from_pem(identity.cert.as_bytes())?;
        let key = PrivateKey::from_pem(identity.key.as_bytes())?;
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::new_with_certs(&[root]))
            .client_cert(Some(ClientCert::new_with_certs(&[cert], key)))
            .build();
        let agent = Agent::config_builder()
            .tls_config(tls)
            .proxy(None)
            .http_status_as_error(false)
            .timeout_connect(Some(Duration::from_secs(5)))
            .build()
            .new_agent();
        Ok(Self { agent, server: server.to_owned(), name: name.to_owned() })
    }

    /// `GET`; `None` if the object or the kind does not exist.
    pub(crate) fn get(&self, path: &str) -> Result<Option<Value>> {
        let answer = self.agent.get(self.url(path)).header("User-Agent", &self.name).call();
        read("GET", path, answer)
    }

    /// The status and the body of a `GET`.
    pub(crate) fn get_raw(&self, path: &str) -> Result<(u16, String)> {
        let mut answer = self.agent.get(self.url(path)).header("User-Agent", &self.name).call()?;
        let body = answer.body_mut().with_config().limit(ANSWER_LIMIT).read_to_string()?;
        Ok((answer.status().as_u16(), body))
    }

    /// `POST`; an existing object is not an error.
    pub(crate) fn create(&self, path: &str, object: &Value) -> Result<()> {
        let answer = self
            .agent
            .post(self.url(path))
            .header("User-Agent", &self.name)
            .content_type("application/json")
            .send(object.to_string());
        match answer {
            Ok(answer) if answer.status().as_u16() == 409 => Ok(()),
            answer => read("POST", path, answer).map(drop),
        }
    }

    /// Server-side apply with force; the field manager has the client's name.
    pub(crate) fn apply(&self, path: &str, object: &Value) -> Result<Value> {
        self.apply_yaml(path, &object.to_string())
    }

    /// As [`Client::apply`], with the object as YAML text.
    pub(crate) fn apply_yaml(&self, path: &str, yaml: &str) -> Result<Value> {
        let separator = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{separator}fieldManager={}&force=true", self.name);
        self.patch_as("application/apply-patch+yaml", &path, yaml, &[404, 429, 503])
    }

    /// JSON merge patch.
    pub(crate) fn merge(&self, path: &str, change: &Value) -> Result<Value> {
        self.patch_as("application/merge-patch+json", path, &change.to_string(), &[429, 503])
    }

    /// `DELETE`; a missing object is not an error.
    pub(crate) fn delete(&self, path: &str) -> Result<()> {
        let answer = self.agent.delete(self.url(path)).header("User-Agent", &self.name).call();
        read("DELETE", path, answer).map(drop)
    }

    /// Retries for a while after an answer with one of the statuses `unserved`.
    fn patch_as(&self, content_type: &str, path: &str, body: &str, unserved: &[u16]) -> Result<Value> {
        let end = Instant::now() + UNSERVED;
        loop {
            let answer = self
                .agent
                .patch(self.url(path))
                .header("User-Agent", &self.name)
                .content_type(content_type)
                .send(body);
            let again = answer.as_ref().is_ok_and(|answer| unserved.contains(&answer.status().as_u16()));
            if !again || Instant::now() > end {
                return read("PATCH", path, answer)?.with_context(|| format!("PATCH `{path}`: not found"));
            }
            std::thread::sleep(RETRY);
        }
    }

    /// Watches `path` until `stop` is set or `seen` breaks, beginning with the existing objects.
    ///
    /// Waits for a kind that does not exist yet, and for the API server after an outage.
    pub(crate) fn watch(
        &self,
        path: &str,
        stop: &AtomicBool,
        mut seen: impl FnMut(Event) -> ControlFlow<()>,
    ) {
        let separator = if path.contains('?') { '&' } else { '?' };
        let url = self.url(&format!("{path}{separator}watch=true"));
        while !stop.load(Ordering::Relaxed) {
            let answer = self.agent.get(&url).header("User-Agent", &self.name).call();
            if let Ok(mut answer) = answer
                && answer.status().is_success()
            {
                let lines = BufReader::new(answer.body_mut().as_reader()).lines();
                for line in lines {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    // The connection broke: start again.
                    let Ok(line) = line else { break };
                    let Ok(mut event) = serde_json::from_str::<Value>(&line) else {
                        break;
                    };
                    let kind = event["type"].as_str().unwrap_or_default().to_owned();
                    if kind == "ERROR" {
                        break;
                    }
                    if seen(Event { kind, object: event["object"].take() }).is_break() {
                        return;
                    }
                }
            }
            std::thread::sleep(RETRY);
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.server)
    }
}

fn read(verb: &str, path: &str, answer: Result<Response<Body>, ureq::Error>) -> Result<Option<Value>> {
    let mut answer = answer.with_context(|| format!("{verb} `{path}`"))?;
    let status = answer.status();
    let body = answer.body_mut().with_config().limit(ANSWER_LIMIT).read_to_string()?;
    if status.as_u16() == 404 {
        return Ok(None);
    }
    if !status.is_success() {
        let message = serde_json::from_str::<Value>(&body)
            .map_or(body, |status| status["message"].as_str().unwrap_or("no message").to_owned());
        bail!("{verb} `{path}`: {status}: {message}");
    }
    Ok(Some(serde_json::from_str(&body)?))
}
