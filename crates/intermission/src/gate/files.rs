//! How many connections the limit of open files leaves room for.

use rustix::process::{Resource, getrlimit};

/// Open files besides the client connections: upstream connections, above all.
const FILES_BESIDE: u64 = 2048;
/// Of the files that are allowed, this part at least is for clients where they are few.
const CLIENTS_PART: u64 = 2;

/// `wanted`, or what the process may have: a file for each, and others for what is forwarded. One that could not be opened
/// would cost a request in flight, not the one that is too many.
pub(super) fn connections_max(wanted: usize) -> usize {
    let Some(files_max) = getrlimit(Resource::Nofile).current else { return wanted };
    let connections_max = bounded(wanted, files_max);
    if connections_max < wanted {
        tracing::warn!(
            files_max,
            wanted,
            connections_max,
            "too few open files are allowed for gate.connections_max: raise the limit (LimitNOFILE, ulimit -n)"
        );
    }
    connections_max
}

fn bounded(wanted: usize, files_max: u64) -> usize {
    let beside = FILES_BESIDE.min(files_max / CLIENTS_PART);
    let room = usize::try_from(files_max.saturating_sub(beside)).unwrap_or(usize::MAX);
    wanted.min(room).max(1)
}

#[cfg(test)]
mod tests {
    use super::bounded;

    #[test]
    fn files_are_left_for_what_is_forwarded() {
        for (wanted, files_max, bound) in [
            (16_384, 524_288, 16_384),
            (16_384, 20_000, 16_384),
            (16_384, 18_000, 15_952),
            (16_384, 1024, 512),
            (100, 1024, 100),
            (100, 0, 1),
        ] {
            assert_eq!(bounded(wanted, files_max), bound, "{wanted} of {files_max}");
        }
    }
}
