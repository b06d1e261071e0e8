//! Clients that leave while they are served.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::{Pending, pending};

use http::Response;
use http_body_util::BodyExt;
use hyper::body::Body;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio::time::timeout;

use super::{Date, End, LIMIT, Requests, Shutdown, pair};
use crate::gate::body::{BoxedRequest, GateBody};

/// A connection whose first request is given away, and never answered, in a task of its own.
async fn unanswered() -> (TcpStream, oneshot::Receiver<BoxedRequest>, JoinHandle<End>) {
    let (client, socket) = pair().await;
    let (sender, request) = oneshot::channel();
    let sender = RefCell::new(Some(sender));
    let serving = spawn_local(async move {
        let (date, shutdown) = (Date::now(), Shutdown::new());
        let requests = Requests::new(&socket, &date, &shutdown, LIMIT);
        let serve = |request| -> Pending<Result<Response<GateBody>, Infallible>> {
            drop(sender.take().unwrap().send(request));
            pending()
        };
        requests.answer_each(serve).await
    });
    (client, request, serving)
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_request_with_it() {
    let test = async {
        let (mut client, request, serving) = unanswered().await;
        client.write_all(b"GET / HTTP/1.1\r\n\r\nGET /next").await.unwrap();
        let request = timeout(LIMIT, request).await.unwrap().unwrap();
        assert_eq!(request.uri(), "/");
        drop(client);
        // Behind unread bytes nobody looks as long as it is not held.
        assert!(!serving.is_finished());
        serving.abort();

        let (mut client, request, serving) = unanswered().await;
        client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        timeout(LIMIT, request).await.unwrap().unwrap();
        drop(client);
        assert_eq!(timeout(LIMIT, serving).await.unwrap().unwrap(), End::Broke);
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn a_client_that_leaves_is_missed_also_when_another_task_has_read_its_body() {
    let test = async {
        let (mut client, request, serving) = unanswered().await;
        client.write_all(b"POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nbo").await.unwrap();
        let mut body = timeout(LIMIT, request).await.unwrap().unwrap().into_body();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "bo");
        // Its connection's task waits by now.
        tokio::task::yield_now().await;
        client.write_all(b"dy").await.unwrap();
        let rest = timeout(LIMIT, body.frame()).await.unwrap().unwrap().unwrap();
        assert_eq!(rest.into_data().unwrap(), "dy");
        assert!(body.is_end_stream());
        drop(client);
        // The body stays in hand.
        assert_eq!(timeout(LIMIT, serving).await.unwrap().unwrap(), End::Broke);
    };
    LocalSet::new().run_until(test).await;
}
