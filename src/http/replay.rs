//! What a page is shown of what was said before it came, and where it goes on: a walk backwards through the ledger in bounded stretches,
//! so that a page costs no more memory in a long conversation than in a short one.
//!
//! One that opens is shown the newest lines; one that has everything up to a number, all that came since, and the replies among the
//! newest again, since a reply may be shown after a message with a higher number. The newest stretch comes first; a page puts lines in
//! their order by their numbers.

use switchboard_actors::ids::Seq;
use switchboard_actors::ledger::{RoomLine, Span};

/// Lines that are read at once at most.
const STRETCH: u32 = 64;
/// And bytes of their texts, but for a single line.
const STRETCH_BYTES: u32 = 64 * 1024;
/// After so many bytes of texts the rest is shown when a person asks for it.
const MOST_BYTES: usize = 4 * 1024 * 1024;

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A stretch is to be read, and taken.
    Read(Span),
    /// Everything was shown.
    Ready {
        /// From here the page goes on.
        newest: Seq,
        /// There are lines between those that the page had and this number that it was not shown.
        earlier: Option<Seq>,
    },
}

/// One walk.
pub(super) struct Replay {
    /// What the page has; none: it opens.
    after: Option<Seq>,
    /// Lines that a page is shown that opens.
    replay: u32,
    /// Lines that a page is shown that comes back.
    missed: u32,
    newest: Option<Seq>,
    /// The oldest line that was shown.
    oldest: Option<Seq>,
    /// The oldest line that was read.
    reached: Option<Seq>,
    lines: u32,
    bytes: usize,
    state: State,
}

enum State {
    Walks,
    /// Looks whether there is more than is shown.
    Looks,
    Ready {
        more: bool,
    },
}

impl Replay {
    /// For a page that has everything up to `after`. `replay` and `missed` are those of `[http]`.
    pub(super) fn new(after: Option<Seq>, replay: u32, missed: u32) -> Self {
        let missed = missed.max(replay);
        Self { after, replay, missed, newest: None, oldest: None, reached: None, lines: 0, bytes: 0, state: State::Walks }
    }

    /// What comes next.
    pub(super) fn next(&self) -> Next {
        match self.state {
            // Where nothing is replayed, the newest number still decides where the page goes on.
            State::Walks => {
                let most = self.most().saturating_sub(self.lines).clamp(1, STRETCH);
                Next::Read(Span { after: Seq(0), before: self.reached, most, bytes: STRETCH_BYTES })
            }
            State::Looks => Next::Read(Span { after: self.had(), before: Some(self.earliest()), most: 1, bytes: 0 }),
            State::Ready { more } => Next::Ready { newest: self.newest.unwrap_or(Seq(0)), earlier: more.then(|| self.earliest()) },
        }
    }

    /// Takes what was read; what of it is shown.
    pub(super) fn take(&mut self, lines: Vec<RoomLine>) -> Vec<RoomLine> {
        let empty = lines.is_empty();
        let walks = matches!(self.state, State::Walks);
        let shown = if walks { self.show(lines) } else { Vec::new() };
        let enough = self.lines >= self.most() || self.bytes >= MOST_BYTES;
        self.state = match self.state {
            State::Walks if empty => State::Ready { more: false },
            State::Walks if !enough => State::Walks,
            // Who comes back has what stands before the newest lines.
            State::Walks if self.is_among_known() => State::Ready { more: false },
            State::Walks => State::Looks,
            State::Looks => State::Ready { more: !empty },
            State::Ready { more } => State::Ready { more },
        };
        shown
    }

    /// Counts a stretch; what of it is shown.
    fn show(&mut self, lines: Vec<RoomLine>) -> Vec<RoomLine> {
        self.reached = lines.first().map(|line| line.seq).or(self.reached);
        self.newest = self.newest.or_else(|| lines.last().map(|line| line.seq));
        let newer = self.lines;
        self.lines += u32::try_from(lines.len()).unwrap_or(u32::MAX);
        self.bytes += lines.iter().map(|line| line.text.len()).sum::<usize>();
        let from_newest = lines.into_iter().rev().zip(newer..);
        let mut shown: Vec<RoomLine> = from_newest.filter(|(line, newer)| self.shows(line, *newer)).map(|(line, _)| line).collect();
        shown.reverse();
        self.oldest = shown.first().map(|line| line.seq).or(self.oldest);
        shown
    }

    /// Whether a line is shown that has so many newer ones.
    fn shows(&self, line: &RoomLine, newer: u32) -> bool {
        match self.after {
            None => newer < self.replay,
            Some(after) if line.seq > after => newer < self.missed,
            Some(_) => newer < self.replay && line.voice.is_some(),
        }
    }

    /// Lines that are read at most, from where the walk is.
    fn most(&self) -> u32 {
        if self.after.is_none() || self.is_among_known() { self.replay } else { self.missed }
    }

