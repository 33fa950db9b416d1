"""Train a ridge regression on the diabetes data beside this file, which is scikit-learn's.

This file is yours. The pipeline relies on these things only:

* every metric that settings.json lists in deployment.model.evaluation_parameters is logged with `run.log`, and that of
  a group of the test data as `mse[sex=1]`;
* the model is written to the path in the environment variable MODEL_FILE (deployment.model.path in settings.json),
  below outputs/, which Azure ML keeps with the run;
* where settings.json names a test_set, its two files are written: the predictions on the test data, and the test data
  as requests to the scoring script, so that the model in production can be judged on the same.

It runs without Azure as well, wherever scikit-learn and azureml-core are installed:
`python code/training/train.py --alpha 0.2` prints the metrics.
"""

import argparse
import json
import math
import os
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import sklearn
from azureml.core import Run
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_squared_error
from sklearn.model_selection import train_test_split

SAMPLE = Path(__file__).with_name("diabetes.csv")
TARGET = "progression"
# Fixed, so that two runs differ by their parameters and never by the luck of the split.
SPLIT_SEED = 42
ROWS_PER_REQUEST = 50


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
    parser.add_argument("--data", type=Path, default=SAMPLE, help="CSV file, relative to this script's directory")
    return parser.parse_args()


def write_test_set(
    outputs: Path, features: pd.DataFrame, target: pd.Series, prediction: np.ndarray, sex: pd.Series
) -> None:
    """What the gate needs to judge production's model on the same rows."""
    rows = pd.DataFrame({"target": target, "prediction": prediction, "sex": sex})
    rows.to_csv(outputs / "predictions.csv", index_label="id")
    with (outputs / "test_requests.jsonl").open("w", encoding="utf-8") as requests:
        for start in range(0, len(features), ROWS_PER_REQUEST):
            batch = features.iloc[start : start + ROWS_PER_REQUEST]
            requests.write(json.dumps({"data": batch.to_numpy().tolist()}) + "\n")


def main() -> None:
    arguments = parse_arguments()
    run = Run.get_context()  # the Azure ML run that this script is part of, or an offline run that prints

    data = pd.read_csv(SAMPLE.parent / arguments.data, float_precision="round_trip")
    features, target = data.drop(columns=TARGET), data[TARGET]
    train_x, test_x, train_y, test_y = train_test_split(features, target, test_size=0.2, random_state=SPLIT_SEED)
    # Requests have no names of columns, and so the model is trained without them.
    model = Ridge(alpha=arguments.alpha).fit(train_x.to_numpy(), train_y)
    prediction = model.predict(test_x.to_numpy())

    run.tag("packages", f"scikit-learn {sklearn.__version__}, numpy {np.__version__}, pandas {pd.__version__}")
    run.log("alpha", arguments.alpha)
    run.log("mse", float(mean_squared_error(test_y, prediction)))
    sex = (test_x["sex"] > 0).map({False: 1, True: 2})  # the codes of the study, before scikit-learn scaled them
    for code in sorted(sex.unique()):
        of_group = (sex == code).to_numpy()
        run.log(f"mse[sex={code}]", float(mean_squared_error(test_y[of_group], prediction[of_group])))

    model_file = Path(os.environ.get("MODEL_FILE", "outputs/diabetes-ridge.pkl"))
    model_file.parent.mkdir(parents=True, exist_ok=True)
    write_test_set(model_file.parent, test_x, test_y, prediction, sex)
    joblib.dump(model, model_file)


if __name__ == "__main__":
    main()
