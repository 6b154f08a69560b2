//! The API server, asked through one `kubectl proxy`.
//!
//! A kubectl for each question costs 50 ms of processor time, mostly for starting it. One that passes requests on costs
//! that once, and gives what kubectl has no words for: objects without their contents, writing on the condition that
//! nobody else has written, deleting what was looked at and nothing newer. kubeconfig, certificates and programs that
//! give credentials stay kubectl's. It listens on a socket in the run's own folder of mode 0700.

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
use tokio::sync::{Mutex, Semaphore};

use self::answer::may_have_been_executed;
pub use self::answer::{Answer, List, parse};
use self::away::Away;
use super::{Toolbox, last_words};
use crate::base::error::{Error, ProcessError};
use crate::process::Service;
use crate::process::signals::Order;

/// How long a request is made again and again while the API server asks for that: a kind that was just made is not there
/// at once (`storage is (re)initializing`).
const LONGEST: Duration = Duration::from_secs(30);

/// How long a request may take without whose answer we can go on.
const SOON: Duration = Duration::from_secs(5);

/// How long kubectl may take to get ready: it reads the kubeconfig and opens the socket.
const START: Duration = Duration::from_secs(10);

/// The line with which `kubectl proxy` says that it listens (`pkg/cmd/proxy` of kubectl 1.36).
const READY: &str = "Starting to serve on ";

/// How many requests are under way at once; each is a connection to kubectl.
const SIDE_BY_SIDE: usize = 24;

/// An answer larger than this is refused, so that one that never ends cannot fill the memory.
const LARGEST_ANSWER: usize = 256 * 1024 * 1024;

/// Whole objects.
pub const WHOLE: &str = "application/json";

/// Of each object of a list its metadata alone: name, labels, versions, who set which field.
pub const METADATA: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

/// The same of one object.
pub const METADATA_OF_ONE: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

/// All kinds that the server knows, in one answer (aggregated discovery: beta since 1.27, stable since 1.30).
pub const DISCOVERY: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
                             application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";

/// What stands for itself in a part of a path or of a query.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':');

/// A name as a part of a path, or a value in a query.
#[must_use]
pub fn segment(text: &str) -> String {
    utf8_percent_encode(text, PLAIN).to_string()
}

/// The way to the API server.
pub struct Api {
    /// The folder of the socket.
    folder: PathBuf,
    proxy: Mutex<Option<Proxy>>,
    /// Room for requests side by side.
    room: Semaphore,
    /// What is known of an API server that does not answer.
    away: Away,
}

/// A `kubectl proxy` that runs.
struct Proxy {
    service: Service,
    address: Address,
}

/// The socket in its folder.
const SOCKET: &str = "api.sock";

/// The address of a socket is shorter than its path may be (`sun_path` of unix(7) has 108 bytes, macOS' 104).
const LONGEST_ADDRESS: usize = 103;

/// Where the socket is, for both ends.
struct Address {
    path: PathBuf,
    /// Leads there by a short path, while it is open.
    _folder: Option<File>,
}

impl Address {
    fn new(folder: &Path) -> std::io::Result<Self> {
        let path = folder.join(SOCKET);
        if path.as_os_str().len() <= LONGEST_ADDRESS {
            return Ok(Self { path, _folder: None });
        }
        let open = File::open(folder)?;
        let own = std::process::id();
        let path = PathBuf::from(format!("/proc/{own}/fd/{}/{SOCKET}", open.as_raw_fd()));
        Ok(Self { path, _folder: Some(open) })
    }
}

impl Api {
    /// A way that is opened with the first request; its socket lies in this folder.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            proxy: Mutex::new(None),
            room: Semaphore::new(SIDE_BY_SIDE),
            away: Away::default(),
        }
    }
}

/// A request to the API server.
pub struct Call<'a> {
    method: Method,
    path: &'a str,
    accept: &'static str,
    body: Option<(&'static str, Vec<u8>)>,
    /// How long it may take, if not as long as any.
    within: Option<Duration>,
    /// Whether discovery lists the kind: a path that is not served will be.
    listed: bool,
    /// Whether it is given up when k3s-boot is told to stop.
    stops: bool,
}

