//! The API client: sends requests through one `kubectl proxy`.
//!
//! A kubectl process for each request costs 50 ms of CPU time, mostly for starting it. One proxy costs that once, and
//! allows what kubectl has no flags for: reading metadata only, and writing or deleting on the condition that the object
//! has not changed. kubectl still handles the kubeconfig, certificates and credential plugins. The proxy listens on a
//! socket in the run's temporary folder, which has mode 0700.

mod answer;
mod away;
mod ready;
mod watch;

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::sync::{Mutex, OnceCell, Semaphore};

use self::answer::may_have_been_executed;
pub(crate) use self::answer::{Answer, List, parse};
use self::away::OutageTracker;
use super::login::with_own_words;
use super::unanswered::{ASKS_FOR_USER, PLUGIN_ERROR, PLUGIN_WAITS};
use super::{Toolbox, last_words};
use crate::base::duration::seconds;
use crate::base::error::{Error, ProcessError};
use crate::process::Service;
use crate::process::signals::Order;

/// How long a request is retried while the API server sends `Retry-After`: a new kind is not served at once
/// (`storage is (re)initializing`).
const RETRY_TIMEOUT: Duration = Duration::from_secs(30);

/// The timeout for a request whose answer is optional.
const OPTIONAL_TIMEOUT: Duration = Duration::from_secs(5);

/// How long kubectl may take to read the kubeconfig and open the socket.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// How long to wait for what kubectl printed before it answered.
const TALK_TIMEOUT: Duration = Duration::from_secs(1);

/// What `kubectl proxy` prints when it listens (`pkg/cmd/proxy` of kubectl 1.36).
const READY: &str = "Starting to serve on ";

/// How many requests run concurrently; each is a connection to kubectl.
const MAX_CONCURRENT: usize = 24;

/// A larger answer is rejected, so that an endless one cannot fill the memory.
const MAX_ANSWER: usize = 256 * 1024 * 1024;

/// Whole objects.
pub(crate) const WHOLE: &str = "application/json";

/// Only the metadata of each object in a list.
pub(crate) const METADATA: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

/// Only the metadata of one object.
pub(crate) const METADATA_OF_ONE: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

/// All kinds that the server knows, in one answer (aggregated discovery: beta since 1.27, stable since 1.30).
pub(crate) const DISCOVERY: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
                             application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";

/// The characters that need no escaping in a path segment or a query value.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':');

/// Escapes a name as a path segment, or a value in a query.
pub(crate) fn segment(text: &str) -> String {
    utf8_percent_encode(text, PLAIN).to_string()
}

/// The API client.
pub(crate) struct Api {
    /// The folder of the socket.
    folder: PathBuf,
    proxy: Mutex<Option<Proxy>>,
    permits: Semaphore,
    outage: OutageTracker,
    /// Why the login failed, once it was tried.
    pub(super) login: OnceCell<Option<String>>,
}

/// A running `kubectl proxy`.
struct Proxy {
    service: Service,
    address: Address,
}

const SOCKET: &str = "api.sock";

/// A socket's address must be shorter than a path may be (`sun_path` of unix(7) has 108 bytes, 104 on macOS).
const MAX_ADDRESS: usize = 103;

/// The address of the socket, for both ends.
struct Address {
    path: PathBuf,
    /// Keeps the folder open if `path` refers to its file descriptor.
    _folder: Option<File>,
}

impl Address {
    fn new(folder: &Path) -> std::io::Result<Self> {
        let path = folder.join(SOCKET);
        if path.as_os_str().len() <= MAX_ADDRESS {
            return Ok(Self { path, _folder: None });
        }
        let open = File::open(folder)?;
        let pid = std::process::id();
        let path = PathBuf::from(format!("/proc/{pid}/fd/{}/{SOCKET}", open.as_raw_fd()));
        Ok(Self { path, _folder: Some(open) })
    }
}

impl Api {
    /// A client that starts kubectl with the first request; its socket is in this folder.
    pub(crate) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            proxy: Mutex::new(None),
            permits: Semaphore::new(MAX_CONCURRENT),
            outage: OutageTracker::default(),
            login: OnceCell::new(),
        }
    }
}

