//! Order: what comes before what, in every conversation.

use std::collections::{HashMap, HashSet};

use switchboard_actors::ids::{Seq, SessionKey};
use switchboard_actors::ledger::{Accept, Accepted, Done, Step};

use crate::guarantees::{Evidence, asked_names, is_answer, told_cut};
use crate::player::names;

/// G5: what was said in one conversation is answered in the order in which it was accepted; but for what was cut and asked for again: that
/// waits for /retry, and everything else goes on.
pub(crate) fn g05_answers_keep_their_order(evidence: &Evidence) -> usize {
    let said: HashMap<&str, (Seq, &SessionKey)> = evidence
        .steps()
        .filter_map(|(_, _, step, done)| match (step, done) {
            (Step::Accept(Accept { seq, session, what: Accepted::Message { text }, .. }), Done::Accepted { .. }) => {
                Some((text.split_whitespace().next().unwrap_or_default(), (*seq, session)))
            }
            _ => None,
        })
        .collect();
    let again = evidence.taken_up_later();
    let told = evidence.runs.iter().filter(|ran| told_cut(&evidence.facts, ran.turn));
    let told: HashSet<&str> = told.flat_map(|ran| asked_names(&ran.history)).collect();
    let mut last = HashMap::new();
    let mut seen = HashSet::new();
    for (_, _, _, key, text) in evidence.sent().filter(|(.., text)| is_answer(text)) {
        let first = seen.insert(key);
        for name in names(text).into_iter().filter(|name| first && !told.contains(name)) {
            let Some((at, session)) = said.get(name) else { panic!("{name} was answered, and nobody had said it") };
            if again.iter().any(|(of, seq)| of == *session && seq > at) {
                continue;
            }
            let before = last.insert(*session, (*at, name));
            assert!(before.is_none_or(|(before, _)| before < *at), "G5: {name} was answered behind {before:?}, which was said later");
        }
    }
    seen.len()
}
