//! Frames of HTTP/2 (RFC 9113 4.1) and the little of HPACK (RFC 7541) that they need.

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
const CODES: [&str; 14] = [
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
];

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head, payload].concat()
}

/// A literal that is not indexed.
pub(crate) fn field(name: &[u8], value: &[u8]) -> Vec<u8> {
    [&[0], &text(name)[..], &text(value)].concat()
}

fn text(bytes: &[u8]) -> Vec<u8> {
    let mut length = bytes.len();
    let mut out = Vec::new();
    if length < 127 {
        out.push(u8::try_from(length).unwrap());
    } else {
        out.push(127);
        length -= 127;
        while length >= 128 {
            out.push(u8::try_from(length % 128).unwrap() | 128);
            length /= 128;
        }
        out.push(u8::try_from(length).unwrap());
    }
    out.extend_from_slice(bytes);
    out
}

/// The length of the frame that begins here, and its kind.
pub(crate) fn head(buffer: &[u8]) -> Option<(usize, u8)> {
    let head = buffer.get(..9)?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    Some((usize::try_from(length).unwrap() + 9, head[3]))
}

/// How streams, in the order of their answers, and the connection ended; each but once.
pub(crate) fn ends(mut bytes: &[u8]) -> Vec<String> {
    let mut ends = Vec::new();
    while let Some((length, kind)) = head(bytes).filter(|head| bytes.len() >= head.0) {
        let (frame, rest) = bytes.split_at(length);
        bytes = rest;
        let code = |at: usize| {
            let number = u32::from_be_bytes(frame[at..at + 4].try_into().unwrap());
            CODES.get(number as usize).copied().unwrap_or("?")
        };
        let end = match kind {
            HEADERS if frame.len() > 9 => status(&frame[9..]),
            RST_STREAM => Some(format!("RST_STREAM {}", code(9))),
            GOAWAY => Some(format!("GOAWAY {}", code(13))),
            _ => None,
        };
        // An idle connection is closed so.
        let end = end.filter(|end| end != "GOAWAY NO_ERROR");
        ends.extend(end.filter(|end| !ends.contains(end)));
    }
    ends
}

/// None: trailers.
fn status(mut block: &[u8]) -> Option<String> {
    // A change of the table's size comes first.
    while let [size, rest @ ..] = block {
        if size >> 5 != 1 {
            break;
        }
        block = rest;
        if size & 31 == 31 {
            let length = block.iter().position(|byte| byte & 128 == 0)?;
            block = &block[length + 1..];
        }
    }
    let (first, rest) = block.split_first()?;
    let indexed = ["200", "204", "206", "304", "400", "404", "500"];
    if let 0x88..=0x8e = first {
        return Some(indexed[usize::from(first - 0x88)].to_owned());
    }
    // A literal whose name is one of those fields.
    let name = if first >> 6 == 1 { first & 63 } else { first & 15 };
    if !(8..=14).contains(&name) {
        return None;
    }
    let (length, rest) = rest.split_first()?;
    let value = rest.get(..usize::from(length & 127))?;
    if length & 128 == 0 { String::from_utf8(value.to_vec()).ok() } else { Some(digits(value)) }
}

/// Digits as Huffman codes them (RFC 7541, appendix B): 0 to 2 in five bits, the others in six.
fn digits(bytes: &[u8]) -> String {
    let bits: Vec<u8> =
        bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
    let number = |bits: &[u8]| bits.iter().fold(0_u8, |number, bit| number << 1 | bit);
    let mut rest = &bits[..];
    let mut text = String::new();
    while rest.len() >= 5 {
        let five = number(&rest[..5]);
        if five <= 2 {
            text.push(char::from(b'0' + five));
            rest = &rest[5..];
        } else if rest.len() >= 6 && (0x19..=0x1f).contains(&number(&rest[..6])) {
            text.push(char::from(b'3' + number(&rest[..6]) - 0x19));
            rest = &rest[6..];
        } else {
            break;
        }
    }
    text
}
