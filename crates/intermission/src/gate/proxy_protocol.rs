//! The PROXY header that some load balancers put before a connection: who the client really is.
//! Versions 1 and 2 of <https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>; what else
//! a version 2 header says (TLVs) is passed over.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// A load balancer sends it at once.
pub(crate) const HEADER_TIME_MAX: Duration = Duration::from_secs(5);
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// The longest line of version 1, its end included.
const LINE_BYTES_MAX: usize = 107;
/// After the fixed part of version 2: two addresses take 36 bytes, the rest are TLVs.
const REST_BYTES_MAX: u16 = 2048;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ProxyHeaderError {
    #[error("the connection ended within its PROXY header")]
    Read(#[from] io::Error),
    #[error("no complete PROXY header within {HEADER_TIME_MAX:?}")]
    TimedOut,
    #[error("the connection does not begin with a PROXY header that can be understood")]
    Malformed,
}

/// Who is connected to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ends {
    pub(crate) client: SocketAddr,
    pub(crate) server: SocketAddr,
}

/// Takes the header off `stream`, and not a byte more. None: the load balancer speaks for itself.
pub(crate) async fn read(stream: &mut TcpStream) -> Result<Option<Ends>, ProxyHeaderError> {
    match tokio::time::timeout(HEADER_TIME_MAX, read_any(stream)).await {
        Ok(read) => read,
        Err(_elapsed) => Err(ProxyHeaderError::TimedOut),
    }
}

async fn read_any(stream: &mut TcpStream) -> Result<Option<Ends>, ProxyHeaderError> {
    // The shortest header of either version is longer than this.
    let mut begin = [0; SIGNATURE.len()];
    stream.read_exact(&mut begin).await?;
    if begin == SIGNATURE {
        return read_binary(stream).await;
    }
    if !begin.starts_with(b"PROXY ") {
        return Err(ProxyHeaderError::Malformed);
    }
    parse_line(&read_line(stream, &begin).await?)
}

/// The line that begins with `begin`, without its end.
async fn read_line(stream: &mut TcpStream, begin: &[u8]) -> Result<Vec<u8>, ProxyHeaderError> {
    let mut line = begin.to_vec();
    loop {
        let mut seen = [0; LINE_BYTES_MAX];
        let length = stream.peek(&mut seen).await?;
        let seen = seen.get(..length).unwrap_or_default();
        let end = seen.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
        let take = end.unwrap_or(length);
        if take == 0 || line.len() + take > LINE_BYTES_MAX {
            return Err(ProxyHeaderError::Malformed);
        }
        let before = line.len();
        line.resize(before + take, 0);
        stream.read_exact(line.get_mut(before..).unwrap_or_default()).await?;
        if end.is_some() {
            let text = line.strip_suffix(b"\r\n").ok_or(ProxyHeaderError::Malformed)?;
            return Ok(text.to_vec());
        }
    }
}

