//! The lab: throwaway clusters, a ledger application, load and an oracle. Not shipped.

pub mod app;
pub mod burden;
pub mod bystander;
pub mod clock;
pub mod cluster;
pub mod demo;
pub mod display;
pub mod faults;
pub mod forwarder;
pub mod gate_bench;
pub mod load;
pub mod network;
pub mod oracle;
pub mod pair;
pub mod report;
pub mod server;
pub mod soak;
pub mod stage;
pub mod swaps;
pub mod trial;
pub mod upstream;

/// Runs each of the named functions once per server, as tests of their own.
#[macro_export]
macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {
        mod mariadb {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name($crate::server::Flavor::MariaDb).await;
            })+
        }
        mod mysql {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name($crate::server::Flavor::MySql).await;
            })+
        }
    };
}

/// Runs each of the named functions on `MariaDB` 11.8, as tests of their own.
#[macro_export]
macro_rules! on_mariadb_11_8 {
    ($($name:ident),+ $(,)?) => {
        mod mariadb_11_8 {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name($crate::server::Series::MariaDb118).await;
            })+
        }
    };
}
