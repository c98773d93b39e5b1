//! Which templates a reference gets.

use cafe_pipeline::digest::Seed;

use super::templates::{Family, Template, Templates};

/// `n` templates that suit `class`, drawn for one reference, none twice. A template that is added to the files takes the
/// place of few others.
pub(super) fn random<'a>(
    templates: &'a Templates,
    class: &'a str,
    seed: Seed,
    n: usize,
) -> Vec<(&'a Family, &'a Template)> {
    let mut drawn: Vec<_> =
        templates.for_class(class).map(|found| (seed.child(&found.1.instruction_id).0, found)).collect();
    drawn
        .sort_by(|(one, (_, a)), (other, (_, b))| one.cmp(other).then_with(|| a.instruction_id.cmp(&b.instruction_id)));
    drawn.into_iter().take(n).map(|(_, found)| found).collect()
}

/// The `n` templates of the reference with this rank in its class: families take turns, and in each family its
/// templates do.
pub(super) fn balanced<'a>(
    templates: &'a Templates,
    class: &'a str,
    seed: Seed,
    rank: u64,
    n: usize,
) -> Vec<(&'a Family, &'a Template)> {
    let seed = seed.child(class);
    let mut families: Vec<&Family> = templates.families.iter().filter(|family| family.suits(class)).collect();
    families.sort_by_key(|family| seed.child(&family.name).0);
    let n_families = families.len() as u64;
    let turns = (0..n as u64).map(|pair| rank.wrapping_mul(n as u64).wrapping_add(pair));
    turns
        .filter_map(|turn| {
            let family = *families.get(usize::try_from(turn.checked_rem(n_families)?).ok()?)?;
            let mut order: Vec<&Template> = family.templates.iter().collect();
            order.sort_by_key(|template| seed.child(&template.instruction_id).0);
            let at = (turn / n_families).checked_rem(order.len() as u64)?;
            Some((family, *order.get(usize::try_from(at).ok()?)?))
        })
        .collect()
}
