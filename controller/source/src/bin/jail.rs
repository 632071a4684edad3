//! The jail as a program of its own; see `sluice_source::jail`.

fn main() -> std::process::ExitCode {
    sluice_source::jail::run(std::env::args_os().skip(1))
}
