//! The marker row: written on the new primary, it proves on the old one that replication arrives.

use super::{dialect::literal, server::MySqlServer};
use crate::swap::server::ServerError;

const UNKNOWN_DATABASE: u16 = 1049;
const UNKNOWN_TABLE: u16 = 1146;

impl MySqlServer {
    pub(super) async fn put_marker(&self, id: &str) -> Result<(), ServerError> {
        if self.marker().await?.is_none() {
            self.make_marker_table().await?;
        }
        let id = literal(id);
        let sql = format!(
            "INSERT INTO {}.marker (id, swap) VALUES (1, {id}) ON DUPLICATE KEY UPDATE swap = {id}",
            self.marker_schema
        );
        self.set("write the marker", &sql).await
    }

    async fn make_marker_table(&self) -> Result<(), ServerError> {
        let schema = &self.marker_schema;
        self.set("make the marker's schema", &format!("CREATE DATABASE IF NOT EXISTS {schema}"))
            .await?;
        let table = format!(
            "CREATE TABLE IF NOT EXISTS {schema}.marker (id TINYINT PRIMARY KEY, swap VARCHAR(64) NOT NULL, \
             written TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP) ENGINE=InnoDB"
        );
        self.set("make the marker's table", &table).await
    }

    /// The swap the marker names, if there is a marker table.
    pub(super) async fn marker(&self) -> Result<Option<String>, ServerError> {
        let sql = format!("SELECT swap FROM {}.marker WHERE id = 1", self.marker_schema);
        match self.control.rows("read the marker", &sql).await {
            Ok(rows) => {
                Ok(Some(rows.first().and_then(|row| row.at(0)).unwrap_or_default().to_owned()))
            }
            Err(failure) if matches!(failure.code, Some(UNKNOWN_DATABASE | UNKNOWN_TABLE)) => {
                Ok(None)
            }
            Err(failure) => Err(failure.into()),
        }
    }
}
