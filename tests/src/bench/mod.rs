//! The speed figures of the design, as medians, on a real cluster: [`release`] has those of releases, [`rest`] those of ten
//! applications at rest.

mod release;
mod rest;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use chrono::Utc;
use serde_json::json;

use crate::audit::Audit;
use crate::case::Case;
use crate::cluster::Cluster;
use crate::env::Env;
use crate::install;
use crate::report::progress;
use crate::sink::Sink;
use crate::statistics::median;

/// Applications that the controller has while it is measured.
const APPLICATIONS: usize = 10;

/// What the benchmark can be told.
#[derive(clap::Parser)]
#[command(about = "Speed and memory of the controller on a real cluster, as medians.")]
pub struct Options {
    /// How often each kind of release is measured.
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
}

/// One figure, with every value that was measured.
pub struct Figure {
    pub name: &'static str,
    pub unit: &'static str,
    /// The median must not be above it.
    pub goal: f64,
    pub values: Vec<f64>,
}

impl Figure {
    #[must_use]
    pub fn new(name: &'static str, unit: &'static str, goal: f64) -> Self {
        Self { name, unit, goal, values: Vec::new() }
    }

    /// Notes a value, and says it.
    pub fn add(&mut self, value: f64) {
        progress(&format!("  {}: {value:.2} {}", self.name, self.unit));
        self.values.push(value);
    }

    fn holds(&self) -> bool {
        median(&self.values).is_some_and(|median| median <= self.goal)
    }

    fn line(&self) -> String {
        let Some(median) = median(&self.values) else { return format!("     {:<58} not measured", self.name) };
        let least = self.values.iter().copied().fold(f64::INFINITY, f64::min);
        let most = self.values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let (verdict, unit, count) = (if self.holds() { "ok  " } else { "MISS" }, self.unit, self.values.len());
        format!(
            "{verdict} {:<58} {median:>8.2} {unit:<4} goal {:>6.2}   {least:.2} to {most:.2} of {count}",
            self.name, self.goal
        )
    }
}

/// What all measurements use. The first application is the one that is rolled out.
struct Bench {
    cluster: Cluster,
    cases: Vec<Case>,
    audit: Option<Audit>,
}

/// Measures. Returns whether all goals are met.
///
/// # Errors
/// The cluster's contract, or an application that does not do what it has to.
pub async fn run(options: &Options) -> Result<bool> {
    let env = Env::read()?;
    let cluster = Cluster::connect().await?;
    let sink = Arc::new(Sink::start(&env.own_host).await?);
    let audit = env.audit_log.as_deref().map(Audit::from_now_on).transpose()?;
    progress("installing the chart");
    let was_installed = install::is_installed(&env)?;
    install::install(&cluster, &env, &sink.url()).await?;
    let mut bench = Bench { cluster, cases: Vec::new(), audit };
    let result = bench.measure(&env, &sink, options.rounds).await;
    for case in &bench.cases {
        case.remove().await?;
    }
    if !was_installed {
        install::remove(&bench.cluster, &env).await?;
    }
    let figures = result?;
    println!();
    for figure in &figures {
        println!("{}", figure.line());
    }
    // a figure without a value needs something that this cluster does not have
    Ok(figures.iter().filter(|figure| !figure.values.is_empty()).all(Figure::holds))
}

impl Bench {
    async fn measure(&mut self, env: &Env, sink: &Arc<Sink>, rounds: usize) -> Result<Vec<Figure>> {
        progress(&format!("installing {APPLICATIONS} applications"));
        let started = Utc::now().timestamp();
        for index in 0..APPLICATIONS {
            let mut case = Case::create(env, &self.cluster, sink.clone(), &format!("bench-{started}-{index}")).await?;
            let app = case.tree.app()?;
            if index == 0 {
                app.replicas = 4;
                app.judge_errors();
                app.rolling().steps = vec![(5, 10, false), (25, 10, false), (50, 10, false)];
            } else {
                app.replicas = 1;
            }
            self.cases.push(case);
        }
        for case in &self.cases {
            case.push("one")?;
            // the webhook is what commits are measured by; polling is only to be there
            case.start_sync(json!({"interval": "5s"})).await?;
        }
        for case in &self.cases {
            let sha = case.repository.head()?;
            case.wait_good(&sha).await?;
        }
        let mut figures = self.releases(rounds).await?;
        figures.extend(self.at_rest(rounds).await?);
        Ok(figures)
    }

    fn case(&mut self) -> Result<&mut Case> {
        self.cases.first_mut().ok_or_else(|| anyhow::anyhow!("no application is installed"))
    }
}

/// Between two measurements: what the last one left behind must not be in the next.
const PAUSE: Duration = Duration::from_secs(2);
