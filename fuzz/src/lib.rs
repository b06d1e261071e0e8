//! A gate and its upstream in the fuzzer's process, and a client that sends what the fuzzer makes up.

#[path = "../../crates/intermission/tests/it/hostile/seen.rs"]
#[allow(
    dead_code,
    clippy::indexing_slicing,
    reason = "the table of docs/HOSTILE.md needs more of it"
)]
mod seen;

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown as Direction, SocketAddr, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use intermission::admin;
use intermission::config::Config;
use intermission::gate::{Gate as Serving, Inherited};
use intermission::shutdown::Shutdown;
use nix::sys::signal::{SigSet, Signal};

use self::seen::{Seen, request_bytes};

/// After its client has said that nothing more comes, a connection must have ended within this.
const PATIENCE: Duration = Duration::from_secs(5);
/// A client that waits for answers first waits as long as they come within this of each other.
const IDLE: Duration = Duration::from_millis(2);
/// Who subscribes to events and says that nothing more comes may listen on.
const EVENTS: &[u8] = b"content-type: text/event-stream";
/// Bytes of a request that the upstream keeps; the fuzzer's inputs are shorter.
const REQUEST_BYTES_MAX: usize = 1024 * 1024;

/// Of clients: short, so that whatever waits for one ends within a fuzzer's patience.
const CONFIG: &str = r#"
[gate]
listen = ["127.0.0.1:0"]
threads = 1
admin_socket = "DIRECTORY/admin.sock"
state_dir = "DIRECTORY/state"
client_head_timeout = "1s"
client_body_timeout = "1s"
client_write_timeout = "1s"

[[app]]
name = "shop"
hosts = ["*"]
upstreams = ["unix:DIRECTORY/upstream.sock"]
answer_paths = ["/lb"]
max_wait = "500ms"
lease = "1s"
lease_max = "1s"
drain = "500ms"
bypass = { paths = ["/up"], user_agents = ["Probe/1.0"] }
warm_up = { path = "/up", host = "a", timeout = "500ms" }
"#;

pub struct Gate {
    pub address: SocketAddr,
    pub admin_socket: PathBuf,
    /// A worker thread has ended.
    ended: Arc<AtomicBool>,
}

impl Gate {
    /// # Panics
    /// It cannot be started.
    #[must_use]
    pub fn start() -> Self {
        // As in every program whose main is Rust's: a write to who has left is an error. Threads to come have it, too.
        let pipe: SigSet = [Signal::SIGPIPE].into_iter().collect();
        pipe.thread_block().expect("a signal that can be blocked");
        let directory = std::env::temp_dir().join(format!("gate-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory of its own");
        let text = CONFIG.replace("DIRECTORY", &directory.display().to_string());
        let path = directory.join("config.toml");
        let mut file = File::create(&path).expect("a file for the configuration");
        file.write_all(text.as_bytes()).expect("its configuration");
        serve_upstream(UnixListener::bind(directory.join("upstream.sock")).expect("a socket"));
        let ended = Arc::new(AtomicBool::new(false));
        let (started, start) = mpsc::channel();
        let noted = Arc::clone(&ended);
        thread::spawn(move || {
            let config = Config::load(Some(&path)).expect("a configuration");
            let mut runtime = tokio::runtime::Builder::new_multi_thread();
            let runtime = runtime.worker_threads(1).enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let (shutdown, mut inherited) = (Shutdown::new(), Inherited::default());
                let admin = admin::bind(&config.gate, None, &mut inherited).expect("its socket");
                let (gate, workers) =
                    Serving::start(&config, &mut inherited, &shutdown).expect("a gate");
                let gate = Arc::new(gate);
                let _handle = admin.serve(&config.gate, Arc::clone(&gate));
                started.send(gate.listen[0]).expect("somebody waits for it");
                let joined = tokio::task::spawn_blocking(|| workers.join()).await;
                noted.store(true, Ordering::SeqCst);
                panic!("the gate has ended: {joined:?}");
            });
        });
        let address = start.recv().expect("it has started");
        Self { address, admin_socket: directory.join("admin.sock"), ended }
    }

    /// # Panics
    /// It serves no more.
    pub fn check(&self) {
        assert!(!self.ended.load(Ordering::SeqCst), "the gate has ended");
    }
}

/// A client's or an admin's connection.
pub trait Stream: Read + Write {
    fn finish_writing(&self);
    fn wait_for(&self, limit: Duration);
}

impl Stream for TcpStream {
    fn finish_writing(&self) {
        // It may have been reset.
        self.shutdown(Direction::Write).unwrap_or_default();
    }

