//! Rounds before Newton's method, on the host or on a device.

use super::engine::{self, Engine};
use super::explore::{Course, EXPLORING, Explorer, PATIENCE, SHARES, Until};
use super::round::{Arranged, Ground, Penalty};
use super::{Choosing, RoundStage};
use crate::error::FitError;
use crate::iterate::coordinates::{Coordinates, Gates};
use broadhead_schur::SolverOptions;
use rand_chacha::ChaCha8Rng;

/// Exploring, relocation and finishing on all rows from `decoder`: the coordinates and gates before Newton's method.
pub(crate) fn explored<E: Engine>(
    explorer: &mut Explorer<'_, E>,
    choosing: &Choosing<'_>,
    decoder: Arranged,
    rng: &mut ChaCha8Rng,
    way: &mut Course<'_>,
) -> Result<(Coordinates, Gates), FitError> {
    let mut state = explorer.state(decoder)?;
    // Without a sample the whole relocation is done here.
    let sampled = usize::from(choosing.sample.is_some());
    explorer.explore(
        RoundStage::Exploring,
        EXPLORING[2 * sampled],
        &mut state,
        way,
    )?;
    let patience = choosing.patience(PATIENCE[sampled]);
    explorer.relocate(patience, (SHARES[1], 1.0), &mut state, rng, way)?;
    explorer.finish(Until::Slow, &mut state, way)?;
    explorer.rest();
    let Ground {
        dictionary,
        arrangement,
        ..
    } = explorer.ground;
    let view = explorer.view(&state)?;
    Ok(view.codes.places(dictionary, arrangement))
}

/// Exploring and relocation on a sample of rows; returns the resulting decoder and its objective there.
///
/// # Errors
/// [`FitError::Cancelled`]; features that determine no decoder; the device's.
pub(crate) fn on_sample(
    (choosing, solver): (&Choosing<'_>, &SolverOptions),
    ground: Ground<'_>,
    penalty: Penalty,
    decoder: Arranged,
    rng: &mut ChaCha8Rng,
    way: &mut Course<'_>,
) -> Result<(Arranged, f64), FitError> {
    let share = ground.data.rows() as f64 / choosing.ground.data.rows() as f64;
    let penalty = Penalty {
        lambda: penalty.lambda * share,
        ..penalty
    };
    let slots = choosing.slots;
    let relocated = match engine::on_device(&ground, slots, solver)? {
        Some(engine) => {
            let mut explorer = Explorer::on(engine, ground, penalty, slots);
            relocated_on_sample(&mut explorer, choosing, (decoder, share), rng, way)
        }
        None => {
            let mut explorer = Explorer::new(ground, penalty, slots);
            relocated_on_sample(&mut explorer, choosing, (decoder, share), rng, way)
        }
    };
    // Objectives over a sample do not compare with those over all rows.
    for round in &mut way.rounds {
        round.stage = RoundStage::Start;
    }
    relocated
}

fn relocated_on_sample<E: Engine>(
    explorer: &mut Explorer<'_, E>,
    choosing: &Choosing<'_>,
    (decoder, share): (Arranged, f64),
    rng: &mut ChaCha8Rng,
    way: &mut Course<'_>,
) -> Result<(Arranged, f64), FitError> {
    let mut state = explorer.state(decoder)?;
    explorer.explore(RoundStage::Start, EXPLORING[1], &mut state, way)?;
    let patience = choosing.patience(PATIENCE[0]);
    explorer.relocate(patience, (SHARES[0], share), &mut state, rng, way)?;
    let view = explorer.view(&state)?;
    Ok((view.decoder.clone(), view.objective))
}
