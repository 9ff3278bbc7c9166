#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| switchboard_actors::testkit::fuzz::one_envelope(data));
