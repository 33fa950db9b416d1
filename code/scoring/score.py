"""Answer scoring requests with the registered model.

This file is yours. Azure ML's inference server calls `init` once in every replica, and `run` for every request to
/score. The samples in the decorators describe a request and an answer: /swagger.json is made from them. A request of
another shape is refused with 400 and the reason; left to the decorator, it would look like the service's fault (500).
https://learn.microsoft.com/azure/machine-learning/v1/how-to-deploy-advanced-entry-script
"""

import os
from pathlib import Path

import joblib
import numpy as np
from azureml_inference_server_http.api.aml_response import AMLResponse
from inference_schema.parameter_types.numpy_parameter_type import NumpyParameterType
from inference_schema.schema_decorators import input_schema, output_schema

# age, sex, body mass index, blood pressure and six serum measurements, scaled as scikit-learn's load_diabetes does.
SAMPLE_REQUEST = np.array([[0.038, 0.051, 0.062, 0.022, -0.044, -0.035, -0.043, -0.003, 0.020, -0.018]])
SAMPLE_ANSWER = np.array([206.0])
REQUEST = NumpyParameterType(SAMPLE_REQUEST)

model = None


def model_file() -> Path:
    """The one *.pkl file below the directory of the model that Azure ML mounts into the service."""
    directory = Path(os.environ["AZUREML_MODEL_DIR"])
    found = sorted(directory.rglob("*.pkl"))
    if len(found) != 1:
        names = ", ".join(str(path.relative_to(directory)) for path in found) or "none"
        raise FileNotFoundError(f"expected one *.pkl file below AZUREML_MODEL_DIR ({directory}), found: {names}")
    return found[0]


def init() -> None:
    global model
    model = joblib.load(model_file())


@input_schema("data", REQUEST, convert_to_provided_type=False)
@output_schema(NumpyParameterType(SAMPLE_ANSWER))
def run(data: list[list[float]]) -> list[float] | AMLResponse:
    """The disease progression one year after the measurement, for every row of `data`."""
    try:
        rows = REQUEST.deserialize_input(data)
    except (TypeError, ValueError) as error:
        return AMLResponse({"error": str(error)}, 400, json_str=True)
    if not np.isfinite(rows).all():
        return AMLResponse({"error": "data has a value that is no finite number"}, 400, json_str=True)
    return model.predict(rows).tolist()