fn parse_line(line: &[u8]) -> Result<Option<Ends>, ProxyHeaderError> {
    let malformed = || ProxyHeaderError::Malformed;
    let line = std::str::from_utf8(line).map_err(|_invalid| malformed())?;
    let mut words = line.split(' ').skip(1);
    let family = words.next().ok_or_else(malformed)?;
    if family == "UNKNOWN" {
        return Ok(None);
    }
    let mut address = || -> Option<IpAddr> {
        match family {
            "TCP4" => words.next()?.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            "TCP6" => words.next()?.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let client = address().ok_or_else(malformed)?;
    let server = address().ok_or_else(malformed)?;
    let mut port = || words.next().and_then(plain_port).ok_or_else(malformed);
    let client = SocketAddr::new(client, port()?);
    let server = SocketAddr::new(server, port()?);
    if words.next().is_some() {
        return Err(malformed());
    }
    Ok(Some(Ends { client, server }))
}

fn plain_port(word: &str) -> Option<u16> {
    if word.starts_with('+') { None } else { word.parse().ok() }
}

async fn read_binary(stream: &mut TcpStream) -> Result<Option<Ends>, ProxyHeaderError> {
    let version_and_command = stream.read_u8().await?;
    let family = stream.read_u8().await?;
    let length = stream.read_u16().await?;
    if length > REST_BYTES_MAX {
        return Err(ProxyHeaderError::Malformed);
    }
    let mut rest = vec![0; usize::from(length)];
    stream.read_exact(&mut rest).await?;
    match version_and_command {
        // LOCAL: a health check of the load balancer's own, whatever addresses it gives.
        0x20 => Ok(None),
        0x21 => parse_addresses(family, &rest).ok_or(ProxyHeaderError::Malformed),
        _ => Err(ProxyHeaderError::Malformed),
    }
}

/// None: malformed. `Some(None)`: no addresses of the kind that we have.
fn parse_addresses(family: u8, rest: &[u8]) -> Option<Option<Ends>> {
    let ends = match family {
        // TCP over IPv4
        0x11 => {
            let (client, server, ports) = split::<4>(rest)?;
            ends(IpAddr::from(client), IpAddr::from(server), ports)
        }
        // TCP over IPv6
        0x21 => {
            let (client, server, ports) = split::<16>(rest)?;
            ends(IpAddr::from(client), IpAddr::from(server), ports)
        }
        // Unspecified, or a Unix socket: the client is on the load balancer's own machine.
        0x00 | 0x31 => return Some(None),
        _ => return None,
    };
    Some(Some(ends))
}

fn split<const N: usize>(rest: &[u8]) -> Option<([u8; N], [u8; N], [u8; 4])> {
    let (client, rest) = rest.split_first_chunk::<N>()?;
    let (server, rest) = rest.split_first_chunk::<N>()?;
    Some((*client, *server, *rest.first_chunk::<4>()?))
}

fn ends(client: IpAddr, server: IpAddr, [c1, c2, s1, s2]: [u8; 4]) -> Ends {
    Ends {
        client: SocketAddr::new(client, u16::from_be_bytes([c1, c2])),
        server: SocketAddr::new(server, u16::from_be_bytes([s1, s2])),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::{Ends, LINE_BYTES_MAX, ProxyHeaderError, SIGNATURE, read};

    /// What is made of `sent`, and what is left on the connection after it.
    async fn read_of(sent: &[u8]) -> (Result<Option<Ends>, ProxyHeaderError>, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        client.write_all(sent).await.unwrap();
        client.shutdown().await.unwrap();
        let read = read(&mut server).await;
        let mut left = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut server, &mut left).await.unwrap();
        (read, left)
    }

    fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, rest].concat()
    }

    fn ends(client: &str, server: &str) -> Ends {
        Ends { client: client.parse().unwrap(), server: server.parse().unwrap() }
    }

    const FOUR: [u8; 12] = [192, 0, 2, 7, 10, 0, 0, 1, 0x30, 0x39, 0x01, 0xbb];

    #[tokio::test]
    async fn both_versions_name_the_client_and_leave_the_rest_alone() {
        let mut six = [0; 36];
        (six[0], six[15], six[16], six[31]) = (0xfd, 1, 0xfd, 2);
        (six[33], six[35]) = (1, 2);
        let with_tlv = [&FOUR[..], &[3, 0, 4, 1, 2, 3, 4]].concat();
        let v4 = Some(ends("192.0.2.7:12345", "10.0.0.1:443"));
        for (sent, want) in [
            (b"PROXY TCP4 192.0.2.7 10.0.0.1 12345 443\r\n".to_vec(), v4),
            (
                b"PROXY TCP6 2001:db8::7 fd00::1 1 65535\r\n".to_vec(),
                Some(ends("[2001:db8::7]:1", "[fd00::1]:65535")),
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ff ff 1 2\r\n".to_vec(), None),
            (binary(0x21, 0x11, &FOUR), v4),
            (binary(0x21, 0x11, &with_tlv), v4),
            (binary(0x21, 0x21, &six), Some(ends("[fd00::1]:1", "[fd00::2]:2"))),
            (binary(0x20, 0x11, &FOUR), None),
            (binary(0x20, 0x00, &[]), None),
            (binary(0x21, 0x00, &[]), None),
            (binary(0x21, 0x31, &[0; 216]), None),
        ] {
            let (read, left) = read_of(&[&sent[..], b"GET /"].concat()).await;
            assert_eq!(read.unwrap(), want, "{}", sent.escape_ascii());
            assert_eq!(left, b"GET /", "{}", sent.escape_ascii());
        }
    }

    #[tokio::test]
    async fn what_is_no_header_is_refused() {
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(LINE_BYTES_MAX));
        for sent in [
            &b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"[..],
            b"PROXY TCP4 192.0.2.7 10.0.0.1 12345 443\n",
            b"PROXY TCP4 192.0.2.7 10.0.0.1 12345\r\n",
            b"PROXY TCP4 192.0.2.7 10.0.0.1 12345 443 1\r\n",
            b"PROXY TCP4 192.0.2.7 10.0.0.1 99999 443\r\n",
            b"PROXY TCP4 192.0.2.7 10.0.0.1 +1 443\r\n",
            b"PROXY TCP4 fd00::1 fd00::2 1 2\r\n",
            b"PROXY TCP6 192.0.2.7 10.0.0.1 1 2\r\n",
            b"PROXY UDP4 192.0.2.7 10.0.0.1 1 2\r\n",
            b"PROXY TCP4 192.0.2.7  10.0.0.1 1 2\r\n",
            b"PROXY \xff\xfe\xfd\xfc\xfb\xfa\r\n",
            b"PROXY TCP4 192.0.2.7",
            b"PROXY",
            b"",
            long.as_bytes(),
            &binary(0x31, 0x11, &FOUR),
            &binary(0x22, 0x11, &FOUR),
            &binary(0x21, 0x12, &FOUR),
            &binary(0x21, 0x11, &FOUR[..11]),
            &binary(0x21, 0x21, &FOUR),
            &binary(0x21, 0x11, &vec![0; 4096]),
            &binary(0x20, 0x00, &vec![0; 65535]),
            &binary(0x21, 0x11, &FOUR)[..20],
        ] {
            assert!(read_of(sent).await.0.is_err(), "{}", sent.escape_ascii());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_header_that_does_not_come_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        let read = read(&mut server).await;
        assert!(matches!(read, Err(ProxyHeaderError::TimedOut)), "{read:?}");
        drop(client);
    }
}
