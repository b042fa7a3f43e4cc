"""Entities in Flair, in a minute on a CPU: stock, and with DiceCE, with and without the CRF.

    python -m examples.flair_ner --data FOLDER

The embeddings are trained from nothing, so that scores are low; see `examples.flair_transformer`
for what you would train in earnest. Prints F1 on test. One seed each: a point or two is noise.
"""

import argparse
import tempfile
from pathlib import Path

import flair
from flair.embeddings import OneHotEmbeddings
from flair.trainers import ModelTrainer

from corpora import folders, generated, in_flair
from flair_dice import LossPlugin, SequenceTagger


def main(argv=None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--data", type=Path, help="folder with columns of token TAB tag; else a generated corpus")
    add("--size", type=int, default=300, help="training sentences, drawn by the seed")
    add("--epochs", type=int, default=10)
    add("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    files = folders.files(args.data or generated.write(Path(tempfile.mkdtemp())))
    for crf in (False, True):
        for loss in (None, "DiceCE"):
            flair.set_seed(args.seed)
            corpus = in_flair.corpus(files, args.size, args.seed)
            tags = corpus.make_label_dictionary("ner", add_unk=False, add_dev_test=True)
            words = OneHotEmbeddings.from_corpus(corpus, min_freq=1, embedding_length=32)
            tagger = SequenceTagger(
                embeddings=words,
                tag_dictionary=tags,
                tag_type="ner",
                hidden_size=32,
                use_crf=crf,
                loss=loss,  # all that it takes
            )
            result = ModelTrainer(tagger, corpus).train(
                tempfile.mkdtemp(),
                learning_rate=0.2,
                mini_batch_size=16,
                max_epochs=args.epochs,
                plugins=[LossPlugin()],
            )
            name = f"{loss or 'stock'}{', CRF' if crf else ''}"
            print(f"{name:14} F1 {100 * result['test_score']:5.1f}", flush=True)


if __name__ == "__main__":
    main()
