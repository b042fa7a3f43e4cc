"""What type checkers must see of the packages: `make lint` runs mypy on this file, where an error
that does not come, or one that is not expected, fails."""

import flair_dice
import spacy_dice
from dice_core import losses

flair_dice.DiceCE(weight=3.0, activation="sigmoid", reduction="sum")
spacy_dice.DiceCE(weight=3.0, names=["O", "PER"])
losses.DiceCE(weight=3.0)
losses.DiceCE(wieght=3.0)  # type: ignore[call-arg]
losses.Dice(level="token")  # type: ignore[arg-type]
