"""Measurements: each prints ratios of two sides that were interleaved in one run (median, min, max)."""
