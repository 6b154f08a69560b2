//! An admission webhook that denies requests with a given message.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use crate::http::{content_length, read_head, tls_config};
use crate::pki::Authority;
use crate::registry::listen;

/// How the webhook answers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WebhookBehavior {
    /// The number of requests to deny; all later ones are allowed.
    pub(crate) denied: usize,
    /// The HTTP status and the message of a denial.
    pub(crate) status: u16,
    pub(crate) message: &'static str,
    /// The delay of each answer.
    pub(crate) delay: Duration,
}

/// A running webhook. Dropping it stops it; the caller manages its configuration in the cluster.
#[derive(Debug)]
pub(crate) struct Webhook {
    address: SocketAddr,
    authority: Authority,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Webhook {
    pub(crate) fn start(behavior: WebhookBehavior) -> Result<Self> {
        let (listener, address) = listen()?;
        let authority = Authority::new("sandbox webhook")?;
        let config = Arc::new(tls_config(&authority.server(&["127.0.0.1"])?)?);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || serve(&listener, &config, behavior, &stopped));
        Ok(Self { address, authority, stop, thread: Some(thread) })
    }

    /// The `clientConfig` for the API server.
    pub(crate) fn client_config(&self) -> Value {
        let authority = crate::control_plane::base64(self.authority.cert().as_bytes());
        json!({"url": format!("https://{}/", self.address), "caBundle": authority})
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for connections.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn serve(listener: &TcpListener, config: &Arc<ServerConfig>, behavior: WebhookBehavior, stop: &AtomicBool) {
    let left = Arc::new(AtomicUsize::new(behavior.denied));
    for stream in listener.incoming() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let Ok(stream) = stream else { continue };
        let (config, left) = (Arc::clone(config), Arc::clone(&left));
        // The API server retries on a new connection when one breaks.
        std::thread::spawn(move || drop(answer_all(stream, config, behavior, &left)));
    }
}

fn answer_all(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    behavior: WebhookBehavior,
    left: &AtomicUsize,
) -> Result<()> {
    let mut stream = StreamOwned::new(ServerConnection::new(config)?, stream);
    while let Some(head) = read_head(&mut stream)? {
        let mut body = vec![0; content_length(&head)?];
        stream.read_exact(&mut body)?;
        let review: Value = serde_json::from_slice(&body)?;
        let request = review.get("request").context("a review has no request")?;
        std::thread::sleep(behavior.delay);
        let denial = left.try_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        let mut response = json!({"uid": request["uid"], "allowed": denial.is_err()});
        if denial.is_ok() {
            response["status"] = json!({"code": behavior.status, "message": behavior.message});
        }
        let answer =
            json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
                .to_string();
        let length = answer.len();
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{answer}"
        )?;
        stream.flush()?;
    }
    Ok(())
}
