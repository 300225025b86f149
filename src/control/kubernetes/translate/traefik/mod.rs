//! Ingress objects as Traefik 1.7 reads them: frontends, told apart by the length of their rules, with its annotations.

mod access;
mod annotations;
mod backend;
mod fields;
mod frontends;
pub mod page;
mod pages;
mod path_rule;
mod redirects;
mod retries;
mod routes;
pub mod rows;
mod shares;

use std::collections::HashMap;

use super::ingress;
use super::plan::{Owner, Plan, World};
use crate::control::kubernetes::objects::Ingress;
use annotations::TraefikNotes;
use frontends::{TraefikIngress, frontends};
use pages::pages;
use routes::{FrontendPlace, add};
use rows::AnnotatedKind;
use shares::shares;

/// Translates these Ingress objects, the oldest first.
pub fn translate<'a>(plan: &mut Plan, world: World<'a>, all: &[(Owner<'a>, &'a Ingress)]) {
    let read = |(owner, ingress): &(Owner<'a>, &'a Ingress)| {
        let notes = TraefikNotes::read(*owner, AnnotatedKind::Ingress, ingress.metadata.annotations.as_ref());
        TraefikIngress { notes, ingress }
    };
    let all: Vec<TraefikIngress<'a>> = all.iter().map(read).collect();
    for found in &all {
        plan.served.insert(found.owner().name.clone());
        ingress::certificates(plan, world, found.owner(), found.ingress);
    }
    let frontends = frontends(plan, world, &all);
    let shares: Vec<_> =
        frontends.iter().map(|frontend| shares(plan, world, &all[frontend.of].notes, frontend)).collect();
    let by_name = frontends.iter().zip(&shares).filter_map(|(one, shares)| Some((one.name(), shares.first()?)));
    let by_name: HashMap<String, &str> = by_name.collect();
    for (frontend, shares) in frontends.iter().zip(&shares) {
        let notes = &all[frontend.of].notes;
        let pages = pages(notes, &by_name);
        add(plan, &FrontendPlace { world, notes, frontend, shares, pages });
    }
    for found in &all {
        found.notes.finish(plan);
    }
}
