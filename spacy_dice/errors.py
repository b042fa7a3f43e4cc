"""One kind of error for every mistake in a config or a call."""

from thinc.api import ConfigValidationError


def mistake(message: str) -> ConfigValidationError:
    """An error that spaCy's command line prints as one message, without a traceback.

    It is a `ValueError`, so that Python callers catch it as they would any bad argument.
    """
    return ConfigValidationError(title="spacy_dice", desc=message, show_config=False)


def diverged(owner: str) -> ConfigValidationError:
    """The error for a model that gives NaN."""
    return mistake(
        f"{owner}: the model gives NaN. Training has diverged: use a lower learning rate, or "
        "grad_clip."
    )
