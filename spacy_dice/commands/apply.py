"""Editing a config so that it trains with our losses.

The functions behind `python -m spacy dice apply`; they change no file.
"""

import json
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from spacy.util import registry
from thinc.api import Config, ConfigValidationError

from ..callbacks import CHAIN, callbacks_at, label_score, short_name
from ..errors import config_error
from ..losses import Loss, make_loss
from ..switch import AUTO, USE_LOSS, given_losses
from .config import (
    CLASS_OF_FACTORY,
    OWN_BLOCK,
    check_component,
    copy_block,
    factories,
    frozen_components,
)

TUNE = "spacy_dice.tune.v1"
SCORE_LABELS = "spacy_dice.score_labels.v1"
# Scores by label, by factory. {key} is the component's spans_key.
SCORES_BY_LABEL = {
    "ner": "ents_per_type",
    "beam_ner": "ents_per_type",
    "dice_ner": "ents_per_type",
    "spancat": "spans_{key}_per_type",
    "spancat_singlelabel": "spans_{key}_per_type",
    "textcat": "cats_f_per_type",
    "textcat_multilabel": "cats_f_per_type",
}


def apply_loss(
    config: Config,
    loss: str = AUTO,
    options: Optional[Mapping[str, Any]] = None,
    components: Optional[Sequence[str]] = None,
    *,
    tune: bool = False,
    rare: Optional[Sequence[str]] = None,
) -> Config:
    """A config that trains with one of our losses; ``config`` is not changed.

    A callback that is there already is kept, and called before ours (`spacy_dice.chain.v1`).

    Args:
        config: As `read_config` gives it, with variables.
        loss: Name of a loss, or "auto": the one that is recommended for each component.
        options: Of the loss, as its block would have them.
        components: Names; None is all that can have such a loss.
        tune: Whether cuts are tuned on dev when the pipeline is saved.
        rare: Labels whose F1 counts for the checkpoint as much as all scores that are there, each
            as "LABEL" or "COMPONENT=LABEL".

    Returns:
        The new config.

    Raises:
        ConfigValidationError: For components that are not there, frozen or cannot have the loss,
            options that do not fit, and labels that it cannot place.

    Example::

        text, config = read_config("config.cfg")
        new = apply_loss(config, "DiceCE", {"weight": 0.5}, ["ner"])
        print(edit_text(text, new))
    """
    new = config.copy()
    by_name = factories(config)
    block = loss_block(loss, dict(options or {}))
    frozen = frozen_components(config)
    for name in components or ():
        check_component(name, by_name, frozen)
    able = [
        name
        for name, factory in by_name.items()
        if name not in frozen and (factory in CLASS_OF_FACTORY or factory in OWN_BLOCK)
    ]
    names = list(components) if components else able
    if not names:
        raise config_error(
            f"No component of the pipeline ({', '.join(by_name)}) can train with another loss: "
            f"{_why_none(by_name, frozen)}"
        )
    own = [name for name in names if by_name[name] in OWN_BLOCK]
    stock = [name for name in names if name not in own]
    if loss != AUTO:
        for name in own:
            new["components"][name]["loss"] = dict(block)
    if stock:
        losses: Any = {name: copy_block(block) for name in stock}
        if components is None and loss == AUTO:
            losses = None  # the block alone is "auto" for all
        _add_callback(new, ("initialize", "after_init"), _merge_losses(new, losses, components))
    if rare:
        _score_rare(new, by_name, rare)
    if tune:
        _add_callback(new, ("training", "before_to_disk"), {"@callbacks": TUNE})
    return new


