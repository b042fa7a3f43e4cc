"""Architectures that encode pairs of texts. They import torch when they are made, not before."""

from typing import Any, Dict

from thinc.api import Model

from ..errors import config_error

WINDOWS = "spacy_dice.QuestionAnswering.v1"
TEXT_PAIR = "spacy_dice.TextPair.v1"
# Pieces of a window that are for the question and for new text, at the least.
ROOM = 8


def question_answering(
    name: str,
    max_length: int = 384,
    stride: int = 128,
    tokenizer_config: Dict[str, Any] = {},  # noqa: B006
    transformer_config: Dict[str, Any] = {},  # noqa: B006
    mixed_precision: bool = False,
    grad_scaler_config: Dict[str, Any] = {},  # noqa: B006
) -> Model:
    """`spacy_dice.QuestionAnswering.v1`, for dice_qa: logits of starts and ends.

    The encoder and its head are transformers' `AutoModelForQuestionAnswering`: one that was trained
    for reading keeps its head, any other gets a new one.

    Args:
        name: A model on the hub or a local folder; read by `initialize` alone. A saved pipeline
            has the encoder and its tokenizer in it.
        max_length: Pieces of a window at most, question and special pieces among them.
        stride: Pieces of the text that a window shares with the next.
        tokenizer_config: Settings of the tokenizer, which must be a fast one.
        transformer_config: Settings of the encoder.
        mixed_precision: As in spacy-transformers.
        grad_scaler_config: As in spacy-transformers.

    Returns:
        A model from windows (see `windows.Window`) to logits ``(windows, pieces, 2)``.

    Raises:
        ConfigValidationError: If the extra `transformers` is not installed, for lengths that leave
            no room; on initialisation, for an encoder that has no head for questions, or a
            tokenizer that does not encode pairs or gives no offsets.
    """
    for option, value, low in (("max_length", max_length, ROOM), ("stride", stride, 0)):
        if not isinstance(value, int) or isinstance(value, bool) or value < low:
            raise config_error(
                f"{WINDOWS}: {option} must be a whole number from {low} on, got {value!r}."
            )
    if stride > max_length - ROOM:
        raise config_error(
            f"{WINDOWS}: stride ({stride}) leaves no room for new text in windows of max_length "
            f"({max_length}). Lower stride."
        )
    return _encoder(WINDOWS).question_answering(
        {"name": name, "max_length": max_length, "stride": stride},
        tokenizer_config=tokenizer_config,
        transformer_config=transformer_config,
        mixed_precision=mixed_precision,
        grad_scaler_config=grad_scaler_config,
    )


def text_pair(
    name: str,
    separator: str = "\t",
    max_length: int = 256,
    tokenizer_config: Dict[str, Any] = {},  # noqa: B006
    transformer_config: Dict[str, Any] = {},  # noqa: B006
    mixed_precision: bool = False,
    grad_scaler_config: Dict[str, Any] = {},  # noqa: B006
) -> Model:
    """`spacy_dice.TextPair.v1`, for stock textcat: whether two texts mean the same, say.

    Args:
        name: As in `question_answering`.
        separator: What is between the two texts of a doc, as `spacy_dice.pairs.v1` writes them.
            Both go through the tokenizer's own encoding of pairs.
        max_length: Pieces of a pair at most; the longer text is truncated first.
        tokenizer_config: Settings of the tokenizer.
        transformer_config: Settings of the encoder.
        mixed_precision: As in spacy-transformers.
        grad_scaler_config: As in spacy-transformers.

    Returns:
        A model from docs to probabilities ``(docs, classes)``: a softmax over the encoder's first
        piece.

    Raises:
        ConfigValidationError: As `question_answering`; on use, for a doc without the separator.
    """
    if not separator:
        raise config_error(f"{TEXT_PAIR}: separator must not be empty.")
    return _encoder(TEXT_PAIR).text_pair(
        {"name": name, "max_length": max_length, "separator": separator},
        tokenizer_config=tokenizer_config,
        transformer_config=transformer_config,
        mixed_precision=mixed_precision,
        grad_scaler_config=grad_scaler_config,
    )


def _encoder(architecture: str) -> Any:
    try:
        from . import encoder
    except ImportError as error:
        raise config_error(
            f"{architecture} needs spacy-transformers and torch ({error}). Install the extra: "
            'pip install "spacy-flair-dice[transformers]".'
        ) from None
    return encoder
