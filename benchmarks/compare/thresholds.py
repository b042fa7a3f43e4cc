"""What dice_ner's threshold trades: precision, recall and F1 at each.

    python -m benchmarks.compare.thresholds --data DIR MODEL [MODEL ...]

DIR is a corpus in any format of `corpora.in_spacy`; each MODEL is a trained pipeline with a
dice_ner. Scores are the means over the models.
"""

import argparse
import tempfile
from pathlib import Path

import spacy
from spacy.training import Corpus

from corpora import in_spacy

THRESHOLDS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("models", nargs="+", type=Path)
    args = parser.parse_args()
    pipelines = [spacy.load(model) for model in args.models]
    with tempfile.TemporaryDirectory() as folder:
        in_spacy.write_folder(args.data, Path(folder))
        for split in ("dev", "test"):
            print(f"{split:9} precision recall     F1")
            for threshold in THRESHOLDS:
                rows = []
                for nlp in pipelines:
                    (name,) = [n for n, f in nlp.pipe_factories.items() if f == "dice_ner"]
                    nlp.get_pipe(name).cfg["threshold"] = threshold
                    scores = nlp.evaluate(list(Corpus(Path(folder) / f"{split}.spacy")(nlp)))
                    rows.append([100 * (scores[f"ents_{key}"] or 0.0) for key in "prf"])
                p, r, f = (sum(column) / len(rows) for column in zip(*rows))
                print(f"{threshold:9.2f} {p:9.1f} {r:6.1f} {f:6.1f}", flush=True)


if __name__ == "__main__":
    main()
