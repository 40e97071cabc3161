//! Pictures of fitted coordinates, as SVG text.
//!
//! ```text
//! Figure: title, note, atoms, groups
//!   AtomView (one cell)          panels
//!     Circle     rows around their fitted curve, in the plane of its first harmonic
//!     Torus      the two angles            | the torus seen from the side
//!     Cylinder   the unrolled surface: angle across, height up
//!     Sphere     northern hemisphere       | southern hemisphere (Lambert, equal area)
//!     Euclidean  the first two coordinates (one coordinate: a lane for each group)
//! ```
//!
//! Both directions of a panel have one scale. Rows are coloured by group if labels are known, else by
//! coordinate. Fonts are named and not embedded, so a picture has the same bytes on every machine.

mod canvas;
mod circle;
mod cylinder;
mod euclidean;
mod legend;
mod palette;
mod panel;
mod sphere;
mod tags;
mod torus;

pub use palette::Rgb;

use canvas::{Anchor, Canvas, INK, MUTED, TextLook};
use panel::Rect;

/// A picture.
#[derive(Clone, Debug)]
pub struct Figure {
    /// The first line.
    pub title: String,
    /// The second line, smaller.
    pub note: String,
    /// One cell each, in the order of the dictionary.
    pub atoms: Vec<AtomView>,
    /// The rows' labels, if there are any.
    pub groups: Option<Groups>,
}

/// Which label each row has.
#[derive(Clone, Debug)]
pub struct Groups {
    /// The labels, in the order of the legend.
    pub names: Vec<String>,
    /// For each row an index into `names`.
    pub of_row: Vec<usize>,
}

/// One atom and the rows where it is on.
#[derive(Clone, Debug)]
pub struct AtomView {
    /// The heading of the cell.
    pub title: String,
    /// Rows where the atom is on: indices into the rows of [`Groups::of_row`].
    pub rows: Vec<usize>,
    /// What is drawn, with one entry for each of `rows`.
    pub shape: AtomShape,
    /// The share of its shape that the rows cover, if known.
    pub coverage: Option<f64>,
}

/// The coordinates of an atom's rows.
#[derive(Clone, Debug)]
pub enum AtomShape {
    /// Points on a closed curve.
    Circle {
        /// Fitted angles in radians.
        angles: Vec<f64>,
        /// The rows in the plane of the first harmonic.
        points: Vec<[f64; 2]>,
        /// The fitted curve in the same plane at equal steps of the angle from -pi on.
        curve: Vec<[f64; 2]>,
        /// Whether amplitudes are fitted: the lines from 0 through the curve are drawn.
        cone: bool,
    },
    /// Points on a torus.
    Torus {
        /// Both angles in radians.
        angles: Vec<[f64; 2]>,
    },
    /// Points on a cylinder.
    Cylinder {
        /// The angle in radians, and the height.
        places: Vec<[f64; 2]>,
    },
    /// Points on a sphere.
    Sphere {
        /// Unit vectors.
        directions: Vec<[f64; 3]>,
    },
    /// Points of a Euclidean space.
    Euclidean {
        /// All coordinates of each row.
        points: Vec<Vec<f64>>,
    },
}

impl AtomShape {
    fn panels(&self) -> usize {
        match self {
            Self::Circle { .. } | Self::Cylinder { .. } | Self::Euclidean { .. } => 1,
            Self::Torus { .. } | Self::Sphere { .. } => 2,
        }
    }
}

/// The most rows drawn in one cell, and in all cells together.
const MAX_ROWS_CELL: usize = 6000;
const MAX_ROWS_FIGURE: usize = 12_000;

const MARGIN: f64 = 28.0;
const HEADER: f64 = 62.0;
const CELL_HEAD: f64 = 24.0;
const GAP: f64 = 22.0;

impl Figure {
    /// Draws the picture.
    pub fn to_svg(&self) -> String {
        let layout = Layout::of(self);
        let legend = legend::Legend::of(self.groups.as_ref());
        let width = layout.width + legend.width();
        let height = layout.height.max(HEADER + legend.height() + MARGIN);
        Canvas::draw(width, height, |canvas| {
            canvas.text(
                [MARGIN, MARGIN + 6.0],
                &self.title,
                &TextLook::new(19.0, INK).bold(),
            );
            canvas.text(
                [MARGIN, MARGIN + 30.0],
                &self.note,
                &TextLook::new(12.5, MUTED),
            );
            for (index, atom) in self.atoms.iter().enumerate() {
                self.draw_cell(canvas, &layout, index, atom);
            }
            legend.draw(canvas, layout.width, HEADER + CELL_HEAD)
        })
    }

