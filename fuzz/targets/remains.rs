#![no_main]

#[path = "../src/remains.rs"]
mod remains;

libfuzzer_sys::fuzz_target!(|data: &[u8]| remains::one_remains(data));
