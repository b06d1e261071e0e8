use super::*;

/// A server that greets every connection with its own name and then echoes.
async fn named_server(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                write.write_all(name.as_bytes()).await.ok();
                tokio::io::copy(&mut read, &mut write).await.ok();
            });
        }
    });
    address
}

async fn read_exactly(stream: &mut TcpStream, length: usize) -> String {
    let mut buffer = vec![0; length];
    stream.read_exact(&mut buffer).await.expect("the bytes arrive");
    String::from_utf8(buffer).expect("text")
}

async fn start(to: SocketAddr, dir: &Path) -> (SocketAddr, PathBuf) {
    let control = dir.join("forwarder.sock");
    let listen = "127.0.0.1:0".parse().expect("an address");
    let forwarder = Forwarder::bind(listen, to, &control).await.expect("bound");
    let address = forwarder.address();
    tokio::spawn(forwarder.run());
    (address, control)
}

async fn repoint_away(
    control: &Path,
    to: SocketAddr,
    established: Established,
) -> Result<(), ForwarderError> {
    let control = control.to_owned();
    tokio::task::spawn_blocking(move || repoint(&control, to, established)).await.expect("no panic")
}

#[tokio::test]
async fn a_repoint_moves_new_connections_and_closes_established_ones() {
    let (old, new) = (named_server("old").await, named_server("new").await);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (address, control) = start(old, dir.path()).await;

    let mut before = TcpStream::connect(address).await.expect("connected");
    assert_eq!(read_exactly(&mut before, 3).await, "old");
    repoint_away(&control, new, Established::Close).await.expect("re-pointed");
    assert_eq!(before.read(&mut [0; 8]).await.expect("an orderly end"), 0);

    let mut after = TcpStream::connect(address).await.expect("connected");
    assert_eq!(read_exactly(&mut after, 3).await, "new");
    repoint_away(&control, new, Established::Close).await.expect("pointed there again");
    after.write_all(b"still").await.expect("a connection to where it points lives");
    assert_eq!(read_exactly(&mut after, 5).await, "still");
}

#[tokio::test]
async fn a_repoint_may_leave_established_connections() {
    let (old, new) = (named_server("old").await, named_server("new").await);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (address, control) = start(old, dir.path()).await;

    let mut before = TcpStream::connect(address).await.expect("connected");
    assert_eq!(read_exactly(&mut before, 3).await, "old");
    repoint_away(&control, new, Established::Keep).await.expect("re-pointed");

    // Acknowledged means in force: the very next connection goes to the new target.
    for _ in 0..20 {
        let mut after = TcpStream::connect(address).await.expect("connected");
        assert_eq!(read_exactly(&mut after, 3).await, "new");
    }
    before.write_all(b"still").await.expect("the established connection lives");
    assert_eq!(read_exactly(&mut before, 5).await, "still");
}

#[tokio::test]
async fn a_server_that_closes_closes_the_client() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let target = listener.local_addr().expect("bound");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (address, _control) = start(target, dir.path()).await;

    let mut client = TcpStream::connect(address).await.expect("connected");
    let (server, _) = listener.accept().await.expect("carried");
    drop(server);
    assert_eq!(client.read(&mut [0; 8]).await.expect("an orderly end"), 0);
}

#[tokio::test]
async fn a_bad_or_absent_control_is_a_clear_error() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let to = named_server("any").await;
    let (_address, control) = start(to, dir.path()).await;

    let mut stream = UnixStream::connect(&control).await.expect("connected");
    stream.write_all(b"db2.example:3306\n").await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answered");
    assert!(answer.contains("db2.example:3306"), "{answer}");

    let absent = dir.path().join("absent.sock");
    let error = repoint_away(&absent, to, Established::Close).await.expect_err("no such socket");
    assert!(error.to_string().contains("absent.sock"), "{error}");
}
