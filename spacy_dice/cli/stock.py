"""`spacy dice to-stock`: a saved pipeline as plain spaCy."""

from pathlib import Path

from . import dice_cli
from .common import Arg, Opt, check_writable, fail, load_model, notes, one_line_errors, warn


@dice_cli.command("to-stock")
def to_stock_cli(
    # fmt: off
    model: str = Arg(..., metavar="IN", help="Folder or package of a pipeline"),
    out: Path = Arg(..., metavar="OUT", help="Folder for the new one"),
    force: bool = Opt(False, "--force", "-F", help="Write over what is in OUT"),
    # fmt: on
) -> None:
    """
    Save a pipeline as plain spaCy.

    It then loads where spacy_dice is not installed. Each dice_tagger becomes a tagger that predicts the same. What 'use_loss' trained is stock in
    what is saved already. dice_ner and dice_qa have no stock twin.

    \b
    Example:
      python -m spacy dice to-stock output/model-best stock
    """
    with one_line_errors():
        from ..components.trainable import LossMixin
        from ..switch import to_stock

        if Path(model).exists() and Path(model).resolve() == out.resolve():
            fail("IN and OUT are the same folder. Give another one.")
        check_writable(out, force)
        nlp = load_model(model)
        stock = to_stock(nlp)
        stock.to_disk(out)
        msg = notes()
        for name in nlp.component_names:
            before, after = nlp.get_pipe_meta(name).factory, stock.get_pipe_meta(name).factory
            if before != after:
                msg.info(f"{name}: {before} is a {after} now")
        ours = [name for name, pipe in stock.components if isinstance(pipe, LossMixin)]
        if ours:
            warn(
                f"{', '.join(ours)} has no stock twin: spacy_dice must be installed where the "
                "pipeline is loaded."
            )
        msg.good(f"Saved {out}")
