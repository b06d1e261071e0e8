//! The room where a server's data is, asked of its host: SQL does not tell it.

use std::{process::Stdio, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::Command,
    time::timeout,
};

use crate::swap::{condition::Space, endpoint::quote};

/// A login on a host and its answer. `df` waits for ever on a network file system whose server is gone.
const BOUND: Duration = Duration::from_secs(10);
/// How much is read of what a host says and complains of, bytes each.
const ANSWER_MAX: u64 = 16 * 1024;

/// How much room the file system of `folder` has, by way of `exec` (`ssh host`, `ip netns exec name`, or nothing for
/// this machine).
pub(super) async fn space(exec: &[String], folder: &str) -> Result<Space, String> {
    match timeout(BOUND, ask(exec, folder)).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("no answer within {BOUND:?}")),
    }
}

async fn ask(exec: &[String], folder: &str) -> Result<Space, String> {
    let words = |error: std::io::Error| error.to_string();
    let mut program = exec.iter().map(String::as_str).chain(["sh"]);
    let mut child = Command::new(program.next().unwrap_or("sh"))
        .args(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(words)?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(mut stdin), Some(stdout), Some(stderr)) = (stdin, stdout, stderr) else {
        return Err("it has no standard streams".to_owned());
    };
    let (mut said, mut complained) = (Vec::new(), Vec::new());
    let (mut stdout, mut stderr) = (stdout.take(ANSWER_MAX), stderr.take(ANSWER_MAX));
    let line = format!("LC_ALL=C df -Pk {}\n", quote(folder));
    let (told, _, _) = tokio::join!(
        async {
            let told = stdin.write_all(line.as_bytes()).await;
            drop(stdin);
            told
        },
        stdout.read_to_end(&mut said),
        stderr.read_to_end(&mut complained),
    );
    // A program that is gone has said why; that nothing could be written to it says less.
    let complaint = String::from_utf8_lossy(&complained).trim().replace('\n', "; ");
    parse(&String::from_utf8_lossy(&said)).ok_or_else(|| match told {
        _ if !complaint.is_empty() => complaint,
        Err(error) => error.to_string(),
        Ok(()) => "df said nothing that could be read".to_owned(),
    })
}

/// POSIX: a heading, then `FILESYSTEM BLOCKS USED AVAILABLE PERCENT% MOUNTED ON`, of which the first and the last may
/// have spaces.
fn parse(text: &str) -> Option<Space> {
    let words: Vec<&str> = text.lines().nth(1)?.split_whitespace().collect();
    let percent = words.iter().position(|word| {
        word.strip_suffix('%').is_some_and(|number| number.parse::<u8>().is_ok())
    })?;
    let kib = |back: usize| words.get(percent.checked_sub(back)?)?.parse::<u64>().ok();
    Some(Space { size: kib(3)?.checked_mul(1024)?, free: kib(1)?.checked_mul(1024)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADING: &str = "Filesystem     1024-blocks     Used Available Capacity Mounted on\n";

    #[test]
    fn what_df_says_is_read() {
        let read = |line: &str| parse(&format!("{HEADING}{line}\n"));
        let space = Space { size: 1000 * 1024, free: 400 * 1024 };
        assert_eq!(read("/dev/vda1 1000 600 400 60% /"), Some(space));
        assert_eq!(read("a share 1000 600 400 60% /my data 5%"), Some(space));
        for broken in ["", "/dev/vda1", "/dev/vda1 x y z 60% /", "60% /", "/dev/vda1 1 - 2 - /"] {
            assert_eq!(read(broken), None, "{broken}");
        }
        assert_eq!(parse(""), None);
    }

    #[tokio::test]
    async fn this_machine_answers_and_says_why_not() {
        let root = space(&[], "/").await.expect("an answer");
        assert!(root.size >= root.free && root.size > 0, "{root:?}");
        let missing = space(&[], "/no such 'folder").await.expect_err("no folder");
        assert!(missing.contains("No such file"), "{missing}");
        let nobody = space(&["false".to_owned()], "/").await.expect_err("no shell");
        assert!(!nobody.is_empty());
        let unknown = space(&["/no/such/program".to_owned()], "/").await.expect_err("no program");
        assert!(unknown.contains("No such file"), "{unknown}");
    }
}
