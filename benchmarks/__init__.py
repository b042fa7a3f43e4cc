"""Measurements; not part of the distribution.

compare/ trains and scores, speed/ measures time, report/ makes tables and pictures of what
compare/ measured: lines of results/, which results.py reads and writes.
"""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Dict

ROOT = Path(__file__).resolve().parent.parent


def versions(*packages: str) -> Dict[str, str]:
    """The versions of those packages that are installed: what a number was measured with."""
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            pass
    return found
