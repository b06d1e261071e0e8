//! Intermission: swap a MySQL or MariaDB primary under load with no user noticing.

pub mod admin;
pub mod cli;
mod commands;
pub mod config;
pub mod gate;
pub mod mysql;
pub mod shutdown;
pub mod swap;
pub mod take_over;
