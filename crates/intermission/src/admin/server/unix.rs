//! The admin API by its socket: whoever may connect operates, and the kernel says who it is.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use nix::unistd::{Uid, User};
use tokio::net::UnixStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::{cannot_accept, serve_connection, with};
use crate::admin::api::Role;
use crate::admin::identified::Identified;
use crate::admin::socket::AdminSocket;
use crate::gate::Actor;
use crate::shutdown::Shutdown;

/// Commands, dashboards and swaps that may be connected at once; those over TCP are counted by themselves.
const CONNECTIONS_MAX: usize = 256;
/// A user's name may have to be asked of another machine. Without an answer in time the number has to do.
const NAME_WITHIN: Duration = Duration::from_millis(250);
/// Names looked for at once: the threads that do it write holds to disk, too.
const NAMES_AT_ONCE: usize = 2;

pub(super) async fn accept(socket: &AdminSocket, router: Router, shutdown: Shutdown) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let names = Arc::new(Semaphore::new(NAMES_AT_ONCE));
    let accept = async {
        while let Ok(permit) = Arc::clone(&connections).acquire_owned().await {
            match socket.listener.accept().await {
                Ok((stream, _)) => {
                    let (router, names) = (router.clone(), Arc::clone(&names));
                    let ending = shutdown.clone();
                    drop(shutdown.spawn(async move {
                        serve(stream, router, &names, &ending).await;
                        drop(permit);
                    }));
                }
                Err(error) => cannot_accept(error).await,
            }
        }
    };
    // Also while the gate is stopping: what is held then can still be released.
    tokio::select! {
        () = accept => {}
        () = shutdown.ending() => {}
    }
}

async fn serve(stream: UnixStream, router: Router, names: &Arc<Semaphore>, ending: &Shutdown) {
    let peer = match stream.peer_cred() {
        Ok(peer) => peer,
        Err(error) => return tracing::error!(%error, "the kernel does not say who connected"),
    };
    let user = user_of(peer.uid(), names, ending).await;
    let actor = Actor::Unix { uid: peer.uid(), user, pid: peer.pid() };
    let identified = Identified { actor, role: Some(Role::Operate) };
    let service = with(router, move |_| Ok(identified.clone()));
    serve_connection(stream, service, ending).await;
}

async fn user_of(uid: u32, names: &Arc<Semaphore>, shutdown: &Shutdown) -> Option<String> {
    let looked = async {
        let permit = Arc::clone(names).acquire_owned().await.ok()?;
        let look = move || {
            let user = User::from_uid(Uid::from_raw(uid));
            // Kept until the answer is here, whether or not somebody waits for it.
            drop(permit);
            user.ok().flatten().map(|user| user.name)
        };
        shutdown.spawn_blocking(look).await.ok()?
    };
    timeout(NAME_WITHIN, looked).await.ok().flatten()
}
