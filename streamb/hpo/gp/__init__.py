"""The Gaussian process: kernel, fit, acquisition, and the point to try next."""
