"""The losses that are compared, as a user of Flair would write them: name and parameters."""

from typing import Any, Dict, List, Optional

Recipe = Dict[str, Any]
# In place of a weight: as many as there are labels.
N_LABELS = "n_labels"


def compound(*losses: Recipe, weights: Optional[List[Any]] = None) -> Recipe:
    made = {"name": "Compound", "losses": list(losses)}
    return made if weights is None else {**made, "weights": weights}


CE = {"name": "CrossEntropy"}
BALANCED = {"name": "WeightedCrossEntropy"}
ADJUSTED = {"name": "LogitAdjustedCE"}
HALF_ADJUSTED = {**ADJUSTED, "tau": 0.5}
CE_LIGHT_O = {"name": "CrossEntropy", "class_weights": {"O": 0.5}}
MACRO = {"name": "Dice", "level": "batch", "average": "macro", "squared": False}
POOLED = {**MACRO, "average": "micro"}
ENTITIES = {"name": "EntityDice"}
DICE_CE = {**MACRO, "name": "DiceCE", "average": "micro", "weight": 1.0, "log": False}
DICE_CE_MACRO = {**DICE_CE, "average": "macro"}

RECIPES: Dict[str, Recipe] = {
    # Baselines. Cross-entropy with a lighter O is the simplest rival; it needs a class O.
    "ce": CE,
    "ce_light_O": CE_LIGHT_O,
    "weighted_ce": BALANCED,
    "focal": {"name": "Focal"},
    # Logit adjustment, and Dice beside it.
    "logit_adjustment": ADJUSTED,
    "logit_adjustment_0.5": HALF_ADJUSTED,
    "adjusted_micro": compound(ADJUSTED, POOLED),
    "adjusted_macro": compound(ADJUSTED, MACRO),
    "half_adjusted_micro": compound(HALF_ADJUSTED, POOLED),
    "half_adjusted_macro": compound(HALF_ADJUSTED, MACRO),
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
    # Class-balanced cross-entropy, which is the paper's weighted one, and Dice; with as much say
    # on a sigmoid head, whose cross-entropy is a sum over labels, as on a softmax head.
    "balanced_macro": compound(BALANCED, MACRO),
    "balanced_macro_c": compound(BALANCED, MACRO, weights=[1.0, N_LABELS]),
    "balanced_micro": compound(BALANCED, POOLED),
    "dice_ce_macro_c": {**DICE_CE_MACRO, "weight": N_LABELS},
    "dice_ce_c": {**DICE_CE, "weight": N_LABELS},
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
    block = {k: as_config(value) for k, value in recipe.items() if k not in ("name", "of")}
    return {"@losses": f"{recipe.get('of', 'spacy_dice')}.{recipe['name']}.v1", **block}


def with_labels(recipe: Any, n_labels: int) -> Any:
    """A recipe with N_LABELS filled in."""
    if isinstance(recipe, dict):
        return {key: with_labels(value, n_labels) for key, value in recipe.items()}
    if isinstance(recipe, list):
        return [with_labels(value, n_labels) for value in recipe]
    return float(n_labels) if recipe == N_LABELS else recipe
