"""Encoders of pairs of texts: transformers' models in thinc, by spacy-transformers' wrapper.

The only module of spacy_dice that imports torch and transformers; `model` imports it when an
architecture of it is made.
"""

from typing import Any, Callable, Dict, List, Sequence, Tuple

import numpy
import torch
from spacy.tokens import Doc
from spacy_transformers.data_classes import HFObjects
from spacy_transformers.layers.hf_wrapper import HFWrapper
from spacy_transformers.layers.transformer_model import huggingface_from_pretrained
from thinc.api import (
    ArgsKwargs,
    Model,
    Softmax_v2,
    chain,
    glorot_uniform_init,
    torch2xp,
    xp2torch,
)
from transformers import AutoModel, AutoModelForQuestionAnswering

from ..errors import config_error
from .model import TEXT_PAIR, WINDOWS
from .windows import Padded, Pair, Window, pad


def question_answering(attrs: Dict[str, Any], **options: Any) -> Model:
    """See `model.question_answering`."""
    layer = _wrapper(AutoModelForQuestionAnswering, _stack_logits, **options)
    attrs = {**attrs, "encode": encode}
    return Model("question_answering", _forward_qa, init=_init_qa, layers=[layer], attrs=attrs)


def text_pair(attrs: Dict[str, Any], **options: Any) -> Model:
    """See `model.text_pair`."""
    layers = [_wrapper(AutoModel, _first_piece, **options)]
    encoder: Model = Model(
        "pair_encoder",
        _forward_pair,
        init=_init_pair,
        layers=layers,
        attrs=attrs,
        dims={"nO": None},
    )
    return chain(encoder, Softmax_v2(init_W=glorot_uniform_init))


# -- questions --------------------------------------------------------------------------


def encode(model: Model, pairs: Sequence[Pair], owner: str) -> List[Window]:
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
    questions = sorted({pair.question for pair in pairs})
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
        [pair.question for pair in pairs],
        [pair.text for pair in pairs],
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
        # The first of them: a text may hold the piece, too, as may the end of an encoding.
        cls = [i for i in numpy.flatnonzero(ids == tokenizer.cls_token_id) if not first <= i < last]
        no_answer = int(cls[0]) if cls else None
        windows.append(Window(int(pair), ids, types, first, last, offsets, no_answer))
    return windows


def _init_qa(model: Model, X: Any = None, Y: Any = None) -> None:
    if hf_objects(model).transformer is not None:
        return
    made = _load(model, WINDOWS, AutoModelForQuestionAnswering, "head for questions")
    if not made.tokenizer.is_fast:
        raise config_error(
            f"{WINDOWS}: the tokenizer of {model.attrs['name']!r} is a slow one, which does not "
            "say where its pieces are in the text. Use an encoder with a fast tokenizer, and "
            "use_fast = true."
        )
    _set(model, made)


def _forward_qa(model: Model, windows: Sequence[Window], is_train: bool) -> Tuple[Any, Callable]:
    return _run(model, windows, pad(windows, hf_objects(model).tokenizer.pad_token_id), is_train)


def _stack_logits(outputs: Any) -> torch.Tensor:
    return torch.stack([outputs.start_logits, outputs.end_logits], dim=-1)


# -- pairs of texts ---------------------------------------------------------------------


def _init_pair(model: Model, X: Any = None, Y: Any = None) -> None:
    if hf_objects(model).transformer is None:
        _set(model, _load(model, TEXT_PAIR, AutoModel, "encoder"))
    model.set_dim("nO", hf_objects(model).transformer.config.hidden_size)


def _forward_pair(model: Model, docs: Sequence[Doc], is_train: bool) -> Tuple[Any, Callable]:
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
        return_tensors="np",
    )
    lengths = encoded["attention_mask"].sum(axis=1)
    return _run(
        model, docs, (encoded["input_ids"], encoded.get("token_type_ids"), lengths), is_train
    )


def _first_piece(outputs: Any) -> torch.Tensor:
    return outputs.last_hidden_state[:, 0]


# -- transformers in thinc --------------------------------------------------------------


