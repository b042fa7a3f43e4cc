"""Measurements; not part of the distribution.

compare/ trains and scores, speed/ measures time, report/ makes tables and pictures of what
compare/ measured: lines of results/, which results.py reads and writes.
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
