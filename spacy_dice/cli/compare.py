"""`spacy dice compare`: two pipelines side by side."""

import json
from pathlib import Path
from typing import Optional

from . import dice_cli
from .common import Arg, Opt, load_model, notes, one_line_errors


@dice_cli.command("compare")
def compare_cli(
    # fmt: off
    model_a: str = Arg(..., metavar="MODEL_A", help="Folder or package of a trained pipeline"),
    model_b: str = Arg(..., metavar="MODEL_B", help="Another one"),
    data: Path = Arg(
        ...,
        metavar="DATA",
        help="Annotated texts that neither was trained on: .spacy, or what 'spacy dice imbalance' reads",
        exists=True,
    ),
    plot: Optional[Path] = Opt(
        None,
        "--plot",
        "-p",
        help="Draw F1 and differences, by label, into this file (.png, .svg, .pdf)",
    ),
    html: Optional[Path] = Opt(
        None, "--html", "-w", help="Write a page of what the two see differently"
    ),
    limit: int = Opt(50, "--limit", "-l", min=0, help="How many texts the page has"),
    samples: int = Opt(2000, "--samples", "-n", min=100, help="Resamplings of the bootstrap"),
    seed: int = Opt(0, "--seed", help="Of the resampling"),
    calibration: bool = Opt(
        True,
        "--calibration/--no-calibration",
        help="Measure how well probabilities hold, which takes another run of both",
    ),
    as_json: bool = Opt(False, "--json", "-j", help="Print the comparison as JSON"),
    # fmt: on
) -> None:
    """
    Compare two pipelines, by label.

    For entities, spans, categories and tags: precision, recall and F1 of both, the difference with a 95 % interval (paired bootstrap over
    texts), what one finds that the other misses, kinds of error (of spans by nervaluate), and how well probabilities hold. The interval is about other texts, not about
    other seeds of the training: train with several before you decide.

    \b
    Examples:
      python -m spacy dice compare stock/model-best dice/model-best test.spacy
      python -m spacy dice compare stock/model-best dice/model-best test.spacy \\
          --plot gains.png --html differences.html
    """
    with one_line_errors():
        from ..commands.comparison import compare
        from ..commands.formats import read_examples

        nlp_a, nlp_b = load_model(model_a), load_model(model_b)
        msg = notes("-" if as_json else "")
        found = compare(
            nlp_a,
            nlp_b,
            read_examples(data, nlp_a),
            read_examples(data, nlp_b),
            names=(model_a, model_b),
            samples=samples,
            seed=seed,
            calibration=calibration,
        )
        print(json.dumps(found.to_dict(), indent=1) if as_json else found)
        if plot is not None:
            found.plot(plot)
            msg.good(f"Saved {plot}")
        if html is not None:
            n = found.to_html(html, limit)
            msg.good(f"Saved {html}, with {n} texts")
