use super::*;
use proptest::prelude::*;
use std::f64::consts::TAU;

fn every() -> Vec<(Topology, Basis)> {
    let mut all = Vec::new();
    for highest in 1..=4 {
        all.push((Topology::Circle, Basis::Harmonics { highest }));
    }
    for highest in 1..=2 {
        all.push((Topology::Torus, Basis::Harmonics { highest }));
    }
    for degree in 1..=2 {
        all.push((Topology::Sphere, Basis::Spherical { degree }));
        for dimension in 1..=4 {
            all.push((
                Topology::Euclidean { dimension },
                Basis::Monomials { degree },
            ));
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

/// Means over the manifold by a rule exact for these polynomials: the functions are orthogonal to
/// the constant and to each other, with mean square 1/2, 1/4 or 1.
#[test]
fn functions_are_orthogonal_to_the_constant_and_to_each_other() {
    for (topology, basis) in every() {
        let nodes: Vec<(Vec<f64>, f64)> = match topology {
            Topology::Circle => (0..32)
                .map(|i| (vec![TAU * f64::from(i) / 32.0], 1.0 / 32.0))
                .collect(),
            Topology::Torus => (0..256)
                .map(|i| {
                    let (a, b) = (f64::from(i / 16), f64::from(i % 16));
                    (vec![TAU * a / 16.0, TAU * b / 16.0], 1.0 / 256.0)
                })
                .collect(),
            // Three Gauss-Legendre nodes in z, exact to degree 5, by eight longitudes.
            Topology::Sphere => (0..24)
                .map(|i| {
                    let z = [-(0.6_f64.sqrt()), 0.0, 0.6_f64.sqrt()][i / 8];
                    let weight = [5.0, 8.0, 5.0][i / 8] / 18.0 / 8.0;
                    let (sin, cos) = (TAU * (i % 8) as f64 / 8.0).sin_cos();
                    let r = (1.0 - z * z).sqrt();
                    (vec![r * cos, r * sin, z], weight)
                })
                .collect(),
            Topology::Euclidean { .. } => continue,
        };
        let width = basis.width(topology);
        let mut mean = vec![0.0; width];
        let mut gram = vec![0.0; width * width];
        for (t, weight) in &nodes {
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
    let euclidean = Topology::Euclidean { dimension: 3 };
    assert_eq!(width(euclidean, Basis::Monomials { degree: 2 }), 9);
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
