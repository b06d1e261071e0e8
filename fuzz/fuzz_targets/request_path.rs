//! What a client sends, to a gate with one worker and an upstream of its own, all in this process.
//!
//! Nothing panics, the connection ends soon after the client's bytes have, and whatever reaches the upstream is a
//! well-formed request that cannot be read in two ways.
#![no_main]

use std::net::TcpStream;
use std::sync::LazyLock;

use intermission_fuzz::{Gate, converse};
use libfuzzer_sys::fuzz_target;

static GATE: LazyLock<Gate> = LazyLock::new(Gate::start);

fuzz_target!(|input: &[u8]| {
    let stream = TcpStream::connect(GATE.address).expect("the gate listens");
    stream.set_nodelay(true).expect("a connection");
    converse(stream, input);
    GATE.check();
});
