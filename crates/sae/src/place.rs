//! Where linear solves may run: the properties of the machine, separate from the options of a fit.

use crate::options::SolveOptions;
use broadhead_schur::device::Placement;
use broadhead_schur::{Ceilings, HostCeilings, Rates, SolverOptions, Workload};

/// The machine that linear solves run on: its device, if one may be used, and the rates by which a
/// planner prices either side. [`Default`] is the CPU alone, with the default rates.
///
/// It changes where a system is solved, never what is required of the solution. A choice that must repeat on
/// another machine is pinned in [`SolveOptions`].
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// The device. Each start of a fit has its own stream there, and the fit its own ledger;
    /// a quadratic workspace uses this stream and its ledger.
    pub device: Option<Placement>,
    /// Rates of this processor.
    pub rates: Rates<HostCeilings>,
    /// Rates of the device.
    pub device_rates: Rates<Ceilings>,
}

impl Place {
    /// The CPU and `device`, with the default rates.
    pub fn with_device(device: Placement) -> Self {
        Self {
            device: Some(device),
            ..Self::default()
        }
    }

    /// The options with which a solver is made here.
    pub(crate) fn solver(&self, options: &SolveOptions) -> SolverOptions {
        let SolveOptions {
            elimination,
            memory_limit,
            refinement,
            iterative,
            device_policy,
        } = *options;
        SolverOptions {
            elimination,
            memory_limit,
            refinement,
            iterative,
            rates: self.rates.clone(),
            // A trial solves once per factorization, and a fit ends with log|H|.
            workload: Workload::default(),
            device_rates: self.device_rates.clone(),
            device: self.device.clone(),
            device_policy,
        }
    }
}
