//! What a failure on a device says of the whole, found by factoring there at other ridges.

use crate::device::Base;
use crate::host::bump::whole;
use crate::{Error, MeanDiagonals, NotPositiveDefinite, Ridge};

impl Base {
    /// Adds to a failure at `ridge` what it says of the whole ([`NotPositiveDefinite::whole`]), found by
    /// factoring on the device; `means` are those of the operator there. The last frame's factors are gone.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn advise(
        &mut self,
        ridge: Ridge,
        means: MeanDiagonals,
        mut failed: NotPositiveDefinite,
    ) -> Result<NotPositiveDefinite, Error> {
        let sides = [self.shape().row_unknowns() > 0, self.shape().border() > 0];
        failed.whole = whole(ridge, means, sides, &failed, |at| self.factors_at(at))?;
        Ok(failed)
    }

    /// Whether all of it factors at `ridge`.
    pub(crate) fn factors_at(&mut self, ridge: Ridge) -> Result<bool, Error> {
        ridge.check()?;
        self.last = None;
        self.check_refreshed()?;
        self.factors.holds(&self.operands, ridge)
    }
}
