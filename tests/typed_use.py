"""What type checkers must see of the packages: `make lint` runs mypy on this file, where an error
that does not come, or one that is not expected, fails."""

from spacy.language import Language

import flair_dice
import spacy_dice
from dice_core import losses

flair_dice.DiceCE(weight=3.0, activation="sigmoid", reduction="sum")
spacy_dice.DiceCE(weight=3.0, names=["O", "PER"])
losses.DiceCE(weight=3.0)
losses.DiceCE(wieght=3.0)  # type: ignore[call-arg]
losses.Dice(level="token")  # type: ignore[arg-type]


def reports(nlp: Language) -> float:
    report = spacy_dice.tune(nlp, [])
    report["ner"].estimate.micro.f1  # type: ignore[attr-defined]
    spacy_dice.get_tuning(nlp)["ner"]["shifts"]  # type: ignore[typeddict-item]
    return report["ner"].estimate.micro.f + spacy_dice.calibrate(nlp, [])["ner"].after.ece
