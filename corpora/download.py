"""Files of a corpus from its public home, each the very one that is meant."""

import hashlib
import urllib.error
import urllib.request
from pathlib import Path
from typing import Dict, Tuple


class Unreachable(Exception):
    """The corpus's home did not answer."""


def locate(home: str, files: Dict[str, Tuple[str, str]], cache: Path) -> Dict[str, Path]:
    """The file of each split, downloaded into ``cache`` unless it is there.

    files: for each split its name at home and its SHA-256.

    Raises ValueError if a downloaded file is not the pinned one, and Unreachable if there is no
    network.
    """
    found = {}
    for split, (remote, digest) in files.items():
        path = cache / f"{split}.conll"
        if not (path.exists() and _sha256(path.read_bytes()) == digest):
            content = _download(home + remote)
            if _sha256(content) != digest:
                raise ValueError(
                    f"{home + remote} is not the file that this project was made for (SHA-256 "
                    f"{_sha256(content)}, expected {digest}). Nothing was written."
                )
            cache.mkdir(parents=True, exist_ok=True)
            partial = cache / ".partial"
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
