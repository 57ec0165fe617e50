from pathlib import Path

from PIL import Image

photo = Path("data_sample/castinginspection/def_front/cast_def_0_0.jpeg")
photo.parent.mkdir(parents=True, exist_ok=True)
Image.linear_gradient("L").resize((30, 20)).save(photo)
project_id = "d6ac1bf0-4e22-43ae-a85e-3cb2c1e5da80"