impl<'a> Call<'a> {
    /// Reads `path`, which has its query in it.
    #[must_use]
    pub fn get(path: &'a str) -> Self {
        Self {
            method: Method::GET,
            path,
            accept: WHOLE,
            body: None,
            within: None,
            listed: false,
            stops: true,
        }
    }

    /// Makes an object in the list `path`.
    #[must_use]
    pub fn create(path: &'a str, object: &Value) -> Self {
        Self { method: Method::POST, body: Some((WHOLE, object.to_string().into_bytes())), ..Self::get(path) }
    }

    /// Changes the fields of the object `path` that `change` names (RFC 7396): null removes one. The object must still have the
    /// `metadata.resourceVersion` that `change` names, if it names one; `409` is the answer otherwise.
    #[must_use]
    pub fn merge(path: &'a str, change: &Value) -> Self {
        let body = Some(("application/merge-patch+json", change.to_string().into_bytes()));
        Self { method: Method::PATCH, body, ..Self::get(path) }
    }

    /// Applies an object at its own `path`, as `kubectl apply --server-side` does.
    #[must_use]
    pub fn apply(path: &'a str, object: &Value) -> Self {
        // JSON is YAML.
        let body = Some(("application/apply-patch+yaml", object.to_string().into_bytes()));
        Self { method: Method::PATCH, body, ..Self::get(path) }
    }

    /// Deletes the object `path`, on the conditions that `options` name.
    #[must_use]
    pub fn delete(path: &'a str, options: &Value) -> Self {
        Self { method: Method::DELETE, ..Self::create(path, options) }
    }

    /// Asks for another form of the answer.
    #[must_use]
    pub fn accept(mut self, accept: &'static str) -> Self {
        self.accept = accept;
        self
    }

    /// The answer must come soon: nothing depends on it alone.
    #[must_use]
    pub fn soon(mut self) -> Self {
        self.within = Some(SOON);
        self
    }

    /// Discovery lists the kind, or every cluster has it: until its path is served, it is not ready, and has not no objects.
    #[must_use]
    pub fn listed(mut self) -> Self {
        self.listed = true;
        self
    }

    /// It is made even when k3s-boot was told to stop: what it does belongs to the end.
    #[must_use]
    pub fn to_the_end(mut self) -> Self {
        self.stops = false;
        self
    }
}

/// `GET /api/v1/nodes`.
impl std::fmt::Display for Call<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

impl Toolbox {
    /// Reads an object, or a list as such; `None` when there is no such object or kind.
    ///
    /// # Errors
    ///
    /// As [`Self::ask`]; also when the answer is not what was asked for.
    pub async fn api_get<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, Error> {
        self.api_read(Call::get(path)).await
    }

    /// As [`Self::api_get`], for any request.
    ///
    /// # Errors
    ///
    /// As [`Self::api_get`].
    pub async fn api_read<T: DeserializeOwned>(&self, call: Call<'_>) -> Result<Option<T>, Error> {
        let command = call.to_string();
        match self.ask(call).await?.found()? {
            Some(body) => parse(command, &body).map(Some),
            None => Ok(None),
        }
    }

    /// Reads the objects of a list of a kind that discovery lists, or that every cluster has.
    ///
    /// # Errors
    ///
    /// As [`Self::api_get`].
    pub async fn api_list<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, Error> {
        let list: Option<List<T>> = self.api_read(Call::get(path).listed()).await?;
        Ok(list.map(|list| list.items).unwrap_or_default())
    }

    /// Asks the API server. That it said no is told by the answer.
    ///
    /// # Errors
    ///
    /// It did not answer in time, kubectl could not ask it, or k3s-boot was told to stop.
    pub async fn ask(&self, call: Call<'_>) -> Result<Answer, Error> {
        let start = Instant::now();
        let mut executed_before = false;
        loop {
            let answer = self.ask_once(&call).await.map(|answer| Answer { executed_before, ..answer });
            let pause = match &answer {
                // As client-go does.
                Ok(Answer { again: Some(pause), .. })
                    if start.elapsed() + *pause < self.clock.cap(LONGEST) =>
                {
                    Some(*pause)
                }
                // Whose answer we can do without is not waited for: it may be a kubelet that is away.
                _ if call.within.is_some() => None,
                answer => {
                    let elapsed = start.elapsed();
                    self.api.away.pause(answer, call.listed, elapsed, self.clock.left())
                }
            };
            let Some(pause) = pause else { return answer.and_then(|answer| answer.served(call.listed)) };
            executed_before |= may_have_been_executed(&answer);
            if call.stops {
                self.runner.stop().sleep(pause).await?;
            } else {
                tokio::time::sleep(pause).await;
            }
        }
    }

