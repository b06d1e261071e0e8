//! Points a running forwarder at another target: the stage's endpoint hook.
//!
//! A program of its own and without an argument parser, because starting it is part of every write pause.

use std::{env, io::Write, net::SocketAddr, path::Path, process::ExitCode};

use lab::forwarder::{Established, repoint};

const USAGE: &str = "usage: INTERMISSION_NEW_PRIMARY=HOST:PORT lab-repoint CONTROL-SOCKET [--keep]";

fn main() -> ExitCode {
    let told = env::args_os().nth(1).zip(env::var("INTERMISSION_NEW_PRIMARY").ok());
    let Some((control, to)) = told else { return complain(USAGE) };
    let Ok(to) = to.parse::<SocketAddr>() else {
        return complain(&format!("INTERMISSION_NEW_PRIMARY={to:?} is not an IP address and port"));
    };
    let established = match env::args_os().nth(2) {
        None => Established::Close,
        Some(word) if word == "--keep" => Established::Keep,
        Some(_) => return complain(USAGE),
    };
    match repoint(Path::new(&control), to, established) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&error.to_string()),
    }
}

fn complain(text: &str) -> ExitCode {
    // Without a terminal nobody is left to be told; the exit code says it too.
    drop(writeln!(std::io::stderr(), "lab-repoint: {text}"));
    ExitCode::FAILURE
}
