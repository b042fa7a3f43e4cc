"""`spacy dice imbalance`: how imbalanced a corpus is."""

import json
from pathlib import Path
from typing import Optional

from . import dice_cli
from .common import Arg, Opt, notes, one_line_errors


@dice_cli.command("imbalance")
def imbalance_cli(
    # fmt: off
    data: Path = Arg(
        ...,
        metavar="DATA",
        help="Training data: .spacy, columns of tokens and tags (.conll, .iob, .txt), .conllu, texts with labels (.tsv, .csv, .jsonl), SQuAD (.json)",
        exists=True,
    ),
    plot: Optional[Path] = Opt(
        None, "--plot", "-p", help="Draw it into this file (.png, .svg, .pdf)"
    ),
    as_json: bool = Opt(False, "--json", "-j", help="Print all of it as JSON"),
    # fmt: on
) -> None:
    """
    Show how imbalanced a corpus is.

    And which loss to take, by what was gained on other corpora.

    \b
    Examples:
      python -m spacy dice imbalance train.spacy
      python -m spacy dice imbalance train.conll --plot imbalance.png
    """
    with one_line_errors():
        from ..commands import imbalance
        from ..commands.formats import read_docs

        found = imbalance.measure(read_docs(data))
        if plot is not None:
            imbalance.plot(found, plot)
        if as_json:
            print(json.dumps([part.to_dict() for part in found], indent=1))
        else:
            for part in found:
                print(imbalance.as_text(part) + "\n")
                print(imbalance.advice_as_text(part) + "\n")
            notes().text(
                "To take them: python -m spacy dice apply CONFIG OUT; to try another one: --loss NAME"
            )
        if plot is not None and not as_json:
            notes().good(f"Saved {plot}")
