//! What comes by a connection to the admin socket, to a gate in this process.
//!
//! Nothing panics, the connection ends soon after its client's bytes have, and the gate goes on answering.
#![no_main]

use std::os::unix::net::UnixStream;
use std::sync::LazyLock;

use intermission_fuzz::{Gate, ask, converse};
use libfuzzer_sys::fuzz_target;

static GATE: LazyLock<Gate> = LazyLock::new(Gate::start);
const STATUS: &[u8] = b"GET /v1/status HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

fuzz_target!(|input: &[u8]| {
    let connect = || UnixStream::connect(&GATE.admin_socket).expect("the gate listens");
    converse(connect(), input);
    let status = ask(connect(), STATUS);
    assert!(status.starts_with(b"HTTP/1.1 200 OK\r\n"), "{}", status.escape_ascii());
    GATE.check();
});
