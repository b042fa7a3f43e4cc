"""The losses that are compared, by the name that the results have: name and options."""

from typing import Any, Dict, Optional

Recipe = Dict[str, Any]


CE = {"name": "CrossEntropy"}
BALANCED = {"name": "CrossEntropy", "class_weights": "balanced"}
ADJUSTED = {"name": "LogitAdjustedCE"}
MACRO = {"name": "Dice", "level": "batch", "average": "macro", "squared": False}
POOLED = {**MACRO, "average": "micro"}
DICE_CE = {"name": "DiceCE", "average": "micro"}

RECIPES: Dict[str, Recipe] = {
    "ce": CE,
    "weighted_ce": BALANCED,
    "weighted_ce_10": {"name": "WeightedCrossEntropy", "K": 10.0},
    "asymmetric": {"name": "AsymmetricLoss"},
    "focal": {"name": "Focal"},
    "logit_adjustment": ADJUSTED,
    "logit_adjustment_0.5": {**ADJUSTED, "tau": 0.5},
    # Combined with a Dice over the batch.
    "dice_ce": DICE_CE,
    "dice_ce_macro": {**DICE_CE, "average": "macro"},
    "balanced_macro": {"name": "Compound", "losses": [BALANCED, MACRO]},
    # Dice and the paper's losses on their own.
    "dice_micro": POOLED,
    "dice_macro": MACRO,
    "paper_dl": {"name": "Dice"},
    "paper_dsc": {"name": "SelfAdjustingDice"},
}
# The component without the library, and the flag without a loss.
STOCK, AUTO = "stock", "auto"
LOSSES: Dict[str, Optional[Recipe]] = {STOCK: None, AUTO: {}, **RECIPES}


def as_config(recipe: Any) -> Any:
    """The same as a block of a spaCy config."""
    if isinstance(recipe, list):
        return {f"term{i}": as_config(term) for i, term in enumerate(recipe)}
    if not isinstance(recipe, dict):
        return recipe
    block = {key: as_config(value) for key, value in recipe.items() if key != "name"}
    return {"@losses": f"spacy_dice.{recipe['name']}.v1", **block}
