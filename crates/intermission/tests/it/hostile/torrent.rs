//! Floods of frames. Each is tried alone.

use super::ask::{FLOOD, NEVER, ask, begun, block};
use super::case::Rule::{Begun, Borne, Refused};
use super::case::{Case, case};
use super::frame::{
    CONTINUATION, DATA, END_STREAM, HEADERS, PING, PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE,
    field, frame,
};

#[rustfmt::skip] // A case is a row.
pub(crate) fn cases() -> Vec<Case> {
    let flood = |name, rule, parts: Vec<u8>, shown, why| {
        case(name, rule, &[begun(), parts].concat(), why).shown(shown)
    };
    let odd = |count: u32| (0..count).map(|number| 2 * number + 1);
    let reset = |stream| {
        [ask(stream, END_STREAM, &FLOOD), frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
    };
    let large = field(b"x", &[b'v'; 16_000]);
    let settings = [0, 3, 0, 0, 0, 100].repeat(10);
    vec![
        flood("rapid reset", Borne, odd(10_000).flat_map(reset).collect(), "10000 × HEADERS, RST_STREAM", "20 streams that nobody has looked at are the limit."),
        flood("streams beyond the limit", Borne, odd(1_000).flat_map(|stream| ask(stream, END_STREAM, &FLOOD)).collect(), "1000 × HEADERS", "128 at once are the limit."),
        flood(
            "CONTINUATION flood",
            Refused,
            [frame(HEADERS, END_STREAM, 1, &block(&NEVER)), frame(CONTINUATION, 0, 1, &large).repeat(200)].concat(),
            "HEADERS, 200 × CONTINUATION of 16 kB",
            "As a head of 40 kB; frames are counted too.",
        ),
        flood(
            "empty CONTINUATION flood",
            Refused,
            [frame(HEADERS, END_STREAM, 1, &block(&NEVER)), frame(CONTINUATION, 0, 1, &[]).repeat(20_000)].concat(),
            "HEADERS, 20000 × CONTINUATION of nothing",
            "Frames are counted.",
        ),
        flood("SETTINGS flood", Borne, frame(SETTINGS, 0, 0, &settings).repeat(5_000), "5000 × SETTINGS", "Each is acknowledged before the next is read: it costs no memory."),
        flood("PING flood", Borne, frame(PING, 0, 0, &[0; 8]).repeat(20_000), "20000 × PING", "As above."),
        flood("PRIORITY flood", Borne, frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 0]).repeat(20_000), "20000 × PRIORITY", "Passed over."),
        flood("window flood", Borne, frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]).repeat(20_000), "20000 × WINDOW_UPDATE", "Added up."),
        flood(
            "empty DATA flood",
            Begun,
            [ask(1, 0, &FLOOD), frame(DATA, 0, 1, &[]).repeat(20_000)].concat(),
            "20000 × DATA of nothing",
            "They cost the window nothing.",
        ),
        flood(
            "streams in error",
            Borne,
            odd(1_000).flat_map(|stream| ask(stream, END_STREAM, &FLOOD[..2])).collect(),
            "1000 × HEADERS without `:path`",
            "128 of them are the limit.",
        ),
    ]
}
