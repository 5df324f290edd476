//! One instance of the service.

// A program talks to whoever runs it.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::error::Error;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use tenant_service::{Instance, Parts, Settings};
use tokio::signal::unix::{Signal, SignalKind, signal};

const HELP: &str = "\
A multi-tenant HTTP service that looks organisations, users and tokens up through a cache.

Usage: tenant-service [--config FILE] [--check]

  --config FILE  the configuration, in YAML [that of CONFIG_FILE; without one, the defaults]
  --check        say whether the configuration is right, and do nothing else
  -h, --help     this text

Environment variables go before the file: LISTEN_ADDR, ADMIN_ADDR, ADMIN_TOKEN, CHANGE_TOKEN,
DATABASE_PATH, REDIS_URL, RESOLVER, and those of cache-services (CACHE_...). SIGTERM and SIGINT end the
service in good order, a second one at once. SIGHUP reads the file again, where there is one.";

/// What was asked for.
enum Asked {
    Run { config: Option<PathBuf>, check: bool },
    Help,
}

fn parse(mut args: impl Iterator<Item = OsString>) -> Result<Asked, String> {
    let mut config = std::env::var_os("CONFIG_FILE").filter(|path| !path.is_empty());
    let mut check = false;
    while let Some(arg) = args.next() {
        match arg.to_str() {
            Some("--config") => {
                config = Some(args.next().ok_or("--config needs the path of a file")?);
            }
            Some("--check") => check = true,
            Some("-h" | "--help") => return Ok(Asked::Help),
            _ => return Err(format!("unknown argument {arg:?} (--help says what there is)")),
        }
    }
    Ok(Asked::Run { config: config.map(PathBuf::from), check })
}

fn main() -> ExitCode {
    let (config, check) = match parse(std::env::args_os().skip(1)) {
        Ok(Asked::Run { config, check }) => (config, check),
        Ok(Asked::Help) => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(2);
        }
    };
    run(config, check)
}

#[tokio::main]
async fn run(config_file: Option<PathBuf>, check: bool) -> ExitCode {
    // Before anything else: what nobody listens to ends the process at once.
    let Ok(mut signals) = Signals::listen() else {
        eprintln!("error: signals cannot be listened to");
        return ExitCode::FAILURE;
    };
    let settings = match Settings::load(config_file.as_deref()) {
        Ok(settings) => settings,
        Err(problems) => {
            eprintln!("error: the configuration is wrong:");
            for problem in problems.0 {
                eprintln!("  {problem}");
            }
            return ExitCode::from(2);
        }
    };
    if check {
        println!("the configuration is right");
        return ExitCode::SUCCESS;
    }
    tracing_subscriber::fmt()
        .with_max_level(settings.log)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let reloads = config_file.is_some();
    let parts = Parts { config_file, ..Parts::default() };
    let started = tokio::select! {
        started = Instance::start(settings, parts) => started,
        () = signals.end.heard() => return ExitCode::SUCCESS,
    };
    let instance = match started {
        Ok(instance) => instance,
        Err(error) => {
            eprintln!("error: {error}");
            let mut source = error.source();
            while let Some(cause) = source {
                eprintln!("  because: {cause}");
                source = cause.source();
            }
            return ExitCode::FAILURE;
        }
    };
    tracing::info!(listen = %instance.addr(), admin = %instance.admin_addr(), "serving");
    loop {
        tokio::select! {
            () = signals.end.heard() => break,
            // With a file the instance itself hears it.
            _ = signals.hangup.recv() => if !reloads {
                tracing::warn!("SIGHUP: there is no configuration file to read again");
            },
        }
    }
    tracing::info!("ending: what is under way is finished; another signal ends at once");
    tokio::select! {
        _ = instance.shutdown() => ExitCode::SUCCESS,
        () = signals.end.heard() => {
            tracing::warn!("ended at once");
            // What is left must not hold the process.
            std::process::exit(1)
        }
    }
}

/// What the process is told from outside.
struct Signals {
    end: End,
    hangup: Signal,
}

/// That it is to end.
struct End {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        let [terminate, interrupt, hangup] =
            [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal);
        Ok(Self { end: End { terminate: terminate?, interrupt: interrupt? }, hangup: hangup? })
    }
}

impl End {
    /// Until one of them comes.
    async fn heard(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
