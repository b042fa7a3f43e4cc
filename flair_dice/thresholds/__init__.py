"""Thresholds for F1, for Flair's models."""
