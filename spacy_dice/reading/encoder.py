"""Architectures that encode pairs of texts: transformers' models, by spacy-transformers' wrapper.

The only module of spacy_dice that imports torch; it is imported when one of them is looked up.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Optional, Protocol

import numpy
from spacy.tokens import Doc
from thinc.api import ArgsKwargs, Model, Softmax_v2, chain, glorot_uniform_init, torch2xp, xp2torch
from thinc.types import ArrayXd, Floats2d, FloatsXd

from ..errors import config_error
from .answers import Window, pad

MISSING: Optional[ImportError] = None
try:
    import torch
    from spacy_transformers.data_classes import HFObjects
    from spacy_transformers.layers.hf_wrapper import HFWrapper
    from spacy_transformers.layers.transformer_model import huggingface_from_pretrained
    from transformers import AutoModel, AutoModelForQuestionAnswering
except ImportError as error:
    MISSING = error

WINDOWS = "spacy_dice.QuestionAnswering.v1"
TEXT_PAIR = "spacy_dice.TextPair.v1"
# Pieces of a window that are for the question and for new text, at the least.
ROOM = 8


class SpanLogits(Protocol):
    """What an encoder with a head for reading gives."""

    start_logits: "torch.Tensor"
    end_logits: "torch.Tensor"


class HiddenStates(Protocol):
    """What an encoder gives."""

    last_hidden_state: "torch.Tensor"


def question_answering(
    name: str,
    max_length: int = 384,
    stride: int = 128,
    tokenizer_config: dict[str, object] = {},  # noqa: B006
    transformer_config: dict[str, object] = {},  # noqa: B006
    mixed_precision: bool = False,
    grad_scaler_config: dict[str, object] = {},  # noqa: B006
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
        A model from windows (see `answers.Window`) to logits ``(windows, pieces, 2)``.

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
    configs = (tokenizer_config, transformer_config, mixed_precision, grad_scaler_config)
    layer = _wrapper(WINDOWS, _stack_logits, *configs)
    attrs = {"name": name, "max_length": max_length, "stride": stride, "encode": encode}
    return Model("question_answering", _forward_qa, init=_init_qa, layers=[layer], attrs=attrs)


def text_pair(
    name: str,
    separator: str = "\t",
    max_length: int = 256,
    tokenizer_config: dict[str, object] = {},  # noqa: B006
    transformer_config: dict[str, object] = {},  # noqa: B006
    mixed_precision: bool = False,
    grad_scaler_config: dict[str, object] = {},  # noqa: B006
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
    configs = (tokenizer_config, transformer_config, mixed_precision, grad_scaler_config)
    encoder: Model = Model(
        "pair_encoder",
        _forward_pair,
        init=_init_pair,
        layers=[_wrapper(TEXT_PAIR, _first_piece, *configs)],
        attrs={"name": name, "max_length": max_length, "separator": separator},
        dims={"nO": None},
    )
    return chain(encoder, Softmax_v2(init_W=glorot_uniform_init))


# -- questions --------------------------------------------------------------------------


def encode(model: Model, pairs: Sequence[tuple[str, str]], owner: str) -> list[Window]:
    """Make the windows of pairs, by the tokenizer's own overflow. A text without pieces has none.

    Args:
        model: One of `question_answering`, initialised.
        pairs: Questions and texts.
        owner: How messages call who asks.

    Returns:
        Windows, those of a pair one after the other.

    Raises:
        ConfigValidationError: A question so long that it leaves no room for the text.
    """
    if not pairs:
        return []
    tokenizer = hf_objects(model).tokenizer
    max_length, stride = model.attrs["max_length"], model.attrs["stride"]
    questions = sorted({question for question, _ in pairs})
    room = max_length - tokenizer.num_special_tokens_to_add(pair=True) - stride
    pieces = tokenizer(questions, add_special_tokens=False, verbose=False)["input_ids"]
    for question, ids in zip(questions, pieces):
        if len(ids) >= room:
            raise config_error(
                f"{owner}: the question {question[:60]!r} has {len(ids)} word pieces, and leaves "
                f"no room for text in windows of {max_length} that share {stride}. Shorten it, "
                "raise max_length or lower stride in the model's block."
            )
    encoded = tokenizer(
        *map(list, zip(*pairs)),
        truncation="only_second",
        max_length=max_length,
        stride=stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        return_attention_mask=False,
        padding=False,
        verbose=False,
    )
    with_types = "token_type_ids" in tokenizer.model_input_names
    windows = []
    for pair, encoding in zip(encoded["overflow_to_sample_mapping"], encoded.encodings):
        sequences = encoding.sequence_ids
        if 1 not in sequences:
            continue
        first, last = sequences.index(1), len(sequences) - sequences[::-1].index(1)
        ids = numpy.array(encoding.ids, dtype="int64")
        types = numpy.array(encoding.type_ids, dtype="int64") if with_types else None
        offsets = numpy.array(encoding.offsets[first:last], dtype="int64")
        # The first of them: a text may contain the piece, too, as may the end of an encoding.
        cls = [i for i in numpy.flatnonzero(ids == tokenizer.cls_token_id) if not first <= i < last]
        no_answer = int(cls[0]) if cls else None
        windows.append(Window(int(pair), ids, types, first, last, offsets, no_answer))
    return windows


def _init_qa(model: Model, X: object = None, Y: object = None) -> None:
    _load(model, WINDOWS, "head for questions")


def _forward_qa(
    model: Model, windows: Sequence[Window], is_train: bool
) -> tuple[FloatsXd, Callable]:
    return model.layers[0](pad(windows, hf_objects(model).tokenizer.pad_token_id), is_train)


def _stack_logits(outputs: "SpanLogits") -> "torch.Tensor":
    return torch.stack([outputs.start_logits, outputs.end_logits], dim=-1)


# -- pairs of texts ---------------------------------------------------------------------


def _init_pair(model: Model, X: object = None, Y: object = None) -> None:
    _load(model, TEXT_PAIR, "encoder")
    model.set_dim("nO", hf_objects(model).transformer.config.hidden_size)


def _forward_pair(model: Model, docs: Sequence[Doc], is_train: bool) -> tuple[Floats2d, Callable]:
    separator, texts = model.attrs["separator"], []
    for doc in docs:
        first, found, second = doc.text.partition(separator)
        if not found:
            raise config_error(
                f"{TEXT_PAIR}: a doc has no {separator!r} between its two texts. Join them with "
                f"it, as spacy_dice.pairs.v1 does. The text begins: {doc.text[:60]!r}."
            )
        texts.append((first.strip(), second.strip()))
    encoded = hf_objects(model).tokenizer(
        *map(list, zip(*texts)),
        truncation="longest_first",
        max_length=model.attrs["max_length"],
        padding=True,
        return_attention_mask=True,
        return_tensors="np",
    )
    return model.layers[0](dict(encoded), is_train)


def _first_piece(outputs: "HiddenStates") -> "torch.Tensor":
    return outputs.last_hidden_state[:, 0]


# -- transformers in thinc --------------------------------------------------------------


def hf_objects(model: Model) -> "HFObjects":
    """The transformer and the tokenizer in a model of this module; None each before it is
    initialised.
    """
    return model.layers[0].shims[0]._hfmodel  # type: ignore[attr-defined]


def _wrapper(
    architecture: str,
    read_outputs: Callable,
    tokenizer_config: dict[str, object],
    transformer_config: dict[str, object],
    mixed_precision: bool,
    grad_scaler_config: dict[str, object],
) -> Model:
    if MISSING is not None:
        raise config_error(
            f"{architecture} needs spacy-transformers and torch ({MISSING}). Install the extra: "
            'pip install "spacy-flair-dice[transformers]".'
        )
    return HFWrapper(
        HFObjects(None, None, None, dict(tokenizer_config), dict(transformer_config)),
        convert_inputs=_to_torch,
        convert_outputs=partial(_from_torch, read_outputs),
        mixed_precision=mixed_precision,
        grad_scaler_config=dict(grad_scaler_config),
        model_cls=AutoModelForQuestionAnswering if architecture == WINDOWS else AutoModel,
    )


def _to_torch(
    layer: Model, inputs: dict[str, numpy.ndarray], is_train: bool
) -> tuple[ArgsKwargs, Callable]:
    device = layer.shims[0].device  # type: ignore[attr-defined]
    tensors = {name: torch.from_numpy(values).to(device) for name, values in inputs.items()}
    return ArgsKwargs(args=(), kwargs={**tensors, "return_dict": True}), lambda gradient: []


def _from_torch(
    read_outputs: Callable, layer: Model, inputs_outputs: tuple, is_train: bool
) -> tuple[ArrayXd, Callable]:
    tensor = read_outputs(inputs_outputs[1]).float()

    def backprop(gradient: FloatsXd) -> ArgsKwargs:
        given = xp2torch(gradient, device=tensor.device)
        return ArgsKwargs(args=((tensor,),), kwargs={"grad_tensors": (given,)})

    return torch2xp(tensor), backprop


def _load(model: Model, architecture: str, what: str) -> None:
    """Read the encoder and its tokenizer, unless the model has them already."""
    name, objects = model.attrs["name"], hf_objects(model)
    shim: Any = model.layers[0].shims[0]
    if objects.transformer is not None:
        return
    try:
        made = huggingface_from_pretrained(
            name,
            dict(objects._init_tokenizer_config),
            dict(objects._init_transformer_config),
            model_cls=shim.model_cls,
        )
    except (ValueError, OSError) as error:
        message = f"cannot read the encoder {name!r}. Give a name on the hub, or a local folder."
        if "Unrecognized configuration class" in str(error):
            message = f"{name!r} has no {what} in transformers. Use another, e.g. bert-base-cased."
        raise config_error(f"{architecture}: {message} ({str(error)[:200]})") from error
    tokenizer, max_length = made.tokenizer, model.attrs["max_length"]
    n_special = tokenizer.num_special_tokens_to_add
    problems = {
        f"the tokenizer of {name!r} has no encoding of pairs, nothing that keeps two texts apart. "
        "Use an encoder whose tokenizer has, e.g. bert-base-cased.": n_special(True) <= n_special(),
        f"the tokenizer of {name!r} has no padding. Set it, tokenizer_config = "
        '{"pad_token": "..."}.': tokenizer.pad_token_id is None,
        f"max_length is {max_length}, but {name!r} reads {tokenizer.model_max_length} pieces at "
        "most. Lower it.": max_length > tokenizer.model_max_length,
        f"the tokenizer of {name!r} is a slow one, which does not tell where its pieces are in the "
        "text. Use an encoder with a fast tokenizer, and use_fast = "
        "true.": architecture == WINDOWS and not tokenizer.is_fast,
    }
    for problem, is_there in problems.items():
        if is_there:
            raise config_error(f"{architecture}: {problem}")
    shim._hfmodel, shim._model = made, made.transformer
