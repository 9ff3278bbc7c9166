//! Tells the program the triple that it is built for: releases name theirs by it.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-env=SWITCHBOARD_TARGET={}", std::env::var("TARGET").unwrap_or_default());
}