    /// Whether what the page had before has been reached.
    fn is_among_known(&self) -> bool {
        self.after.is_some() && self.reached.is_some_and(|reached| reached <= self.had())
    }

    fn had(&self) -> Seq {
        self.after.unwrap_or(Seq(0))
    }

    /// Where what is shown begins.
    fn earliest(&self) -> Seq {
        self.oldest.unwrap_or_else(|| Seq(self.newest.map_or(0, |newest| newest.0 + 1)))
    }
}

#[cfg(test)]
mod tests {
    use switchboard_actors::clock::Wall;
    use switchboard_actors::platform::Voice;

    use super::*;

    /// The conversation: even numbers are replies. The answer: what is shown, each stretch by itself, then where the page goes on and whether
    /// there is more.
    fn walk(lines: u64, length: usize, after: Option<u64>, replay: u32, missed: u32) -> (Vec<Vec<u64>>, u64, Option<u64>) {
        let line = |number: u64| RoomLine {
            seq: Seq(number),
            voice: number.is_multiple_of(2).then_some(Voice::Agent),
            delivery: None,
            text: "x".repeat(length),
            at: Wall(0),
            state: None,
            outbox: None,
        };
        let mut walk = Replay::new(after.map(Seq), replay, missed);
        let mut shown = Vec::new();
        loop {
            let span = match walk.next() {
                Next::Ready { newest, earlier } => return (shown, newest.0, earlier.map(|number| number.0)),
                Next::Read(span) => span,
            };
            assert!(span.most <= STRETCH && span.bytes <= STRETCH_BYTES);
            let (mut found, mut bytes) = (Vec::new(), 0);
            for number in (span.after.0 + 1..span.before.map_or(lines + 1, |before| before.0)).rev() {
                if found.len() == span.most as usize || (!found.is_empty() && bytes + length > span.bytes as usize) {
                    break;
                }
                bytes += length;
                found.insert(0, line(number));
            }
            let part: Vec<u64> = walk.take(found).iter().map(|line| line.seq.0).collect();
            shown.extend(Some(part).filter(|part| !part.is_empty()));
        }
    }

    #[test]
    fn a_page_that_opens_is_shown_the_newest_lines_and_told_of_the_rest() {
        assert_eq!(walk(0, 1, None, 3, 9), (vec![], 0, None));
        assert_eq!(walk(2, 1, None, 3, 9), (vec![vec![1, 2]], 2, None));
        assert_eq!(walk(3, 1, None, 3, 9), (vec![vec![1, 2, 3]], 3, None));
        assert_eq!(walk(4, 1, None, 3, 9), (vec![vec![2, 3, 4]], 4, Some(2)));
        assert_eq!(walk(4, 1, None, 0, 9), (vec![], 4, Some(5)));
        let (shown, newest, earlier) = walk(500, 1, None, 200, 1000);
        assert_eq!((shown.len(), newest, earlier), (4, 500, Some(301)));
        assert_eq!(shown[0], (437..=500).collect::<Vec<_>>());
    }

    #[test]
    fn a_page_that_comes_back_is_shown_what_it_missed_and_the_newest_replies() {
        assert_eq!(walk(6, 1, Some(6), 3, 9), (vec![vec![4, 6]], 6, None));
        assert_eq!(walk(6, 1, Some(99), 3, 9), (vec![vec![4, 6]], 6, None));
        assert_eq!(walk(6, 1, Some(4), 4, 9), (vec![vec![4, 5, 6]], 6, None));
        assert_eq!(walk(6, 1, Some(0), 2, 4), (vec![vec![3, 4, 5, 6]], 6, Some(3)));
        assert_eq!(walk(6, 1, Some(2), 2, 4), (vec![vec![3, 4, 5, 6]], 6, None));
        assert_eq!(walk(6, 1, Some(4), 0, 9), (vec![vec![5, 6]], 6, None));
        assert_eq!(walk(6, 1, Some(6), 0, 9), (vec![], 6, None));
    }

    #[test]
    fn g41_a_replay_is_bounded_in_bytes_at_once_and_in_all() {
        let length = STRETCH_BYTES as usize / 2;
        let (shown, newest, earlier) = walk(1000, length, None, 200, 1000);
        let stretches = MOST_BYTES / STRETCH_BYTES as usize;
        assert!(shown.iter().all(|part| part.len() == 2));
        assert_eq!((shown.len(), newest, earlier), (stretches, 1000, Some(1001 - 2 * stretches as u64)));
        let (shown, _, earlier) = walk(1000, length, Some(500), 200, 1000);
        assert_eq!((shown.len(), earlier), (stretches, Some(1001 - 2 * stretches as u64)), "a gap is told");
        let (shown, _, _) = walk(3, 2 * STRETCH_BYTES as usize, None, 200, 1000);
        assert_eq!(shown, [[3], [2], [1]], "a line of any length is shown");
    }
}
