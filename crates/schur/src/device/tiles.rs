//! The border's sum and factor by tiles, in one launch: see `tiles.cu`.
#![allow(unsafe_code)] // Beside the kernel's typed launch alone.

use super::layout::{Layout, TILE, control_len};
use broadhead_device::kernels::{Geometry, Kernel, KernelSource};
use broadhead_device::probe::DeviceInfo;
use broadhead_device::{DeviceBuffer, Result, Stream, declares};

pub(crate) const TILES: KernelSource = KernelSource {
    name: "tiles.cu",
    text: concat!(include_str!("fragments.cu"), include_str!("tiles.cu")),
    declares: declares![int TILE, int COMPUTE, int ALL_THREADS, int LDB],
    entries: &["factor_tiles"],
    options: &[],
};

/// Threads of a block that compute.
const COMPUTE: u32 = 256;
/// Threads of a block, with a warp that publishes and one that brings.
const ALL_THREADS: u32 = COMPUTE + 2 * 32;
/// Distance of a tile's columns in shared memory: the four columns of a fragment lie in different banks.
const LDB: usize = TILE + 4;
/// Dynamic shared bytes of a block: six tiles, and 77 columns of 16.
const SHARED: u32 = 8 * (6 * TILE * LDB + 77 * 16) as u32;
/// Orders for which tiles are the faster way, measured on an H100 (microseconds, tiles against the
/// library: 192: 58, 74; 640: 176, 259; 2048: 560, 855; 5120: 2283, 3105; 8192: 7583, 7250): below,
/// one tile is all there is; above, the tiles' rows no longer fit the second-level cache.
const ORDERS: std::ops::RangeInclusive<usize> = 2 * TILE..=7168;

/// Kernel, inverted tiles and control of one border.
pub(crate) struct Tiles {
    kernel: Kernel,
    blocks: u32,
    inverses: DeviceBuffer<f64>,
    control: DeviceBuffer<i32>,
}

/// Where `-Y'Y` of the sum comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum GramTerm {
    /// From `Y`, by the tiles themselves.
    OfY,
    /// The factor's place holds it already.
    Held,
}

impl Tiles {
    /// Whether a device can factor a border of this layout by tiles.
    pub(crate) fn serves(device: &DeviceInfo, layout: &Layout) -> bool {
        layout.whole_tiles()
            && device.shared_bytes_per_block >= u64::from(SHARED)
            && device.multiprocessors >= 2
    }

    /// Whether tiles are expected to be faster than the library.
    pub(crate) fn pays(layout: &Layout) -> bool {
        ORDERS.contains(&layout.order)
    }

    /// Whether the tiles should take `Y` in themselves. They do so at four fifths of the library's
    /// rate, and save a pass over the border.
    pub(crate) fn take_rows(layout: &Layout) -> bool {
        4 * layout.unknowns <= layout.order
    }

    pub(crate) fn new(stream: &Stream, layout: &Layout) -> Result<Self> {
        let kernel = stream
            .context()
            .module(&TILES)?
            .kernel("factor_tiles")?
            .clone();
        kernel.allow_shared(SHARED)?;
        // No more blocks than tasks: the chain, and every panel and sum.
        let tiles = layout.order / TILE;
        let tasks = 1 + tiles + tiles * tiles / 4;
        let multiprocessors = stream.context().info().multiprocessors;
        Ok(Self {
            kernel,
            blocks: multiprocessors.min(tasks as u32).max(2),
            inverses: stream.zeros(layout.order * TILE, "inverses of the border's tiles")?,
            control: stream.zeros(control_len(layout.order), "control of the border's tiles")?,
        })
    }

    /// The factor of `C + rho I - Y'Y`, over the padded order.
    pub(crate) fn factor(
        &mut self,
        stream: &Stream,
        layout: &Layout,
        (border, rho): (&DeviceBuffer<f64>, f64),
        whitened: &DeviceBuffer<f64>,
        gram: GramTerm,
        (factor, info): (&mut DeviceBuffer<f64>, &mut DeviceBuffer<i32>),
    ) -> Result<()> {
        let unknowns = match gram {
            GramTerm::OfY => layout.unknowns,
            GramTerm::Held => 0,
        };
        let geometry = Geometry::line(self.blocks, ALL_THREADS).with_shared(SHARED);
        let launch = self
            .kernel
            .launch(stream, geometry)
            .read(border.view())
            .scalar(rho)
            .write(factor.view_mut())
            .scalar(layout.order as i64)
            .scalar(layout.k as i32)
            .scalar(layout.order as i32)
            .read(whitened.view())
            .scalar(unknowns as i32)
            .scalar(i32::from(gram == GramTerm::Held))
            .write(self.inverses.view_mut())
            .write(self.control.view_mut())
            .write(info.view_mut());
        // SAFETY: the arguments are those of the source; the border matrices are of the padded
        // order, Y is N x order, the inverses are one tile a tile row, the control is as long as the source says and zero. All blocks
        // that wait do so for tickets drawn before theirs.
        unsafe { launch.submit() }
    }
}
