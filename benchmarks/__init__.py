"""Measurements: scores over seeds, speed and memory. Not part of the distribution."""
