"""What type checkers must see of the packages: `make lint` runs mypy on this file, where an error
that does not come, or one that is not expected, fails."""

import flair_dice
import spacy_dice

flair_dice.DiceCE(weight=3.0, activation="sigmoid", reduction="sum")
spacy_dice.DiceCE(weight=3.0, names=["O", "PER"])
flair_dice.DiceCE(wieght=3.0)  # type: ignore[call-arg]
spacy_dice.DiceCE(wieght=3.0)  # type: ignore[call-arg]
spacy_dice.Dice(level="token")  # type: ignore[arg-type]
