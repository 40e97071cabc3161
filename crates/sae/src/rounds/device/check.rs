//! Rounds on a device beside the host's from the same states: what their tests compare.

use super::DeviceRounds;
use crate::data::Data;
use crate::encode::search::Arrangement;
use crate::error::FitError;
use crate::model::dictionary::Dictionary;
use crate::rounds::explore::Explorer;
use crate::rounds::round::{Choice, Ground, Penalty, RoundState};
use broadhead_device::Stream;
use ndarray::ArrayView2;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// One round on a device and on the host from the same state. Shares are of `|x - c|^2` of a row, or of `|X|^2`.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, Default)]
pub struct BothRounds {
    /// Rows that have other circles on.
    pub differ: usize,
    /// By how much the device's squared error is larger in a row that has the same circles on, at most, as a share.
    pub higher: f64,
    /// By how much the device's squared error is larger in a row that has other circles on, at most, as a share.
    pub worse: f64,
    /// The device's objective minus the host's for the codes that the device chose, as a share.
    pub objective: f64,
    /// The largest difference of the atoms' shares for these codes, as a share.
    pub shares: f64,
    /// Rows that switched: the device's count, and the host's.
    pub changed: [usize; 2],
    /// The device's objective, as a share.
    pub value: f64,
}

/// Rounds over `x` with `slots` atoms a row from a decoder of random rows: three anew, two in which rows keep what
/// they have unless a new choice is better, one in which they stay. Each begins where the device's last one ended.
///
/// # Errors
/// The fit's errors; the device's.
#[doc(hidden)]
pub fn rounds_on_both(
    stream: &Stream,
    x: ArrayView2<'_, f64>,
    dictionary: &Dictionary,
    slots: usize,
    seed: u64,
) -> Result<Vec<BothRounds>, FitError> {
    let data = Data::varying(x)?;
    let arrangement = Arrangement::of(dictionary);
    let ground = Ground::new(&data, dictionary, &arrangement);
    let penalty = Penalty {
        lambda: 5e-6 * data.rows() as f64,
        kappa: 0.0,
    };
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut host = Explorer::new(ground, penalty, slots);
    let decoder = host.random_decoder(&mut rng);
    let engine = DeviceRounds::new(stream, &ground, slots)?;
    let mut device = Explorer::on(engine, ground, penalty, slots);
    let mut there = device.state(decoder)?;
    let (anew, better) = (Choice::Anew, Choice::Better);
    let choices = [anew, anew, anew, better, better, Choice::Stay];
    let mut found = Vec::new();
    for choice in choices {
        let mut here = device.view(&there)?.into_owned();
        host.round(choice, &mut here)?;
        let mut chosen = device.view(&there)?.into_owned();
        device.round(choice, &mut there)?;
        let after = device.view(&there)?.into_owned();
        // The host's decoder for the codes that the device chose.
        chosen.codes = after.codes.clone();
        host.round(Choice::Stay, &mut chosen)?;
        let mut both = of_rows(&ground, &here, &after);
        let size = ground.square();
        both.objective = (after.objective - chosen.objective) / size;
        both.value = after.objective / size;
        both.changed = [after.changed, here.changed];
        let pairs = after.shares.iter().zip(&chosen.shares);
        both.shares = pairs.fold(0.0, |most, (a, b)| most.max((a - b).abs() / size));
        found.push(both);
    }
    Ok(found)
}

/// What a round says, on a device and on the host, whose decoder's matrix is made indefinite by a negative lambda.
///
/// # Errors
/// The fit's errors before the round; the device's.
#[doc(hidden)]
pub fn indefinite_round(
    stream: &Stream,
    x: ArrayView2<'_, f64>,
    dictionary: &Dictionary,
    slots: usize,
) -> Result<[Result<(), FitError>; 2], FitError> {
    let data = Data::varying(x)?;
    let arrangement = Arrangement::of(dictionary);
    let ground = Ground::new(&data, dictionary, &arrangement);
    let penalty = Penalty {
        lambda: -2.0 * data.rows() as f64,
        kappa: 0.0,
    };
    let mut host = Explorer::new(ground, penalty, slots);
    let decoder = host.random_decoder(&mut ChaCha8Rng::seed_from_u64(0));
    let mut device = Explorer::on(
        DeviceRounds::new(stream, &ground, slots)?,
        ground,
        penalty,
        slots,
    );
    let (mut there, mut here) = (device.state(decoder.clone())?, host.state(decoder)?);
    Ok([
        device.round(Choice::Anew, &mut there),
        host.round(Choice::Anew, &mut here),
    ])
}

fn of_rows(ground: &Ground<'_>, here: &RoundState, there: &RoundState) -> BothRounds {
    let mut both = BothRounds::default();
    let mean = ground.square() / ground.data.rows() as f64;
    for i in 0..ground.data.rows() {
        let atoms = |state: &RoundState| {
            let mut on: Vec<usize> = state.codes.row(i).map(|(a, ..)| a).collect();
            on.sort_unstable();
            on
        };
        let excess = (there.squares[i] - here.squares[i]) / mean;
        match atoms(here) == atoms(there) {
            true => both.higher = both.higher.max(excess),
            false => {
                both.differ += 1;
                both.worse = both.worse.max(excess);
            }
        }
    }
    both
}
