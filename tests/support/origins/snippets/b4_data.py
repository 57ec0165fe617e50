import pandas as pd
import numpy as np
from PIL import Image

import otel_ml.compat.raymon.types as rt


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
