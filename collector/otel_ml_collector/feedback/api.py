"""The part of the JSON API that takes feedback and late truth: for the scope annotate."""

import time
from dataclasses import replace
from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Request

from otel_ml_collector.access import ANNOTATE, INGEST, Access
from otel_ml_collector.api.bodies import JsonRoute
from otel_ml_collector.api.parameters import needs
from otel_ml_collector.decode.signals import Form, Signal
from otel_ml_collector.errors import Refused
from otel_ml_collector.feedback.statements import (
    StoredEvaluations,
    WantedEvaluations,
    make_feedback,
)
from otel_ml_collector.receive.pipeline import Export, Intake
from otel_ml_collector.services import find_service, service_of
from otel_ml_collector.store.reader import Reader

router = APIRouter(prefix="/api/v1", route_class=JsonRoute)


@router.post("/projects/{project:path}/evaluations")
async def post_evaluations(
    project: str,
    wanted: WantedEvaluations,
    request: Request,
    pipeline: Annotated[Intake, Depends(service_of(Intake))],
    access: Annotated[Access, Depends(needs(ANNOTATE))],
) -> StoredEvaluations:
    """Store what people say of runs, and truths that came later; answered when it is durable.

    What they are about may come later. Sent again under its `id`, a statement is stored once.
    """
    reader = find_service(request, Reader).narrow(access)
    with pipeline.hold() as held:
        feedback = await run_sync(
            make_feedback, reader, project, wanted.evaluations, time.time_ns()
        )
        held.grow(len(feedback.body))
        # It is filed under this project alone, by the road that all records take.
        may = replace(access, scopes=access.scopes | {INGEST}, projects=(project,))
        export = Export(feedback.body, "identity", None, Signal.TRACES, Form.JSON, may)
        answer = await pipeline.accept(export, held)
    if answer.rejected:
        raise Refused(answer.message)
    return StoredEvaluations(evaluations=list(feedback.stored))
