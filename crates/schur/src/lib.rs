//! Block-arrowhead (arrow-Schur) Newton systems: shapes, planner, eliminations, frames.
