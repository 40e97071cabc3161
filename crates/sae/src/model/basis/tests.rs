use super::*;
use proptest::prelude::*;
use std::f64::consts::{PI, TAU};

/// Every topology with its bases of low degree.
fn every() -> Vec<(Topology, Basis)> {
    let spaces = (1..=4).map(|dimension| Topology::Euclidean { dimension });
    let mut all = Vec::new();
    for topology in Topology::named().chain(spaces) {
        let first = topology.first();
        for degree in 1..=first.highest_degree().min(3) {
            all.push((topology, first.basis(degree)));
        }
    }
    all
}

fn values(topology: Topology, basis: Basis, t: &[f64]) -> Vec<f64> {
    let mut phi = vec![f64::NAN; basis.width(topology)];
    basis.evaluate(topology, t, &mut phi, &mut [], 0);
    phi
}

proptest! {
    /// Central differences along the retraction, at a step that balances truncation (`h^2 / 6`
    /// times the third derivative) against rounding (`eps / h`).
    #[test]
    fn derivatives_agree_with_central_differences(seed in prop::array::uniform4(-2.0..2.0_f64)) {
        prop_assume!(seed[..3].iter().map(|c| c * c).sum::<f64>() > 1e-3);
        for (topology, basis) in every() {
            let width = basis.width(topology);
            let mut t = seed[..topology.stored()].to_vec();
            topology.project(&mut t);
            prop_assert!(basis.fits(topology));
            // A stride wider than the basis: the neighbours must stay untouched.
            let stride = width + 3;
            let mut psi = vec![777.0; topology.local_dim() * stride];
            let mut phi = vec![f64::NAN; width];
            basis.evaluate(topology, &t, &mut phi, &mut psi, stride);
            prop_assert_eq!(&phi, &values(topology, basis, &t));
            let h = f64::EPSILON.cbrt();
            for a in 0..topology.local_dim() {
                let at = |sign: f64| {
                    let mut delta = vec![0.0; topology.local_dim()];
                    delta[a] = sign * h;
                    let mut moved = t.clone();
                    topology.retract(&mut moved, &delta);
                    values(topology, basis, &moved)
                };
                let (plus, minus) = (at(1.0), at(-1.0));
                for m in 0..width {
                    let difference = (plus[m] - minus[m]) / (2.0 * h);
                    let bound = 4e3 * h * h;
                    prop_assert!(
                        (psi[a * stride + m] - difference).abs() <= bound,
                        "{topology} {basis} function {m} coordinate {a}: got {} want {difference} \
                         bound {bound}", psi[a * stride + m],
                    );
                }
                for outside in width..stride {
                    prop_assert_eq!(psi[a * stride + outside], 777.0);
                }
            }
        }
    }

    #[test]
    fn squares_sum_to_what_the_addition_theorems_say(seed in prop::array::uniform3(-2.0..2.0_f64)) {
        prop_assume!(seed.iter().map(|c| c * c).sum::<f64>() > 1e-3);
        for (topology, basis) in every() {
            let mut t = seed[..topology.stored().min(3)].to_vec();
            if topology.stored() > 3 { continue; }
            topology.project(&mut t);
            let phi = values(topology, basis, &t);
            let squares = |range: std::ops::Range<usize>| phi[range].iter().map(|v| v * v).sum::<f64>();
            let pairs: Vec<(f64, f64)> = match (topology, basis) {
                (Topology::Circle, Basis::Harmonics { highest }) => {
                    (0..highest).map(|m| (squares(2 * m..2 * m + 2), 1.0)).collect()
                }
                // (1 + h)^2 with the constant's square taken away.
                (Topology::Torus, Basis::Harmonics { highest }) => {
                    vec![(squares(0..phi.len()), ((1 + highest) * (1 + highest) - 1) as f64)]
                }
                (Topology::Sphere, Basis::Spherical { degree }) => {
                    let mut sums = vec![(squares(0..3), 3.0)];
                    if degree == 2 { sums.push((squares(3..8), 5.0)); }
                    sums
                }
                // The squares of t and of (cos m t, sin m t) times (1, t).
                (Topology::Cylinder, Basis::Harmonics { highest }) => {
                    let square = t[1] * t[1];
                    vec![(squares(0..phi.len()), square + highest as f64 * (1.0 + square))]
                }
                _ => vec![],
            };
            for (got, want) in pairs {
                prop_assert!((got - want).abs() < 64.0 * f64::EPSILON * want, "{topology} {basis}");
            }
        }
    }

    /// `sum_m Y_lm(u) Y_lm(v) = (2l + 1) P_l(u . v)`.
    #[test]
    fn spherical_harmonics_satisfy_the_addition_theorem(
        a in prop::array::uniform3(-1.0..1.0_f64), b in prop::array::uniform3(-1.0..1.0_f64),
    ) {
        prop_assume!(a.iter().chain(&b).all(|c| c.abs() > 1e-3));
        let (mut u, mut v) = (a, b);
        Topology::Sphere.project(&mut u);
        Topology::Sphere.project(&mut v);
        let basis = Basis::Spherical { degree: 2 };
        let (y, w) = (values(Topology::Sphere, basis, &u), values(Topology::Sphere, basis, &v));
        let c = u[0] * v[0] + u[1] * v[1] + u[2] * v[2];
        let dot = |r: std::ops::Range<usize>| r.map(|m| y[m] * w[m]).sum::<f64>();
        prop_assert!((dot(0..3) - 3.0 * c).abs() < 1e-14);
        prop_assert!((dot(3..8) - 2.5 * (3.0 * c * c - 1.0)).abs() < 1e-13);
    }
}