    fn wait_for(&self, limit: Duration) {
        self.set_read_timeout(Some(limit)).expect("a limit above zero");
    }
}

impl Stream for UnixStream {
    fn finish_writing(&self) {
        self.shutdown(Direction::Write).unwrap_or_default();
    }

    fn wait_for(&self, limit: Duration) {
        self.set_read_timeout(Some(limit)).expect("a limit above zero");
    }
}

/// Sends `input` and gives everything that came until the other side closed, or events begin. The sum of its bytes decides where it is
/// cut in two, and whether answers are waited for before the client says that nothing more comes.
///
/// # Panics
/// The other side does not close.
pub fn converse(mut stream: impl Stream, input: &[u8]) -> Vec<u8> {
    let sum: usize = input.iter().map(|byte| usize::from(*byte)).sum();
    let (first, second) = input.split_at(sum % (input.len() + 1));
    let mut finished = sum % 2 == 0;
    // It may have been refused after the first.
    drop(stream.write_all(first).and_then(|()| stream.write_all(second)));
    if finished {
        stream.finish_writing();
    }
    let mut answer = Vec::new();
    let mut deadline = Instant::now() + PATIENCE;
    stream.wait_for(if finished { PATIENCE } else { IDLE });
    loop {
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer) {
            Ok(0) => return answer,
            Ok(length) => {
                answer.extend_from_slice(&buffer[..length]);
                if answer.windows(EVENTS.len()).any(|bytes| bytes == EVENTS) {
                    return answer;
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                assert!(!finished, "not closed: {}", answer.escape_ascii());
                finished = true;
                stream.finish_writing();
                stream.wait_for(PATIENCE);
                deadline = Instant::now() + PATIENCE;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // Reset.
            Err(_) => return answer,
        }
        assert!(Instant::now() < deadline, "it never stops: {}", answer.escape_ascii());
    }
}

/// The answer to a request that asks for the end of its connection; waited for, whoever else is at work.
pub fn ask(mut stream: impl Stream, request: &[u8]) -> Vec<u8> {
    let mut answer = Vec::new();
    stream.wait_for(PATIENCE);
    // Half an answer fails where it is looked at.
    drop(stream.write_all(request).and_then(|()| stream.read_to_end(&mut answer)));
    answer
}

fn serve_upstream(listener: UnixListener) {
    thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.expect("a connection");
            thread::spawn(move || answer(stream));
        }
    });
}

/// Panics, and so ends the fuzzer, when what comes is not a well-formed request.
fn answer(mut stream: UnixStream) {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        while let Some(length) = request_bytes(&bytes) {
            let raw: Vec<u8> = bytes.drain(..length).collect();
            check(&raw);
            let is_head = raw.starts_with(b"HEAD ");
            let answer: &[u8] = if is_head {
                b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
            } else {
                b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
            };
            if stream.write_all(answer).is_err() {
                return;
            }
        }
        assert!(bytes.len() < REQUEST_BYTES_MAX, "a request without end");
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(length) => bytes.extend_from_slice(&buffer[..length]),
        }
    }
}

fn check(raw: &[u8]) {
    let shown = || raw.escape_ascii();
    let seen = Seen { raw: raw.to_vec(), whole: true };
    assert!(!seen.is_ambiguous(), "it can be read in two ways: {}", shown());
    let end = raw.windows(4).position(|four| four == b"\r\n\r\n").expect("a whole head");
    let mut lines = raw[..end].split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end);
    let words: Vec<&[u8]> = lines.next().unwrap_or_default().split(|byte| *byte == b' ').collect();
    let [method, target, b"HTTP/1.1"] = words[..] else { panic!("its first line: {}", shown()) };
    assert!(is_token(method), "its method: {}", shown());
    let plain = target.iter().all(|byte| byte.is_ascii_graphic() || *byte >= 0x80);
    assert!(plain && !target.is_empty() && !target.contains(&b'#'), "its target: {}", shown());
    let mut hosts = 0;
    for line in lines {
        let at = line.iter().position(|byte| *byte == b':').unwrap_or_default();
        let (name, value) = line.split_at(at);
        assert!(is_token(name), "a field's name: {}", shown());
        let plain = value.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~' | 0x80..));
        assert!(plain, "a field's value: {}", shown());
        hosts += usize::from(name.eq_ignore_ascii_case(b"host"));
    }
    assert_eq!(hosts, 1, "its host: {}", shown());
}

fn is_token(bytes: &[u8]) -> bool {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !bytes.is_empty() && bytes.iter().all(is_part)
}
