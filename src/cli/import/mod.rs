//! `ringress import`: the configuration of another proxy as ours, with a list of what means something else here.

mod flags;
mod imported;
mod listeners;
mod nginx;
mod settings;
mod traefik;

use std::path::Path;

use anyhow::{Context as _, bail};

use imported::Imported;
use settings::TraefikSettings;

/// Prints the configuration of a Traefik 1.7, from its file and the arguments of its command line, or of an ingress-nginx, from its arguments, as
/// ours; what differs is told on standard error. The exit code: 1 where something has no equal.
pub(super) fn import(from: &str, path: Option<&Path>, arguments: &[String]) -> anyhow::Result<i32> {
    let imported = match (from, path) {
        ("traefik", Some(path)) => of_traefik(path, arguments)?,
        ("traefik", None) => bail!("name its file"),
        (_, Some(path)) => bail!("{}: ingress-nginx has no file; write its arguments behind `--`", path.display()),
        (_, None) => nginx::import(arguments),
    };
    print!("{}", toml::to_string(&imported.config)?);
    for note in &imported.notes {
        eprintln!("{note}");
    }
    Ok(i32::from(imported.is_refused))
}

fn of_traefik(path: &Path, arguments: &[String]) -> anyhow::Result<Imported> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let mut settings = TraefikSettings::parse(&text).with_context(|| path.display().to_string())?;
    for argument in arguments {
        if let Err(what) = flags::put(&mut settings, argument) {
            bail!("{argument}: {what}");
        }
    }
    Ok(traefik::import(&mut settings))
}
