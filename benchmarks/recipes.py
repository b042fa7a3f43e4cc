"""The losses that are compared, as a user of Flair would write them: name and parameters."""

from typing import Any, Dict

Recipe = Dict[str, Any]


def compound(*losses: Recipe) -> Recipe:
    return {"name": "Compound", "losses": list(losses)}


CE = {"name": "CrossEntropy"}
CE_LIGHT_O = {"name": "CrossEntropy", "class_weights": {"O": 0.5}}
MACRO = {"name": "Dice", "level": "batch", "average": "macro", "squared": False}
ENTITIES = {"name": "EntityDice"}
DICE_CE = {**MACRO, "name": "DiceCE", "average": "micro", "weight": 1.0, "log": False}
DICE_CE_MACRO = {**DICE_CE, "average": "macro"}

RECIPES: Dict[str, Recipe] = {
    # Baselines. Cross-entropy with a lighter O is the simplest rival; it needs a class O.
    "ce": CE,
    "ce_light_O": CE_LIGHT_O,
    "weighted_ce": {"name": "WeightedCrossEntropy"},
    "focal": {"name": "Focal"},
    # The paper's losses by themselves.
    "paper_dl": {"name": "Dice"},
    "paper_dsc": {"name": "SelfAdjustingDice"},
    "paper_dsc_0.01": {"name": "SelfAdjustingDice", "alpha": 0.01},
    "dsc_hold": {"name": "SelfAdjustingDice", "detach_weight": True},
    "dsc_hold_0.01": {"name": "SelfAdjustingDice", "alpha": 0.01, "detach_weight": True},
    # Dice over the batch by itself.
    "dice_micro": {**MACRO, "average": "micro"},
    "dice_macro": MACRO,
    # Compounds. The first is what DiceCE is by default.
    "dice_ce": DICE_CE,
    "dice_ce_macro": DICE_CE_MACRO,
    "dice_ce_macro_0.1": {**DICE_CE_MACRO, "weight": 0.1},
    "dice_ce_macro_0.3": {**DICE_CE_MACRO, "weight": 0.3},
    "dice_ce_macro_3": {**DICE_CE_MACRO, "weight": 3.0},
    "dice_ce_macro_log": {**DICE_CE_MACRO, "log": True},
    "dice_ce_macro_light_O": compound(CE_LIGHT_O, MACRO),
    # Cross-entropy first: for 5 epochs of Flair and of the probe, for 200 updates of spaCy.
    "dice_ce_macro_later": {
        **DICE_CE_MACRO,
        "weight": {"name": "Ramp", "first": 0, "last": 1, "begin": 5, "end": 5},
    },
    "entity_dice_ce": compound(CE, ENTITIES),
    "entity_dice_ce_macro": compound(CE, MACRO, ENTITIES),
}

# Precision against recall: what a false positive (alpha) and a false negative (beta) cost.
for alpha, beta in ((0.1, 0.9), (0.3, 0.7), (0.5, 0.5), (0.7, 0.3), (0.9, 0.1)):
    tversky = {"name": "Tversky", "level": "batch", "alpha": alpha, "beta": beta}
    RECIPES[f"tversky_{alpha}_{beta}_ce"] = compound(CE, tversky)


def as_config(recipe: Any) -> Any:
    """The same as a block of a spaCy config."""
    if isinstance(recipe, list):
        return {f"term{i}": as_config(term) for i, term in enumerate(recipe)}
    if not isinstance(recipe, dict) or "name" not in recipe:
        return recipe
    if recipe["name"] == "Ramp":
        later = {"@schedules": "constant.v1", "rate": float(recipe["last"])}
        first = {"rate": float(recipe["first"]), "steps": 40 * recipe["begin"]}
        return {"@schedules": "constant_then.v1", **first, "schedule": later}
    block = {key: as_config(value) for key, value in recipe.items() if key != "name"}
    return {"@losses": f"spacy_dice.{recipe['name']}.v1", **block}