    async fn ask_once(&self, call: &Call<'_>) -> Result<Answer, Error> {
        let request = call.to_string();
        let start = Instant::now();
        let within = call.within.map_or(self.request_timeout, |within| within.min(self.request_timeout));
        let (within, stops) = (self.clock.cap(within), call.stops);
        let mut stop = self.runner.stop().clone();
        if let Some(cause) = stop.cause().filter(|_| stops) {
            return Err(Error::Interrupted(cause));
        }
        if within.is_zero() {
            return Err(Error::Unanswered { request, after: within });
        }
        let asked = async {
            tokio::select! {
                answer = Box::pin(self.send(call)) => answer,
                Order::Stop(cause) | Order::Kill(cause) = stop.changed(), if stops => {
                    Err(Error::Interrupted(cause))
                }
            }
        };
        let answer = tokio::time::timeout(within, asked)
            .await
            .unwrap_or_else(|_| Err(Error::Unanswered { request: request.clone(), after: within }));
        let took = start.elapsed().as_millis();
        let told = match &answer {
            Ok(Answer { status, body, .. }) => format!("{status}, {} bytes", body.len()),
            Err(error) => error.to_string(),
        };
        self.runner.transcript().asked(&request, &told, took);
        answer
    }

    async fn send(&self, call: &Call<'_>) -> Result<Answer, Error> {
        let request = call.to_string();
        let failed = |reason: String| Error::Api { request: request.clone(), status: None, reason };
        // Never closed.
        let _room = self.api.room.acquire().await;
        let answer = self.open(call).await?;
        let status = answer.status().as_u16();
        let again = answer.headers().get(RETRY_AFTER).filter(|_| status == 429 || status >= 500);
        let again = again.and_then(|seconds| seconds.to_str().ok()?.parse().ok()).map(Duration::from_secs);
        let mut incoming = answer.into_body();
        let mut body = Vec::new();
        while let Some(frame) = incoming.frame().await {
            let frame = frame.map_err(|error| failed(error.to_string()))?;
            if let Some(data) = frame.data_ref() {
                body.extend_from_slice(data);
            }
            if body.len() > LARGEST_ANSWER {
                return Err(failed(format!("the answer has more than {LARGEST_ANSWER} bytes")));
            }
        }
        Ok(Answer { request, status, body, again, executed_before: false })
    }

    /// Makes a request, and gives the answer as soon as its head is there.
    async fn open(&self, call: &Call<'_>) -> Result<Response<Incoming>, Error> {
        let request = call.to_string();
        let failed = |reason: String| Error::Api { request: request.clone(), status: None, reason };
        let stream = self.connect().await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| failed(error.to_string()))?;
        // Ends when the answer was read, or nobody waits for it any more.
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

    /// Connects to kubectl, which is started first when it does not run.
    async fn connect(&self) -> Result<UnixStream, Error> {
        let mut proxy = self.api.proxy.lock().await;
        if let Some(running) = proxy.as_ref().filter(|proxy| !proxy.service.has_ended())
            && let Ok(stream) = running.connect().await
        {
            return Ok(stream);
        }
        // One that ended is started again: what ended it may be over.
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
        // Of one that was killed.
        _ = std::fs::remove_file(&address.path);
        let mut argument = std::ffi::OsString::from("--unix-socket=");
        argument.push(&address.path);
        let invocation = self.kubectl_alone(["proxy".into(), argument]).deadline(self.clock.cap(START));
        let command = invocation.to_string();
        match self.runner.serve(invocation, READY).await? {
            Ok(service) => Ok(Proxy { service, address }),
            Err(output) => Err(Error::Tool { command, reason: last_words(&output) }),
        }
    }
}

impl Proxy {
    async fn connect(&self) -> std::io::Result<UnixStream> {
        UnixStream::connect(&self.address.path).await
    }
}