def loss_block(loss: str, options: Dict[str, Any]) -> Any:
    """What stands for a loss in a config: "auto", or its block.

    Args:
        loss: A name, a registered name, or "auto".
        options: Of the loss.

    Raises:
        ConfigValidationError: For a name or options that there are not.
    """
    if loss == AUTO:
        if options:
            raise config_error(
                f'The loss "auto" has no options ({", ".join(options)}): it is chosen for each '
                "component. Name a loss to set them: --loss DiceCE."
            )
        return AUTO
    name = loss if "." in loss else f"spacy_dice.{loss}.v1"
    if not registry.has("losses", name):
        make_loss({"name": loss}, "apply")  # which says what there is, and what may be meant
        raise config_error(
            f"There is no registered loss {name!r}. See: python -m spacy dice losses"
        )
    block = {"@losses": name, **options}
    if "${" in json.dumps(options):
        return block  # its variables have values in the config alone; check_config looks at it
    if name.startswith("spacy_dice.") and not any(isinstance(v, dict) for v in options.values()):
        make_loss({"name": name.split(".")[1], **options}, "apply")
    try:
        made = registry.resolve({"loss": block})["loss"]
    except ConfigValidationError as error:
        problems = [f"{e['loc'][-1]} ({e['msg']})" for e in error.errors or []]
        raise config_error(f"{name}: {', '.join(problems) or error.desc}") from None
    if not isinstance(made, Loss):
        raise config_error(f"{name} is no loss of spacy_dice: it makes {made!r}.")
    return block


def edit_text(text: str, new: Config) -> str:
    """The text of a config, changed as little as can be to say what ``new`` says.

    Comments and the order of sections stay; where that cannot be done (sections inside of a
    line), all of it is written anew.
    """
    old = Config().from_str(text, interpolate=False)
    before = _sections(old.to_str(interpolate=False))
    after = _sections(new.to_str(interpolate=False))
    blocks = _blocks(text)
    for section in before:
        if section not in after:
            blocks = [(name, lines) for name, lines in blocks if name != section]
    for section, wanted in after.items():
        lines = next((lines for name, lines in blocks if name == section), None)
        if lines is None:
            if section not in before:
                lines = [f"[{section}]", *(f"{key} = {wanted[key]}" for key in wanted), ""]
                blocks.insert(_place(blocks, section), (section, lines))
            continue
        present = before.get(section, {})
        for key in [*present, *wanted]:
            if present.get(key) != wanted.get(key):
                _set_line(lines, key, wanted.get(key))
    edited = "\n".join(line for _, lines in blocks for line in lines).rstrip("\n") + "\n"
    try:
        if Config().from_str(edited, interpolate=False) == new:
            return edited
    except ValueError:
        pass
    return new.to_str(interpolate=False) + "\n"


def _why_none(by_name: Mapping[str, Optional[str]], frozen: Sequence[str]) -> str:
    able = [name for name in frozen if by_name.get(name) in CLASS_OF_FACTORY]
    if able:
        return f"{', '.join(able)} can, but frozen components are not trained."
    unknown = [name for name, factory in by_name.items() if factory is None]
    if unknown:
        return f"it is not known what {', '.join(unknown)} is; name it (--component) if it can."
    return f"these can: {', '.join(CLASS_OF_FACTORY)}."


def _add_callback(config: Config, place: Tuple[str, str], block: Dict[str, Any]) -> None:
    """Put a callback of ours at a place, in place of one of the same kind or after others."""
    kind = block["@callbacks"]
    there = callbacks_at(config, place)
    same = [name for name, other in there.items() if other.get("@callbacks") == kind]
    if same:
        there[same[0]] = block
    else:
        name = short_name(kind)
        there[name if name not in there else f"{name}_2"] = block
    config.setdefault(place[0], {})[place[1]] = (
        block if len(there) == 1 else {"@callbacks": CHAIN, "callbacks": there}
    )


def _merge_losses(
    config: Config, losses: Optional[Dict[str, Any]], components: Optional[Sequence[str]]
) -> Dict[str, Any]:
    """The use_loss block: losses that are there already stay if components are named."""
    if losses is None:
        return {"@callbacks": USE_LOSS}
    there = given_losses(config) if components else {}
    return {"@callbacks": USE_LOSS, "losses": {**there, **losses}}


