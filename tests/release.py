"""``make release``: build and check the packages, and run the README with the installed ones."""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Final

from docs.make_changelog import ROOT, version
from tests.support.collector import READY

DIST: Final = ROOT / "dist"
PYTHON: Final = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LARGE: Final = ("chdb", "pyarrow", "pandas", "numpy", "numpy.libs")
INSTALLER: Final = ("pip", "setuptools", "pkg_resources", "_distutils_hack")


def build(python: Path) -> tuple[Path, Path]:
    """Build the source distribution, and the wheel from it; return wheel and source."""
    shutil.rmtree(DIST, ignore_errors=True)
    run(python, "-m", "build", "--no-isolation", "--outdir", DIST, ROOT)
    [wheel], [source] = DIST.glob("*.whl"), DIST.glob("*.tar.gz")
    run(python, "-m", "twine", "check", "--strict", wheel, source)
    return wheel, source


def check_contents(wheel: Path, source: Path) -> None:
    """Check that each package has the expected files and no others."""
    with zipfile.ZipFile(wheel) as opened:
        held = set(opened.namelist())
    ours = {"otel_ml": ROOT, "otel_ml_collector": ROOT / "collector"}
    wanted = {
        str(file.relative_to(folder))
        for name, folder in ours.items()
        for file in (folder / name).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    about = f"otel_ml-{version()}.dist-info/"
    licenses = {
        f"{about}licenses/{file.relative_to(ROOT)}"
        for file in (ROOT / "LICENSE", *ROOT.glob("collector/**/vendor/*.LICENSE"))
    }
    described = {about + name for name in ("METADATA", "RECORD", "WHEEL", "entry_points.txt")}
    expect(held, wanted | licenses | described, wheel)
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    missing = {"LICENSE", "Makefile", "CHANGELOG.md", "tests/conftest.py"} - names
    expect(missing, set(), source)


def expect(held: set[str], wanted: set[str], package: Path) -> None:
    """Exit if a package lacks files or has too many."""
    if held != wanted:
        lacks, has = sorted(wanted - held)[:5], sorted(held - wanted)[:5]
        raise SystemExit(f"{package.name} lacks {lacks} and should not have {has}")


def install(wheel: Path, extra: str, folder: Path) -> Path:
    """Install the wheel into an empty environment; return its Python."""
    run(Path(sys.executable), "-m", "venv", folder)
    python = folder / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", f"otel-ml{extra} @ {wheel.as_uri()}")
    [packages] = folder.glob("lib/python*/site-packages")
    sizes = {one.name: size_of(one) for one in packages.iterdir()}
    total = sum(size for name, size in sizes.items() if name.partition("-")[0] not in INSTALLER)
    parts = ", ".join(f"{name} {sizes[name]:.0f}" for name in LARGE if name in sizes)
    say(f"otel-ml{extra}: {total:.0f} MB" + (f", of which {parts}" if parts else ""))
    return python


def size_of(path: Path) -> float:
    """Return a size in MB, as `du` measures it."""
    said = subprocess.run(["du", "-sk", path], capture_output=True, text=True, check=True).stdout
    return int(said.split()[0]) / 1024


def run_readme(light: Path, collector: Path, folder: Path) -> None:
    """Run the README's blocks in one environment, with a collector from the other."""
    folder.mkdir()
    serve = [str(collector.parent / "otel-ml"), "serve"]
    serve += ["--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0"]
    with subprocess.Popen(serve, cwd=folder, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            found = READY.search(server.stdout.readline())
            if found is None:
                raise SystemExit("The installed collector does not start")
            environment = {**os.environ, "OTEL_ML_ENDPOINT": found[1], "OTEL_ML_PROJECT": "readme"}
            for number, block in enumerate(PYTHON.findall((ROOT / "README.md").read_text())):
                script = folder / f"block_{number}.py"
                script.write_text(block)
                subprocess.run([light, script], cwd=folder, env=environment, check=True)
            asked = ["runs", "--project", "my-project", "--format", "json", "--endpoint", found[1]]
            told = subprocess.run(
                [collector.parent / "otel-ml", *asked], capture_output=True, text=True, check=True
            )
            names = [one["model"] for one in json.loads(told.stdout)["runs"]]
            if "answer" not in names:
                raise SystemExit(f"The README's run is not listed: {names}")
            say(f"README: {number + 1} blocks ran, the collector lists {names}")
        finally:
            server.terminate()


def tag() -> None:
    """Create the tag of this version if everything is committed."""
    changed = run(Path("git"), "status", "--porcelain")
    if changed:
        raise SystemExit(f"No tag, there are changes that are not committed:\n{changed}")
    run(Path("git"), "tag", "--annotate", f"v{version()}", "--message", f"otel-ml {version()}")
    say(f"Tagged v{version()}; push it: git push origin v{version()}")


def run(program: Path, *arguments: object) -> str:
    """Run a program; exit with its output if it fails."""
    command = [str(program), *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    """Make a release, and its tag if requested."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--builder", type=Path, default=ROOT / ".venv-release/bin/python")
    parser.add_argument("--tag", action="store_true")
    flags = parser.parse_args()
    if f"\n## {version()}\n" not in (ROOT / "CHANGELOG.md").read_text():
        raise SystemExit(f"CHANGELOG.md has no chapter {version()}: make changelog")
    wheel, source = build(flags.builder.absolute())
    check_contents(wheel, source)
    say(f"{wheel.name} and {source.name} hold what they should")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        light = install(wheel, "", folder / "light")
        collector = install(wheel, "[collector]", folder / "collector")
        run_readme(light, collector, folder / "work")
    if flags.tag:
        tag()
    else:
        say(f"When it is committed and the checks are green: make release TAG=1 tags v{version()}")


if __name__ == "__main__":
    main()
