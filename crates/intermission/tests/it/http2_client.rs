//! A client of HTTP/2, and curl.

use std::net::{Shutdown, SocketAddr};
use std::process::Output;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use socket2::{SockRef, Socket};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::task::JoinHandle;
use tokio_rustls::client::TlsStream;

use super::harness::soon;

type Body = BoxBody<Bytes, hyper::Error>;

/// One connection.
pub(crate) struct Http2 {
    sender: SendRequest<Body>,
    driver: JoinHandle<hyper::Result<()>>,
    socket: Socket,
}

#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
    pub(crate) trailers: Option<HeaderMap>,
}

/// A request that was sent. Aborted: its stream is reset.
pub(crate) type Sent = JoinHandle<hyper::Result<Response<Incoming>>>;

impl Http2 {
    /// In clear text, with prior knowledge.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = soon("a connection", TcpStream::connect(address)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let socket = SockRef::from(&stream).try_clone().unwrap();
        Self::over(stream, socket).await
    }

    pub(crate) async fn connect_tls(stream: TlsStream<TcpStream>) -> Self {
        let socket = SockRef::from(stream.get_ref().0).try_clone().unwrap();
        Self::over(stream, socket).await
    }

    async fn over(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        socket: Socket,
    ) -> Self {
        let stream = TokioIo::new(stream);
        let (sender, driver) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
        Self { sender, driver: tokio::spawn(driver), socket }
    }

    pub(crate) fn send(&self, request: Request<Body>) -> Sent {
        let answer = self.sender.clone().send_request(request);
        tokio::spawn(answer)
    }

    pub(crate) fn get(&self, path: &str) -> Sent {
        self.send(request("GET", path).body(none()).unwrap())
    }

    /// The other side has closed the connection, without an error.
    pub(crate) async fn ended(self) {
        soon("the end of the connection", self.driver).await.unwrap().unwrap();
    }

    /// Closes the socket, whatever there is on it.
    pub(crate) fn cut(&self) {
        self.socket.shutdown(Shutdown::Both).unwrap();
    }
}

pub(crate) fn none() -> Body {
    Empty::new().map_err(|never| match never {}).boxed()
}

pub(crate) fn request(method: &str, path: &str) -> http::request::Builder {
    Request::builder().method(method).uri(format!("http://shop.example{path}"))
}

pub(crate) async fn answer(sent: Sent) -> Answered {
    let response = soon("an answer", sent).await.unwrap().unwrap();
    let (head, body) = response.into_parts();
    let body = soon("a body", body.collect()).await.unwrap();
    let trailers = body.trailers().cloned();
    let bytes = body.to_bytes().to_vec();
    let body = String::from_utf8(bytes).unwrap();
    Answered { status: head.status.as_u16(), headers: head.headers, body, trailers }
}

/// What curl prints: the answer's body, then its version and status.
pub(crate) async fn curl(arguments: &[&str]) -> String {
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--max-time", "20", "-w", " %{http_version} %{http_code}"]).args(arguments);
    let Output { status, stdout, stderr } = soon("curl", curl.output()).await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    assert!(status.success(), "{}", text(stderr));
    text(stdout)
}
