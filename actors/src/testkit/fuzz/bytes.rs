//! Raw bytes, read as choices; where they end, every choice is the first.

/// What is left to read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl<'a> Bytes<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    pub(super) fn short(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    /// As many as the first of them says.
    pub(super) fn some(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte()).min(self.0.len());
        let (these, rest) = self.0.split_at(length);
        self.0 = rest;
        these
    }

    /// One of `these`, which are not empty.
    pub(super) fn choose<'t, T>(&mut self, these: &'t [T]) -> &'t T {
        &these[usize::from(self.byte()) % these.len()]
    }
}
