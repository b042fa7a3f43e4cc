"""`spacy dice apply`: a config that trains with one of our losses."""

import sys
from pathlib import Path
from typing import Dict, List, Optional

from . import dice_cli
from .common import STDOUT, Arg, Opt, fail, notes, one_line_errors, parse_settings, printer, warn


@dice_cli.command("apply")
def apply_cli(
    # fmt: off
    config_path: Path = Arg(
        ..., metavar="CONFIG", help="Path to a config", exists=True, dir_okay=False
    ),
    out: Optional[str] = Arg(
        None, metavar="OUT", help="Path to write the new config to, or - for stdout"
    ),
    components: Optional[List[str]] = Opt(
        None,
        "--component",
        "-c",
        help="Component that gets the loss; may be repeated. Default: all that can have one",
    ),
    loss: str = Opt(
        "auto",
        "--loss",
        "-l",
        help="Name of a loss (see: spacy dice losses), or auto: the one that is recommended for each component",
    ),
    settings: Optional[List[str]] = Opt(
        None, "--set", "-s", help="Option of the loss, as key=value; may be repeated"
    ),
    tune: bool = Opt(
        False, "--tune", "-t", help="Also tune cuts on dev, whenever the pipeline is saved"
    ),
    rare: Optional[List[str]] = Opt(
        None,
        "--rare",
        "-r",
        help="Label whose F1 counts for the best checkpoint as much as all other scores, as LABEL or COMPONENT=LABEL; may be repeated",
    ),
    check: bool = Opt(
        False,
        "--check",
        help="Write nothing; only say which loss each component of CONFIG trains with, and exit with 1 if something is wrong",
    ),
    # fmt: on
) -> None:
    """
    Make a config train with our losses.

    The difference is printed. It works on what 'spacy init config' writes, on sourced pipelines,
    and where after_init has a callback already, which is called first. Comments and variables
    stay.

    \b
    Examples:
      python -m spacy dice apply config.cfg dice.cfg
      python -m spacy dice apply config.cfg dice.cfg --component ner \\
          --loss DiceCE --set weight=0.5 --rare creative-work --tune
      python -m spacy dice apply dice.cfg --check
    """
    with one_line_errors():
        if check:
            _check(config_path, {"OUT": out, "--set": settings, "--rare": rare})
        elif out is None:
            fail("Say where to write the new config (OUT, or - for stdout), or use --check.")
        else:
            _apply(config_path, out, components, loss, settings, tune, rare)


def _apply(
    config_path: Path,
    out: str,
    components: Optional[List[str]],
    loss: str,
    settings: Optional[List[str]],
    tune: bool,
    rare: Optional[List[str]],
) -> None:
    from ..commands.apply import apply_loss, edit_text
    from ..commands.check import check_config
    from ..commands.config import read_config

    text, config = read_config(config_path)
    options = parse_settings(settings or [])
    new = apply_loss(config, loss, options, components or None, tune=tune, rare=rare)
    verdicts = check_config(new)
    edited = edit_text(text, new)
    if out == STDOUT:
        sys.stdout.write(edited)
    else:
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        Path(out).write_text(edited, encoding="utf8")
        print(show_difference(text, edited, str(config_path), out))
    switched = [name for name, verdict in verdicts.items() if verdict.switched]
    if not switched:
        warn(
            f"Nothing changes: for {', '.join(verdicts) or 'these'} no loss was found to gain over "
            "spaCy's own. To try one, name it: --loss DiceCE."
        )
    msg = notes(out)
    for name, verdict in verdicts.items():
        msg.info(f"{name}: {verdict.text}")
        if verdict.warning:
            warn(f"{name}: {verdict.warning}")
    if switched:
        msg.good(f"Saved {out}. Train with: python -m spacy train {out} --output OUTPUT")


def _check(config_path: Path, unused: Dict[str, object]) -> None:
    from ..commands.check import check_config
    from ..commands.config import read_config
    from ..switch import given_losses

    given = [name for name, value in unused.items() if value]
    if given:
        fail(f"--check writes nothing and looks at CONFIG as it is: leave {', '.join(given)} out.")
    config = read_config(config_path)[1]
    verdicts = check_config(config)
    msg = printer()
    if not verdicts:
        fail(f"{config_path}: no component of the pipeline can train with these losses.")
    for name, verdict in verdicts.items():
        (msg.info if verdict.ok else msg.warn)(f"{name}: {verdict.text}")
        if verdict.warning:
            warn(f"{name}: {verdict.warning}")
    if not any(verdict.switched for verdict in verdicts.values()):
        msg.info("No component trains with a loss of spacy_dice.")
    elif given_losses(config):
        msg.info(
            "'spacy train' reads this when it begins. Python does not: after spacy.load, call "
            "spacy_dice.resume_training(nlp)."
        )
    if not all(verdict.ok for verdict in verdicts.values()):
        fail(f"{config_path} is not what one would want: see above.")


def show_difference(before: str, after: str, name: str, new_name: str) -> str:
    """A unified diff, in colours where the terminal has them."""
    from difflib import unified_diff

    from wasabi import color

    lines = list(
        unified_diff(before.splitlines(), after.splitlines(), name, new_name, lineterm="", n=2)
    )
    if not lines:
        return f"{new_name} is the same as {name}."
    if printer().show_color:
        of_sign = {"+": "green", "-": "red", "@": "cyan"}
        lines = [color(line, fg=of_sign.get(line[:1])) for line in lines]
    return "\n".join(lines)
