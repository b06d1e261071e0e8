//! Whether one position in a server's history has reached another. Pure.

/// Whether `text` is a binary log file and position, as in `binlog.000002 1234`, rather than GTIDs.
pub(super) fn is_log_position(text: &str) -> bool {
    text.contains(' ')
}

/// Log positions of one and the same server.
pub(super) fn reaches_log(now: &str, target: &str) -> bool {
    match (parse_log(now), parse_log(target)) {
        (Some(now), Some(target)) => now >= target,
        _ => false,
    }
}

fn parse_log(text: &str) -> Option<(u64, u64)> {
    let (file, position) = text.split_once(' ')?;
    let (_, number) = file.rsplit_once('.')?;
    Some((number.parse().ok()?, position.parse().ok()?))
}

/// `MariaDB` GTIDs: in every domain the sequence number is at least the target's. The server that wrote an event is
/// not compared, as after a swap a later event of the same domain bears another one.
pub(super) fn reaches_mariadb(now: &str, target: &str) -> bool {
    let now: Vec<_> = now.split(',').filter_map(parse_gtid).collect();
    let targets: Option<Vec<_>> = target.split(',').map(parse_gtid).collect();
    targets.is_some_and(|targets| {
        targets.iter().all(|(domain, sequence)| {
            now.iter().any(|(here, reached)| here == domain && reached >= sequence)
        })
    })
}

/// Domain and sequence number of `domain-server-sequence`.
fn parse_gtid(text: &str) -> Option<(u32, u64)> {
    let (domain, rest) = text.trim().split_once('-')?;
    let (_server, sequence) = rest.split_once('-')?;
    Some((domain.parse().ok()?, sequence.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mariadb_positions_compare_by_domain_and_number() {
        assert!(reaches_mariadb("0-1-9", "0-1-9"));
        assert!(reaches_mariadb("0-2-10,1-1-3", "0-1-9"));
        assert!(!reaches_mariadb("0-1-9", "0-2-10"), "as numbers, not as text");
        assert!(!reaches_mariadb("0-1-9", "0-1-9,1-1-1"));
        assert!(!reaches_mariadb("", "0-1-1"));
        assert!(!reaches_mariadb("0-1-1", "nonsense"));
    }

    #[test]
    fn log_positions_compare_by_file_then_offset() {
        assert!(reaches_log("binlog.000002 4", "binlog.000001 999"));
        assert!(!reaches_log("binlog.000002 999", "binlog.000002 1000"));
        assert!(!reaches_log(" ", "binlog.000001 4"), "a replica that has not begun");
        assert!(is_log_position("binlog.000001 4") && !is_log_position("0-1-9,1-1-1"));
    }
}
