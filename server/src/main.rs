//! The `weir` binary.

use std::io;
use std::process::ExitCode;

use clap::Parser as _;
use weir_server::cli::{
    Cli, Command, Exit, report, run_config, run_keys, run_play_token, run_token,
};
use weir_server::config::Environment;
use weir_server::{cpu, health, logging, play, publish, recordings, serve, transcode};

/// Pictures of megabytes come and go beside segments that stay for minutes, on
/// several threads: with the system's allocator resident memory creeps up for
/// as long as a stream runs, with this one it stays.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    if cpu::is_too_old() {
        return ExitCode::FAILURE;
    }
    run()
}

/// Apart from `main`, so that none of its instructions run on a CPU that was
/// not checked.
#[inline(never)]
fn run() -> ExitCode {
    let environment = Environment::of_process();
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let done = match Cli::parse().command {
        Command::Config(command) => return run_config(&command, &mut out, &mut err).into(),
        Command::Keys(command) => {
            return run_keys(&command, &environment, &mut out, &mut err).into();
        }
        Command::Token(command) => {
            return run_token(&command, &environment, &mut out, &mut err).into();
        }
        Command::PlayToken(args) => {
            return run_play_token(&args, &environment, &mut out, &mut err).into();
        }
        Command::Serve(args) => match args.load(&environment) {
            Ok(loaded) => {
                logging::start(loaded.config.log);
                for warning in &loaded.warnings {
                    tracing::warn!("{warning}");
                }
                serve::run(loaded.config)
            }
            Err(invalid) => return report(&invalid, &mut err).into(),
        },
        Command::Transcode(args) => match args.load(&environment) {
            Ok(loaded) => transcode::run(&loaded.config, &args.input, &args.out),
            Err(invalid) => return report(&invalid, &mut err).into(),
        },
        Command::Publish(args) => publish::run(
            &args.file,
            &args.url,
            args.repeat,
            args.copies,
            args.ca.as_deref(),
        ),
        Command::Play(args) => play::run(&args.url, args.copies, args.seconds, args.ca.as_deref()),
        Command::Recordings(command) => match command.args().load(&environment) {
            Ok(loaded) => {
                logging::start(loaded.config.log);
                let choice = command.args().choice();
                match recordings::run(&loaded.config, command.task(), &choice) {
                    Ok(true) => Ok(()),
                    Ok(false) => return Exit::Failure.into(),
                    Err(error) => Err(error),
                }
            }
            Err(invalid) => return report(&invalid, &mut err).into(),
        },
        Command::Health(args) => health::run(&args.url, args.ca.as_deref()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weir: {error:#}");
            Exit::Failure.into()
        }
    }
}
