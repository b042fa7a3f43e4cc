"""Corpora for the quickstart, the tests and the benchmarks. Not part of the distribution."""
