"""Tag a folder of Parquet files with a spaCy pipeline, on several processes, by Ray Data:

    python examples/bulk.py texts/ tagged/ output/model-best --workers 2

The files need a column `id`, a different one for each row, and a column `text`. What ended half-way
(a kill, a full disk) continues with the same command: Ray keeps the ids of rows that are written.
For Flair, import `TagTexts` from `flair_dice.bulk`.
"""

import argparse
from pathlib import Path

import ray
from ray.data import ActorPoolStrategy, DataContext
from ray.data.checkpoint import CheckpointConfig

from spacy_dice.bulk import TagTexts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("texts", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("model")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=256)
    args = parser.parse_args()
    n_files = len(list(args.texts.glob("*.parquet")))
    if not n_files:
        parser.error(f"{args.texts} has no Parquet files.")
    model = Path(args.model)  # or the name of a package
    out = args.out.resolve()
    # Logical processors: readers, writers and the filter of checkpoints take one each, and wait for
    # ever if the workers have all. In a cluster: ray.init("auto").
    ray.init(num_cpus=args.workers + 4, include_dashboard=False)
    DataContext.get_current().checkpoint_config = CheckpointConfig(
        id_column="id",
        checkpoint_path=str(out.parent / f"{out.name}.checkpoint"),
        delete_checkpoint_on_success=False,
    )
    # A block for each file: what is written of them is kept when the job is killed.
    texts = ray.data.read_parquet(str(args.texts.resolve()), override_num_blocks=n_files)
    texts.map_batches(
        TagTexts,
        fn_constructor_kwargs={"model": str(model.resolve()) if model.exists() else args.model},
        batch_size=args.batch_size,
        batch_format="numpy",
        num_cpus=1,
        compute=ActorPoolStrategy(size=args.workers),
        max_restarts=3,  # a text that kills its process would do so without end
        max_task_retries=3,
    ).write_parquet(str(out))


if __name__ == "__main__":
    main()
