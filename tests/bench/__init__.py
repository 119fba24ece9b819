"""Benchmarks of speed: each prints ratios or rates measured in one run (`make bench-*`)."""
