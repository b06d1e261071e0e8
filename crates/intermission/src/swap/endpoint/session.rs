//! A program on another machine, or here, that was started before it is needed and is told one thing at a time.

use std::{io, process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
    task::JoinHandle,
    time::timeout,
};

/// How much of what the program complains of is kept, bytes.
const COMPLAINT_MAX: usize = 2 * 1024;
/// How long a program that has ended may take to have said why.
const LAST_WORDS_BOUND: Duration = Duration::from_secs(1);
/// The longest answer, bytes: `ip` on a host with hundreds of addresses.
const ANSWER_MAX: usize = 256 * 1024;

/// A running program. Dropped, it is killed.
#[derive(Debug)]
pub(super) struct Session {
    /// Killed when this is dropped.
    _child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    complaints: JoinHandle<String>,
}

impl Session {
    /// Starts `sh` by way of `exec` (`ssh host`, `ip netns exec name`, or nothing for this machine) and gives it its
    /// first line.
    pub(super) async fn start(exec: &[String], first: &str) -> io::Result<Self> {
        let mut words = exec.iter().map(String::as_str).chain(["sh"]);
        let mut command = Command::new(words.next().unwrap_or("sh"));
        let mut child = command
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let missing = || io::Error::other("it has no standard streams");
        let stdin = child.stdin.take().ok_or_else(missing)?;
        let stdout = BufReader::new(child.stdout.take().ok_or_else(missing)?);
        let mut stderr = child.stderr.take().ok_or_else(missing)?;
        let complaints = tokio::spawn(async move {
            let mut kept = String::new();
            let mut chunk = [0_u8; 512];
            while let Ok(count @ 1..) = stderr.read(&mut chunk).await {
                if kept.len() < COMPLAINT_MAX {
                    let text = chunk.get(..count).unwrap_or_default();
                    kept.push_str(&String::from_utf8_lossy(text));
                }
            }
            kept
        });
        let mut session = Self { _child: child, stdin, stdout, complaints };
        match session.stdin.write_all(format!("{first}\n").as_bytes()).await {
            Ok(()) => Ok(session),
            Err(error) => Err(session.with_last_words(error).await),
        }
    }

    /// Says `lines` and returns what is answered before a line that `is_last`; without one within `bound` the session is
    /// of no more use.
    pub(super) async fn ask(
        &mut self,
        lines: &str,
        is_last: impl Fn(&str) -> bool,
        bound: Duration,
    ) -> io::Result<Vec<String>> {
        let asked = timeout(bound, async {
            self.stdin.write_all(lines.as_bytes()).await?;
            self.read_until(is_last).await
        });
        match asked.await {
            Ok(Err(error)) => Err(self.with_last_words(error).await),
            Ok(answer) => answer,
            Err(_) => {
                let reason = format!("no answer within {bound:?}");
                Err(io::Error::new(io::ErrorKind::TimedOut, reason))
            }
        }
    }

    /// What a program that is gone has complained of is most often the reason: ssh says so of a login.
    async fn with_last_words(&mut self, error: io::Error) -> io::Error {
        match timeout(LAST_WORDS_BOUND, &mut self.complaints).await {
            Ok(Ok(words)) if !words.trim().is_empty() => {
                let words = words.trim().replace('\n', "; ");
                io::Error::new(error.kind(), format!("{error}: {words}"))
            }
            Ok(_) | Err(_) => error,
        }
    }

    async fn read_until(&mut self, is_last: impl Fn(&str) -> bool) -> io::Result<Vec<String>> {
        let mut answer = Vec::new();
        let mut length = 0;
        loop {
            let mut line = String::new();
            let room = u64::try_from(ANSWER_MAX - length).unwrap_or(0);
            let count = (&mut self.stdout).take(room).read_line(&mut line).await?;
            if count == 0 {
                let how = if room == 0 { "it said too much" } else { "it ended" };
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, how));
            }
            length += count;
            let line = line.trim_end();
            if is_last(line) {
                return Ok(answer);
            }
            answer.push(line.to_owned());
        }
    }
}
