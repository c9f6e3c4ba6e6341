"""The repository itself: what a fresh clone installs, runs, and says of itself."""

import ast
import hashlib
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = sorted([ROOT / "app.py", *(ROOT / "pages").glob("*.py"), *(ROOT / "mixviz").rglob("*.py")])
TESTS = sorted((ROOT / "tests").glob("*.py"))
DOCUMENTS = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "DECISIONS.md"]
# Distributions whose import has another name.
IMPORTS = {
    "pillow": "PIL",
    "scikit-image": "skimage",
    "scikit-learn": "sklearn",
    "gco-wrapper": "gco",
    "pymaxflow": "maxflow",
    "import-linter": "importlinter",
    "lightning-fabric": "lightning_fabric",
    "stable-baselines3": "stable_baselines3",
}
# What is required without an import that names it, and why.
WITHOUT_IMPORT = {
    "scikit-image": "its photographs are read from its folder",
    "scikit-learn": "its photographs are read from its folder",
    "numba": "imported by name where it is there; NumPy and SciPy do without",
    "gco-wrapper": "imported by name where it is there",
}


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    names = listed.stdout.decode().split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def texts() -> dict[Path, str]:
    found = {}
    for path in tracked():
        if path.suffix not in (".safetensors", ".png", ".jpg", ".webp", ".ico", ".woff2"):
            found[path] = path.read_text(encoding="utf-8")
    return found


def required(file: str) -> dict[str, str]:
    """Return the requirements of a file: distribution in lower case, and its bounds."""
    found = {}
    for line in (ROOT / file).read_text().splitlines():
        line = line.partition("#")[0].strip()
        if line and not line.startswith("-r"):
            name, bounds = re.fullmatch(r"([A-Za-z0-9_.-]+)\s*(.*)", line).groups()
            found[name.lower()] = bounds
    return found


def imported(paths: list[Path]) -> set[str]:
    """Return the top names of all third-party modules that files import, wherever they do."""
    names = set()
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                names.add(node.module.partition(".")[0])
    own = {"mixviz", "__future__", *(path.stem for path in TESTS)}
    return {name for name in names if name not in sys.stdlib_module_names} - own


def test_what_is_imported_is_required_and_what_is_required_is_imported():
    run_time = required("requirements.txt")
    modules = {IMPORTS.get(name, name) for name in run_time}
    bench = {path for path in SOURCE if "bench" in path.parts}
    extras = {ROOT / "mixviz/train/agent.py", ROOT / "mixviz/train/board.py"}
    missing = imported([path for path in SOURCE if path not in bench | extras]) - modules
    assert not missing, f"imported by the app, not in requirements.txt: {missing}"
    training = {IMPORTS.get(name, name) for name in required("requirements-train.txt")}
    modules |= training | {"gymnasium"}  # of Stable-Baselines3, whose spaces are its own
    missing = imported(sorted(extras)) - modules
    assert not missing, f"imported by training, not in requirements-train.txt: {missing}"
    used = imported(SOURCE)
    idle = {
        name
        for name in run_time
        if IMPORTS.get(name, name) not in used and name not in WITHOUT_IMPORT
    }
    assert not idle, f"in requirements.txt, imported nowhere: {idle}"
    every = modules | {IMPORTS.get(name, name) for name in required("requirements-dev.txt")}
    missing = imported([*TESTS, *bench]) - every
    assert not missing, f"imported by tests or bench, not in requirements-dev.txt: {missing}"


def test_every_requirement_has_a_lower_bound():
    for file in ("requirements.txt", "requirements-train.txt", "requirements-dev.txt"):
        for name, bounds in required(file).items():
            assert ">=" in bounds, f"{name} in {file} has no lower bound"


def test_the_project_says_the_same_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["license"] == "MIT"
    licence = (ROOT / "LICENSE").read_text()
    assert licence.startswith("MIT License")
    assert "WITHOUT WARRANTY OF ANY KIND" in licence
    assert sys.version_info >= (3, 11)
    assert project["requires-python"].startswith(">=3.11")


