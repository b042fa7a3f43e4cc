"""`spacy dice tune` and `spacy dice calibrate`: the functions of these names, on folders."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Optional

from . import common, dice_cli

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.training import Example

    from dice_core.thresholds.report import Report

MODEL = common.Arg(..., metavar="MODEL", help="Folder or package of a trained pipeline")
DEV = common.Arg(
    ..., metavar="DEV", help=f"Data that it was not trained on: {common.DATA}", exists=True
)
FORCE = common.Opt(False, "--force", "-F", help="Write over what is in OUT")


@dice_cli.command("tune")
def tune_cli(
    model: str = MODEL,
    dev: Path = DEV,
    out: Optional[Path] = common.Arg(
        None, metavar="OUT", help="Folder for the tuned pipeline; without it, nothing is saved"
    ),
    components: Optional[list[str]] = common.Opt(
        None,
        "--component",
        help="Name of a component; may be repeated. Default: all that can be tuned",
    ),
    objective: Optional[str] = common.Opt(
        None,
        "--objective",
        help="micro, macro, macro_f2, f0.5, 'precision>=0.9', 'recall>=0.8'. Default: F1 of the "
        "average that spaCy reports first",
    ),
    labels: Optional[list[str]] = common.Opt(
        None,
        "--label",
        "-l",
        help="Objective of one label, as LABEL:OBJECTIVE, e.g. PER:precision>=0.9; may be repeated",
    ),
    folds: int = common.Opt(5, "--folds", "-n", help="Folds of cross-fitting"),
    json_path: Optional[str] = common.JSON,
    force: bool = FORCE,
    code_path: Optional[Path] = common.CODE,
    use_gpu: int = common.GPU,
) -> None:
    """
    Choose thresholds on dev, for F1.

    They are folded into the pipeline, which needs no other package than before. Expect on new
    text what the report calls 'estimate', not what is 'seen' on dev.

    \b
    Examples:
      python -m spacy dice tune output/model-best dev.spacy tuned
      python -m spacy dice tune output/model-best dev.spacy tuned \\
          --label "PER:precision>=0.9"
    """
    with common.one_line_errors():
        from .. import tune

        by_label = dict(_split_label(spec) for spec in labels or [])
        nlp, examples = _load(model, dev, out, force, code_path, use_gpu)
        report = tune(
            nlp,
            examples,
            components or None,
            objective=objective,
            labels=by_label or None,
            n_folds=folds,
        )
        _save_and_show(nlp, out, report, json_path)


@dice_cli.command("calibrate")
def calibrate_cli(
    model: str = MODEL,
    dev: Path = DEV,
    out: Optional[Path] = common.Arg(
        None,
        metavar="OUT",
        help="Folder for the calibrated pipeline; without it, probabilities are only measured",
    ),
    components: Optional[list[str]] = common.Opt(
        None,
        "--component",
        help="Name of a component; may be repeated. Default: all that have probabilities",
    ),
    json_path: Optional[str] = common.JSON,
    force: bool = FORCE,
    code_path: Optional[Path] = common.CODE,
    use_gpu: int = common.GPU,
) -> None:
    """
    Calibrate probabilities on dev.

    A temperature is folded into the pipeline, so that of the decisions with a probability of 0.9
    nine in ten are right. No decision changes.

    \b
    Examples:
      python -m spacy dice calibrate output/model-best dev.spacy
      python -m spacy dice calibrate output/model-best dev.spacy calibrated
    """
    with common.one_line_errors():
        from .. import calibrate

        nlp, examples = _load(model, dev, out, force, code_path, use_gpu)
        report = calibrate(nlp, examples, components or None, fit=out is not None)
        _save_and_show(nlp, out, report, json_path)


def _load(
    model: str, dev: Path, out: Optional[Path], force: bool, code_path: Optional[Path], use_gpu: int
) -> "tuple[Language, list[Example]]":
    from spacy.util import load_model

    common.check_new(out, force)
    common.prepare(code_path, use_gpu)
    nlp = load_model(model)
    return nlp, common.read_examples(dev, nlp)


def _split_label(spec: str) -> tuple[str, str]:
    label, _, objective = spec.rpartition(":")
    if not label or not objective:
        raise ValueError(f"--label {spec}: write it as LABEL:OBJECTIVE, e.g. PER:precision>=0.9.")
    return label, objective


def _save_and_show(
    nlp: "Language", out: Optional[Path], report: "Report", json_path: Optional[str]
) -> None:
    if not len(report):
        raise ValueError("The pipeline has no component for this command. Nothing was done.")
    if all(one.is_empty for one in report):
        reasons = "; ".join(f"{one.name}: {one.reason}" for one in report)
        raise ValueError(f"Nothing was done. {reasons}.")
    if out is not None:
        nlp.to_disk(out)
        common.note(f"Saved {out}")
    if not common.write_json(json_path, json.loads(report.to_json())):
        print(report)
