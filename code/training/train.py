"""Train a ridge regression on scikit-learn's diabetes data.

This file is yours. The pipeline relies on two things only:

* every metric that settings.json lists in deployment.model.evaluation_parameters is logged with `run.log`;
* the model is written to the path in the environment variable MODEL_FILE (deployment.model.path in settings.json),
  below outputs/, which Azure ML keeps with the run.

It runs without Azure as well, wherever scikit-learn and azureml-core are installed:
`python code/training/train.py --alpha 0.2` prints the metrics.
"""

import argparse
import math
import os
from pathlib import Path

import joblib
from azureml.core import Run
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_squared_error
from sklearn.model_selection import train_test_split

# Fixed, so that two runs differ by their parameters and never by the luck of the split.
SPLIT_SEED = 42


def regularisation_strength(text: str) -> float:
    """The value of --alpha: a finite number, zero or greater."""
    try:
        alpha = float(text)
    except ValueError:
        alpha = math.nan
    if not (math.isfinite(alpha) and alpha >= 0):
        raise argparse.ArgumentTypeError(f"the regularisation strength is zero or greater, got {text!r}")
    return alpha


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train a ridge regression on the diabetes data.")
    parser.add_argument(
        "--alpha", type=regularisation_strength, default=0.5, help="regularisation strength (%(default)s)"
    )
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    run = Run.get_context()  # the Azure ML run that this script is part of, or an offline run that prints

    features, progression = load_diabetes(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(features, progression, test_size=0.2, random_state=SPLIT_SEED)
    model = Ridge(alpha=arguments.alpha).fit(train_x, train_y)

    run.log("alpha", arguments.alpha)
    run.log("mse", float(mean_squared_error(test_y, model.predict(test_x))))

    model_file = Path(os.environ.get("MODEL_FILE", "outputs/diabetes-ridge.pkl"))
    model_file.parent.mkdir(parents=True, exist_ok=True)
    joblib.dump(model, model_file)


if __name__ == "__main__":
    main()
