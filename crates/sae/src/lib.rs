//! Curved dictionaries fitted to activations by Levenberg-Marquardt.
