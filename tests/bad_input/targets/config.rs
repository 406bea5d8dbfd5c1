//! The config.

use sternway::config::Config;

use super::assert_refusal;

pub fn feed(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Err(problems) = Config::parse("sternway.toml", &text) {
        assert!(!problems.is_empty(), "refused without a problem");
        assert!(problems.len() <= 200, "{} problems at once", problems.len());
        for problem in problems {
            let told = problem.to_string();
            assert!(told.starts_with("sternway.toml:"), "no place: {told}");
            assert_refusal("a config", &told, 8_192);
        }
    }
}
