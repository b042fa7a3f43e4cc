"""Editing a config so that it trains with our losses, and telling whether it does.

The functions behind `python -m spacy dice apply`; they change no file.
"""

import inspect
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from spacy.util import get_package_path, is_package, load_config, registry
from thinc.api import Config, ConfigValidationError

from .callbacks import label_score
from .components.dice_ner import DiceNER
from .components.per_token import DiceTagger
from .errors import config_error
from .losses import Compound, DiceCE, Loss, make_loss
from .switch import ALL, AUTO, STOCK_TO_DICE, UNSUPPORTED

USE_LOSS = "spacy_dice.use_loss.v1"
CHAIN = "spacy_dice.chain.v1"
TUNE = "spacy_dice.tune.v1"
SCORE_LABELS = "spacy_dice.score_labels.v1"

# What takes the place of a component, by the factory that a config names.
CLASS_OF_FACTORY: Dict[str, Any] = {
    factory: ours for ours in STOCK_TO_DICE.values() for factory in ours.factories
}
# Those that take a loss in their own block.
OWN_BLOCK = (DiceNER.own_factory, DiceTagger.own_factory, "dice_qa")
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


class Verdict(NamedTuple):
    """What `check_config` finds of one component. ok: whether it is as one would want it.
    switched: whether it trains with one of our losses. text: which loss it trains with, in words.
    """

    ok: bool
    switched: bool
    text: str


def read_config(path: Path) -> Tuple[str, Config]:
    """The text of a config file, and what it says, with its variables as they are.

    Raises:
        ConfigValidationError: For a file that is no config. Where ``after_init = null`` stands
            beside a block of that name, the message says so.
    """
    text = Path(path).read_text(encoding="utf8")
    return text, _parse(text, str(path))


def _parse(text: str, path: str) -> Config:
    try:
        config = Config().from_str(text, interpolate=False)
    except ConfigValidationError as error:
        places = [".".join(map(str, e.get("loc", []))) for e in error.errors or []]
        if any("conflicting" in str(e.get("msg")) for e in error.errors or []):
            raise config_error(
                f"{path}: {', '.join(places)} is said twice, in a line and in a block of its own. "
                "Delete the line (after_init = null), and keep the block."
            ) from None
        what = " ".join([error.desc or error.title or "", *places]).strip()
        raise config_error(f"{path} cannot be read as a config: {what}") from None
    except ValueError as error:
        raise config_error(f"{path} cannot be read as a config: {_one_line(error)}") from None
    if "components" not in config or "pipeline" not in config.get("nlp", {}):
        raise config_error(
            f"{path} is no complete config: it has no [components] or no pipeline in [nlp]. Make "
            "one: python -m spacy init config config.cfg --pipeline ner."
        )
    return config


def factories(config: Config) -> Dict[str, Optional[str]]:
    """The factory of each component of the pipeline; None where the pipeline that it is sourced
    from cannot be read.
    """
    found: Dict[str, Optional[str]] = {}
    for name in config["nlp"]["pipeline"]:
        block = config["components"].get(name)
        if block is None:
            raise config_error(
                f"The pipeline has '{name}', but there is no [components.{name}] in the config."
            )
        factory = block.get("factory")
        if factory is None and "source" in block:
            factory = _factory_of_source(config, block["source"], block.get("component", name))
        found[name] = factory
    return found


def _factory_of_source(config: Config, source: Any, name: str) -> Optional[str]:
    try:
        if "${" in str(source):
            source = _interpolated(config)["components"][name]["source"]
        folder = get_package_path(source) if is_package(source) else Path(source)
        files = sorted(folder.glob("config.cfg")) or sorted(folder.glob("*/config.cfg"))
        return load_config(files[0])["components"][name]["factory"]
    except Exception:
        return None


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
    frozen = _frozen(config)
    for name in components or ():
        _check_component(name, by_name, frozen)
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
        losses: Any = {name: _copy(block) for name in stock}
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


