"""The repository keeps its own promises."""

import ast
import hashlib
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
# What pip calls it → what Python imports.
IMPORTED_AS = {
    "gco-wrapper": "gco",
    "pillow": "PIL",
    "scikit-image": "skimage",
    "scikit-learn": "sklearn",
}
# Required without an import: their photographs are read as files.
WITHOUT_IMPORT = {"skimage", "sklearn"}


def tracked():
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


def texts():
    binary = {".safetensors", ".png"}
    return {path: path.read_text() for path in tracked() if path.suffix not in binary}


def required():
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    names = [re.match(r"[A-Za-z0-9_-]+", line) for line in lines]
    return {IMPORTED_AS.get(name[0].lower(), name[0].lower()) for name in names if name}


def imported():
    found = set()
    for path in [*(ROOT / "mixviz").rglob("*.py"), *(ROOT / "pages").glob("*.py"), ROOT / "app.py"]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.partition(".")[0])
            elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "import_module":
                name = node.args[0]
                if isinstance(name, ast.Constant):
                    found.add(str(name.value).partition(".")[0])
    return found - set(sys.stdlib_module_names) - {"mixviz"}


def test_every_import_is_required_and_every_requirement_imported():
    optional = {"playwright"}  # the bench drives a browser where the tests' one is installed
    assert imported() - optional <= required()
    assert required() - WITHOUT_IMPORT <= imported()


def test_versions_are_bounded():
    lines = [line for line in (ROOT / "requirements.txt").read_text().splitlines()]
    bare = [line for line in lines if line and not line.startswith("#") and ">=" not in line]
    assert bare == []


def test_files_speak_of_the_project_alone():
    here = "/".join(("", "work", ""))
    unwanted = re.compile(rf"{here}|/opt/pypi|\.\./shared|/root/|files\.pythonhosted|noqa|TO" "DO")
    found = {
        str(path.relative_to(ROOT)): match[0]
        for path, text in texts().items()
        if path != Path(__file__) and (match := unwanted.search(text))
    }
    assert found == {}


def test_no_test_is_skipped():
    hiding = re.compile(r"pytest\.skip|importorskip|mark\.skip|mark\.xfail")
    for path, text in texts().items():
        if path.parent.name == "tests" and path != Path(__file__):
            assert not hiding.search(text), path


def test_streamlit_is_hardened_as_decided():
    with (ROOT / ".streamlit/config.toml").open("rb") as file:
        config = tomllib.load(file)
    assert config["client"]["showErrorDetails"] == "none"
    assert config["client"]["toolbarMode"] == "viewer"
    assert config["runner"]["postScriptGC"] is False
    assert config["runner"]["magicEnabled"] is False
    assert config["browser"]["gatherUsageStats"] is False
    assert config["server"]["enableStaticServing"] is False
    assert config["server"]["maxUploadSize"] <= 120
    assert {"light", "dark"} <= set(config["theme"])


def test_the_options_exist_in_this_streamlit():
    """An upgrade that renames a hidden option must be noticed."""
    from streamlit import config

    with (ROOT / ".streamlit/config.toml").open("rb") as file:
        sections = tomllib.load(file)
    for section in ("server", "runner", "client", "browser"):
        for name in sections[section]:
            assert f"{section}.{name}" in config._config_options_template, name


def test_the_readme_names_what_there_is():
    readme, make = (ROOT / "README.md").read_text(), (ROOT / "Makefile").read_text()
    for target in re.findall(r"`make (\w+)`", readme):
        assert f"\n{target}:" in make, target
    for name in re.findall(r"\]\(([\w./-]+\.(?:md|png))\)", readme):
        assert (ROOT / name).is_file(), name
    assert "MIT License" in (ROOT / "LICENSE").read_text()


def test_the_bundled_weights_are_the_cards():
    path = ROOT / "checkpoints/tiny-imagenet-preactresnet18.safetensors"
    card = json.loads(path.with_suffix(".json").read_text())
    assert path.stat().st_size <= 25_000_000
    assert hashlib.sha256(path.read_bytes()).hexdigest() == card["sha256"]
    assert card["top1"] >= 57
    for told in ("data", "recipe", "command", "seed", "versions", "epochs", "date", "terms"):
        assert card[told] not in (None, "", {}), told


def test_what_ci_runs_is_what_a_person_types():
    script = (ROOT / ".ci/run").read_text()
    assert [line for line in script.splitlines() if line.startswith("make")] == [
        "make check",
        "make test",
    ]
