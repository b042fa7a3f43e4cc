"""Named entities by reading in Flair: TARSTagger, with cross-entropy or with DiceCE.

    python -m examples.flair_reading --loss DiceCE --transformer distilbert-base-cased \
        --question "person=name of a person" "location=name of a place"

What is ours are the import of TARSTagger and its argument ``loss``; ``--loss stock`` trains the
same without. TARS reads each sentence once for each label, with the label's words before it, and
tags the tokens that are it; ``--question`` gives these words where a label says too little. Prints
F1 on dev and on test. See docs/reading.md for what differs from reading with starts and ends.
"""

import argparse
import sys
from typing import Any, Dict, List

from flair.embeddings import TransformerWordEmbeddings
from flair.trainers import ModelTrainer

from examples.command_line import load_corpus, parse, report
from flair_dice import LossPlugin, TARSTagger


def main() -> None:
    own = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    own.add_argument("--question", nargs="+", default=[], metavar="LABEL=WORDS")
    questions, sys.argv[1:] = own.parse_known_args()
    args = parse(__doc__, learning_rate=5e-5, mini_batch_size=16, epochs=8)
    corpus = load_corpus(args)
    rename(corpus, dict(item.split("=", 1) for item in questions.question))
    tagger = TARSTagger(
        task_name="ner",
        label_dictionary=corpus.make_label_dictionary("ner", add_unk=False, add_dev_test=True),
        label_type="ner",
        embeddings=TransformerWordEmbeddings(
            args.transformer, layers="-1", subtoken_pooling="first", fine_tune=True
        ),
        loss=args.loss,
    )
    result = ModelTrainer(tagger, corpus).fine_tune(
        args.output,
        learning_rate=args.learning_rate,
        mini_batch_size=args.mini_batch_size,
        max_epochs=args.epochs,
        plugins=[LossPlugin()],
    )
    report(args, tagger, corpus, result)


def rename(corpus: Any, questions: Dict[str, str]) -> None:
    """Call labels by their questions. Raises a ValueError for a label that is none."""
    seen = set()
    for sentence in corpus.get_all_sentences():
        spans: List[Any] = sentence.get_spans("ner")
        for span in spans:
            label = span.get_label("ner").value
            seen.add(label)
            if label in questions:
                span.set_label("ner", questions[label])
    unknown = sorted(set(questions) - seen)
    if unknown:
        raise ValueError(f"--question: {unknown[0]!r} is none of the labels: {sorted(seen)}.")


if __name__ == "__main__":
    main()
