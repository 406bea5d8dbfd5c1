//! Reads arguments and calls the library.
fn main() -> std::process::ExitCode {
    sternway::app::run()
}