/// A request to the API server.
pub(crate) struct Call<'a> {
    method: Method,
    path: &'a str,
    accept: &'static str,
    body: Option<(&'static str, Vec<u8>)>,
    /// The timeout, if it differs from the default.
    timeout: Option<Duration>,
    /// Whether discovery lists the kind: a path that is not served yet will be.
    listed: bool,
    /// Whether an interruption of k3s-boot cancels the request.
    cancels: bool,
}

impl<'a> Call<'a> {
    /// Reads `path`, which includes the query.
    pub(crate) fn get(path: &'a str) -> Self {
        Self {
            method: Method::GET,
            path,
            accept: WHOLE,
            body: None,
            timeout: None,
            listed: false,
            cancels: true,
        }
    }

    /// Creates an object in the list `path`.
    pub(crate) fn create(path: &'a str, object: &Value) -> Self {
        Self { method: Method::POST, body: Some((WHOLE, object.to_string().into_bytes())), ..Self::get(path) }
    }

    /// Changes the fields in `change` of the object `path` (RFC 7396): null removes a field. If `change` contains a
    /// `metadata.resourceVersion` that the object no longer has, the answer is `409`.
    pub(crate) fn merge(path: &'a str, change: &Value) -> Self {
        let body = Some(("application/merge-patch+json", change.to_string().into_bytes()));
        Self { method: Method::PATCH, body, ..Self::get(path) }
    }

    /// Applies an object at its own `path`, as `kubectl apply --server-side` does.
    pub(crate) fn apply(path: &'a str, object: &Value) -> Self {
        // JSON is YAML.
        let body = Some(("application/apply-patch+yaml", object.to_string().into_bytes()));
        Self { method: Method::PATCH, body, ..Self::get(path) }
    }

    /// Deletes the object `path` under the preconditions in `options`.
    pub(crate) fn delete(path: &'a str, options: &Value) -> Self {
        Self { method: Method::DELETE, ..Self::create(path, options) }
    }

    /// Sets the media type of the answer.
    pub(crate) fn accept(mut self, accept: &'static str) -> Self {
        self.accept = accept;
        self
    }

    /// Uses a short timeout and no retries, for an answer that is optional.
    pub(crate) fn soon(mut self) -> Self {
        self.timeout = Some(OPTIONAL_TIMEOUT);
        self
    }

    /// Marks a kind that discovery lists or every cluster has: a `404` for its path means "not served yet", not "no
    /// objects".
    pub(crate) fn listed(mut self) -> Self {
        self.listed = true;
        self
    }

    /// Sends the request even if k3s-boot is interrupted, for cleanup.
    pub(crate) fn uninterruptible(mut self) -> Self {
        self.cancels = false;
        self
    }
}

/// Such as `GET /api/v1/nodes`.
impl std::fmt::Display for Call<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

impl Toolbox {
    /// Reads an object, or a whole list; `None` when there is no such object or kind.
    ///
    /// # Errors
    ///
    /// As [`Self::ask`]; also when the answer cannot be parsed.
    pub(crate) async fn api_get<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, Error> {
        self.api_read(Call::get(path)).await
    }

    /// Like [`Self::api_get`], for any request.
    ///
    /// # Errors
    ///
    /// As [`Self::api_get`].
    pub(crate) async fn api_read<T: DeserializeOwned>(&self, call: Call<'_>) -> Result<Option<T>, Error> {
        let command = call.to_string();
        match self.ask(call).await?.found()? {
            Some(body) => parse(command, &body).map(Some),
            None => Ok(None),
        }
    }

    /// Lists the objects of a kind that discovery lists or that every cluster has.
    ///
    /// # Errors
    ///
    /// As [`Self::api_get`].
    pub(crate) async fn api_list<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, Error> {
        let list: Option<List<T>> = self.api_read(Call::get(path).listed()).await?;
        Ok(list.map(|list| list.items).unwrap_or_default())
    }