def hf_objects(model: Model) -> HFObjects:
    """The transformer and the tokenizer in a model of this module; None each before it is
    initialised.
    """
    return model.layers[0].shims[0]._hfmodel  # type: ignore[attr-defined]


def _wrapper(
    model_cls: Any,
    read_outputs: Callable,
    *,
    tokenizer_config: Dict[str, Any],
    transformer_config: Dict[str, Any],
    mixed_precision: bool,
    grad_scaler_config: Dict[str, Any],
) -> Model:
    layer = HFWrapper(
        HFObjects(None, None, None, dict(tokenizer_config), dict(transformer_config)),
        convert_inputs=_to_torch,
        convert_outputs=_from_torch,
        mixed_precision=mixed_precision,
        grad_scaler_config=dict(grad_scaler_config),
        model_cls=model_cls,
    )
    layer.attrs["read_outputs"] = read_outputs
    return layer


def _run(model: Model, inputs: Any, padded: Padded, is_train: bool) -> Tuple[Any, Callable]:
    """Forward through the encoder; the gradient of what is read ends there."""
    outputs, backprop = model.layers[0](padded, is_train)

    def back(gradient: Any) -> Any:
        backprop(gradient)
        return inputs

    return outputs, back


def _to_torch(layer: Model, padded: Padded, is_train: bool) -> Tuple[ArgsKwargs, Callable]:
    ids, types, lengths = padded
    mask = numpy.arange(ids.shape[1])[None, :] < lengths[:, None]
    kwargs = {"input_ids": ids, "attention_mask": mask.astype("int64"), "token_type_ids": types}
    device = layer.shims[0].device  # type: ignore[attr-defined]
    tensors = {k: torch.from_numpy(v).to(device) for k, v in kwargs.items() if v is not None}
    return ArgsKwargs(args=(), kwargs={**tensors, "return_dict": True}), lambda gradient: []


def _from_torch(layer: Model, inputs_outputs: Any, is_train: bool) -> Tuple[Any, Callable]:
    tensor = layer.attrs["read_outputs"](inputs_outputs[1]).float()

    def backprop(gradient: Any) -> ArgsKwargs:
        given = xp2torch(gradient, device=tensor.device)
        return ArgsKwargs(args=((tensor,),), kwargs={"grad_tensors": (given,)})

    return torch2xp(tensor), backprop


def _load(model: Model, architecture: str, model_cls: Any, what: str) -> HFObjects:
    name, objects = model.attrs["name"], hf_objects(model)
    try:
        made = huggingface_from_pretrained(
            name,
            dict(objects._init_tokenizer_config),
            dict(objects._init_transformer_config),
            model_cls=model_cls,
        )
    except (ValueError, OSError) as error:
        message = f"cannot read the encoder {name!r}. Give a name on the hub, or a local folder."
        if "Unrecognized configuration class" in str(error):
            message = f"{name!r} has no {what} in transformers. Use another, e.g. bert-base-cased."
        raise config_error(f"{architecture}: {message} ({str(error)[:200]})") from error
    tokenizer = made.tokenizer
    if tokenizer.num_special_tokens_to_add(pair=True) <= tokenizer.num_special_tokens_to_add():
        raise config_error(
            f"{architecture}: the tokenizer of {name!r} has no encoding of pairs, nothing that "
            "keeps two texts apart. Use an encoder whose tokenizer has, e.g. bert-base-cased."
        )
    if tokenizer.pad_token_id is None:
        raise config_error(
            f"{architecture}: the tokenizer of {name!r} has no padding. Set it, "
            'tokenizer_config = {"pad_token": "..."}.'
        )
    if model.attrs["max_length"] > tokenizer.model_max_length:
        raise config_error(
            f"{architecture}: max_length is {model.attrs['max_length']}, but {name!r} reads "
            f"{tokenizer.model_max_length} pieces at most. Lower it."
        )
    return made


def _set(model: Model, made: HFObjects) -> None:
    shim: Any = model.layers[0].shims[0]
    shim._hfmodel, shim._model = made, made.transformer
