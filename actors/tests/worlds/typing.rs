//! A chat is shown that somebody works for it, but not for an answer that is there at once.

use super::{secs, world};

#[test]
fn only_work_that_takes_time_is_shown() {
    let (mut world, _) = world();
    let stage = world.stage("stage");
    world.life(async |life| {
        life.say("7", "alice", "hello").await;
        life.say("9", "bob", "work 9").await;
        assert_eq!((stage.typing_in("7"), stage.typing_in("9")), (0, 0));
        life.pass(secs(1)).await;
        assert_eq!((stage.typing_in("7"), stage.typing_in("9")), (0, 1));
        // Every four seconds from there on, and not once it is answered.
        life.pass(secs(20)).await;
        assert_eq!((stage.typing_in("7"), stage.typing_in("9")), (0, 3));
    });
}
