"""What methods share: an adapter's factors, the alignment's directions, batches, the knob."""
