use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

const DEADLINE: Duration = Duration::from_secs(20);

/// A server with the app's answers that stalls on demand and counts.
#[derive(Debug, Default)]
struct Stand {
    stalled: AtomicBool,
    /// Answers an error instead of success.
    refusing: AtomicBool,
    /// Closes each connection after its answer.
    closing: AtomicBool,
    requests: AtomicUsize,
}

async fn serve(stand: Arc<Stand>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let stand = Arc::clone(&stand);
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                // One read is one request: they are small and come one at a time.
                while stream.read(&mut buffer).await.is_ok_and(|length| length > 0) {
                    while stand.stalled.load(Ordering::SeqCst) {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    stand.requests.fetch_add(1, Ordering::SeqCst);
                    let status = if stand.refusing.load(Ordering::SeqCst) { 503 } else { 201 };
                    let head = format!("HTTP/1.1 {status} X\r\ncontent-length: 2\r\n\r\n{{}}");
                    stream.write_all(head.as_bytes()).await.ok();
                    if stand.closing.load(Ordering::SeqCst) {
                        return;
                    }
                }
            });
        }
    });
    address
}

async fn until(load: &Load, mut reached: impl FnMut(Progress) -> bool) {
    let end = Instant::now() + DEADLINE;
    while !reached(load.progress()) {
        assert!(Instant::now() < end, "the load did not get on: {:?}", load.progress());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn stop(load: Load) -> Recording {
    tokio::task::spawn_blocking(|| load.stop()).await.expect("no panic").expect("stopped")
}

#[tokio::test]
async fn a_stall_shows_in_every_request_intended_while_it_lasted() {
    let stand = Arc::new(Stand::default());
    let address = serve(Arc::clone(&stand)).await;
    let load = Load::start(LoadOptions::new(address, "shop")).expect("started");
    until(&load, |progress| progress.requests >= 40).await;

    let from = load.now();
    stand.stalled.store(true, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let to = load.now();
    stand.stalled.store(false, Ordering::SeqCst);
    let so_far = load.progress().requests;
    until(&load, |progress| progress.requests >= so_far + 150).await;
    let recording = stop(load).await;

    // 400 per second for 200 ms are 80 requests, each of which must have waited until the end of the stall.
    let intended: Vec<_> = recording
        .samples
        .iter()
        .filter(|sample| sample.intended > from && sample.intended < to)
        .collect();
    assert!(intended.len() >= 75, "the schedule slowed down: {} requests", intended.len());
    assert!(intended.iter().all(|sample| sample.finished >= to));
    assert_eq!(recording.failed(), 0, "{:?}", recording.notes);
    let window = Window { from, to };
    let quiet = Window { from: Duration::ZERO, to: from };
    let added = added_latency(&recording.samples, window, quiet).expect("requests in both");
    assert!(added >= (to - from) * 8 / 10, "{added:?}");
    assert!(write_pause(&recording.samples, window).map(|gap| gap.length()) >= Some(to - from));
}

#[tokio::test]
async fn the_writes_of_one_client_go_one_after_another_in_order() {
    let stand = Arc::new(Stand::default());
    let address = serve(Arc::clone(&stand)).await;
    let options =
        LoadOptions { clients: 2, writes_permille: 1000, ..LoadOptions::new(address, "a") };
    let load = Load::start(options).expect("started");
    until(&load, |progress| progress.requests >= 20).await;
    // A backlog of many writes per client builds up here.
    stand.stalled.store(true, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(100)).await;
    stand.stalled.store(false, Ordering::SeqCst);
    let so_far = load.progress().requests;
    until(&load, |progress| progress.requests >= so_far + 60).await;
    let recording = stop(load).await;

    for client in 0..2 {
        let mut of_client: Vec<_> =
            recording.samples.iter().filter(|sample| sample.client == client).collect();
        of_client.sort_by_key(|sample| sample.seq);
        assert!(of_client.iter().zip(1..).all(|(sample, seq)| sample.seq == seq));
        assert!(of_client.windows(2).all(|pair| pair[1].sent >= pair[0].finished));
        assert!(of_client.windows(2).all(|pair| pair[1].intended > pair[0].intended));
    }
}

#[tokio::test]
async fn an_error_answer_is_a_failed_request_with_a_note() {
    let stand = Arc::new(Stand::default());
    stand.refusing.store(true, Ordering::SeqCst);
    let address = serve(Arc::clone(&stand)).await;
    let load = Load::start(LoadOptions::new(address, "shop")).expect("started");
    until(&load, |progress| progress.failed >= 30).await;
    let recording = stop(load).await;
    assert_eq!(recording.failed(), recording.samples.len());
    assert_eq!(recording.acknowledged().count(), 0);
    assert_eq!(recording.notes.len(), 20);
    assert!(recording.notes[0].contains("503"), "{:?}", recording.notes);
}

#[tokio::test]
async fn a_connection_closed_while_idle_is_replaced_without_a_failure() {
    let stand = Arc::new(Stand::default());
    stand.closing.store(true, Ordering::SeqCst);
    let address = serve(Arc::clone(&stand)).await;
    // Slow enough that the end of a connection has arrived before the next request wants to use it.
    let options = LoadOptions { rate: 50, ..LoadOptions::new(address, "shop") };
    let load = Load::start(options).expect("started");
    until(&load, |progress| progress.requests >= 20).await;
    let recording = stop(load).await;
    assert_eq!(recording.failed(), 0, "{:?}", recording.notes);
    // Each request reached the server once.
    assert_eq!(stand.requests.load(Ordering::SeqCst), recording.samples.len());
}

#[tokio::test]
async fn nobody_listening_fails_every_request_and_stops_cleanly() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    drop(listener);
    let load = Load::start(LoadOptions::new(address, "shop")).expect("started");
    until(&load, |progress| progress.failed >= 10).await;
    let recording = stop(load).await;
    let all_connect = |sample: &Sample| sample.outcome == Outcome::Failed(Failure::Connect);
    assert!(recording.samples.iter().all(all_connect));
}