/// Points of a factor with weights, exact for these polynomials; on a line those of unit variance.
fn nodes(factor: Factor) -> Vec<(Vec<f64>, f64)> {
    let turn = |count: usize| (0..count).map(move |i| TAU * i as f64 / count as f64 - PI);
    match factor {
        Factor::Line { dimension: 1 } => {
            let far = 3.0_f64.sqrt();
            vec![
                (vec![-far], 1.0 / 6.0),
                (vec![0.0], 2.0 / 3.0),
                (vec![far], 1.0 / 6.0),
            ]
        }
        // Three Gauss-Legendre nodes in z, exact to degree 5, by eight longitudes.
        Factor::Sphere => (0..24)
            .map(|i| {
                let z = [-(0.6_f64.sqrt()), 0.0, 0.6_f64.sqrt()][i / 8];
                let weight = [5.0, 8.0, 5.0][i / 8] / 18.0 / 8.0;
                let (sin, cos) = (TAU * (i % 8) as f64 / 8.0).sin_cos();
                let r = (1.0 - z * z).sqrt();
                (vec![r * cos, r * sin, z], weight)
            })
            .collect(),
        angle => turn(16)
            .map(|t| {
                let mut t = vec![t];
                angle.project(&mut t);
                (t, 1.0 / 16.0)
            })
            .collect(),
    }
}

/// Means over the manifold: the functions are orthogonal to the constant and to each other, with mean square
/// 1/2, 1/4 or 1.
#[test]
fn functions_are_orthogonal_to_the_constant_and_to_each_other() {
    for (topology, basis) in every() {
        // Monomials of the second degree have a mean.
        if matches!(topology, Topology::Euclidean { dimension } if dimension > 1)
            || basis == (Basis::Monomials { degree: 2 })
        {
            continue;
        }
        let mut places: Vec<(Vec<f64>, f64)> = vec![(Vec::new(), 1.0)];
        for part in topology.factors() {
            let own = nodes(part.factor);
            let longer = |(t, weight): &(Vec<f64>, f64)| -> Vec<(Vec<f64>, f64)> {
                let next = own.iter().map(|(u, w)| ([&t[..], u].concat(), weight * w));
                next.collect()
            };
            places = places.iter().flat_map(longer).collect();
        }
        let width = basis.width(topology);
        let mut mean = vec![0.0; width];
        let mut gram = vec![0.0; width * width];
        for (t, weight) in &places {
            let phi = values(topology, basis, t);
            for a in 0..width {
                mean[a] += weight * phi[a];
                for b in 0..width {
                    gram[a * width + b] += weight * phi[a] * phi[b];
                }
            }
        }
        for a in 0..width {
            assert!(mean[a].abs() < 1e-14, "{topology} {basis} function {a}");
            for b in 0..a {
                let cross = gram[a * width + b];
                assert!(cross.abs() < 1e-14, "{topology} {basis} {a} {b}: {cross}");
            }
            let square = gram[a * width + a];
            assert!(
                [0.25, 0.5, 1.0].iter().any(|w| (square - w).abs() < 1e-14),
                "{topology} {basis} function {a}: mean square {square}"
            );
        }
    }
}

#[test]
fn widths_are_those_of_the_table() {
    let width = |t: Topology, b: Basis| b.width(t);
    assert_eq!(width(Topology::Circle, Basis::Harmonics { highest: 3 }), 6);
    assert_eq!(width(Topology::Torus, Basis::Harmonics { highest: 1 }), 8);
    assert_eq!(width(Topology::Torus, Basis::Harmonics { highest: 2 }), 24);
    assert_eq!(width(Topology::Sphere, Basis::Spherical { degree: 1 }), 3);
    assert_eq!(width(Topology::Sphere, Basis::Spherical { degree: 2 }), 8);
    for highest in 1..=MAX_HARMONIC {
        let basis = Basis::Harmonics { highest };
        assert_eq!(width(Topology::Cylinder, basis), 4 * highest + 1);
    }
    let euclidean = Topology::Euclidean { dimension: 3 };
    assert_eq!(width(euclidean, Basis::Monomials { degree: 2 }), 9);
}

/// `{1, cos, sin, ..} x {1, t}` less the constant, the line's functions running first.
#[test]
fn functions_of_a_cylinder_are_products_in_the_order_of_its_factors() {
    let (angle, t) = (0.7_f64, -1.3);
    let phi = values(
        Topology::Cylinder,
        Basis::Harmonics { highest: 2 },
        &[angle, t],
    );
    let mut want = vec![t];
    for m in [1.0, 2.0] {
        let (sin, cos) = (m * angle).sin_cos();
        want.extend([cos, cos * t, sin, sin * t]);
    }
    assert_eq!(phi, want);
}

#[test]
fn names_round_trip_and_bases_stay_on_their_topologies() {
    for (topology, basis) in every() {
        assert_eq!(basis.to_string().parse(), Ok(basis));
        assert!(basis.fits(topology));
        assert!(Basis::default_for(topology).fits(topology));
    }
    assert!(!Basis::Spherical { degree: 1 }.fits(Topology::Circle));
    assert!(!Basis::Harmonics { highest: 0 }.fits(Topology::Circle));
    assert!(!Basis::Monomials { degree: 1 }.fits(Topology::Cylinder));
    for highest in [1, MAX_HARMONIC, MAX_HARMONIC + 1] {
        let basis = Basis::Harmonics { highest };
        for topology in [Topology::Circle, Topology::Torus, Topology::Cylinder] {
            assert_eq!(basis.fits(topology), highest <= MAX_HARMONIC, "{topology}");
        }
    }
    for bad in [
        "harmonics",
        "harmonics:0",
        "monomials:3",
        "spherical:9",
        "waves:1",
    ] {
        assert!(bad.parse::<Basis>().is_err(), "{bad}");
    }
}
