//! Messages and open files between the two processes, by a socket pair.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::TalkError;

/// The addresses of a gate are its largest part.
const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// In one message; the kernel takes 253 (SCM_MAX_FD).
const FILES_AT_ONCE: usize = 128;
/// A gate has one socket for each address and worker thread.
pub(super) const FILES_MAX: usize = 16 * 1024;
const MARK: u8 = b'f';

pub(crate) fn say(stream: &UnixStream, message: &impl Serialize) -> Result<(), TalkError> {
    let text = serde_json::to_vec(message).map_err(TalkError::Foreign)?;
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
    let mut stream = stream;
    stream
        .write_all(&length.to_be_bytes())
        .and_then(|()| stream.write_all(&text))
        .map_err(TalkError::Broke)
}

pub(crate) fn hear<T: DeserializeOwned>(
    stream: &UnixStream,
    limit: Duration,
) -> Result<T, TalkError> {
    stream.set_read_timeout(Some(limit)).map_err(TalkError::Broke)?;
    let mut reader = stream;
    let mut length = [0; 4];
    reader.read_exact(&mut length).map_err(|error| unheard(error, limit))?;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > MESSAGE_BYTES_MAX {
        return Err(TalkError::Broke(io::ErrorKind::InvalidData.into()));
    }
    let mut text = vec![0; length];
    reader.read_exact(&mut text).map_err(|error| unheard(error, limit))?;
    serde_json::from_slice(&text).map_err(TalkError::Foreign)
}

pub(crate) fn give_files(stream: &UnixStream, files: &[BorrowedFd<'_>]) -> Result<(), TalkError> {
    for files in files.chunks(FILES_AT_ONCE) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES_AT_ONCE))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        ancillary.push(SendAncillaryMessage::ScmRights(files));
        sendmsg(stream, &[IoSlice::new(&[MARK])], &mut ancillary, SendFlags::NOSIGNAL)
            .map_err(|error| TalkError::Broke(error.into()))?;
    }
    Ok(())
}

/// Exactly `count` files; none of them is passed on to programs that this one starts.
pub(crate) fn take_files(
    stream: &UnixStream,
    count: usize,
    limit: Duration,
) -> Result<Vec<OwnedFd>, TalkError> {
    stream.set_read_timeout(Some(limit)).map_err(TalkError::Broke)?;
    let mut taken = Vec::new();
    while taken.len() < count {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES_AT_ONCE))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut mark = [0];
        let heard = recvmsg(
            stream,
            &mut [IoSliceMut::new(&mut mark)],
            &mut ancillary,
            RecvFlags::CMSG_CLOEXEC,
        );
        let heard = heard.map_err(|error| unheard(error.into(), limit))?;
        let before = taken.len();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(files) = message {
                taken.extend(files);
            }
        }
        if heard.bytes == 0 || taken.len() == before {
            return Err(TalkError::Ended);
        }
    }
    if taken.len() == count {
        Ok(taken)
    } else {
        Err(TalkError::Broke(io::ErrorKind::InvalidData.into()))
    }
}

fn unheard(error: io::Error, limit: Duration) -> TalkError {
    let is = |kinds: &[io::ErrorKind]| kinds.contains(&error.kind());
    if is(&[
        io::ErrorKind::UnexpectedEof,
        io::ErrorKind::ConnectionReset,
        io::ErrorKind::BrokenPipe,
    ]) {
        TalkError::Ended
    } else if is(&[io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut]) {
        TalkError::Silent(limit)
    } else {
        TalkError::Broke(error)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use super::super::{Serving, TalkError};
    use super::{give_files, hear, say, take_files};

    const SOON: Duration = Duration::from_secs(5);

    #[test]
    fn messages_and_many_files_arrive() {
        let (here, there) = UnixStream::pair().unwrap();
        let file = File::open("/dev/null").unwrap();
        say(&here, &Serving { pid: 7 }).unwrap();
        give_files(&here, &vec![file.as_fd(); 300]).unwrap();
        say(&here, &Serving { pid: 8 }).unwrap();
        assert_eq!(hear::<Serving>(&there, SOON).unwrap().pid, 7);
        assert_eq!(take_files(&there, 300, SOON).unwrap().len(), 300);
        assert_eq!(hear::<Serving>(&there, SOON).unwrap().pid, 8);
    }

    #[test]
    fn silence_garbage_and_an_end_are_told_apart() {
        let (mut here, there) = UnixStream::pair().unwrap();
        let short = Duration::from_millis(20);
        assert!(matches!(hear::<Serving>(&there, short), Err(TalkError::Silent(_))));
        assert!(matches!(take_files(&there, 1, short), Err(TalkError::Silent(_))));
        here.write_all(&[0, 0, 0, 2, b'{', b'x']).unwrap();
        assert!(matches!(hear::<Serving>(&there, SOON), Err(TalkError::Foreign(_))));
        here.write_all(&[255; 4]).unwrap();
        assert!(matches!(hear::<Serving>(&there, SOON), Err(TalkError::Broke(_))));
        drop(here);
        assert!(matches!(hear::<Serving>(&there, SOON), Err(TalkError::Ended)));
        assert!(matches!(take_files(&there, 1, SOON), Err(TalkError::Ended)));
    }
}
