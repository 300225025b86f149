//! The arguments of the command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::observe::process_log::{LineForm, filter};
use crate::units::{EndpointAddress, ListenAddress};

/// The exit code for a configuration with problems.
pub(super) const CONFIGURATION: i32 = 1;
/// The exit code for what cannot go on.
pub(super) const FAILED: i32 = 1;

/// A reverse proxy for Linux that loses no request it could have saved, and says why of every answer of its own.
///
/// Without arguments it runs a demonstration with upstreams of its own.
#[derive(Debug, Parser)]
#[command(name = "ringress", disable_version_flag = true)]
#[command(after_help = "Examples:
  ringress                                        a demonstration; it prints what to open
  ringress --to 127.0.0.1:8080 --listen :80       a proxy in one line
  ringress run /etc/ringress/ringress.toml        a proxy by a file
  ringress run --kubernetes                       the ingress of the cluster that it runs in
  ringress check ringress.yaml --strict           every problem and every warning
  ringress explain ringress.toml GET http://example.com/a   where a request would go, and why
  ringress explain-cause stale_reuse_likely       what a cause means, and what to do

Signals: SIGHUP reloads, SIGUSR1 reopens the access log, SIGTERM drains, a second one ends.
Exit codes: 0 done, 1 the configuration has problems, 2 the command line has.")]
pub struct Arguments {
    /// What to do; nothing for the demonstration.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Forward everything to this endpoint; may be given more than once.
    #[arg(long, value_name = "ADDRESS")]
    pub to: Vec<EndpointAddress>,
    /// Where to listen, with --to and in the demonstration.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub listen: ListenAddress,
    /// The form of the process log on standard error.
    #[arg(long, value_name = "FORM", default_value = "auto", global = true)]
    pub log_format: LineForm,
    /// What the process log tells: error, warn, info, debug, trace, or a filter by module.
    #[arg(long, value_name = "LEVEL", default_value = "info", env = "RINGRESS_LOG", global = true, value_parser = log_level)]
    pub log_level: String,
    /// Print version, engine and protocols.
    #[arg(long, short = 'V')]
    pub version: bool,
}

/// A command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run by a configuration file, TOML or YAML.
    Run {
        /// The file.
        #[arg(required_unless_present = "kubernetes")]
        config: Option<PathBuf>,
        /// Serve the cluster whose pod this runs in, on :80 and :443, with the admin listener at 127.0.0.1:9000; more is said in a file.
        #[arg(long, conflicts_with = "config")]
        kubernetes: bool,
    },
    /// Ask a running process whether it serves: exits with 0 where it does.
    Ping {
        /// Its admin listener: host:port, or unix:/path.
        #[arg(default_value = "127.0.0.1:9000")]
        address: EndpointAddress,
    },
    /// List every problem in a configuration file, and warn of what can hardly be meant.
    Check {
        /// The file.
        config: PathBuf,
        /// Print the effective configuration where there is no problem.
        #[arg(long)]
        print: bool,
        /// Exit with 1 where there is a warning, too.
        #[arg(long)]
        strict: bool,
        /// Do not look up names of endpoints.
        #[arg(long)]
        offline: bool,
    },
    /// Show where a request would go, and why.
    Explain {
        /// The file.
        config: PathBuf,
        /// The method, like GET.
        method: String,
        /// The URL, like <http://example.com/a?b>.
        #[arg(value_parser = url)]
        url: String,
        /// A field of the request, like "X-Name: value"; may be given more than once.
        #[arg(short = 'H', value_name = "FIELD")]
        headers: Vec<String>,
        /// Show every setting, the defaults among them.
        #[arg(long)]
        all: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Explain what a cause in a log means, what usually leads to it and what to do; without one, list all.
    ExplainCause {
        /// The cause, like `upstream_closed_no_response`, with its detail or without, or an error of `Proxy-Status`, like
        /// `connection_refused`.
        cause: Option<String>,
        /// The list as a page of documentation.
        #[arg(long)]
        markdown: bool,
    },
    /// Print the JSON Schema of the configuration, for editors.
    Schema {
        /// Every key as a page of documentation.
        #[arg(long)]
        markdown: bool,
    },
    /// Tell what becomes of Ingress objects here, annotation by annotation; exits with 1 where something is refused.
    Migrate {
        /// Files of YAML or JSON, or folders of them, as `kubectl get ingress,ingressclass,service,secret,configmap -A -o yaml` prints them.
        #[arg(required_unless_present_any = ["cluster", "kubeconfig"])]
        paths: Vec<PathBuf>,
        /// Read the objects of the cluster that `kubectl` would ask; nothing is changed there.
        #[arg(long)]
        cluster: bool,
        /// Read those of the cluster that this kubeconfig leads to.
        #[arg(long, value_name = "FILE")]
        kubeconfig: Option<PathBuf>,
        /// The ConfigMap of ingress-nginx among them: namespace/name.
        #[arg(long, value_name = "NAME")]
        config_map: Option<String>,
        /// How Ingress objects without a class are read; without this they are another controller's.
        #[arg(long, value_name = "DIALECT", value_parser = ["ringress", "ingress-nginx", "traefik1"])]
        without_class: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the configuration of another proxy as one of ours, and tell on standard error what differs; exits with 1 where something has no
    /// equal.
    Import {
        /// Whose.
        #[arg(value_parser = ["traefik", "ingress-nginx"])]
        from: String,
        /// Its file: of Traefik 1.7 its TOML; ingress-nginx has none.
        path: Option<PathBuf>,
        /// The arguments of its command line, behind `--`.
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Print every annotation of another controller and what it becomes, as a page of documentation.
    Annotations {
        /// Whose.
        #[arg(default_value = "ingress-nginx", value_parser = ["ringress", "ingress-nginx", "traefik1"])]
        dialect: String,
    },
    /// Print completions for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

fn log_level(text: &str) -> Result<String, String> {
    filter(text).map(|_| text.to_owned())
}

fn url(text: &str) -> Result<String, String> {
    let has_scheme = text.starts_with("http://") || text.starts_with("https://");
    if has_scheme { Ok(text.to_owned()) } else { Err("write http://host/path".to_owned()) }
}
