//! A request as an upstream takes it by the strictest reading. The fuzz targets have it from here, too.

/// One request, or what came of one before its connection ended.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) raw: Vec<u8>,
    pub(crate) whole: bool,
}

impl Seen {
    pub(crate) fn has(&self, marker: &str) -> bool {
        let marker = marker.as_bytes();
        self.raw.windows(marker.len()).any(|bytes| bytes == marker)
    }

    fn head(&self) -> &[u8] {
        &self.raw[..head_bytes(&self.raw).unwrap_or(self.raw.len())]
    }

    fn values(&self, name: &str) -> Vec<String> {
        values(self.head(), name)
    }

    /// Whether another reader could take other requests from it.
    pub(crate) fn is_ambiguous(&self) -> bool {
        let head = self.head();
        let lone_feed = (0..head.len()).any(|at| {
            head[at] == b'\n' && (at == 0 || head[at - 1] != b'\r')
                || head[at] == b'\r' && head.get(at + 1).is_some_and(|next| *next != b'\n')
        });
        let lengths = self.values("content-length");
        let encodings = self.values("transfer-encoding");
        let hosts = self.values("host").len();
        let folded = head.windows(3).any(|three| matches!(three, b"\r\n " | b"\r\n\t"));
        let plain_length = lengths.iter().all(|length| length.parse::<u64>().is_ok());
        let plain_encoding =
            encodings.iter().all(|encoding| encoding.eq_ignore_ascii_case("chunked"));
        lone_feed
            || folded
            || head.contains(&0)
            || lengths.len() + encodings.len() > 1
            || hosts > 1
            || !plain_length
            || !plain_encoding
    }

    /// Method and target, how its body is framed, and these fields.
    pub(crate) fn summary(&self, fields: &[&str]) -> String {
        let line = self.raw.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = line.escape_ascii().to_string().replace("\\r", "");
        let line = line.rsplit_once(" HTTP/").map_or(line.as_str(), |(line, _)| line);
        let mut summary = line.chars().take(60).collect::<String>();
        for encoding in self.values("transfer-encoding") {
            summary += &format!(" {encoding}");
        }
        for length in self.values("content-length") {
            summary += &format!(" length={length}");
        }
        for name in fields {
            let values = self.values(name);
            summary += &format!(" {name}={}", values.join("+"));
        }
        summary
    }
}

/// The values of the fields of that name, in their order.
fn values(head: &[u8], name: &str) -> Vec<String> {
    let head = String::from_utf8_lossy(head);
    let fields = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
    let named = fields.filter(|(field, _)| field.trim().eq_ignore_ascii_case(name));
    named.map(|(_, value)| value.trim().to_owned()).collect()
}

fn head_bytes(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}

/// How long the request is that begins here, if all of it is here.
pub(crate) fn request_bytes(bytes: &[u8]) -> Option<usize> {
    let head = head_bytes(bytes)?;
    let named = |name| values(&bytes[..head], name);
    if !named("transfer-encoding").is_empty() {
        return chunked_bytes(&bytes[head..]).map(|body| head + body);
    }
    let length = named("content-length").first().map_or(Some(0), |length| length.parse().ok())?;
    let whole = head.checked_add(length)?;
    (bytes.len() >= whole).then_some(whole)
}

fn chunked_bytes(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let line = bytes[at..].windows(2).position(|two| two == b"\r\n")?;
        let size = String::from_utf8_lossy(&bytes[at..at + line]).into_owned();
        let size = size.split(';').next().unwrap_or_default().trim().to_owned();
        let size = usize::from_str_radix(&size, 16).ok()?;
        at += line + 2;
        if size == 0 {
            // The trailers, up to an empty line.
            while !bytes[at..].starts_with(b"\r\n") {
                at += bytes[at..].windows(2).position(|two| two == b"\r\n")? + 2;
            }
            return Some(at + 2);
        }
        at = at.checked_add(size)?.checked_add(2)?;
        if at > bytes.len() {
            return None;
        }
    }
}
