"""Whatever a visitor uploads, the page stays as it was and says in a sentence what is wrong."""

import pytest
from hostile_checkpoints import hostile_checkpoints
from hostile_images import HOSTILE
from streamlit.testing.v1 import AppTest
from test_app import ROOT

from mixviz.samples import UploadError, decode_upload
from mixviz.ui import frame

CHECKPOINTS = hostile_checkpoints()


@pytest.fixture(scope="module")
def page():
    app = AppTest.from_file(str(ROOT / frame.HOME), default_timeout=60)
    app.query_params["model"] = "own"  # without weights the bundled one looks; the uploader shows
    app.run()
    assert not app.exception
    return app


def picture_of(app):
    """All that the main part of the page shows in pictures, numbers and words."""
    return [element.proto.body for element in app.main.get("html")]


def uploader(app, name):
    (found,) = [one for one in app.file_uploader if one.key.startswith(f"{name}-")]
    return found


def dismiss(app):
    while app.warning:
        next(one for one in app.button if one.key.startswith("dismiss-")).click().run()


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_picture_changes_nothing(page, name):
    data, file, _ = HOSTILE[name]
    with pytest.raises(UploadError) as refused:
        decode_upload(data, file)
    before, query = picture_of(page), dict(page.query_params)
    uploader(page, "upload").upload(file, data, "image/png").run()
    assert not page.exception
    assert [warning.value for warning in page.warning] == [str(refused.value)]
    assert (picture_of(page), dict(page.query_params)) == (before, query)
    dismiss(page)


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_hostile_checkpoint_changes_nothing(page, name):
    data, words = CHECKPOINTS[name]
    before, query = picture_of(page), dict(page.query_params)
    uploader(page, "weights").upload("own.safetensors", data, "application/octet-stream").run()
    assert not page.exception
    (said,) = [warning.value for warning in page.warning]
    assert words in said
    assert (picture_of(page), dict(page.query_params)) == (before, query)
    dismiss(page)
