"""One kind of error for every mistake in a config or a call."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from thinc.api import ConfigValidationError

from dice_core.labels import LabelSpec


def config_error(message: str) -> ConfigValidationError:
    """An error that spaCy's command line prints as one message, without a traceback.

    It is a `ValueError`, so that Python callers catch it as they would any bad argument; there it
    reads as the message alone, without title and blank lines.
    """
    error = ConfigValidationError(title="spacy_dice", desc=message, show_config=False)
    error.args = (message,)
    return error


@contextmanager
def as_config_errors(prefix: str) -> Iterator[None]:
    """A block whose ValueErrors become such errors, with a prefix in front of their messages."""
    try:
        yield
    except ConfigValidationError:
        raise
    except ValueError as error:
        raise config_error(f"{prefix}{error}") from None


def diverged_error(owner: str) -> ConfigValidationError:
    """The error for a model that gives NaN."""
    return config_error(
        f"{owner}: the model gives NaN. Training has diverged: use a lower learning rate, or "
        "grad_clip."
    )


# A `LabelSpec` whose errors are these.
label_spec = partial(LabelSpec, error=config_error)