def check_config(config: Config) -> Dict[str, Verdict]:
    """Which loss each component trains with.

    Args:
        config: As `read_config` gives it.

    Returns:
        A `Verdict` for each trainable component that is known, by its name.

    Raises:
        ConfigValidationError: If the block would stop training: components that are not there,
            options that do not fit, variables without a value.
    """
    by_name = factories(config)
    frozen = _frozen(config)
    given = _given_losses(config)
    for name in given:
        if name != ALL:
            _check_component(name, by_name, frozen=(), stock_only=True)
    verdicts = {}
    for name, factory in by_name.items():
        if factory in OWN_BLOCK:
            block = config["components"][name].get("loss")
            text = "DiceCE(), its default" if block is None else in_words(_resolve(config, block))
            verdict = Verdict(True, True, text)
        elif factory in CLASS_OF_FACTORY:
            loss = given.get(name, given.get(ALL))
            verdict = _verdict(config, factory, loss, name)
        elif factory is None and (name in given or ALL in given):
            verdict = Verdict(False, False, "what it is sourced from cannot be read: not known")
        else:
            continue
        if name in frozen:
            of_loss = "and its loss is for nothing" if name in given else "and is not trained"
            verdict = Verdict(
                name not in given, False, f"it is frozen (frozen_components), {of_loss}"
            )
        verdicts[name] = verdict
    return verdicts


def _verdict(config: Config, factory: str, loss: Any, name: str) -> Verdict:
    if loss is None:
        return Verdict(True, False, "spaCy's own loss")
    if loss == AUTO:
        text = recommended_in_words(factory)
        return Verdict(True, text != NOTHING, text)
    made = _resolve(config, loss) if not isinstance(loss, str) else loss
    made = make_loss(made, f"Component '{name}'") if isinstance(made, (str, dict)) else made
    if not isinstance(made, Loss):
        raise config_error(
            f"Component '{name}': the loss must be one of spacy_dice's, got {made!r}. Give it a "
            'block with @losses = "spacy_dice.DiceCE.v1".'
        )
    return Verdict(True, True, in_words(made))


NOTHING = "spaCy's own loss: no other was found to gain"


def recommended_in_words(factory: str) -> str:
    """What "auto" is for the components of a factory, which may depend on how many labels it has.

    Example:
        >>> recommended_in_words("span_finder")
        'CrossEntropy()'
    """
    negative = factory == "spancat_singlelabel"
    found: List[Tuple[str, str]] = []
    for n, words in ((1, "one label"), (2, "two labels"), (3, "more")):
        pipe = SimpleNamespace(labels=("x",) * n, add_negative_label=negative)
        spec = CLASS_OF_FACTORY[factory].recommended(pipe)
        text = NOTHING if spec is None else call_in_words(spec)
        if found and found[-1][0] == text:
            found[-1] = (text, f"{found[-1][1]} or {words}")
        else:
            found.append((text, words))
    if factory == "textcat":  # one label is none
        found = [(text, words.replace("one label or ", "")) for text, words in found]
    if len(found) == 1:
        return found[0][0]
    return "; ".join(f"with {words}, {text}" for text, words in found).replace(
        "two labels or more", "more"
    )


def in_words(loss: Loss) -> str:
    """A loss with the options that are not its defaults.

    Example:
        >>> in_words(make_loss({"name": "DiceCE", "weight": 0.5}))
        'DiceCE(weight=0.5)'
    """
    if isinstance(loss, Compound) and not isinstance(loss, DiceCE):
        terms = [f"{loss.weights[k].current:g} x {in_words(v)}" for k, v in loss.losses.items()]
        return " + ".join(terms)
    defaults = {
        key: parameter.default
        for cls in type(loss).__mro__
        if "__init__" in vars(cls)
        for key, parameter in inspect.signature(cls.__init__).parameters.items()  # type: ignore[misc]
    }
    options = {**loss.own_options(), **loss.reading()}
    given = {key: value for key, value in options.items() if value != defaults.get(key)}
    return call_in_words({"name": type(loss).__name__, **given})


def call_in_words(spec: Mapping[str, Any]) -> str:
    """A loss that is given by its name and options, as one would write it."""
    options = ", ".join(f"{key}={value!r}" for key, value in spec.items() if key != "name")
    return f"{spec['name']}({options})"


# -- the parts of a config ------------------------------------------------------------------