    /// Sends a request to the API server, and retries it during a restart. An error status is part of the answer.
    ///
    /// # Errors
    ///
    /// The API server did not answer in time, kubectl could not reach it, or k3s-boot was interrupted.
    pub(crate) async fn ask(&self, call: Call<'_>) -> Result<Answer, Error> {
        Box::pin(self.log_in()).await?;
        let start = Instant::now();
        let mut executed_before = false;
        loop {
            let answer = self.ask_once(&call).await.map(|answer| Answer { executed_before, ..answer });
            let pause = match &answer {
                // As client-go does.
                Ok(Answer { retry_after: Some(pause), .. })
                    if start.elapsed() + *pause < self.clock.cap(RETRY_TIMEOUT) =>
                {
                    Some(*pause)
                }
                // An optional answer is not retried: it may be that of an unreachable kubelet.
                _ if call.timeout.is_some() => None,
                answer => {
                    let elapsed = start.elapsed();
                    self.api.outage.pause(answer, call.listed, elapsed, self.clock.left())
                }
            };
            let Some(pause) = pause else { return answer.and_then(|answer| answer.served(call.listed)) };
            executed_before |= may_have_been_executed(&answer);
            if call.cancels {
                self.runner.stop().sleep(pause).await?;
            } else {
                tokio::time::sleep(pause).await;
            }
        }
    }

    async fn ask_once(&self, call: &Call<'_>) -> Result<Answer, Error> {
        let request = call.to_string();
        let start = Instant::now();
        let timeout = call.timeout.map_or(self.request_timeout, |timeout| timeout.min(self.request_timeout));
        let (timeout, cancels) = (self.clock.cap(timeout), call.cancels);
        let mut stop = self.runner.stop().clone();
        if let Some(cause) = stop.cause().filter(|_| cancels) {
            return Err(Error::Interrupted(cause));
        }
        if timeout.is_zero() {
            return Err(Error::Unanswered { request, after: timeout });
        }
        let asked = async {
            tokio::select! {
                answer = Box::pin(self.send(call)) => answer,
                Order::Stop(cause) | Order::Kill(cause) = stop.changed(), if cancels => {
                    Err(Error::Interrupted(cause))
                }
            }
        };
        let answer = match tokio::time::timeout(timeout, asked).await {
            Ok(Ok(answer)) => Ok(Box::pin(self.with_plugin_error(answer)).await),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(self.unanswered(&request, timeout).await),
        };
        let took = start.elapsed().as_millis();
        let summary = match &answer {
            Ok(Answer { status, body, .. }) => format!("{status}, {} bytes", body.len()),
            Err(error) => error.to_string(),
        };
        self.runner.transcript().asked(&request, &summary, took);
        answer
    }

    /// The error for a request that was not answered in time.
    async fn unanswered(&self, request: &str, after: Duration) -> Error {
        let request = request.to_owned();
        let is_plugin_running = self.target.plugin.is_some()
            && self.api.proxy.lock().await.as_ref().is_some_and(|proxy| proxy.service.has_children());
        if is_plugin_running {
            // The only program that kubectl starts.
            let reason = format!("{PLUGIN_WAITS}{}", seconds(after));
            return Error::Tool { command: "kubectl".to_owned(), reason };
        }
        Error::Unanswered { request, after }
    }

    /// An answer with the last line of the credential plugin, if that failed: client-go passes on only its exit code.
    async fn with_plugin_error(&self, answer: Answer) -> Answer {
        if answer.status != 500 || !answer.body.starts_with(PLUGIN_ERROR.as_bytes()) {
            return answer;
        }
        // kubectl logs the error before it answers, and what the plugin printed precedes that.
        let is_end = |line: &String| line.contains("Error while proxying request: ");
        let end = Instant::now() + TALK_TIMEOUT;
        let talk = loop {
            let proxy = self.api.proxy.lock().await;
            let talk = proxy.as_ref().map(|proxy| proxy.service.talk()).unwrap_or_default();
            drop(proxy);
            if talk.iter().any(is_end) || Instant::now() >= end {
                break talk;
            }
            tokio::time::sleep(TALK_TIMEOUT / 20).await;
        };
        let own = talk.into_iter().take_while(|line| !is_end(line));
        let error = answer::words(answer.status, &answer.body);
        Answer { body: with_own_words(&error, &own.collect::<Vec<_>>()).into_bytes(), ..answer }
    }

