//! The gate, its admin API and its commands, on real sockets.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::string_slice,
    clippy::print_stdout,
    reason = "clippy's settings for tests do not reach the helpers of an integration test"
)]

mod it {
    mod admin;
    mod audit;
    mod balance;
    mod beside;
    mod by_hand;
    mod bypass;
    mod certificate;
    mod cli;
    mod crowd;
    mod cut;
    mod endless;
    mod error_pages;
    mod exchange;
    mod flood;
    mod gate;
    mod guess;
    mod harness;
    mod health;
    mod hold;
    mod hold_client;
    mod hold_fault;
    mod hostile;
    mod http2;
    mod http2_client;
    mod interop;
    mod line;
    mod message;
    mod named;
    mod openapi;
    mod proof;
    mod proxy;
    mod proxy_protocol;
    mod reload;
    mod remote;
    mod remote_caller;
    mod resolve;
    mod restart;
    mod role;
    mod several;
    mod share;
    mod stop;
    mod straggler;
    mod switch;
    mod systemd;
    mod take_over;
    mod tls;
    mod tls_client;
    mod upgrade;
    mod upstream;
    mod warm_up;
    mod web_server;
    mod wire;
}
