//! One connection of a client, from its handshake to its end.

use std::error::Error;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;

use futures_util::TryFutureExt;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use super::ambiguity::HEAD_BYTES_MAX;
use super::certificate::HTTP2;
use super::client::{Client, ends, share};
use super::client_socket::ClientSocket;
use super::http2::{self, Streams};
use super::one_by_one::OneByOne;
use super::proxy::{DISCARD_BYTES_MAX, DISCARD_TIME_MAX, serve};
use super::proxy_protocol::Ends;
use super::stream::Shared;
use super::taking::Taken;
use super::worker::Worker;

/// A PROXY header comes before anything else, TLS too. Whatever is not HTTP/1 in clear text is boxed,
/// so that such a connection does not carry the size of the others.
pub(super) async fn converse(
    worker: Rc<Worker>,
    mut stream: TcpStream,
    peer: SocketAddr,
    tls: Option<Arc<ServerConfig>>,
) {
    let live = worker.live();
    let ends = tokio::select! {
        ends = ends(&mut stream, peer, &live.settings) => ends,
        () = worker.shutdown.ending() => return,
    };
    let ends = match ends {
        Ok(ends) => ends,
        Err(error) => return tracing::debug!(%peer, %error, "no client behind this proxy"),
    };
    let client = ends.client.ip();
    let share = share(worker.shares.as_ref(), client, &live.settings);
    // The connection outlives the configuration it came under.
    drop(live);
    let _share = match share {
        Ok(share) => share,
        Err(error) => return tracing::debug!(%client, %error, "a connection is closed"),
    };
    match tls {
        None => converse_plain(worker, stream, ends).await,
        Some(tls) => Box::pin(converse_tls(worker, stream, ends, tls)).await,
    }
}

async fn converse_plain(worker: Rc<Worker>, stream: TcpStream, ends: Ends) {
    let socket = Shared::new(ClientSocket::plain(stream));
    let client = Rc::new(Client::new(ends, "http", socket, &worker.live().settings));
    converse_http1(&worker, &client).await;
    if client.socket.with(ClientSocket::turn_to_http2) {
        Box::pin(converse_http2(worker, client)).await;
    }
}

async fn converse_tls(
    worker: Rc<Worker>,
    stream: TcpStream,
    ends: Ends,
    config: Arc<ServerConfig>,
) {
    let limit = worker.live().settings.client_head_timeout;
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
    let client = Rc::new(Client::new(ends, "https", socket, &worker.live().settings));
    if http2 {
        converse_http2(worker, client).await;
    } else {
        converse_http1(&worker, &client).await;
    }
}

/// Ends with the connection, with what it was upgraded to, or where HTTP/2 begins on it.
async fn converse_http1(worker: &Rc<Worker>, client: &Rc<Client>) {
    let (of_worker, of_client) = (Rc::clone(worker), Rc::clone(client));
    let service =
        OneByOne::new(move |request| serve(Rc::clone(&of_worker), Rc::clone(&of_client), request));
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(worker.live().settings.client_head_timeout)
        .max_header_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(client.socket.clone()), service);
    let ended = tokio::select! {
        ended = poll_fn(|cx| connection.poll_without_shutdown(cx)) => Some(ended),
        () = worker.shutdown.stopping() => None,
    };
    let ended = if let Some(ended) = ended {
        ended
    } else {
        Pin::new(&mut connection).graceful_shutdown();
        poll_fn(|cx| connection.poll_without_shutdown(cx)).await
    };
    let parts = connection.into_parts();
    let mut socket = parts.io.into_inner();
    if let Err(error) = ended {
        if error.is_parse() {
            Box::pin(linger(&mut socket)).await;
        }
        log(Err(error));
    } else if let Some(tunnel) = client.tunnel.take() {
        socket.with(ClientSocket::end_http1);
        let idle_max = worker.live().settings.endless_idle_timeout;
        Box::pin(tunnel.run(socket, parts.read_buf, idle_max, &worker.shutdown)).await;
    } else if let Err(error) = socket.shutdown().await {
        tracing::debug!(%error, "client connection had ended");
    }
}

/// Whose head was refused may still be sending: so it reads its answer instead of a reset.
async fn linger(socket: &mut Shared<ClientSocket>) {
    socket.with(ClientSocket::end_http1);
    let discard = async {
        socket.shutdown().await?;
        let mut rest = socket.take(DISCARD_BYTES_MAX);
        tokio::io::copy(&mut rest, &mut tokio::io::sink()).await
    };
    if let Ok(Err(error)) = tokio::time::timeout(DISCARD_TIME_MAX, discard).await {
        tracing::debug!(%error, "a client whose request was refused has left");
    }
}

/// Ends when the gate stops, and when nobody has asked for anything for as long as a connection of
/// HTTP/1 may be idle: requests that are there are answered, further ones come by another connection.
async fn converse_http2(worker: Rc<Worker>, client: Rc<Client>) {
    client.socket.with(ClientSocket::end_http1);
    let shutdown = worker.shutdown.clone();
    let (head_timeout, write_timeout) = {
        let settings = &worker.live().settings;
        (settings.client_head_timeout, settings.client_write_timeout)
    };
    let streams = Streams::new(shutdown.clone(), write_timeout);
    let socket = TokioIo::new(client.socket.clone());
    let service = service_fn(move |request| {
        // A block of its own would keep room for it twice.
        serve(Rc::clone(&worker), Rc::clone(&client), request).map_ok(Taken::answer)
    });
    let connection = http2::builder(streams.clone()).serve_connection(socket, service);
    let mut connection = pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return log(ended),
        // It is told so, and no request crosses that (RFC 9113 6.8).
        () = shutdown.replaced() => {}
        () = shutdown.stopping() => {}
        () = streams.idle(head_timeout) => {}
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        ended = connection => log(ended),
        // It does not close its side, or takes nothing of the last answers.
        () = streams.idle(write_timeout) => {}
    }
}

fn log(ended: Result<(), hyper::Error>) {
    if let Err(error) = ended {
        tracing::debug!(%error, source = error.source(), "client connection ended");
    }
}
