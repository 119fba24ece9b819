"""Public models, benchmarks and judges: the counterpart of `microworld`, for real studies."""
