use super::*;

fn numbers(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn the_numbers_are_pinned() {
    let noise = Noise::new(42).of("latents").at(3);
    let normal = numbers(&noise.normal(6, &Device::Cpu).unwrap());
    assert_eq!(normal, [1.3927623, 0.6408226, 0.4258555, 1.3232304, -0.6266007, 0.4364528]);
    assert_eq!(noise.integers(8, 1000), [607, 908, 765, 811, 97, 715, 410, 744]);
    assert_eq!(noise.permutation(8), [1, 3, 2, 0, 5, 7, 6, 4]);
    assert_eq!(noise.uniform(2), [0.9089991880133342, 0.8119323595346323]);
    assert_eq!(noise.bernoulli(8, 0.75), noise.uniform(8).into_iter().map(|u| u < 0.75).collect::<Vec<_>>());
    assert_eq!(numbers(&Noise::new(0).normal(3, &Device::Cpu).unwrap()), [-1.2492942, 0.12915806, -1.5523117]);
}

#[test]
fn purposes_and_indices_are_places_of_their_own() {
    let root = Noise::new(1);
    let places = [
        root.clone(),
        Noise::new(2),
        root.of(""),
        root.of("a"),
        root.of("ab"),
        root.of("a").of("b"),
        root.of("b"),
        root.at(0),
        root.at(1),
        root.at(97),
        root.at(u64::MAX),
        root.of("a").at(0),
        root.at(0).of("a"),
    ];
    for (i, left) in places.iter().enumerate() {
        for right in places.iter().skip(i + 1) {
            assert_ne!(left, right);
            assert_ne!(left.uniform(1), right.uniform(1));
        }
    }
}

#[test]
fn draws_do_not_affect_each_other() {
    let noise = Noise::new(5);
    let alone = noise.of("second").uniform(3);
    let many = noise.of("first").uniform(1000);
    assert_eq!(noise.of("second").uniform(3), alone);
    assert_eq!(noise.of("first").uniform(10), many[..10]);
}

#[test]
fn a_row_is_the_same_in_every_batch() {
    let device = &Device::Cpu;
    let [a, b, c] = [1, 2, 3].map(|seed| Noise::new(seed).of("latents"));
    let batch = Noise::normal_rows(&[a, b.clone(), c], (4, 5, 6), device).unwrap(); // (3, 4, 5, 6)
    assert_eq!(batch.dims(), [3, 4, 5, 6]);
    assert_eq!(numbers(&batch.get(1).unwrap()), numbers(&b.normal((4, 5, 6), device).unwrap()));
    assert_eq!(Noise::normal_rows(&[], (4, 5), device).unwrap().dims(), [0, 4, 5]);
}

#[test]
fn normals_have_the_moments_and_tails_of_the_normal_distribution() {
    let values = numbers(&Noise::new(9).normal(1_000_000, &Device::Cpu).unwrap());
    let moment =
        |power: i32| values.iter().map(|value| f64::from(*value).powi(power)).sum::<f64>() / values.len() as f64;
    // Five standard errors of each.
    for (power, expected, tolerance) in [(1, 0.0, 0.005), (2, 1.0, 0.0071), (3, 0.0, 0.0194), (4, 3.0, 0.049)] {
        assert!((moment(power) - expected).abs() < tolerance, "moment {power}: {}", moment(power));
    }
    let beyond = values.iter().filter(|value| value.abs() > 3.0).count() as f64;
    assert!((beyond - 2699.8).abs() < 260.0, "{beyond} beyond three");
}

#[test]
fn integers_and_drops_are_fair() {
    let noise = Noise::new(11);
    let mut counts = [0_u32; 7];
    for value in noise.integers(70_000, 7) {
        counts[value as usize] += 1;
    }
    assert!(counts.iter().all(|count| count.abs_diff(10_000) < 470), "{counts:?}");
    let dropped = noise.bernoulli(100_000, 0.1).into_iter().filter(|dropped| *dropped).count();
    assert!(dropped.abs_diff(10_000) < 480, "{dropped}");
    assert!(noise.bernoulli(100, 0.0).iter().all(|dropped| !dropped));
    assert!(noise.bernoulli(100, 1.0).iter().all(|dropped| *dropped));
    assert_eq!(noise.integers(3, 0), [0, 0, 0]);
    assert_eq!(noise.integers(3, 1), [0, 0, 0]);
    let mut order = noise.permutation(100);
    assert_ne!(order, (0..100).collect::<Vec<_>>());
    order.sort_unstable();
    assert_eq!(order, (0..100).collect::<Vec<_>>());
}
