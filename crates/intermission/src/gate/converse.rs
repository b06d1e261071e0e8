//! One connection of a client, from its handshake to its end.

use std::error::Error;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use futures_util::TryFutureExt;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use super::arrival::Arrival;
use super::body::{GateBody, RequestBody};
use super::certificate::HTTP2;
use super::client::{Client, ends, share};
use super::client_socket::{ClientSocket, Tcp};
use super::http2::{self, Streams};
use super::live::Live;
use super::page::{Form, Page};
use super::proxy::{DISCARD_BYTES_MAX, DISCARD_TIME_MAX, serve};
use super::proxy_protocol::Ends;
use super::receive::{End, Refusal, Requests};
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
    let socket = Shared::new(ClientSocket::plain(Tcp::new(stream)));
    let client = Rc::new(Client::new(ends, "http", socket, &worker.live().settings));
    if converse_http1(&worker, &client).await == End::Http2 {
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
        shaken = tokio::time::timeout(limit, TlsAcceptor::from(config).accept(Tcp::new(stream))) => shaken,
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
async fn converse_http1(worker: &Rc<Worker>, client: &Rc<Client>) -> End {
    let head_timeout = worker.live().settings.client_head_timeout;
    let requests = Requests::new(&client.socket, &worker.date, &worker.shutdown, head_timeout);
    let serve = |request| serve(Rc::clone(worker), Rc::clone(client), request);
    let end = requests.answer_each(serve).await;
    match &end {
        End::Over => close(client).await,
        // In clear text the end of the socket says all there is to say.
        End::Left => {
            if client.socket.with(|socket| socket.is_tls()) {
                close(client).await;
            }
        }
        End::Answered => Box::pin(linger(client)).await,
        End::Refused(refusal) => {
            tracing::debug!(%refusal, "a client connection ends");
            let refused = async {
                requests.refuse(refused(refusal, &worker.live())).await;
                linger(client).await;
            };
            Box::pin(refused).await;
        }
        End::Switched => {
            if let Some(tunnel) = client.tunnel.take() {
                let unread = client.socket.with(|socket| std::mem::take(socket.unread()));
                let idle_max = worker.live().settings.endless_idle_timeout;
                let socket = client.socket.clone();
                Box::pin(tunnel.run(socket, unread, idle_max, &worker.shutdown)).await;
            }
        }
        End::Broke | End::Slow | End::Http2 => {}
    }
    end
}

/// What a client is told whose request is none.
fn refused(refusal: &Refusal, live: &Live) -> Response<GateBody> {
    let mut response = match refusal {
        Refusal::Malformed(_) => Page::Ambiguous.response(Form::Html, &live.pages),
        Refusal::TooLarge(_) => {
            let mut response = Response::new(Full::default());
            *response.status_mut() = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
            response
        }
    };
    Arrival::now(&HeaderMap::new(), false).note_on(&mut response);
    response.map(GateBody::Page)
}

async fn close(client: &Client) {
    if let Err(error) = client.socket.clone().shutdown().await {
        tracing::debug!(%error, "client connection had ended");
    }
}

/// Whose request was not read whole may still be sending: so it reads its answer instead of a reset.
async fn linger(client: &Client) {
    let mut socket = client.socket.clone();
    let discard = async {
        socket.shutdown().await?;
        let mut rest = socket.take(DISCARD_BYTES_MAX);
        tokio::io::copy(&mut rest, &mut tokio::io::sink()).await
    };
    if let Ok(Err(error)) = tokio::time::timeout(DISCARD_TIME_MAX, discard).await {
        tracing::debug!(%error, "a client whose request was not read has left");
    }
}

/// Ends when the gate stops, and when nobody has asked for anything for as long as a connection of
/// HTTP/1 may be idle: requests that are there are answered, further ones come by another connection.
async fn converse_http2(worker: Rc<Worker>, client: Rc<Client>) {
    let shutdown = worker.shutdown.clone();
    let (head_timeout, write_timeout) = {
        let settings = &worker.live().settings;
        (settings.client_head_timeout, settings.client_write_timeout)
    };
    let streams = Streams::new(shutdown.clone(), write_timeout);
    let socket = TokioIo::new(client.socket.clone());
    let service = service_fn(move |request| {
        // A block of its own would keep room for it twice.
        let request = Box::new(Request::map(request, RequestBody::of_http2));
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
