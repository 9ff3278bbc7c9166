//! The target of the control socket, for the fuzzer and for `tests/daemon/fuzzing.rs`.

use switchboard::control::Envelope;

/// A line of a client: it is refused in words, or a request that is one line when it is written, and is read back as it was.
pub(crate) fn one_request(data: &[u8]) {
    match Envelope::read(data) {
        Ok(request) => {
            let line = Envelope::write(&request);
            assert!(line.ends_with('\n') && line.matches('\n').count() == 1, "{line:?}");
            assert_eq!(Envelope::read(line.as_bytes()).as_ref(), Ok(&request), "{line:?}");
        }
        Err(reason) => assert!(!reason.is_empty()),
    }
}