    async fn send(&self, call: &Call<'_>) -> Result<Answer, Error> {
        let request = call.to_string();
        let failed = |reason: String| Error::Api { request: request.clone(), status: None, reason };
        // The semaphore is never closed.
        let _permit = self.api.permits.acquire().await;
        let answer = self.open(call).await?;
        let status = answer.status().as_u16();
        let retry_after = answer.headers().get(RETRY_AFTER).filter(|_| status == 429 || status >= 500);
        let retry_after =
            retry_after.and_then(|seconds| seconds.to_str().ok()?.parse().ok()).map(Duration::from_secs);
        let mut incoming = answer.into_body();
        let mut body = Vec::new();
        while let Some(frame) = incoming.frame().await {
            let frame = frame.map_err(|error| failed(error.to_string()))?;
            if let Some(data) = frame.data_ref() {
                body.extend_from_slice(data);
            }
            if body.len() > MAX_ANSWER {
                return Err(failed(format!("the answer is larger than {MAX_ANSWER} bytes")));
            }
        }
        Ok(Answer { request, status, body, retry_after, executed_before: false })
    }

    /// Sends a request, and returns the answer as soon as its headers have arrived.
    async fn open(&self, call: &Call<'_>) -> Result<Response<Incoming>, Error> {
        let request = call.to_string();
        let failed = |reason: String| Error::Api { request: request.clone(), status: None, reason };
        let stream = self.connect().await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| failed(error.to_string()))?;
        // The task ends when the answer was read or dropped.
        tokio::spawn(connection);
        let (content_type, body) = call.body.clone().unwrap_or((WHOLE, Vec::new()));
        let message = Request::builder()
            .method(call.method.clone())
            .uri(call.path)
            .header(HOST, "localhost")
            .header(USER_AGENT, concat!("k3s-boot/", env!("CARGO_PKG_VERSION")))
            .header(ACCEPT, call.accept)
            .header(CONTENT_TYPE, content_type)
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| failed(error.to_string()))?;
        sender.send_request(message).await.map_err(|error| failed(error.to_string()))
    }

    /// Connects to kubectl, and starts it if it is not running.
    async fn connect(&self) -> Result<UnixStream, Error> {
        let mut proxy = self.api.proxy.lock().await;
        if let Some(running) = proxy.as_ref().filter(|proxy| !proxy.service.has_ended())
            && let Ok(stream) = running.connect().await
        {
            return Ok(stream);
        }
        // A proxy that has exited is started again, because the cause may be gone.
        *proxy = None;
        let started = self.start_proxy().await?;
        let failed = |source| Error::Process(ProcessError::Io { tool: "kubectl", source });
        let stream = started.connect().await.map_err(failed)?;
        *proxy = Some(started);
        Ok(stream)
    }

    async fn start_proxy(&self) -> Result<Proxy, Error> {
        let address = Address::new(&self.api.folder).map_err(|source| Error::File {
            action: "open",
            path: self.api.folder.clone(),
            source,
        })?;
        // A killed proxy leaves its socket behind.
        _ = std::fs::remove_file(&address.path);
        let mut argument = std::ffi::OsString::from("--unix-socket=");
        argument.push(&address.path);
        let invocation =
            self.kubectl_alone(["proxy".into(), argument]).deadline(self.clock.cap(START_TIMEOUT));
        let command = invocation.to_string();
        match self.runner.serve(invocation, READY).await? {
            Ok(service) => Ok(Proxy { service, address }),
            // It is on stdout, without a line feed.
            Err(output) if output.talk.contains(ASKS_FOR_USER) => {
                Err(Error::Tool { command, reason: ASKS_FOR_USER.to_owned() })
            }
            Err(output) => Err(Error::Tool { command, reason: last_words(&output) }),
        }
    }
}

impl Proxy {
    async fn connect(&self) -> std::io::Result<UnixStream> {
        UnixStream::connect(&self.address.path).await
    }
}
