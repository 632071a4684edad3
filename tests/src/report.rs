//! What a run saw, as people read it: points with checks and figures, as a table at the end.

use std::fmt::Write as _;
use std::time::Instant;

/// One thing that was to be seen.
#[derive(Clone, Debug)]
pub struct Check {
    pub expected: String,
    pub seen: String,
    pub holds: bool,
}

/// One point of a demo.
#[derive(Clone, Debug, Default)]
pub struct Point {
    pub title: String,
    pub checks: Vec<Check>,
    /// Failed requests of the clients, with what was allowed.
    pub client_errors: String,
    /// Named times, in seconds.
    pub times: Vec<(String, f64)>,
    /// Why it did not come to its end.
    pub broken: Option<String>,
}

impl Point {
    #[must_use]
    pub fn new(title: &str) -> Self {
        Self { title: title.to_owned(), ..Self::default() }
    }

    /// Notes a check, and says it at once.
    pub fn check(&mut self, expected: &str, seen: impl Into<String>, holds: bool) {
        let seen = seen.into();
        progress(&format!("  {} {expected}: {seen}", if holds { "ok  " } else { "FAIL" }));
        self.checks.push(Check { expected: expected.to_owned(), seen, holds });
    }

    /// Notes a time.
    pub fn time(&mut self, name: &str, seconds: f64) {
        progress(&format!("       {name}: {seconds:.2} s"));
        self.times.push((name.to_owned(), seconds));
    }

    /// Whether all of it was seen.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.broken.is_none() && !self.checks.is_empty() && self.checks.iter().all(|check| check.holds)
    }
}

/// The report.
#[must_use]
pub fn table(points: &[Point]) -> String {
    let mut out = String::new();
    for (index, point) in points.iter().enumerate() {
        // writing to a String cannot fail
        let _ = writeln!(out, "\n{}. {}  {}", index + 1, point.title, if point.holds() { "SEEN" } else { "NOT SEEN" });
        let width = point.checks.iter().map(|check| check.expected.chars().count()).max().unwrap_or(0);
        for check in &point.checks {
            let pad = " ".repeat(width - check.expected.chars().count());
            let _ = writeln!(out, "   {} {}{pad}  {}", if check.holds { "ok  " } else { "FAIL" }, check.expected, check.seen);
        }
        if let Some(broken) = &point.broken {
            let _ = writeln!(out, "   FAIL {broken}");
        }
        if !point.client_errors.is_empty() {
            let _ = writeln!(out, "        client errors: {}", point.client_errors);
        }
        if !point.times.is_empty() {
            let times: Vec<String> = point.times.iter().map(|(name, seconds)| format!("{name} {seconds:.2} s")).collect();
            let _ = writeln!(out, "        times: {}", times.join(" · "));
        }
    }
    out
}

/// Says what goes on, with the time since the first line.
pub fn progress(text: &str) {
    static BEGAN: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let seconds = BEGAN.get_or_init(Instant::now).elapsed().as_secs_f64();
    eprintln!("[{seconds:6.1} s] {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_without_checks_was_not_seen() {
        assert!(!Point::new("nothing").holds());
    }

    #[test]
    fn one_check_that_fails_is_enough_and_is_shown() {
        let mut point = Point::new("promotion");
        point.check("pods", "4", true);
        point.check("errors", "1", false);
        assert!(!point.holds());
        let table = table(&[point]);
        assert!(table.contains("1. promotion  NOT SEEN") && table.contains("FAIL errors  1"), "{table}");
    }
}
