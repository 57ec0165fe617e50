"""The Python blocks of the three origins' texts, unchanged."""

# ruff: noqa: E501 - the lines are copied from the texts

from typing import Final

# The replacements of the texts' import lines; no other line may differ.
IMPORTS: Final = {
    "from bighummingbird import BigHummingbird": (
        "from otel_ml.compat.bighummingbird import BigHummingbird"
    ),
    "from bighummingbird.judge import Judge": (
        "from otel_ml.compat.bighummingbird.judge import Judge"
    ),
    "from raymon import Trace, RaymonAPILogger": (
        "from otel_ml.compat.raymon import Trace, RaymonAPILogger"
    ),
    "from raymon import Tag": "from otel_ml.compat.raymon import Tag",
    "import raymon.types as rt": "import otel_ml.compat.raymon.types as rt",
    "from digitalhub import from_mlflow_run, get_mlflow_model_metrics": (
        "from otel_ml.compat.digitalhub import from_mlflow_run, get_mlflow_model_metrics"
    ),
    "from digitalhub_runtime_python import handler": (
        "from otel_ml.compat.digitalhub import handler"
    ),
}

_A1_TRACE = r"""
from bighummingbird import BigHummingbird
bhb = BigHummingbird("Concept Project", API_KEY)

# Add the trace decorator
@bhb.trace
def model(input_a, input_b):
  # Your model here
  # GPT-4 text generation
  # summarization
  # translation
  # sentiment analysis
  return input_a + input_b

model(1, 2)
"""

_A2_JUDGE = r"""
from bighummingbird import BigHummingbird
from bighummingbird.judge import Judge

bhb = BigHummingbird("Quick Start", API_KEY)

def scoring_rubric(outputs):
    # This is important. All necessary imports must be done here.
    import random
    return random.randint(1, 10)

def passing_criteria(score):
    return score > 5

judge = Judge(
    "random-judge",
    "This judge will return a random score between 1 to 10",
    scoring_rubric,
    passing_criteria,
)
judge_tag = bhb.add_judge(judge)

@bhb.assess(judge_tag)
def model(input_a, input_b):
  # Your model here
  # GPT-4 text generation
  # summarization
  # translation
  # sentiment analysis
  return input_a + input_b
"""

_B1_LOGGER = r"""
from raymon import Trace, RaymonAPILogger

logger = RaymonAPILogger(project_id=project_id)
trace = Trace(logger=logger, trace_id=None)
"""

_B2_TEXT = r"""
trace.info("You can log whatever you want here")
"""

_B3_TAGS = r"""
from raymon import Tag

tags = [
    # Using a dict
    {
        "name": "client",
        "value": "bigshot_client",
        "type": "label"
    },
    # Using the Tag object
    Tag(name="sdk_version", value="1.4.2", type="label"),
    Tag(name="prediction_time_ms", value="120", type="metric")
]
trace.tag(tags)
"""

_B4_DATA = r"""
import pandas as pd
import numpy as np
from PIL import Image

import raymon.types as rt


img = Image.open("./data_sample/castinginspection/def_front/cast_def_0_0.jpeg")
arr = np.array([[1, 2], [3, 4]])
df = pd.DataFrame(arr, columns=['a', 'b'])

trace.log(ref="native-ref", data=rt.Native(
    {"foo": "bar",
    "whatever": ["you", "want"],
    "all_native_types": 1}))
trace.log(ref="numpy-ref", data=rt.Numpy(arr))
trace.log(ref="pandas-ref", data=rt.DataFrame(df))
trace.log(ref="image-ref", data=rt.Image(img))
"""

_B5_FETCH = r"""
resp = api.object_search(project_id="d6ac1bf0-4e22-43ae-a85e-3cb2c1e5da80", trace_id="472b649d-cce8-4d50-9682-6b81a80755c0", ref="numpy-ref")

if not resp.ok:
    raise Exception("Something wrong.")

data = resp.json()
obj_id = data["obj_id"]
obj_data = data["obj_data"]

raymon_wrapped = rt.load_jcr(obj_data)
orig = raymon_wrapped.data
"""

_C2_MLFLOW = r"""
import mlflow
from digitalhub import from_mlflow_run, get_mlflow_model_metrics
from digitalhub_runtime_python import handler

...

    # Enable MLflow autologging for sklearn
    mlflow.sklearn.autolog(log_datasets=True)

    # training
    ...

    # Get MLflow run information
    run_id = mlflow.last_active_run().info.run_id
    # Extract MLflow run artifacts and metadata for DigitalHub integration
    model_params = from_mlflow_run(run_id)
    metrics = get_mlflow_model_metrics(run_id)
"""

_C3_CALLBACK = r"""
from transformers import (
    AutoTokenizer,
    AutoModelForCausalLM,
    BitsAndBytesConfig,
    TrainingArguments,
    EarlyStoppingCallback,
    TrainerCallback
)

class LoggingCallback(TrainerCallback):

    def __init__(self, run):
        self.run = run

    def on_log(self, args, state, control, logs, model=None, **kwargs):
        metrics = {}
        for k, v in logs.items():
            if isinstance(v, (int, float)):
                metrics[k] = v
            elif isinstance(v, torch.Tensor) and v.numel() == 1:
                metrics[k] = v.item()
            else:
                logger.warning(
                    f'Trainer is attempting to log a value of "{v}" of type {type(v)} for key "{k}" as a metric. '
                    "MLflow's log_metric() only accepts float and int types so we dropped this attribute."
                )
        self.run.log_metrics(metrics)
"""

TEXTS: Final = {
    "a1_trace": _A1_TRACE.lstrip("\n"),
    "a2_judge": _A2_JUDGE.lstrip("\n"),
    "b1_logger": _B1_LOGGER.lstrip("\n"),
    "b2_text": _B2_TEXT.lstrip("\n"),
    "b3_tags": _B3_TAGS.lstrip("\n"),
    "b4_data": _B4_DATA.lstrip("\n"),
    "b5_fetch": _B5_FETCH.lstrip("\n"),
    "c2_mlflow": _C2_MLFLOW.lstrip("\n"),
    "c3_callback": _C3_CALLBACK.lstrip("\n"),
}
