"""Call a model in the workers of a pool, and print the process id of each call.

Arguments: the pool, the start method and the number of calls.
"""

import json
import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor

import otel_ml
from otel_ml import Client

client = Client()


@client.trace(name="predict")
def predict(number: int) -> int:
    """Return the id of the process."""
    otel_ml.current_run().tag(pid=os.getpid())
    return os.getpid()


def main(pool: str, method: str, calls: int) -> list[int]:
    """Call the model in two workers."""
    context = multiprocessing.get_context(method)
    if pool == "executor":
        with ProcessPoolExecutor(2, context) as executor:
            return list(executor.map(predict, range(calls)))
    with context.Pool(2, maxtasksperchild=3 if pool == "retiring" else None) as workers:
        found = workers.map(predict, range(calls), chunksize=1)
        if pool != "terminated":
            workers.close()
            workers.join()
    return found


if __name__ == "__main__":
    answers = main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    sys.stdout.write(f"{json.dumps(answers)}\n")
