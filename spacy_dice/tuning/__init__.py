"""Deciding for F1: cuts and temperatures chosen on dev, kept in the pipeline that is saved."""
