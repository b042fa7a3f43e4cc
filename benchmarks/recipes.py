"""The losses that are compared, as the config blocks that a user would write."""

from typing import Any, Dict

RECIPES: Dict[str, Dict[str, Any]] = {
    "ce": {"@losses": "spacy_dice.CrossEntropy.v1"},
    "dice_ce": {"@losses": "spacy_dice.DiceCE.v1"},
    # The paper's losses by themselves.
    "paper_dl": {"@losses": "spacy_dice.Dice.v1"},
    "paper_dsc": {"@losses": "spacy_dice.SelfAdjustingDice.v1"},
}
