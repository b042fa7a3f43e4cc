"""Reading a config: its components, what they are, and which losses it gives them.

What `apply` and `check` share.
"""

import json
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from spacy.util import get_package_path, is_package, load_config, registry
from thinc.api import Config, ConfigValidationError

from ..components.dice_ner import DiceNER
from ..components.dice_qa import DiceQA
from ..components.per_token import DiceTagger
from ..errors import config_error
from ..switch import STOCK_TO_DICE, UNSUPPORTED

# What takes the place of a component, by the factory that a config names.
CLASS_OF_FACTORY: Dict[str, Any] = {
    factory: ours for ours in STOCK_TO_DICE.values() for factory in ours.factories
}
# Those that take a loss in their own block.
OWN_BLOCK: Dict[str, Any] = {str(ours.own_factory): ours for ours in (DiceNER, DiceTagger, DiceQA)}


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
        raise config_error(f"{path} cannot be read as a config: {one_line(error)}") from None
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
            source = interpolated(config)["components"][name]["source"]
        folder = get_package_path(source) if is_package(source) else Path(source)
        files = sorted(folder.glob("config.cfg")) or sorted(folder.glob("*/config.cfg"))
        return load_config(files[0])["components"][name]["factory"]
    except Exception:
        return None


def check_component(
    name: str,
    by_name: Mapping[str, Optional[str]],
    frozen: Sequence[str],
    stock_only: bool = False,
) -> None:
    """Raise a ConfigValidationError for a component that cannot have one of our losses.

    Args:
        name: What the user named.
        by_name: Factories, as `factories` gives them.
        frozen: Components that are not trained.
        stock_only: Whether the loss stands in a use_loss block, which is for stock components.
    """
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


def frozen_components(config: Config) -> List[str]:
    """The components that are not trained."""
    frozen = config.get("training", {}).get("frozen_components", [])
    if isinstance(frozen, str) and "${" in frozen:
        frozen = interpolated(config)["training"]["frozen_components"]
    return list(frozen or [])


def resolve(config: Config, block: Any) -> Any:
    """What a block of a loss makes, with the config's variables filled in."""
    if not isinstance(block, dict) or "@losses" not in block:
        return block
    whole = config.copy()
    whole["spacy_dice"] = {"loss": copy_block(block)}
    block = interpolated(whole)["spacy_dice"]
    try:
        return registry.resolve(block)["loss"]
    except ConfigValidationError as error:
        problems = [f"{e['loc'][-1]} ({e['msg']})" for e in error.errors or []]
        raise config_error(
            f"{block['loss']['@losses']}: {', '.join(problems) or error.desc}"
        ) from None


def interpolated(config: Config) -> Config:
    """The config with its variables filled in."""
    try:
        return config.interpolate()
    except ValueError as error:
        raise config_error(f"A variable of the config has no value: {one_line(error)}") from None


def copy_block(block: Any) -> Any:
    """A copy of a block of plain values."""
    return json.loads(json.dumps(block))


def one_line(error: Exception) -> str:
    """An error's message without line breaks."""
    return " ".join(str(error).split())
