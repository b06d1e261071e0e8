//! The marker row: written on the new primary, it proves on the old one that replication arrives; written by way of the
//! clients' address, it proves that this leads to the new primary.

use super::{dialect::literal, server::MySqlServer, session::Failure};
use crate::swap::server::ServerError;

const UNKNOWN_DATABASE: u16 = 1049;
const UNKNOWN_TABLE: u16 = 1146;

/// The statements about the marker.
#[derive(Debug)]
pub(super) struct Marker {
    /// Letters, digits and underscores.
    pub(super) schema: String,
}

/// Whether there is no marker table yet.
pub(super) fn is_missing(failure: &Failure) -> bool {
    matches!(failure.code, Some(UNKNOWN_DATABASE | UNKNOWN_TABLE))
}

impl Marker {
    pub(super) fn new(schema: &str) -> Self {
        Self { schema: schema.to_owned() }
    }

    pub(super) fn put(&self, id: &str) -> String {
        let (schema, id) = (&self.schema, literal(id));
        format!(
            "INSERT INTO {schema}.marker (id, swap) VALUES (1, {id}) ON DUPLICATE KEY UPDATE swap = {id}"
        )
    }

    pub(super) fn get(&self) -> String {
        format!("SELECT swap FROM {}.marker WHERE id = 1", self.schema)
    }

    pub(super) fn make(&self) -> [String; 2] {
        let schema = &self.schema;
        [
            format!("CREATE DATABASE IF NOT EXISTS {schema}"),
            format!(
                "CREATE TABLE IF NOT EXISTS {schema}.marker (id TINYINT PRIMARY KEY, swap VARCHAR(64) NOT NULL, \
                 written TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP) ENGINE=InnoDB"
            ),
        ]
    }
}

impl MySqlServer {
    pub(super) async fn put_marker(&self, id: &str) -> Result<(), ServerError> {
        if self.marker().await?.is_none() {
            for sql in self.marker.make() {
                self.set("make the marker's table", &sql).await?;
            }
        }
        self.set("write the marker", &self.marker.put(id)).await
    }

    /// The swap the marker names, if there is a marker table.
    pub(super) async fn marker(&self) -> Result<Option<String>, ServerError> {
        match self.control.rows("read the marker", &self.marker.get()).await {
            Ok(rows) => {
                Ok(Some(rows.first().and_then(|row| row.at(0)).unwrap_or_default().to_owned()))
            }
            Err(failure) if is_missing(&failure) => Ok(None),
            Err(failure) => Err(failure.into()),
        }
    }
}
