"""What a number was measured with."""

from importlib.metadata import PackageNotFoundError, version
from typing import Dict


def versions(*packages: str) -> Dict[str, str]:
    """The versions of those packages that are installed."""
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            pass
    return found
