//! What an operator types by hand, with the server's own client: the password is asked for at the terminal.

use super::{dialect::Dialect, server::MySqlServer};
use crate::swap::{
    observation::{Address, Flavor},
    role::Event,
};

/// How long a command of the emergency card waits for the last transaction, in seconds.
pub(super) const WAITED_BY_HAND_S: f64 = 60.0;

impl MySqlServer {
    pub(super) fn client(&self, sql: &str) -> String {
        let Address { host, port } = &self.login.address;
        format!("mysql -h {host} -P {port} -u {} -p -e \"{sql}\"", self.login.account.user)
    }

    /// Prints the answer alone.
    pub(super) fn plain_client(&self, sql: &str) -> String {
        self.client(sql).replacen(" -p -e ", " -p -N -e ", 1)
    }

    /// The functions answer with a number where they have waited to the end, and -1, 1 or NULL where not.
    pub(super) fn waiting(&self, sql: &str) -> String {
        let done = sql.replacen("SELECT ", "SELECT 'waited', ", 1);
        let is_done = if sql.contains("_POS_WAIT(") { "[0-9]" } else { "0$" };
        format!("{} | grep -q 'waited.{is_done}'", self.plain_client(&done))
    }

    /// The scheduler, and each of these events in its definer's name.
    pub(super) fn running(&self, events: &[Event]) -> String {
        let dialect = self.known_dialect();
        let events = events.iter().map(|event| dialect.enable_event(event));
        let all: Vec<String> =
            std::iter::once("SET GLOBAL event_scheduler=ON".to_owned()).chain(events).collect();
        self.client(&between_double_quotes(&all.join("; ")))
    }

    pub(super) fn known_dialect(&self) -> Dialect {
        Dialect(self.flavor.get().or(self.assumed.get()).copied().unwrap_or(Flavor::MySql))
    }
}

/// As a shell reads it there.
fn between_double_quotes(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '\\' | '"' | '$' | '`') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::between_double_quotes;

    #[test]
    fn a_shell_finds_nothing_to_do_in_a_name() {
        assert_eq!(between_double_quotes(r#"`a$(b)"\`"#), r#"\`a\$(b)\"\\\`"#);
    }
}
