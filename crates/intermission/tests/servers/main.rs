//! The swap on real pairs of both servers, with gates and a hook that only remember what they were asked.

#![allow(
    clippy::cognitive_complexity,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop where it stands"
)]

/// Runs each of the named functions once per server, as tests of their own.
macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {
        mod mariadb {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(lab::server::Flavor::MariaDb).await;
            })+
        }
        mod mysql {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(lab::server::Flavor::MySql).await;
            })+
        }
    };
}

mod asked;
mod bench;
mod check;
mod emergency;
mod fence;
mod haproxy;
mod moment;
mod privilege;
mod restart;
mod secret;
mod session;
mod swapping;
