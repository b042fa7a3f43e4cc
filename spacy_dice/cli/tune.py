"""`spacy dice tune` and `spacy dice calibrate`: the functions of these names, on folders."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, List, Optional

from . import dice_cli
from .common import Arg, Opt, check_writable, fail, load_model, notes, one_line_errors, printer

if TYPE_CHECKING:
    from spacy.language import Language


@dice_cli.command("tune")
def tune_cli(
    # fmt: off
    model: str = Arg(..., metavar="MODEL", help="Folder or package of a trained pipeline"),
    dev: Path = Arg(
        ...,
        metavar="DEV",
        help="Data that it was not trained on: .spacy, or what 'spacy dice imbalance' reads",
        exists=True,
    ),
    out: Optional[Path] = Arg(
        None, metavar="OUT", help="Folder for the tuned pipeline; without, it is only reported"
    ),
    components: Optional[List[str]] = Opt(
        None,
        "--component",
        "-c",
        help="Component; may be repeated. Default: all that can be tuned but the parser",
    ),
    objective: Optional[str] = Opt(
        None,
        "--objective",
        "-o",
        help="micro, macro, macro_f2, f0.5, 'precision>=0.9', 'recall>=0.8'. Default: F1 of the average that spaCy reports first",
    ),
    labels: Optional[List[str]] = Opt(
        None,
        "--label",
        "-l",
        help="Objective of one label, as LABEL:OBJECTIVE, e.g. PER:precision>=0.9; may be repeated",
    ),
    folds: int = Opt(5, "--folds", "-n", help="Folds of cross-fitting"),
    as_json: bool = Opt(False, "--json", "-j", help="Print the report as JSON"),
    plot: Optional[Path] = Opt(
        None, "--plot", "-p", help="Draw precision against recall into this file"
    ),
    force: bool = Opt(False, "--force", "-F", help="Write over what is in OUT"),
    # fmt: on
) -> None:
    """
    Choose on dev where to cut, for F1.

    The cuts are folded into the pipeline, which needs this package no more than before. Expect what the report calls 'estimate' on new
    text, not what is 'seen' on dev.

    \b
    Examples:
      python -m spacy dice tune output/model-best dev.spacy tuned
      python -m spacy dice tune output/model-best dev.spacy tuned \\
          --label "PER:precision>=0.9"
    """
    with one_line_errors():
        from ..tuning.run import tune

        nlp, examples = _read(model, dev, out, force)
        of_label = dict(_split_label(spec) for spec in labels or [])
        report = tune(
            nlp,
            examples,
            components or None,
            objective=objective,
            labels=of_label or None,
            n_folds=folds,
        )
        print(report.to_json() if as_json else report)
        if plot is not None:
            plot.parent.mkdir(parents=True, exist_ok=True)
            report.plot(plot)
            notes().good(f"Saved {plot}")
        _save(nlp, out)


@dice_cli.command("calibrate")
def calibrate_cli(
    # fmt: off
    model: str = Arg(..., metavar="MODEL", help="Folder or package of a trained pipeline"),
    dev: Path = Arg(..., metavar="DEV", help="Data that it was not trained on", exists=True),
    out: Optional[Path] = Arg(
        None,
        metavar="OUT",
        help="Folder for the calibrated pipeline; without, nothing is fitted: it is only measured",
    ),
    components: Optional[List[str]] = Opt(
        None,
        "--component",
        "-c",
        help="Component; may be repeated. Default: all that show probabilities",
    ),
    per_label: bool = Opt(
        False,
        "--per-label",
        "-l",
        help="A temperature for each label, where labels are independent",
    ),
    as_json: bool = Opt(False, "--json", "-j", help="Print the report as JSON"),
    force: bool = Opt(False, "--force", "-F", help="Write over what is in OUT"),
    # fmt: on
) -> None:
    """
    Fit probabilities on dev.

    A temperature is folded in, so that they mean what they say. No decision changes.

    \b
    Examples:
      python -m spacy dice calibrate output/model-best dev.spacy
      python -m spacy dice calibrate output/model-best dev.spacy calibrated
    """
    with one_line_errors():
        from ..tuning.run import calibrate

        nlp, examples = _read(model, dev, out, force)
        report = calibrate(
            nlp, examples, components or None, per_label=per_label, fit=out is not None
        )
        print(report.to_json() if as_json else report)
        _save(nlp, out)


def _read(model: str, data: Path, out: Optional[Path], force: bool) -> Any:
    from ..commands.formats import read_examples

    if out is not None:
        check_writable(out, force)
    nlp = load_model(model)
    examples = read_examples(data, nlp)
    if not examples:
        fail(f"{data} has no documents.")
    return nlp, examples


def _split_label(spec: str) -> Any:
    label, colon, objective = spec.rpartition(":")
    if not colon or not label or not objective:
        raise ValueError(f"--label {spec}: write it as LABEL:OBJECTIVE, e.g. PER:precision>=0.9.")
    return label, objective


def _save(nlp: "Language", out: Optional[Path]) -> None:
    if out is None:
        printer(no_print=notes().no_print).info("Nothing was saved: no OUT was given.")
    else:
        nlp.to_disk(out)
        notes().good(f"Saved {out}")
