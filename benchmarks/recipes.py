"""The losses that are compared, as the config blocks that a user would write."""

from typing import Any, Dict

RECIPES: Dict[str, Dict[str, Any]] = {
    "ce": {"@losses": "spacy_dice.CrossEntropy.v1"},
    "dice_ce": {"@losses": "spacy_dice.DiceCE.v1"},
    # The paper's losses by themselves.
    "paper_dl": {"@losses": "spacy_dice.Dice.v1"},
    "paper_dsc": {"@losses": "spacy_dice.SelfAdjustingDice.v1"},
}

# Precision against recall: what a false positive (alpha) and a false negative (beta) cost.
for alpha, beta in ((0.1, 0.9), (0.3, 0.7), (0.5, 0.5), (0.7, 0.3), (0.9, 0.1)):
    RECIPES[f"tversky_{alpha}_{beta}_ce"] = {
        "@losses": "spacy_dice.Compound.v1",
        "losses": {
            "ce": {"@losses": "spacy_dice.CrossEntropy.v1"},
            "tversky": {
                "@losses": "spacy_dice.Tversky.v1",
                "level": "batch",
                "alpha": alpha,
                "beta": beta,
            },
        },
    }
