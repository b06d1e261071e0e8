//! One connection of a client, from its handshake to its end.

use std::error::Error;
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use super::certificate::HTTP2;
use super::client::{Client, ClientSocket};
use super::http2::{self, Streams};
use super::proxy::serve;
use super::stream::Shared;
use super::taking::Taken;
use super::worker::Worker;

/// In clear text. Whatever is not HTTP/1 on such a connection is boxed, so that one that is does not
/// carry the size of the others.
pub(super) async fn converse(worker: Rc<Worker>, stream: TcpStream, address: IpAddr) {
    let socket = Shared::new(ClientSocket::plain(stream));
    let client = Client { address, secure: false, socket: socket.clone() };
    converse_http1(Rc::clone(&worker), client.clone()).await;
    if socket.with(ClientSocket::turn_to_http2) {
        Box::pin(converse_http2(worker, client)).await;
    }
}

pub(super) async fn converse_tls(
    worker: Rc<Worker>,
    stream: TcpStream,
    address: IpAddr,
    config: Arc<ServerConfig>,
) {
    let limit = worker.settings.client_head_timeout;
    let shaken = tokio::select! {
        shaken = tokio::time::timeout(limit, TlsAcceptor::from(config).accept(stream)) => shaken,
        () = worker.shutdown.ending() => return,
    };
    let stream = match shaken {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, "no TLS handshake with a client"),
        Err(_elapsed) => return tracing::debug!(?limit, "no TLS handshake in time"),
    };
    let http2 = stream.get_ref().1.alpn_protocol() == Some(HTTP2);
    let socket = Shared::new(ClientSocket::tls(stream));
    let client = Client { address, secure: true, socket };
    if http2 {
        converse_http2(worker, client).await;
    } else {
        converse_http1(worker, client).await;
    }
}

async fn converse_http1(worker: Rc<Worker>, client: Client) {
    let shutdown = worker.shutdown.clone();
    let head_timeout = worker.settings.client_head_timeout;
    let socket = TokioIo::new(client.socket.clone());
    let service = service_fn(move |request| serve(Rc::clone(&worker), client.clone(), request));
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(head_timeout)
            .serve_connection(socket, service)
    );
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.stopping() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    log(ended);
}

/// Ends when the gate stops, and when nobody has asked for anything for as long as a connection of
/// HTTP/1 may be idle: requests that are there are answered, further ones come by another connection.
async fn converse_http2(worker: Rc<Worker>, client: Client) {
    let shutdown = worker.shutdown.clone();
    let settings = Arc::clone(&worker.settings);
    let streams = Streams::new(shutdown.clone(), settings.client_write_timeout);
    let socket = TokioIo::new(client.socket.clone());
    let service = service_fn(move |request| {
        let answer = serve(Rc::clone(&worker), client.clone(), request);
        async move { answer.await.map(Taken::answer) }
    });
    let connection = http2::builder(streams.clone()).serve_connection(socket, service);
    let mut connection = pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return log(ended),
        () = shutdown.stopping() => {}
        () = streams.idle(settings.client_head_timeout) => {}
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        ended = connection => log(ended),
        // It does not close its side, or takes nothing of the last answers.
        () = streams.idle(settings.client_write_timeout) => {}
    }
}

fn log(ended: Result<(), hyper::Error>) {
    if let Err(error) = ended {
        tracing::debug!(%error, source = error.source(), "client connection ended");
    }
}
