//! Points a running forwarder at another target: the stage's endpoint hook.
//!
//! A program of its own and without an argument parser: where it is not started early, its start is part of the pause.

use std::{env, io, io::Write, net::SocketAddr, path::Path, process::ExitCode};

use lab::forwarder::{Established, repoint};

const USAGE: &str = "usage: INTERMISSION_NEW_PRIMARY=HOST:PORT lab-repoint CONTROL-SOCKET [--keep]; \
                     without the variable the address is the first word of a line on standard input";

fn main() -> ExitCode {
    let Some(control) = env::args_os().nth(1) else { return complain(USAGE) };
    let established = match env::args_os().nth(2) {
        None => Established::Close,
        Some(word) if word == "--keep" => Established::Keep,
        Some(_) => return complain(USAGE),
    };
    let to = match env::var("INTERMISSION_NEW_PRIMARY").map_or_else(|_| wait_for_line(), Ok) {
        Ok(to) if to.is_empty() => return ExitCode::SUCCESS, // nobody is to be led anywhere
        Ok(to) => to,
        Err(error) => return complain(&error.to_string()),
    };
    let Ok(to) = to.parse::<SocketAddr>() else {
        return complain(&format!("the new primary {to:?} is not an IP address and port"));
    };
    match repoint(Path::new(&control), to, established) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&error.to_string()),
    }
}

/// The first word of a line; empty when the input ends without one.
fn wait_for_line() -> io::Result<String> {
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    Ok(line.split_whitespace().next().unwrap_or_default().to_owned())
}

fn complain(text: &str) -> ExitCode {
    // Without a terminal nobody is left to be told; the exit code says it too.
    drop(writeln!(io::stderr(), "lab-repoint: {text}"));
    ExitCode::FAILURE
}
