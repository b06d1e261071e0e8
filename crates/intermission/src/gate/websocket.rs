//! As much of WebSocket (RFC 6455) as it takes to say goodbye: where frames end, and a close frame.

/// "Service Restart" (IANA's registry of close codes): the client may connect again.
const SERVICE_RESTART: u16 = 1012;
const REASON: &[u8] = b"Service Restart";
/// The last frame of its message, and a close.
const FIN_CLOSE: u8 = 0x88;
const MASKED: u8 = 0x80;
/// Two bytes, a length of eight and a key of four.
const HEAD_BYTES_MAX: usize = 14;

/// Follows the frames in a stream of bytes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Frames {
    head: [u8; HEAD_BYTES_MAX],
    /// Of the head, so many bytes have passed.
    head_length: usize,
    /// Of the payload, so many are still to come.
    payload_left: u64,
}

impl Frames {
    /// Whether the next byte begins a frame.
    pub(crate) const fn is_between(&self) -> bool {
        self.head_length == 0 && self.payload_left == 0
    }

    /// All of these have passed.
    pub(crate) fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let passed = self.advance(bytes);
            bytes = bytes.get(passed..).unwrap_or_default();
        }
    }

    /// How many of `bytes` belong to the frame under way.
    pub(crate) fn within(&self, bytes: &[u8]) -> usize {
        if self.is_between() { 0 } else { self.clone().advance(bytes) }
    }

    /// Passes over the rest of one frame at most; gives how many bytes those were.
    fn advance(&mut self, bytes: &[u8]) -> usize {
        let mut passed = 0;
        if self.payload_left == 0 {
            for byte in bytes {
                if let Some(place) = self.head.get_mut(self.head_length) {
                    *place = *byte;
                }
                self.head_length += 1;
                passed += 1;
                if self.head_length == self.head_length_wanted() {
                    self.payload_left = self.payload_length();
                    self.head_length = 0;
                    break;
                }
            }
        }
        let rest = u64::try_from(bytes.len() - passed).unwrap_or(u64::MAX);
        let of_payload = rest.min(self.payload_left);
        self.payload_left -= of_payload;
        passed + usize::try_from(of_payload).unwrap_or(usize::MAX)
    }

    const fn head_length_wanted(&self) -> usize {
        let [_, second, ..] = self.head;
        if self.head_length < 2 {
            return 2;
        }
        let length = match second & !MASKED {
            126 => 4,
            127 => 10,
            _ => 2,
        };
        if second & MASKED == 0 { length } else { length + 4 }
    }

    fn payload_length(&self) -> u64 {
        let [_, second, a, b, c, d, e, f, g, h, ..] = self.head;
        match second & !MASKED {
            126 => u64::from(u16::from_be_bytes([a, b])),
            127 => u64::from_be_bytes([a, b, c, d, e, f, g, h]),
            short => u64::from(short),
        }
    }
}

/// A close frame that says "Service Restart"; what goes to a server has to be masked.
pub(crate) fn close_frame(mask: Option<[u8; 4]>) -> Vec<u8> {
    let payload = SERVICE_RESTART.to_be_bytes().into_iter().chain(REASON.iter().copied());
    let length = u8::try_from(2 + REASON.len()).unwrap_or_default();
    match mask {
        None => [FIN_CLOSE, length].into_iter().chain(payload).collect(),
        Some(mask) => {
            let masked = payload.zip(mask.into_iter().cycle()).map(|(byte, mask)| byte ^ mask);
            [FIN_CLOSE, length | MASKED].into_iter().chain(mask).chain(masked).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Frames, close_frame};

    fn frame(length: usize, masked: bool) -> Vec<u8> {
        let bit = if masked { 0x80 } else { 0 };
        let mut frame = match length {
            0..=125 => vec![0x82, bit | u8::try_from(length).unwrap()],
            126..=65535 => {
                let length = u16::try_from(length).unwrap().to_be_bytes();
                [&[0x82, bit | 126][..], &length].concat()
            }
            _ => [&[0x82, bit | 127][..], &u64::try_from(length).unwrap().to_be_bytes()].concat(),
        };
        frame.extend(if masked { &[1, 2, 3, 4][..] } else { &[] });
        frame.extend(std::iter::repeat_n(0xff, length));
        frame
    }

    #[test]
    fn the_ends_of_frames_are_found_however_the_bytes_are_cut() {
        for masked in [false, true] {
            for length in [0, 1, 125, 126, 127, 65535, 65536, 70_000] {
                let frame = frame(length, masked);
                for cut in [1, 2, 3, 9, 13, frame.len() - 1] {
                    let cut = cut.min(frame.len() - 1);
                    let mut frames = Frames::default();
                    frames.pass(&frame);
                    assert!(frames.is_between());
                    frames.pass(&frame[..cut]);
                    assert!(!frames.is_between(), "{length} {cut}");
                    let next = [&frame[cut..], &frame].concat();
                    assert_eq!(frames.within(&next), frame.len() - cut, "{length} {cut}");
                    frames.pass(&frame[cut..]);
                    assert!(frames.is_between());
                    assert_eq!(frames.within(&frame), 0);
                }
            }
        }
    }

    #[test]
    fn a_close_frame_says_1012() {
        assert_eq!(close_frame(None), b"\x88\x11\x03\xf4Service Restart");
        let masked = close_frame(Some([1, 2, 3, 4]));
        assert_eq!(masked[..8], [0x88, 0x91, 1, 2, 3, 4, 0x03 ^ 1, 0xf4 ^ 2]);
        assert_eq!(masked.len(), 4 + close_frame(None).len());
    }
}
