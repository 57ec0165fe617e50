"""Imports two days of read forms with two new versions to judge: ``python -m service.forms``.

One model reads postcodes. Its new version was trained on few images, and gets 5 % of the forms: a
canary. The other model reads amounts. Its new version no longer brightens images, so it misreads
the pale scans of one client. What the forms really said arrives as ground truth.
"""

import time
from typing import Any, Final

import numpy as np
from sklearn.linear_model import LogisticRegression

from otel_ml import Client

from .data import load_digit_images  # noqa: TID252 - see the package

_CLIENTS: Final = ("northside", "lakeview", "hillcrest")
_PALE: Final = "lakeview"  # this client's scanner is weak
_PALENESS: Final = 0.25
_CANARY: Final = 0.05
_CANARY_IMAGES: Final = 40
_POSTCODES: Final = 3_000
_AMOUNTS: Final = 900
_SEED: Final = 3
_PAST_S: Final = 2 * 24 * 60 * 60

Images = np.ndarray[Any, np.dtype[np.float64]]
Places = np.ndarray[Any, np.dtype[np.int64]]


def brighten(images: Images) -> Images:
    """Scale each image so that its darkest pixel is black."""
    scaled: Images = images / images.max(axis=1, keepdims=True)
    return scaled


def read_forms(client: Client) -> None:
    """Read both kinds of forms with both versions, and import the results."""
    data, generator = load_digit_images(), np.random.default_rng(_SEED)
    good, hasty = LogisticRegression(max_iter=200), LogisticRegression(max_iter=200)
    good.fit(data.train.features, data.train.targets)
    few = data.train.first(_CANARY_IMAGES)
    hasty.fit(few.features, few.targets)

    def scan(count: int) -> tuple[Images, Places, Places, Places]:
        """Return images, what they show, their clients, and their numbers."""
        numbers = generator.integers(0, len(data.test.targets), count)
        clients = generator.integers(0, len(_CLIENTS), count)
        paleness = np.where(clients == _CLIENTS.index(_PALE), _PALENESS, 1.0)
        images = data.test.features[numbers] * paleness[:, None]
        return images, data.test.targets[numbers], clients, numbers

    images, digits, clients, numbers = scan(_POSTCODES)
    is_new = generator.random(_POSTCODES) < _CANARY
    read = np.where(is_new, hasty.predict(brighten(images)), good.predict(brighten(images)))
    _import(client, "postcode", (numbers, clients, digits, is_new, read))
    images, digits, clients, numbers = scan(_AMOUNTS)
    is_new = np.arange(_AMOUNTS) >= _AMOUNTS // 2
    read = np.where(is_new, good.predict(images), good.predict(brighten(images)))
    _import(client, "amount", (numbers, clients, digits, is_new, read))


def _import(client: Client, model: str, columns: tuple[Any, ...]) -> None:
    """Import predictions at equal intervals until now, those of the older version first."""
    rows = enumerate(zip(*(column.tolist() for column in columns), strict=True))
    count, now_s = len(columns[0]), time.time()
    versions: dict[str, list[dict[str, Any]]] = {"1": [], "2": []}
    for place, (number, sender, digit, is_new, read) in rows:
        version = "2" if is_new else "1"
        versions[version].append(
            {
                "id": f"{model}-{place}",
                "at": now_s - _PAST_S * (count - place) / count,
                "version": version,
                "client": _CLIENTS[sender],
                "form": f"{model} {number} of {_CLIENTS[sender]}",
                "read": str(read),
                model: str(digit),
            }
        )
    for of_version in versions.values():
        client.import_table(
            of_version,
            model=model,
            time="at",
            id="id",
            version="version",
            inputs=["form"],
            outputs="read",
            truth=model,
            tags=["client"],
        )


if __name__ == "__main__":
    read_forms(Client("forms"))