    fn draw_cell(&self, canvas: &Canvas, layout: &Layout, index: usize, atom: &AtomView) {
        let (panels, head) = layout.cell(index, atom.shape.panels());
        let limit = MAX_ROWS_CELL.min(MAX_ROWS_FIGURE / self.atoms.len().max(1));
        let drawn = panel::Drawn::of(atom, self.groups.as_ref(), limit);
        let look = TextLook::new(13.0, INK).bold();
        canvas.text([head[0], head[1]], &atom.title, &look);
        let rows = Self::thousands(atom.rows.len());
        let note = if drawn.is_sample() {
            format!("{} of {rows} rows drawn", Self::thousands(drawn.len()))
        } else if self.atoms.len() > 1 {
            let plural = if atom.rows.len() == 1 { "" } else { "s" };
            format!("{rows} row{plural}")
        } else {
            String::new()
        };
        let note = match atom.coverage {
            Some(share) if note.is_empty() => format!("covered to {:.0} %", 100.0 * share),
            Some(share) => format!("{note}, covered to {:.0} %", 100.0 * share),
            None => note,
        };
        let right = panels[panels.len() - 1].right();
        let look = TextLook::new(11.0, MUTED).anchor(Anchor::Right, Anchor::Middle);
        canvas.text([right, head[1]], &note, &look);
        match &atom.shape {
            AtomShape::Circle {
                angles,
                points,
                curve,
                cone,
            } => circle::draw(canvas, panels[0], &drawn, angles, points, (curve, *cone)),
            AtomShape::Torus { angles } => {
                torus::draw_angles(canvas, panels[0], &drawn, angles);
                torus::draw_surface(canvas, panels[1], &drawn, angles)
            }
            AtomShape::Cylinder { places } => cylinder::draw(canvas, panels[0], &drawn, places),
            AtomShape::Sphere { directions } => {
                sphere::draw(canvas, panels[0], &drawn, directions, sphere::Side::North);
                sphere::draw(canvas, panels[1], &drawn, directions, sphere::Side::South)
            }
            AtomShape::Euclidean { points } => euclidean::draw(canvas, panels[0], &drawn, points),
        }
    }
}

/// Cells in a grid as square as their panels allow.
struct Layout {
    columns: usize,
    side: f64,
    cell_width: f64,
    cell_height: f64,
    width: f64,
    height: f64,
}

impl Layout {
    fn of(figure: &Figure) -> Self {
        let atoms = figure.atoms.len().max(1);
        let panels = figure.atoms.iter().map(|atom| atom.shape.panels()).max();
        let panels = panels.unwrap_or(1);
        let columns = (1..=atoms)
            .find(|columns| columns * columns * panels >= atoms)
            .unwrap_or(1);
        let rows = atoms.div_ceil(columns);
        let side: f64 = match columns * panels {
            1 => 620.0,
            2 => 470.0,
            3 => 360.0,
            _ => 290.0,
        };
        let cell_width = panels as f64 * (side + GAP) - GAP;
        let cell_height = CELL_HEAD + side;
        Self {
            columns,
            side,
            cell_width,
            cell_height,
            width: 2.0 * MARGIN + columns as f64 * (cell_width + GAP) - GAP,
            height: HEADER + MARGIN + rows as f64 * (cell_height + GAP),
        }
    }

    /// The panels of cell `index` and where its heading begins.
    fn cell(&self, index: usize, panels: usize) -> (Vec<Rect>, [f64; 2]) {
        let (row, column) = (index / self.columns, index % self.columns);
        let left = MARGIN + column as f64 * (self.cell_width + GAP);
        let top = HEADER + MARGIN / 2.0 + row as f64 * (self.cell_height + GAP);
        let rects = (0..panels)
            .map(|panel| Rect {
                left: left + panel as f64 * (self.side + GAP),
                top: top + CELL_HEAD,
                side: self.side,
            })
            .collect();
        (rects, [left, top + CELL_HEAD / 2.0])
    }
}
