"""Which term of a compound moves what, over training.

    python -m benchmarks.compare.shares --data DIR --loss dice_ce --set training.max_steps=600

Trains dice_ner, with configs/dice_ner.cfg, as `spacy train` does. At each evaluation, for one
batch: the length of each term's gradient by the logits, over rows of O and over rows of entities;
the mean probability of the gold tag on entity rows; and the score on dev.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any, Dict, List

import numpy
import spacy
from spacy.schemas import ConfigSchemaTraining
from spacy.training.initialize import init_nlp
from spacy.training.loop import (
    create_evaluation_callback,
    create_train_batches,
    train_while_improving,
)
from spacy.util import dot_to_dict, registry, resolve_dot_names

from corpora import in_spacy
from spacy_dice.heads import emits_logits

from .. import ROOT
from .recipes import RECIPES, as_config


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--loss", default="dice_ce", choices=RECIPES)
    parser.add_argument("--size", type=int, default=0, help="training sentences; 0 is all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        in_spacy.write_folder(args.data, Path(folder), args.size or None)
        values = dict(item.split("=") for item in args.set)
        overrides: Dict[str, Any] = {key: _number(value) for key, value in values.items()}
        overrides.update({f"paths.{s}": str(Path(folder) / f"{s}.spacy") for s in ("train", "dev")})
        overrides["system.seed"] = args.seed
        config = spacy.util.load_config(ROOT / "configs/dice_ner.cfg")
        config["components"]["dice_ner"]["loss"] = as_config(RECIPES[args.loss])
        nlp = init_nlp(config.merge(dot_to_dict(overrides)))
        report(nlp)


def report(nlp: Any) -> None:
    """Train, and print a line at each evaluation."""
    config = nlp.config.interpolate()
    settings = registry.resolve(config["training"], schema=ConfigSchemaTraining)
    corpora = [settings["train_corpus"], settings["dev_corpus"]]
    train_corpus, dev_corpus = resolve_dot_names(config, corpora)
    steps = train_while_improving(
        nlp,
        settings["optimizer"],
        create_train_batches(nlp, train_corpus, settings["batcher"], settings["max_epochs"]),
        create_evaluation_callback(nlp, dev_corpus, settings["score_weights"]),
        dropout=settings["dropout"],
        accumulate_gradient=settings["accumulate_gradient"],
        patience=settings["patience"],
        max_steps=settings["max_steps"],
        eval_frequency=settings["eval_frequency"],
        exclude=(),
        annotating_components=(),
        before_update=None,
    )
    pipe = nlp.get_pipe("dice_ner")
    terms = getattr(pipe.loss, "losses", {"loss": pipe.loss})
    print("step  dev F1  p(gold)", *(f"{name} on O, on entities" for name in terms), sep="  ")
    for batch, info, _ in steps:
        if info["score"] is not None:
            lengths = gradients(nlp, pipe, terms, list(batch))
            row = [f"{of_o:9.2f} {of_entities:9.2f}" for of_o, of_entities in lengths["terms"]]
            score, p = 100 * info["score"], lengths["p"]
            print(f"{info['step']:4}  {score:6.1f}  {p:7.3f}", *row, sep="  ", flush=True)


def gradients(nlp: Any, pipe: Any, terms: Dict[str, Any], batch: List[Any]) -> Dict[str, Any]:
    """Of a batch: p, the mean probability of the gold tag on rows of entities; and terms, the
    length of each term's gradient on rows of O and on rows of entities."""
    tok2vec = nlp.get_pipe("tok2vec")
    docs = [eg.predicted for eg in batch]
    tok2vec.set_annotations(docs, tok2vec.predict(docs))
    scores = pipe.model.predict(docs)
    if emits_logits(pipe.model, pipe.name):
        scores = [pipe.model.ops.softmax(logits) for logits in scores]
    targets = pipe.targets(batch, scores[0]).dense()
    entities = targets.y[:, 0] == 0
    p = (numpy.concatenate(scores) * targets.y).sum(axis=1)[entities]
    found = []
    for term in terms.values():
        gradient = numpy.concatenate(term.compute(scores, targets, pipe.head())[0])
        found.append([float(numpy.linalg.norm(gradient[rows])) for rows in (~entities, entities)])
    return {"p": float(p.mean()) if len(p) else float("nan"), "terms": found}


def _number(value: str) -> Any:
    try:
        return int(value)
    except ValueError:
        return float(value) if value.replace(".", "").isdigit() else value


if __name__ == "__main__":
    main()
