//! Lines of a file or of stdin as records: read in large pieces by a thread of its own, cut without copying.

use std::io::{self, Read};
use std::thread;

use bytes::{Buf, Bytes, BytesMut};
use tokio::sync::mpsc;

/// What one read asks for: large enough that a system call costs nothing by the byte.
const PIECE: usize = 256 << 10;

/// Pieces that are read ahead: 8 × 256 KiB, a batch or two.
const READ_AHEAD: usize = 8;

/// Cuts a stream of pieces into lines. The newline is not part of a line; a last line without one counts; `\r` is kept.
#[derive(Debug)]
pub(super) struct Lines {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    /// What is left of the last piece.
    rest: Bytes,
    /// The beginning of a line whose newline has not come yet.
    partial: BytesMut,
    /// Lines given so far.
    count: u64,
    max_line: usize,
}

/// Why there is no next line.
#[derive(Debug, thiserror::Error)]
pub(super) enum LineError {
    /// The source cannot be read.
    #[error("cannot read the input: {0}")]
    Read(#[from] io::Error),
    /// A line is longer than a record may be.
    #[error("line {line} is longer than {max} bytes, the most that a record may have")]
    TooLong {
        /// The line's number, from 1.
        line: u64,
        /// The limit.
        max: usize,
    },
}

impl Lines {
    /// Reads `source` until its end. The thread ends with the source, or at the first piece after this is dropped; one
    /// that waits for a terminal ends with the process.
    pub(super) fn read(mut source: impl Read + Send + 'static, max_line: usize) -> io::Result<Self> {
        let (sender, pieces) = mpsc::channel(READ_AHEAD);
        thread::Builder::new().name("read-input".into()).spawn(move || {
            loop {
                let piece = read_piece(&mut source);
                let end = !matches!(&piece, Ok(piece) if !piece.is_empty());
                if sender.blocking_send(piece).is_err() || end {
                    break;
                }
            }
        })?;
        Ok(Self { pieces, rest: Bytes::new(), partial: BytesMut::new(), count: 0, max_line })
    }

    /// How many lines were given: the number of the last one.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The next line, or `None` at the end. Cancellation safe.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, LineError> {
        loop {
            if let Some(line) = self.cut()? {
                self.count += 1;
                return Ok(Some(line));
            }
            match self.pieces.recv().await.transpose()? {
                Some(piece) if !piece.is_empty() => self.rest = piece,
                _ if self.partial.is_empty() => return Ok(None),
                _ => {
                    self.count += 1;
                    return Ok(Some(self.partial.split().freeze()));
                }
            }
        }
    }

    /// A whole line out of what is here; without one, all of it goes to `partial`.
    fn cut(&mut self) -> Result<Option<Bytes>, LineError> {
        let end = memchr::memchr(b'\n', &self.rest);
        let length = self.partial.len() + end.unwrap_or(self.rest.len());
        if length > self.max_line {
            return Err(LineError::TooLong { line: self.count + 1, max: self.max_line });
        }
        let Some(end) = end else {
            self.partial.extend_from_slice(&self.rest);
            self.rest.clear();
            return Ok(None);
        };
        let head = self.rest.split_to(end);
        self.rest.advance(1);
        if self.partial.is_empty() {
            return Ok(Some(head));
        }
        self.partial.extend_from_slice(&head);
        Ok(Some(self.partial.split().freeze()))
    }
}

fn read_piece(source: &mut impl Read) -> io::Result<Bytes> {
    let mut piece = vec![0; PIECE];
    loop {
        match source.read(&mut piece) {
            Ok(length) => {
                piece.truncate(length);
                // A terminal or a slow pipe gives little at a time: do not keep 256 KiB for it.
                if length < PIECE / 2 {
                    piece.shrink_to_fit();
                }
                return Ok(piece.into());
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one byte string a read.
    struct Pieces(std::vec::IntoIter<&'static [u8]>);

    impl Read for Pieces {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let Some(piece) = self.0.next() else { return Ok(0) };
            buf[..piece.len()].copy_from_slice(piece);
            Ok(piece.len())
        }
    }

    async fn lines(pieces: Vec<&'static [u8]>) -> Result<Vec<Bytes>, LineError> {
        let mut lines = Lines::read(Pieces(pieces.into_iter()), 10)?;
        let mut all = Vec::new();
        while let Some(line) = lines.next().await? {
            all.push(line);
        }
        Ok(all)
    }

    #[tokio::test]
    async fn lines_are_the_same_however_they_arrive() {
        let whole = lines(vec![b"a\n\nbc\r\nlast"]).await.unwrap();
        assert_eq!(whole, ["a", "", "bc\r", "last"]);
        assert_eq!(lines(vec![b"a", b"\n", b"\nb", b"c\r", b"\nla", b"st"]).await.unwrap(), whole);
    }

    #[tokio::test]
    async fn a_newline_at_the_end_begins_no_further_line() {
        assert_eq!(lines(vec![b"a\n"]).await.unwrap(), ["a"]);
        assert!(lines(vec![]).await.unwrap().is_empty());
        assert_eq!(lines(vec![b"\n"]).await.unwrap(), [""]);
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_is_named_by_its_number() {
        for pieces in [vec![&b"a\n0123456789x\n"[..]], vec![&b"a\n01234"[..], b"56789x"]] {
            let error = lines(pieces).await.unwrap_err().to_string();
            assert!(error.contains("line 2") && error.contains("10 bytes"), "{error}");
        }
    }
}