def _score_rare(config: Config, by_name: Mapping[str, Optional[str]], rare: Sequence[str]) -> None:
    """Let F1 of single labels choose the checkpoint."""
    scored = [name for name, factory in by_name.items() if factory in SCORES_BY_LABEL]
    labels: Dict[str, List[str]] = {}
    keys = []
    for spec in rare:
        name, _, label = spec.rpartition("=")
        if not name and len(scored) == 1:
            name = scored[0]
        if name not in scored:
            raise config_error(
                f"--rare {spec}: say whose label it is, as COMPONENT=LABEL. Components with scores "
                f"by label: {', '.join(scored) or 'none'}."
            )
        if not label or any(char in label for char in "=:#[]$") or label != label.strip():
            raise config_error(f"--rare {spec}: {label!r} cannot be part of a config's key.")
        spans_key = config["components"][name].get("spans_key", "sc")
        labels.setdefault(name, []).append(label)
        of_factory = SCORES_BY_LABEL[by_name[name] or ""].format(key=spans_key)
        keys.append(label_score(of_factory, label))
    place = ("initialize", "after_init")
    for block in callbacks_at(config, place).values():
        if block.get("@callbacks") == SCORE_LABELS:
            for name, of_name in block["labels"].items():
                known = labels.setdefault(name, [])
                known += [label for label in of_name if label not in known]
    _add_callback(config, place, {"@callbacks": SCORE_LABELS, "labels": labels})
    weights = config.setdefault("training", {}).setdefault("score_weights", {})
    of_others = sum(
        weight for key, weight in weights.items() if isinstance(weight, float) and key not in keys
    )
    for key in keys:
        weights[key] = round((of_others or 1.0) / len(keys), 3)


# -- the text of a config -------------------------------------------------------------------


def _sections(text: str) -> Dict[str, Dict[str, str]]:
    """Of the text that `Config.to_str` writes: keys and values, as they stand, by section."""
    sections: Dict[str, Dict[str, str]] = {}
    for line in text.splitlines():
        if line.startswith("[") and line.endswith("]"):
            sections[line[1:-1]] = {}
        elif " = " in line:
            key, _, value = line.partition(" = ")
            list(sections.values())[-1][key] = value
    return sections


def _blocks(text: str) -> List[Tuple[str, List[str]]]:
    """Lines by section, the headers included; what is before the first has the name ""."""
    blocks: List[Tuple[str, List[str]]] = [("", [])]
    for line in text.splitlines():
        if line.startswith("[") and "]" in line:
            blocks.append((line[1 : line.index("]")].strip(), []))
        blocks[-1][1].append(line)
    if blocks[-1][1] and blocks[-1][1][-1].strip():
        blocks[-1][1].append("")
    return blocks


def _place(blocks: Sequence[Tuple[str, List[str]]], section: str) -> int:
    """Where a new section goes: after the last that has the longest beginning in common."""
    parent = section
    while "." in parent:
        parent = parent.rpartition(".")[0]
        near = [
            i
            for i, (name, _) in enumerate(blocks)
            if name == parent or name.startswith(parent + ".")
        ]
        if near:
            # Right behind the parent and its children that follow it without a gap.
            last = near[0]
            while last + 1 in near:
                last += 1
            return last + 1
    return len(blocks)


def _set_line(lines: List[str], key: str, value: Optional[str]) -> None:
    """Set, add or (with None) remove a key of a section."""
    at = next((i for i, line in enumerate(lines) if line.partition("=")[0].strip() == key), None)
    if at is not None:
        end = at + 1
        while end < len(lines) and lines[end][:1] in (" ", "\t") and lines[end].strip():
            end += 1
        lines[at:end] = [] if value is None else [f"{key} = {value}"]
    elif value is not None:
        last = max((i for i, line in enumerate(lines) if line.strip()), default=0)
        lines.insert(last + 1, f"{key} = {value}")