def test_files_speak_of_the_project_alone():
    # In pieces, so that this file does not find itself.
    banned = [
        r"/wo" r"rk/",
        r"\.\./sha" r"red",
        r"/ho" r"me/\w+/",
        r"/ro" r"ot/",
        r"/Us" r"ers/\w+/",
        r"--index" r"-url",
        r"\bnoq" r"a\b",
        r"\bTO" r"DO\b",
        r"\bFIX" r"ME\b",
        r"\bX" r"XX\b",
        r"type: ign" r"ore(?!\[)",
        r"pytest\.(mark\.)?(sk" r"ip|xf" r"ail)",
        r"importorsk" r"ip",
        r"[a-z0-9.-]+\.inter" r"nal\b",
        r"artifact" r"ory",
    ]
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path, text in texts().items()
        for pattern in banned
        for match in re.finditer(pattern, text)
    ]
    assert not found


def test_text_files_are_clean():
    for path, text in texts().items():
        name = path.relative_to(ROOT)
        assert "\r" not in text, name
        assert text == "" or text.endswith("\n"), f"{name} does not end with a new line"
        assert not re.search(r"^(<<<<<<<|>>>>>>>) ", text, re.M), name


def test_nothing_large_or_secret_is_kept():
    for path in tracked():
        name = path.relative_to(ROOT)
        limit = 25_000_000 if path.suffix == ".safetensors" else 2_000_000
        assert path.stat().st_size <= limit, name
        assert path.suffix not in (".pth", ".pt", ".pkl", ".pickle", ".npy", ".zip"), name
        assert path.name != "secrets.toml", name


def test_streamlit_is_set_for_strangers():
    config = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text())
    assert config["runner"]["postScriptGC"] is False
    assert config["server"]["headless"] is True
    assert config["server"]["maxUploadSize"] <= 120
    assert config["server"]["enableStaticServing"] is False
    assert config["server"]["fileWatcherType"] == "none"
    assert config["server"].get("enableXsrfProtection", True) is True
    assert config["server"].get("enableCORS", True) is True
    assert config["server"]["disconnectedSessionTTL"] <= 60
    assert config["client"]["showErrorDetails"] == "none"
    assert config["client"]["toolbarMode"] == "viewer"
    assert config["browser"]["gatherUsageStats"] is False


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents_are_there_and_their_links_lead_somewhere(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert len(text) > 500, f"{name} says next to nothing"
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if not re.match(r"[a-z]+:", target):
            assert (ROOT / target).exists(), f"{name} links to {target}, which is not there"
    for target in re.findall(r"`((?:mixviz|tests|pages|checkpoints)/[\w./-]+)`", text):
        if "NAME" not in target:
            assert (ROOT / target).exists(), f"{name} names {target}, which is not there"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_commands_of_the_documents_are_in_the_makefile(name):
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
    asked = re.findall(r"(?:^|`)make ([a-z-]+)", (ROOT / name).read_text(), re.M)
    assert set(asked) <= set(targets), f"{name}: {set(asked) - set(targets)}"
    if name == "README.md":
        assert {"run", "test"} <= set(asked)


def test_checkpoints_are_what_their_cards_say():
    weights = [path for path in tracked() if path.suffix == ".safetensors"]
    assert weights, "the bundled classifier is missing"
    for path in weights:
        assert path.stat().st_size <= 25_000_000, path.name
        card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        assert hashlib.sha256(path.read_bytes()).hexdigest() == card["sha256"], path.name
        assert card["terms"]
        assert card["data"]


def test_every_module_says_what_it_is_for():
    for path in SOURCE:
        text = path.read_text(encoding="utf-8")
        if path.name == "__main__.py":
            continue
        assert not text.strip() or ast.get_docstring(ast.parse(text)), path.relative_to(ROOT)
