//! Cells, runner and records.
