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
from .windows import Pair, Window, pad


def question_answering(
    name: str, max_length: int, stride: int, tokenizer: Dict, transformer: Dict, *mixed: Any
) -> Model:
    """See `model.question_answering`."""
    attrs = {"name": name, "max_length": max_length, "stride": stride, "encode": encode}
    layer = _wrapper(AutoModelForQuestionAnswering, _head_outputs, tokenizer, transformer, *mixed)
    return Model(
        "question_answering", _forward_qa, init=_init_qa, layers=[layer], attrs=attrs, dims={}
    )


def text_pair(
    name: str, separator: str, max_length: int, tokenizer: Dict, transformer: Dict, *mixed: Any
) -> Model:
    """See `model.text_pair`."""
    attrs = {"name": name, "max_length": max_length, "separator": separator}
    layer = _wrapper(AutoModel, _first_piece, tokenizer, transformer, *mixed)
    encoder: Model = Model(
        "pair_encoder",
        _forward_pair,
        init=_init_pair,
        layers=[layer],
        attrs=attrs,
        dims={"nO": None},
    )
    model: Model = chain(encoder, Softmax_v2(init_W=glorot_uniform_init))
    return model


# -- questions --------------------------------------------------------------------------


def encode(model: Model, pairs: Sequence[Pair], owner: str) -> List[Window]:
    """The windows of pairs, by the tokenizer's own overflow. A text without pieces has none.

    Args:
        model: One of `question_answering`, initialised.
        pairs: Questions and texts.
        owner: How messages call who asks.

    Returns:
        Windows, those of a pair one after the other.

    Raises:
        ConfigValidationError: A question so long that it leaves no room for the text.
    """
    tokenizer = hf_objects(model).tokenizer
    max_length, stride = model.attrs["max_length"], model.attrs["stride"]
    pairs = list(pairs)
    if not pairs:
        return []
    questions = sorted({pair.question for pair in pairs})
    room = max_length - tokenizer.num_special_tokens_to_add(pair=True) - stride
    sizes = tokenizer(questions, add_special_tokens=False, verbose=False)["input_ids"]
    for question, ids in zip(questions, sizes):
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
    of_pair = encoded["overflow_to_sample_mapping"]
    with_types = "token_type_ids" in tokenizer.model_input_names
    windows = []
    for row, encoding in enumerate(encoded.encodings):
        parts = encoding.sequence_ids
        if 1 not in parts:
            continue
        first, last = parts.index(1), len(parts) - parts[::-1].index(1)
        offsets = numpy.array(encoding.offsets[first:last], dtype="int64")
        ids = numpy.array(encoding.ids, dtype="int64")
        types = numpy.array(encoding.type_ids, dtype="int64") if with_types else None
        # The first of them: a text may hold the piece, too, as may the end of an encoding.
        cls = numpy.flatnonzero(ids == tokenizer.cls_token_id)
        outside = cls[(cls < first) | (cls >= last)]
        windows.append(
            Window(
                int(of_pair[row]),
                *(ids, types, first, last, offsets),
                int(outside[0]) if len(outside) else None,
            )
        )
    return windows


def _init_qa(model: Model, X: Any = None, Y: Any = None) -> None:
    if hf_objects(model).transformer is not None:
        return
    architecture = "spacy_dice.QuestionAnswering.v1"
    made = _load(model, architecture, AutoModelForQuestionAnswering, "head for questions")
    _check_tokenizer(made.tokenizer, model, architecture)
    if not made.tokenizer.is_fast:
        raise config_error(
            f"{architecture}: the tokenizer of {model.attrs['name']!r} is a slow one, which does "
            "not say where its pieces are in the text. Use an encoder with a fast tokenizer, and "
            "use_fast = true."
        )
    _set(model, made)


def _forward_qa(model: Model, windows: Sequence[Window], is_train: bool) -> Tuple[Any, Callable]:
    tokenizer = hf_objects(model).tokenizer
    logits, backprop = model.layers[0](pad(windows, tokenizer.pad_token_id), is_train)

    def back(gradient: Any) -> Sequence[Window]:
        backprop(gradient)
        return windows

    return logits, back


