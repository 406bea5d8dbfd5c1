//! The targets of `tests/bad_input` for libFuzzer, all in one program: linking it once takes longer than anything else.
//! `STERNWAY_FUZZ_TARGET` names the one that is fed. `make fuzz` goes through all of them.

#![no_main]

use std::sync::OnceLock;

#[path = "../../tests/bad_input/targets/mod.rs"]
mod targets;

fn target() -> &'static targets::Target {
    static CHOSEN: OnceLock<&'static targets::Target> = OnceLock::new();
    CHOSEN.get_or_init(|| {
        let name = std::env::var("STERNWAY_FUZZ_TARGET").unwrap_or_default();
        let names: Vec<&str> = targets::ALL.iter().map(|target| target.name).collect();
        let found = targets::ALL.iter().find(|target| target.name == name);
        found.unwrap_or_else(|| panic!("STERNWAY_FUZZ_TARGET names one of: {}", names.join(" ")))
    })
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| (target().feed)(data));
