"""Train a config with several losses, learning rates and seeds, on several processes, by Ray Tune:

    python examples/sweep.py config.cfg train.spacy dev.spacy runs/ --losses stock auto DiceCE \\
      --rates 0.001 0.003 --seeds 0 1 2 --set training.max_steps=500

Thresholds of all are tuned on dev. Prints the mean F1 of each loss and rate, as it is and as it is
expected on new text with the thresholds, the best first; and how to compare the best two:
`spacy dice compare` takes folders of runs that differ in their seed, separated by commas.
"""

import argparse
import os
from pathlib import Path
from statistics import fmean
from typing import Any, Dict

import ray
from ray import tune


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("config", "train", "dev", "out"):
        parser.add_argument(name, type=lambda path: Path(path).resolve())
    add = parser.add_argument
    add("--losses", nargs="+", default=["stock", "auto"], help="names, or stock")
    add("--rates", nargs="+", type=float, default=[0.001, 0.003])
    add("--rate-key", default="training.optimizer.learn_rate", help="or ...learn_rate.initial_rate")
    add("--seeds", nargs="+", type=int, default=[0, 1, 2])
    add("--set", nargs="*", default=[], help="KEY=VALUE of the config")
    add("--gpus", type=float, default=0, help="GPUs of each run, such as 1 or 0.5")
    args = parser.parse_args()

    def run(trial: Dict[str, Any]) -> Dict[str, float]:
        import spacy
        from spacy.cli._util import parse_config_overrides
        from spacy.cli.train import train

        import spacy_dice

        folder = args.out / "-".join(map(str, trial.values()))
        flag = {"@callbacks": "spacy_dice.use_loss.v1", "losses": trial["loss"]}
        overrides = {
            **parse_config_overrides([f"--{item}" for item in args.set], ""),
            **{"paths.train": str(args.train), "paths.dev": str(args.dev)},
            **{args.rate_key: trial["rate"], "system.seed": trial["seed"]},
            "initialize.after_init": None if trial["loss"] == "stock" else flag,
        }
        train(args.config, folder, use_gpu=0 if args.gpus else -1, overrides=overrides)
        nlp = spacy.load(folder / "model-best")
        report = spacy_dice.tune(nlp, spacy.training.Corpus(args.dev)(nlp))
        nlp.to_disk(folder / "tuned")
        found = [(one.objective.split()[0], one.before, one.estimate) for one in report]
        columns = zip(*((getattr(x, key).f, getattr(y, key).f) for key, x, y in found))
        return dict(zip(("f1", "with thresholds"), map(fmean, columns)))

    os.environ["RAY_CHDIR_TO_TRIAL_DIR"] = "0"  # the config may have paths that are relative
    ray.init(include_dashboard=False)
    axes = {"loss": args.losses, "rate": args.rates, "seed": args.seeds}
    trials = tune.Tuner(
        tune.with_resources(run, {"cpu": 1, "gpu": args.gpus}),
        param_space={name: tune.grid_search(values) for name, values in axes.items()},
        run_config=tune.RunConfig(storage_path=str(args.out / "ray"), verbose=0),
    ).fit()
    if trials.errors:
        raise SystemExit(f"{len(trials.errors)} runs failed. The first: {trials.errors[0]}")
    frame = trials.get_dataframe().groupby(["config/loss", "config/rate"])
    means = frame[["f1", "with thresholds"]].mean().sort_values("with thresholds", ascending=False)
    print(means.to_string(float_format="{:.3f}".format))
    sides = [
        ",".join(str(args.out / f"{loss}-{rate}-{seed}" / "tuned") for seed in args.seeds)
        for loss, rate in means.index[:2]
    ]
    print("python -m spacy dice compare", *sides, "test.spacy")


if __name__ == "__main__":
    main()
