"""WNUT 2017, named entities that are rare and emerging, in noisy text. CC BY 4.0.

Derczynski, Nichols, van Erp and Limsopatham, "Results of the WNUT2017 Shared Task on Novel
and Emerging Entity Recognition", W-NUT 2017.
"""

from pathlib import Path
from typing import Dict

from . import download

HOME = (
    "https://raw.githubusercontent.com/leondz/emerging_entities_17/"
    "e52a2d2a71ac1a051ca2d532eef28653c5c02603/"
)
# Split: name at home, SHA-256.
FILES = {
    "train": (
        "wnut17train.conll",
        "731820e13f71af324c6b55a1575ec2ce59fbaa2a0806f8f0400b98d56cd6a7a5",
    ),
    "dev": (
        "emerging.dev.conll",
        "e053b752b8155113ca66e7db08af5f2f5f43ab993694e4774f1ec5bad42312d8",
    ),
    "test": (
        "emerging.test.annotated",
        "2aa79b764e56ec9264a1b30fdd9b70195bd00ff400b62edd8f399d5f13c178f0",
    ),
}


def locate(cache: Path) -> Dict[str, Path]:
    """The three files, in ``cache``: see `download.locate`."""
    return download.locate(HOME, FILES, cache)