def _head_outputs(outputs: Any) -> torch.Tensor:
    return torch.stack([outputs.start_logits, outputs.end_logits], dim=-1)


# -- pairs of texts ---------------------------------------------------------------------


def _init_pair(model: Model, X: Any = None, Y: Any = None) -> None:
    if hf_objects(model).transformer is None:
        made = _load(model, "spacy_dice.TextPair.v1", AutoModel, "encoder")
        _check_tokenizer(made.tokenizer, model, "spacy_dice.TextPair.v1")
        _set(model, made)
    model.set_dim("nO", hf_objects(model).transformer.config.hidden_size)


def _forward_pair(model: Model, docs: Sequence[Doc], is_train: bool) -> Tuple[Any, Callable]:
    separator, tokenizer = model.attrs["separator"], hf_objects(model).tokenizer
    firsts, seconds = [], []
    for doc in docs:
        first, found, second = doc.text.partition(separator)
        if not found:
            raise config_error(
                f"spacy_dice.TextPair.v1: a doc has no {separator!r} between its two texts. Join "
                f"them with it, as spacy_dice.pairs.v1 does. The text begins: {doc.text[:60]!r}."
            )
        firsts.append(first.strip())
        seconds.append(second.strip())
    encoded = tokenizer(
        firsts,
        seconds,
        truncation="longest_first",
        max_length=model.attrs["max_length"],
        padding=True,
        return_tensors="np",
    )
    types = encoded.get("token_type_ids")
    lengths = encoded["attention_mask"].sum(axis=1)
    vectors, backprop = model.layers[0]((encoded["input_ids"], types, lengths), is_train)

    def back(gradient: Any) -> Sequence[Doc]:
        backprop(gradient)
        return docs

    return vectors, back


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
    tokenizer: Dict,
    transformer: Dict,
    mixed_precision: bool,
    grad_scaler: Dict,
) -> Model:
    layer = HFWrapper(
        HFObjects(None, None, None, tokenizer, transformer),
        convert_inputs=_to_torch,
        convert_outputs=_from_torch,
        mixed_precision=mixed_precision,
        grad_scaler_config=grad_scaler,
        model_cls=model_cls,
    )
    layer.attrs["read_outputs"] = read_outputs
    return layer


def _to_torch(layer: Model, inputs: Any, is_train: bool) -> Tuple[ArgsKwargs, Callable]:
    ids, types, lengths = inputs
    device = layer.shims[0].device  # type: ignore[attr-defined]
    mask = numpy.arange(ids.shape[1])[None, :] < numpy.asarray(lengths)[:, None]
    kwargs = {"input_ids": ids, "attention_mask": mask.astype("int64")}
    if types is not None:
        kwargs["token_type_ids"] = types
    tensors = {key: torch.from_numpy(value).to(device) for key, value in kwargs.items()}
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
        return huggingface_from_pretrained(
            name,
            dict(objects._init_tokenizer_config),
            dict(objects._init_transformer_config),
            model_cls=model_cls,
        )
    except (ValueError, OSError) as error:
        reason = str(error)[:200]
        if "Unrecognized configuration class" in reason:
            raise config_error(
                f"{architecture}: {name!r} has no {what} in transformers ({reason}). Use another "
                "encoder, e.g. bert-base-cased."
            ) from error
        raise config_error(
            f"{architecture}: cannot read the encoder {name!r} ({reason}). Give a name on the "
            "hub, or a local folder."
        ) from error


def _check_tokenizer(tokenizer: Any, model: Model, architecture: str) -> None:
    name, longest = model.attrs["name"], tokenizer.model_max_length
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
    if model.attrs["max_length"] > longest:
        raise config_error(
            f"{architecture}: max_length is {model.attrs['max_length']}, but {name!r} reads "
            f"{longest} pieces at most. Lower it."
        )


def _set(model: Model, made: HFObjects) -> None:
    shim: Any = model.layers[0].shims[0]
    shim._hfmodel, shim._model = made, made.transformer
