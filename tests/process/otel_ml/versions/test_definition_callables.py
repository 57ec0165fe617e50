"""Cases of tests/unit/otel_ml/versions/test_definition_callables.py that start processes."""

from pathlib import Path

from tests.support.otel_ml.scripts import ask_script


def test_digest_is_the_same_in_each_process(tmp_path: Path) -> None:
    """The digest of a callable object does not depend on its address."""
    script = """
        import functools, json
        from otel_ml.versions.definition import define

        class Base:
            def __call__(self, a):
                return a

        class Child(Base):
            pass

        padding = [object() for _ in range({})]
        targets = [Base(), Child(), functools.partial(Child(), 1), print, functools.partial(print)]
        print(json.dumps([define(target).digest for target in targets]))
    """
    assert ask_script(tmp_path, script.format(1)) == ask_script(tmp_path, script.format(100_000))
