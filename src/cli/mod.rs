//! The command line: what was asked, and the commands themselves.

pub mod arguments;
mod causes;
mod check;
mod demo;
mod explain;
mod import;
mod inline;
mod migrate;
mod ping;
mod reference;
mod run;

use clap::CommandFactory as _;

use crate::config::{Config, EngineChoice, Source};
use crate::control::kubernetes::translate::{nginx, own, traefik};
use crate::sys::signals;
use crate::worker::engine::select::probe;
use arguments::{Arguments, Command};
use migrate::{MigrateRules, MigrateSources};

/// Carries out what was asked; the process's exit code.
///
/// # Errors
/// What ends the program and is no problem of a configuration.
pub fn main(arguments: Arguments) -> anyhow::Result<i32> {
    signals::end_on_broken_pipe(true);
    if !matches!(arguments.command, None | Some(Command::Run { .. })) || arguments.version {
        signals::let_through()?;
    }
    if arguments.version {
        println!("{}", version());
        return Ok(0);
    }
    match &arguments.command {
        None if arguments.to.is_empty() => demo::run(&arguments),
        None => run::run(&arguments, None, inline::one_line(&arguments)?),
        Some(Command::Run { config: None, .. }) => run::run(&arguments, None, inline::cluster()?),
        Some(Command::Run { config: Some(config), .. }) => match Source::read(config) {
            Ok(source) => run::run(&arguments, Some(config), source),
            Err(problems) => Ok(check::tell(&problems)),
        },
        Some(Command::Ping { address }) => Ok(ping::ping(address)),
        Some(Command::Check { config, print, strict, offline }) => {
            check::check(config, check::CheckTerms { print: *print, strict: *strict, offline: *offline })
        }
        Some(Command::Explain { config, method, url, headers, all, json }) => {
            explain::explain(config, &explain::AskedRequest { method, url, fields: headers }, (*all, *json))
        }
        Some(Command::ExplainCause { cause, markdown }) => Ok(causes::explain(cause.as_deref(), *markdown)),
        Some(Command::Schema { markdown }) => {
            let schema = serde_json::to_value(schemars::schema_for!(Config))?;
            if *markdown {
                print!("{}", reference::page(&schema));
            } else {
                println!("{schema:#}");
            }
            Ok(0)
        }
        Some(Command::Migrate { paths, cluster, kubeconfig, config_map, without_class, json }) => {
            let without_class = without_class.as_deref().map(str::parse).transpose().map_err(anyhow::Error::msg)?;
            let has_cluster = *cluster || kubeconfig.is_some();
            let from = MigrateSources { paths, has_cluster, kubeconfig: kubeconfig.as_deref() };
            migrate::migrate(&from, MigrateRules { config_map: config_map.clone(), without_class }, *json)
        }
        Some(Command::Import { from, path, arguments }) => import::import(from, path.as_deref(), arguments),
        Some(Command::Annotations { dialect }) => {
            let page = match dialect.as_str() {
                "ringress" => own::page::page(),
                "traefik1" => traefik::page::page(),
                _ => nginx::page::page(),
            };
            print!("{page}");
            Ok(0)
        }
        Some(Command::Completions { shell }) => {
            clap_complete::generate(*shell, &mut Arguments::command(), "ringress", &mut std::io::stdout());
            Ok(0)
        }
    }
}

/// Version, engine and features.
fn version() -> String {
    let engine = match probe(EngineChoice::Auto) {
        Ok(selection) if selection.reason.is_empty() => selection.engine.to_string(),
        Ok(selection) => format!("{}; {}", selection.engine, selection.reason),
        Err(error) => error.to_string(),
    };
    format!(
        "ringress {}\nengine: {engine}\nprotocols: HTTP/1.0 HTTP/1.1 HTTP/2 WebSocket gRPC gRPC-Web\ntls: TLS 1.2, TLS 1.3 (rustls with aws-lc-rs)",
        env!("CARGO_PKG_VERSION")
    )
}
