//! Rows of status statements, whose columns differ between servers and versions: looked up by name.

use mysql_async::{Row, Value};

/// One row's columns by name, in lower case.
#[derive(Debug, Clone, Default)]
pub(super) struct StatusRow(Vec<(String, Option<String>)>);

impl StatusRow {
    /// The first of `names` the row has, unless it is NULL.
    pub(super) fn get(&self, names: &[&str]) -> Option<&str> {
        self.0
            .iter()
            .find(|(column, _)| names.iter().any(|name| column.eq_ignore_ascii_case(name)))
            .and_then(|(_, value)| value.as_deref())
    }

    /// Like [`Self::get`], an empty text being none.
    pub(super) fn text(&self, names: &[&str]) -> Option<String> {
        self.get(names).filter(|text| !text.is_empty()).map(str::to_owned)
    }

    pub(super) fn number(&self, names: &[&str]) -> Option<u64> {
        self.get(names)?.parse().ok()
    }

    /// The value of column `index`, for one-row selects.
    pub(super) fn at(&self, index: usize) -> Option<&str> {
        self.0.get(index).and_then(|(_, value)| value.as_deref())
    }
}

#[cfg(test)]
impl StatusRow {
    pub(super) fn of(columns: &[(&str, &str)]) -> Self {
        let columns =
            columns.iter().map(|(name, value)| ((*name).to_owned(), Some((*value).to_owned())));
        Self(columns.collect())
    }
}

impl From<Row> for StatusRow {
    fn from(row: Row) -> Self {
        let names: Vec<String> =
            row.columns_ref().iter().map(|column| column.name_str().into_owned()).collect();
        Self(names.into_iter().zip(row.unwrap().into_iter().map(text_of)).collect())
    }
}

/// The text protocol sends everything as bytes.
fn text_of(value: Value) -> Option<String> {
    match value {
        Value::NULL => None,
        Value::Bytes(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        other @ (Value::Int(_)
        | Value::UInt(_)
        | Value::Float(_)
        | Value::Double(_)
        | Value::Date(..)
        | Value::Time(..)) => Some(other.as_sql(true)),
    }
}
