//! The demo: seven points of one application's life, each verified while two clients count every answer.
//!
//! [`stage`] holds what all points use, [`evidence`] what they prove, [`points`] the points, one module each.

mod evidence;
mod points;
mod stage;

use anyhow::Result;

use crate::report::{Point, progress, table};
use stage::Stage;

/// What the demo can be told.
#[derive(clap::Parser)]
#[command(about = "A good and a bad release on a real cluster. Exit code 0 only if all of it was seen.")]
pub struct Options {
    /// Leaves the application and the controller where they are at the end.
    #[arg(long)]
    pub keep: bool,
}

/// Runs the demo. Returns whether all of it was seen.
///
/// # Errors
/// The stage cannot be set: the cluster's contract, the chart, the repository.
pub async fn run(options: &Options) -> Result<bool> {
    let mut stage = Stage::set().await?;
    let mut seen = Vec::new();
    for (title, point) in points::ALL {
        let number = seen.len() + 1;
        progress(&format!("{number}. {title}"));
        let mut report = Point::new(title);
        if let Err(error) = points::play(point, &mut stage, &mut report).await {
            let state = crate::describe::describe(&stage.cluster, &stage.namespace).await;
            progress(&format!("  FAIL {error:#}\n{state}"));
            report.broken = Some(format!("{error:#}"));
        }
        let goes_on = report.broken.is_none();
        seen.push(report);
        if !goes_on {
            break;
        }
    }
    // no clients, no proof
    let unexcused = stage.unexcused(chrono::DateTime::UNIX_EPOCH).ok();
    let all = seen.len() == points::ALL.len() && seen.iter().all(Point::holds) && unexcused == Some(0);
    for (title, _) in points::ALL.iter().skip(seen.len()) {
        seen.push(Point { broken: Some("not reached".to_owned()), ..Point::new(title) });
    }
    println!("{}", table(&seen));
    println!("{}", stage.totals());
    if let Some(unexcused) = unexcused {
        println!("failed requests that no bad canary explains, in the whole demo: {unexcused}\n");
    }
    println!("{}", if all { "All of it was seen." } else { "NOT all of it was seen." });
    if !options.keep {
        stage.clear().await;
    }
    Ok(all)
}
