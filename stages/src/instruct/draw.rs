//! Which templates a reference gets. Both ways depend on seed, reference and templates alone.

use cafe_pipeline::digest::Seed;

use super::book::Suited;
use super::template::Template;

/// `n` of the templates, each as likely as any other, none twice; fewer when there are fewer.
pub(super) fn random<'a>(seed: Seed, suited: &[Suited<'a>], n: usize) -> Vec<(&'a str, &'a Template)> {
    let mut all: Vec<(&str, &Template)> =
        suited.iter().flat_map(|(family, templates)| templates.iter().map(|template| (*family, *template))).collect();
    shuffle(seed, &mut all, n);
    all.truncate(n);
    all
}

/// The `n` templates of the reference that is number `rank` of its class: families take turns over the whole class, and
/// so do the templates of a family. `seed` is the class's, and decides who begins.
pub(super) fn balanced<'a>(seed: Seed, suited: &[Suited<'a>], rank: u32, n: usize) -> Vec<(&'a str, &'a Template)> {
    let mut families: Vec<Suited<'a>> = suited.to_vec();
    let n_families = families.len();
    shuffle(seed.child("families"), &mut families, n_families);
    for (family, templates) in &mut families {
        let n_templates = templates.len();
        shuffle(seed.child("templates").child(family), templates, n_templates);
    }
    let first = u64::from(rank) * n as u64;
    (first..first + n as u64)
        .filter_map(|turn| {
            let (family, templates) = families.get(at(turn, n_families)?)?;
            let turn_of_family = turn / n_families as u64;
            templates.get(at(turn_of_family, templates.len())?).map(|template| (*family, *template))
        })
        .collect()
}

/// Why `n` of `suited` cannot be drawn without drawing one twice.
pub(super) fn too_few(suited: &[Suited<'_>], n: usize, balanced: bool) -> Option<String> {
    if !balanced {
        let n_templates: usize = suited.iter().map(|(_, templates)| templates.len()).sum();
        return (n_templates < n).then(|| format!("there are only {n_templates} templates for it"));
    }
    let turns = n.div_ceil(suited.len().max(1));
    let short = suited.iter().find(|(_, templates)| templates.len() < turns)?;
    Some(format!(
        "`{}` has only {} templates for it, and would be drawn from {turns} times for one reference",
        short.0,
        short.1.len()
    ))
}

/// `turn` modulo `len`.
fn at(turn: u64, len: usize) -> Option<usize> {
    usize::try_from(turn.checked_rem(len as u64)?).ok()
}

/// Puts `n` items drawn without replacement to the front.
fn shuffle<T>(seed: Seed, items: &mut [T], n: usize) {
    for place in 0..n.min(items.len()) {
        let other = place + seed.child(&place.to_string()).index(items.len() - place);
        items.swap(place, other);
    }
}
