//! `sluice`: the controller, and what belongs to it on a command line.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Progressive delivery from Git.
#[derive(Parser)]
#[command(name = "sluice", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the controller.
    Controller(Box<sluice::config::Options>),
    /// Prints the CustomResourceDefinitions as YAML.
    Crds,
    /// Prints the reference of the kinds as Markdown.
    Reference,
    /// Runs a renderer under limits. Used by the controller on itself.
    #[command(hide = true)]
    Jail {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<std::ffi::OsString>,
    },
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Jail { arguments } => sluice_source::jail::run(arguments),
        Command::Crds => print_crds(),
        Command::Reference => {
            print!("{}", sluice_crds::reference::reference());
            ExitCode::SUCCESS
        }
        Command::Controller(options) => controller(*options),
    }
}

fn controller(options: sluice::config::Options) -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt().json().with_env_filter(filter).init();
    let result =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(anyhow::Error::from).and_then(|runtime| {
            let result = runtime.block_on(sluice::start::run(options));
            // A lost lease ends the process at once: what is under way in other threads may not go on.
            runtime.shutdown_background();
            result
        });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "the controller ends");
            ExitCode::FAILURE
        }
    }
}

fn print_crds() -> ExitCode {
    for crd in sluice_crds::crds() {
        match serde_saphyr::to_string(&crd) {
            Ok(text) => println!("---\n{}", text.trim_end()),
            Err(error) => {
                eprintln!("a CustomResourceDefinition cannot be printed: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}