def _check_component(
    name: str,
    by_name: Mapping[str, Optional[str]],
    frozen: Sequence[str],
    stock_only: bool = False,
) -> None:
    if name not in by_name:
        raise config_error(
            f"There is no component '{name}'. The pipeline has: {', '.join(by_name)}."
        )
    factory = by_name[name]
    if name in frozen:
        raise config_error(
            f"Component '{name}' is frozen, so that it is not trained, with no loss at all. Take "
            "it out of frozen_components in [training]."
        )
    if stock_only and factory in OWN_BLOCK:
        raise config_error(
            f"Component '{name}' is a {factory}, which takes its loss from "
            f"[components.{name}.loss]. Set it there."
        )
    if factory is not None and factory not in CLASS_OF_FACTORY and factory not in OWN_BLOCK:
        reason = UNSUPPORTED.get(factory, "it has no loss that can be replaced")
        raise config_error(
            f"Component '{name}' ({factory}) cannot train with these losses: {reason}. These can: "
            f"{', '.join(CLASS_OF_FACTORY)}."
        )


def _why_none(by_name: Mapping[str, Optional[str]], frozen: Sequence[str]) -> str:
    able = [name for name in frozen if by_name.get(name) in CLASS_OF_FACTORY]
    if able:
        return f"{', '.join(able)} can, but frozen components are not trained."
    unknown = [name for name, factory in by_name.items() if factory is None]
    if unknown:
        return f"it is not known what {', '.join(unknown)} is; name it (--component) if it can."
    return f"these can: {', '.join(CLASS_OF_FACTORY)}."


def _frozen(config: Config) -> List[str]:
    frozen = config.get("training", {}).get("frozen_components", [])
    if isinstance(frozen, str) and "${" in frozen:
        frozen = _interpolated(config)["training"]["frozen_components"]
    return list(frozen or [])


def _callbacks(config: Config, place: Tuple[str, str]) -> Dict[str, Any]:
    """The callbacks at a place by their names in a chain; one alone is called as its function."""
    block = config.get(place[0], {}).get(place[1])
    if not block:
        return {}
    if block.get("@callbacks") == CHAIN:
        return dict(block.get("callbacks", {}))
    return {_short_name(block["@callbacks"]): block}


def _short_name(registered: str) -> str:
    """Of a function: "use_loss" of "spacy_dice.use_loss.v1"."""
    parts = [part for part in registered.split(".") if not re.fullmatch(r"v\d+", part)]
    return parts[-1] if parts else registered


def _add_callback(config: Config, place: Tuple[str, str], block: Dict[str, Any]) -> None:
    """Put a callback of ours at a place, in place of one of the same kind or after others."""
    kind = block["@callbacks"]
    there = _callbacks(config, place)
    same = [name for name, other in there.items() if other.get("@callbacks") == kind]
    if same:
        there[same[0]] = block
    else:
        name = _short_name(kind)
        there[name if name not in there else f"{name}_2"] = block
    config.setdefault(place[0], {})[place[1]] = (
        block if len(there) == 1 else {"@callbacks": CHAIN, "callbacks": there}
    )


def _use_loss_block(config: Config) -> Optional[Dict[str, Any]]:
    for block in _callbacks(config, ("initialize", "after_init")).values():
        if block.get("@callbacks") == USE_LOSS:
            return block
    return None


def _given_losses(config: Config) -> Dict[str, Any]:
    """The losses of the use_loss block by component; a bare block is "auto" for all."""
    block = _use_loss_block(config)
    if block is None:
        return {}
    losses = block.get("losses", AUTO)
    return {ALL: losses} if isinstance(losses, str) else dict(losses)


def _merge_losses(
    config: Config, losses: Optional[Dict[str, Any]], components: Optional[Sequence[str]]
) -> Dict[str, Any]:
    """The use_loss block: losses that are there already stay if components are named."""
    if losses is None:
        return {"@callbacks": USE_LOSS}
    there = _given_losses(config) if components else {}
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
    for block in _callbacks(config, place).values():
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


def _resolve(config: Config, block: Any) -> Any:
    """What a block of a loss makes, with the config's variables filled in."""
    if not isinstance(block, dict) or "@losses" not in block:
        return block
    whole = config.copy()
    whole["spacy_dice"] = {"loss": _copy(block)}
    block = _interpolated(whole)["spacy_dice"]
    try:
        return registry.resolve(block)["loss"]
    except ConfigValidationError as error:
        problems = [f"{e['loc'][-1]} ({e['msg']})" for e in error.errors or []]
        raise config_error(
            f"{block['loss']['@losses']}: {', '.join(problems) or error.desc}"
        ) from None


def _interpolated(config: Config) -> Config:
    try:
        return config.interpolate()
    except ValueError as error:
        raise config_error(f"A variable of the config has no value: {_one_line(error)}") from None


def _copy(block: Any) -> Any:
    return json.loads(json.dumps(block))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


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
