//! The application of `lab gate-bench`, as cheap as one can be: it answers every GET with the same page from memory, and
//! remembers in which order numbered requests came.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

/// Bytes of the page.
pub const PAGE: usize = 1024;
/// Answers the numbers of the requests so far, in the order they came, and forgets them.
pub const SEEN: &str = "/seen";

const HEAD_END: &[u8] = b"\r\n\r\n";
/// A request's head at most, bytes; a connection that sends more is closed.
const HEAD_MAX: usize = 16 * 1024;
/// Numbers that are remembered at most.
const SEEN_MAX: usize = 1_000_000;

/// Numbers of requests, `GET /NUMBER`, as they came.
type Seen = RefCell<Vec<u32>>;

/// A bound upstream.
#[derive(Debug)]
pub struct Upstream {
    listener: TcpListener,
    address: SocketAddr,
}

impl Upstream {
    /// Port 0 takes a free one.
    pub async fn bind(at: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(at).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves on this thread alone until an error of the listener.
    pub async fn run(self) -> io::Result<()> {
        let seen = Rc::new(Seen::default());
        let page: Rc<[u8]> = answer(&"x".repeat(PAGE)).into();
        LocalSet::new()
            .run_until(async {
                loop {
                    let (stream, _) = self.listener.accept().await?;
                    stream.set_nodelay(true)?;
                    let (seen, page) = (Rc::clone(&seen), Rc::clone(&page));
                    // A client that breaks off is no matter of this program's.
                    tokio::task::spawn_local(
                        async move { converse(stream, &seen, &page).await.ok() },
                    );
                }
            })
            .await
    }
}

fn answer(text: &str) -> Vec<u8> {
    let length = text.len();
    format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\n\r\n{text}")
        .into_bytes()
}

async fn converse(mut stream: TcpStream, seen: &Seen, page: &[u8]) -> io::Result<()> {
    let mut read = Vec::with_capacity(HEAD_MAX);
    loop {
        while let Some(end) = read.windows(HEAD_END.len()).position(|bytes| bytes == HEAD_END) {
            let path = path_of(&read);
            if path == SEEN.as_bytes() {
                stream.write_all(&answer(&take(seen))).await?;
            } else {
                note(seen, path);
                stream.write_all(page).await?;
            }
            read.drain(..end + HEAD_END.len());
        }
        if read.len() > HEAD_MAX || stream.read_buf(&mut read).await? == 0 {
            return Ok(());
        }
    }
}

/// What is between the first two spaces.
fn path_of(head: &[u8]) -> &[u8] {
    head.split(|byte| *byte == b' ').nth(1).unwrap_or_default()
}

fn note(seen: &Seen, path: &[u8]) {
    let number = str::from_utf8(path).ok().and_then(|path| path.strip_prefix('/'));
    let Some(number) = number.and_then(|number| number.parse().ok()) else { return };
    let mut seen = seen.borrow_mut();
    if seen.len() < SEEN_MAX {
        seen.push(number);
    }
}

fn take(seen: &Seen) -> String {
    let numbers = seen.take();
    numbers.into_iter().fold(String::new(), |mut text, number| {
        // Writing into memory does not fail.
        writeln!(text, "{number}").ok();
        text
    })
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const WITHIN: std::time::Duration = std::time::Duration::from_secs(20);

    #[tokio::test]
    async fn it_answers_its_page_and_remembers_the_order() {
        let upstream = Upstream::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let address = upstream.address();
        let client = async {
            let mut stream = TcpStream::connect(address).await.unwrap();
            for (asked, said) in
                [("/7", "xxx"), ("/", "xxx"), ("/3", "xxx"), (SEEN, "7\n3\n"), (SEEN, "")]
            {
                let head = format!("GET {asked} HTTP/1.1\r\nhost: a\r\n\r\n");
                let (first, second) = head.split_at(9);
                stream.write_all(first.as_bytes()).await.unwrap();
                stream.write_all(second.as_bytes()).await.unwrap();
                let length = if asked == SEEN { said.len() } else { PAGE };
                let expected = answer(&"x".repeat(PAGE)).len();
                let expected = if asked == SEEN { answer(said).len() } else { expected };
                let mut text = vec![0; expected];
                stream.read_exact(&mut text).await.unwrap();
                let text = String::from_utf8(text).unwrap();
                assert!(text.contains(&format!("content-length: {length}\r\n")), "{text}");
                assert!(text.split_once("\r\n\r\n").unwrap().1.starts_with(said), "{text}");
            }
        };
        tokio::select! {
            ended = upstream.run() => panic!("it ended: {ended:?}"),
            done = timeout(WITHIN, client) => done.expect("answered in time"),
        }
    }
}
