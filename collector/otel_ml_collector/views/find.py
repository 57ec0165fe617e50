"""Saved views: found, checked and counted; the one `find` behind the JSON API and the pages."""

from otel_ml_collector.errors import BadQuery, NotFound
from otel_ml_collector.query.answers.views import MOST, View, WantedView
from otel_ml_collector.query.runs import compile_where
from otel_ml_collector.query.times import to_rfc3339
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.views import StoredView, ViewStore, read_views


def find_views(reader: Reader, project: str) -> list[View]:
    """Find the saved views of a project, by name."""
    return [_view(stored) for stored in read_views(reader, project, MOST)]


def find_view(reader: Reader, project: str, name: str) -> View:
    """Find one saved view.

    Raises:
        NotFound: There is none of that name.
    """
    for view in find_views(reader, project):
        if view.name == name:
            return view
    raise NotFound(f"There is no view {name[:80]!r}")


def save_view(
    reader: Reader, store: ViewStore, project: str, name: str, wanted: WantedView
) -> View:
    """Save a view, in place of the one of its name; twice is harmless.

    Raises:
        BadQuery: Its filter is wrong, or there are too many views.
    """
    compile_where(reader, project, wanted.parameters.get("where", ""), is_bounded=True)
    names = {view.name for view in find_views(reader, project)}
    if len(names) >= MOST and name not in names:
        raise BadQuery(f"The project has {MOST} views already: delete one first", "name")
    return _view(store.save(project, name, wanted.page, wanted.parameters))


def delete_view(reader: Reader, store: ViewStore, project: str, name: str) -> View:
    """Delete a view; return what it was.

    Raises:
        NotFound: There is none of that name.
    """
    view = find_view(reader, project, name)
    store.delete(project, name)
    return view


def _view(stored: StoredView) -> View:
    return View(
        name=stored.name,
        page=stored.page,  # type: ignore[arg-type]  # only known pages were stored
        parameters=stored.parameters,
        saved_time=to_rfc3339(stored.saved_ns),
    )
