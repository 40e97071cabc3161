//! Systems whose numbers kernels of a caller's write where they lie.

use super::Linearisation;
use crate::Error;
use broadhead_device::{DeviceError, ViewMut};

/// Operands that are born on the device.
impl Linearisation {
    /// Lets `write` submit kernels, on [`Linearisation::stream`], that fill a dense system's arrays where they
    /// lie; then looks at them there. Nothing is sent and nothing copied; a record of 40 bytes comes back.
    ///
    /// | array | numbers | of which are read |
    /// |---|---|---|
    /// | `row_hessian` | the rows' blocks $`D_i`$ one after another, $`d_i \times d_i`$ row-major | lower triangles |
    /// | `row_cross` | $`B`$, $`N \times k`$, row-major | all |
    /// | `border_hessian` | $`C`$, column-major with the leading dimension [`super::DeviceSystem::border_stride`] | the lower triangle of order $`k`$ |
    ///
    /// The factors at hand are gone, also where writing or the look fails, and there is then no system. The first
    /// such call makes room for 40 bytes; others allocate nothing. What `border_hessian` holds past the order
    /// $`k`$ becomes zeros.
    ///
    /// # Errors
    /// [`Error::NotFinite`] naming the array, the index and the value; [`Error::Unsupported`] for a
    /// structured system; [`Error::Device`], also with what `write` answers.
    pub fn write_dense(
        &mut self,
        write: impl FnOnce([ViewMut<'_, f64>; 3]) -> Result<(), DeviceError>,
    ) -> Result<(), Error> {
        let arrays = self.system.dense_arrays()?;
        self.last = None;
        write(arrays)?;
        self.system.check_written()
    }

    /// The same for a structured system, whose first such call makes room for 16 bytes a row where rows are
    /// ragged.
    ///
    /// | array | numbers | of which are read |
    /// |---|---|---|
    /// | `row_hessian` | the rows' blocks $`D_i`$ one after another, $`d_i \times d_i`$ row-major | lower triangles |
    /// | `feature_phi` | $`\phi`$, $`n \times M`$, row-major | all |
    /// | `feature_psi` | $`\Psi`$, $`N \times M`$, row-major | all |
    /// | `gram` | $`G`$, $`M \times M`$ | all: both triangles |
    /// | `decoder` | $`W`$, $`M \times p`$, row-major | all |
    ///
    /// Features that a row does not have are zeros there. Of a shape without features the arrays have room
    /// for one: `phi` and `Psi` are then 0 and `G` is 1; of a shape without outputs `W` has one, of zeros.
    ///
    /// # Errors
    /// As [`Linearisation::write_dense`]; [`Error::Unsupported`] for a dense system.
    pub fn write_structured(
        &mut self,
        write: impl FnOnce([ViewMut<'_, f64>; 5]) -> Result<(), DeviceError>,
    ) -> Result<(), Error> {
        let arrays = self.system.structured_arrays()?;
        self.last = None;
        write(arrays)?;
        self.system.check_written()
    }
}
