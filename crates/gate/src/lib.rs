//! Throughput gate of Broadhead: ceilings, measurements, verdicts.
