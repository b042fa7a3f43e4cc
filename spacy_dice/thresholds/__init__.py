"""Thresholds for F1, and temperatures, chosen on dev and kept in the pipeline that is saved."""
