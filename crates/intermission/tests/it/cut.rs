//! A network between a swap and a gate that can be cut: nothing comes through any more, and nobody is told.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Dropped: everything is closed.
pub(crate) struct Cut {
    pub(crate) address: SocketAddr,
    state: watch::Sender<State>,
}

#[derive(Debug, Clone, Copy, Default)]
struct State {
    calls_are_cut: bool,
    answers_are_cut: bool,
    severed: u32,
}

/// Whether what goes this way is cut.
type IsCut = fn(&State) -> bool;

impl Cut {
    pub(crate) async fn before(gate: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (state, seen) = watch::channel(State::default());
        tokio::spawn(async move {
            let mut owner = seen.clone();
            let accept = async {
                loop {
                    let (client, _) = listener.accept().await.unwrap();
                    let Ok(gate) = TcpStream::connect(gate).await else { continue };
                    let (from_client, to_client) = client.into_split();
                    let (from_gate, to_gate) = gate.into_split();
                    let severed = seen.borrow().severed;
                    let calls: IsCut = |state| state.calls_are_cut;
                    let answers: IsCut = |state| state.answers_are_cut;
                    for (from, to, is_cut) in
                        [(from_client, to_gate, calls), (from_gate, to_client, answers)]
                    {
                        let pass = pass(from, to, seen.clone(), is_cut);
                        tokio::spawn(until_severed(pass, seen.clone(), severed));
                    }
                }
            };
            tokio::select! {
                () = accept => {}
                _ = owner.wait_for(|_| false) => {}
            }
        });
        Self { address, state }
    }

    pub(crate) fn cut(&self) {
        self.state.send_modify(|state| {
            state.calls_are_cut = true;
            state.answers_are_cut = true;
        });
    }

    /// The gate does what it is asked to, and nobody hears of it.
    pub(crate) fn cut_answers(&self) {
        self.state.send_modify(|state| state.answers_are_cut = true);
    }

    /// Ends the present connections; new ones come through.
    pub(crate) fn sever(&self) {
        self.state.send_modify(|state| state.severed += 1);
    }
}

async fn until_severed(
    pass: impl Future<Output = ()>,
    mut state: watch::Receiver<State>,
    severed: u32,
) {
    tokio::select! {
        () = pass => {}
        _ = state.wait_for(|state| state.severed != severed) => {}
    }
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut state: watch::Receiver<State>,
    is_cut: IsCut,
) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        // What is cut stays so.
        if state.wait_for(|state| !is_cut(state)).await.is_err()
            || to.write_all(&buffer[..length]).await.is_err()
        {
            break;
        }
    }
}
