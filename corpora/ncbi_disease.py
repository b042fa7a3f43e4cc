"""The NCBI Disease corpus: names of diseases in abstracts of PubMed. Public domain.

Dogan, Leaman and Lu, "NCBI disease corpus: a resource for disease name recognition and concept
normalization", Journal of Biomedical Informatics 2014; as columns of tokens and tags by Crichton,
Pyysalo, Chiu and Korhonen, "A neural network multi-task learning approach to biomedical named
entity recognition", BMC Bioinformatics 2017.
"""

from pathlib import Path
from typing import Dict

from . import download

HOME = (
    "https://raw.githubusercontent.com/cambridgeltl/MTL-Bioinformatics-2016/"
    "df0df02fae6dbb87d88ffcf323b9096528f06f84/data/NCBI-disease-IOB/"
)
# Split: name at home, SHA-256.
FILES = {
    "train": ("train.tsv", "58379baf4614b8d757d93dd7a21b202849ca99f9b9d71b49185523ff5443300c"),
    "dev": ("devel.tsv", "b4e1e7efcc2a35047bf2f3d281648357470e674f555d4a26a0049ac37d59cc61"),
    "test": ("test.tsv", "8f088ce45dc4746592188f9e69de3d89d87f3bb8f0ed8c4a287d018123fa148d"),
}


def locate(cache: Path) -> Dict[str, Path]:
    """The three files, in ``cache``: see `download.locate`."""
    return download.locate(HOME, FILES, cache)
