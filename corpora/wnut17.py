"""WNUT 2017, named entities that are rare and emerging, in noisy text. CC BY 4.0.

Derczynski, Nichols, van Erp and Limsopatham, "Results of the WNUT2017 Shared Task on Novel
and Emerging Entity Recognition", W-NUT 2017.
"""

import hashlib
import urllib.error
import urllib.request
from pathlib import Path
from typing import Dict, Optional

HOME = (
    "https://raw.githubusercontent.com/leondz/emerging_entities_17/"
    "e52a2d2a71ac1a051ca2d532eef28653c5c02603/"
)
# Split: name at home, name in a local folder, SHA-256.
FILES = {
    "train": (
        "wnut17train.conll",
        "train.conll",
        "731820e13f71af324c6b55a1575ec2ce59fbaa2a0806f8f0400b98d56cd6a7a5",
    ),
    "dev": (
        "emerging.dev.conll",
        "dev.conll",
        "e053b752b8155113ca66e7db08af5f2f5f43ab993694e4774f1ec5bad42312d8",
    ),
    "test": (
        "emerging.test.annotated",
        "test.conll",
        "2aa79b764e56ec9264a1b30fdd9b70195bd00ff400b62edd8f399d5f13c178f0",
    ),
}


class Unreachable(Exception):
    """The corpus's home did not answer."""


def locate(cache: Path, local: Optional[Path] = None) -> Dict[str, Path]:
    """The three files, from the folder ``local`` or downloaded, once, into ``cache``.

    Raises FileNotFoundError if ``local`` lacks a file, ValueError if a downloaded file is not
    the pinned one, and Unreachable if there is no network.
    """
    found = {}
    for split, (remote, name, digest) in FILES.items():
        if local is not None:
            names = (name, remote)
            paths = [local / n for n in names if (local / n).exists()]
            if not paths:
                raise FileNotFoundError(f"{local} has no {' or '.join(names)} ({split}).")
            found[split] = paths[0]
            continue
        path = cache / name
        if not (path.exists() and _sha256(path.read_bytes()) == digest):
            content = _download(HOME + remote)
            if _sha256(content) != digest:
                raise ValueError(
                    f"{HOME + remote} is not the file that this project was made for (SHA-256 "
                    f"{_sha256(content)}, expected {digest}). Nothing was written."
                )
            cache.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(".partial")
            partial.write_bytes(content)
            partial.replace(path)
        found[split] = path
    return found


def _download(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=30) as response:
            return response.read()
    except (urllib.error.URLError, OSError) as error:
        raise Unreachable(f"{url}: {error}") from error


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
