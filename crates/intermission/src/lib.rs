//! Intermission: swap a MySQL or MariaDB primary under load with no user noticing.

pub mod config;
pub mod mysql;
pub mod swap;
