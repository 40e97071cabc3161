//! Many fits in one pool.

use crate::error::FitError;
use crate::fit::fit_on;
use crate::lm::go_on;
use crate::model::dictionary::Dictionary;
use crate::options::FitOptions;
use crate::place::Place;
use crate::report::Fit;
use ndarray::ArrayView2;
use rayon::prelude::*;

/// A fit among many.
#[derive(Clone, Copy, Debug)]
pub struct FitJob<'a> {
    /// Its data, `n x p`.
    pub x: ArrayView2<'a, f64>,
    /// Its dictionary.
    pub dictionary: &'a Dictionary,
    /// Its options.
    pub options: &'a FitOptions,
}

/// Runs many fits in the caller's rayon pool, on the CPU. Each gives the same bits as it does alone, and has
/// its own error.
pub fn fit_many(jobs: &[FitJob<'_>]) -> Vec<Result<Fit, FitError>> {
    fit_many_on(&Place::default(), jobs)
}

/// As [`fit_many`], with linear systems solved on `place`. The fits share its device, but no buffer, stream
/// or error.
pub fn fit_many_on(place: &Place, jobs: &[FitJob<'_>]) -> Vec<Result<Fit, FitError>> {
    jobs.par_iter()
        .map(|job| fit_on(place, job.x, job.dictionary, job.options, &go_on))
        .collect()
}
