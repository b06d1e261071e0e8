//! The floating IP between hosts that are network namespaces, with real addresses and real neighbours.

#![allow(
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

mod address;
mod cluster_yml;
#[cfg(feature = "fault-injection")]
mod killed;
mod swapping;
