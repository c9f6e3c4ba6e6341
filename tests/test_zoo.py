import builtins
import contextlib
import errno
import hashlib
import json
import pickle
import re
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from hostile_checkpoints import ARCHITECTURE, CLASSES, WIDTH, Runs, good_bytes, good_state
from hostile_checkpoints import hostile_checkpoints as build_hostile
from safetensors.torch import load_file, save

from mixviz import zoo
from mixviz.networks import NETWORKS
from mixviz.train.checkpoint import round_weights, write_checkpoint
from mixviz.zoo import catalogue, hub
from mixviz.zoo.hub import HubFile

BUNDLED = "tiny-imagenet-preactresnet18"
CPU = torch.device("cpu")
HOSTILE = build_hostile()
NAMES = ["cat", "dog", "bus", "cup", "owl"]


def own(weights: bytes | Path, **changes: object) -> zoo.Classifier:
    settings = {"class_names": NAMES, "input_size": 32} | changes
    return zoo.load_own(weights, ARCHITECTURE, **settings)


def pictures(count: int = 2, size: int = 48) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(1))


# --- the classifier


def test_classifier_normalises_and_answers_as_the_network_does() -> None:
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    classifier = own(good_bytes(), mean=mean, std=std)
    network = NETWORKS[ARCHITECTURE](num_classes=CLASSES, width=WIDTH)
    network.load_state_dict(good_state())
    x = pictures()
    centred = (x - torch.tensor(mean)[None, :, None, None]) / torch.tensor(std)[None, :, None, None]
    torch.testing.assert_close(classifier(x), network.eval()(centred))
    assert classifier.class_names == tuple(NAMES)
    assert classifier.device == CPU


def test_forward_keeps_the_size_and_predict_resizes() -> None:
    classifier = own(good_bytes())
    seen: list[tuple[int, ...]] = []
    classifier.network.register_forward_pre_hook(
        lambda module, inputs: seen.append(tuple(inputs[0].shape))
    )
    classifier(pictures())
    probabilities = classifier.predict(pictures())
    assert seen == [(2, 3, 48, 48), (2, 3, 32, 32)]
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(2))
    assert not probabilities.requires_grad


def test_classifier_is_frozen_and_lets_the_gradient_through() -> None:
    classifier = own(good_bytes())
    before = {name: tensor.clone() for name, tensor in classifier.state_dict().items()}
    classifier.train()
    assert not any(module.training for module in classifier.modules())
    assert not any(parameter.requires_grad for parameter in classifier.parameters())
    x = pictures().requires_grad_()
    (gradient,) = torch.autograd.grad(classifier(x).logsumexp(1).sum(), x)
    assert gradient.abs().sum() > 0
    for name, tensor in classifier.state_dict().items():
        assert torch.equal(tensor, before[name])
        assert name.startswith("network.")


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 1, 32, 32), (1, 32, 32, 3)])
def test_classifier_refuses_what_is_no_batch_of_pictures(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=re.escape(str(shape))):
        own(good_bytes())(torch.zeros(shape))


def test_device_is_one_torch_knows_and_has_a_name() -> None:
    assert torch.zeros(1, device=zoo.pick_device()).sum() == 0
    words = zoo.device_words(CPU)
    assert re.fullmatch(r"CPU \(\S+, \d+ cores?\), \d+ GB", words)


# --- own checkpoints


def test_own_checkpoint_loads_from_bytes_and_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    path.write_bytes(good_bytes())
    x = pictures()
    assert torch.equal(own(good_bytes())(x), own(path)(x))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_becomes_float32(dtype: torch.dtype) -> None:
    state = {
        name: tensor.to(dtype) if tensor.ndim > 1 else tensor
        for name, tensor in good_state().items()
    }
    classifier = own(save(state))
    for name, tensor in classifier.network.state_dict().items():
        assert torch.equal(tensor, state[name].to(tensor.dtype)), name
    assert {p.dtype for p in classifier.parameters()} == {torch.float32}


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "network."])
def test_wrapped_names_and_missing_counters_are_forgiven(prefix: str) -> None:
    state = {
        prefix + name: tensor
        for name, tensor in good_state().items()
        if not name.endswith("num_batches_tracked")
    }
    x = pictures()
    assert torch.equal(own(save(state))(x), own(good_bytes())(x))


@pytest.mark.parametrize("width", [1, 3, 6])
def test_width_is_read_from_the_weights(width: int) -> None:
    network = NETWORKS[ARCHITECTURE](num_classes=7, width=width)
    classifier = own(save(network.state_dict()), class_names=())
    assert classifier.class_names == tuple(f"class {i}" for i in range(7))


def test_options_reach_the_network() -> None:
    x = pictures(size=32)
    strided = own(good_bytes(), options={"stem_stride": 2})
    assert strided.network.stem.stride == (2, 2)
    assert not torch.equal(strided(x), own(good_bytes())(x))


def test_torchvision_architecture_takes_own_weights() -> None:
    from torchvision.models import get_model

    network = get_model("mobilenet_v3_large", weights=None, num_classes=3).eval()
    classifier = zoo.load_own(save(network.state_dict()), "mobilenet_v3_large", input_size=64)
    zero, one = [0.0] * 3, [1.0] * 3
    plain = zoo.load_own(
        save(network.state_dict()), "mobilenet_v3_large", input_size=64, mean=zero, std=one
    )
    x = pictures(1, 64)
    torch.testing.assert_close(plain(x), network(x))
    assert classifier.class_names == ("class 0", "class 1", "class 2")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"class_names": ["a", "b"]}, "has 5 classes, but 2 names came"),
        ({"class_names": ["a", "b", "c", "d", ""]}, "Class name 4 must be one line"),
        ({"class_names": ["a", "b\nc", "c", "d", "e"]}, "Class name 1 must be one line"),
        ({"input_size": 8}, "input size must lie in [16, 512] pixels, got 8"),
        ({"input_size": 10**9}, "input size must lie in [16, 512]"),
        ({"mean": [0.5, 0.5]}, "mean must be three numbers"),
        ({"mean": [0.5, 0.5, float("nan")]}, "mean must be three numbers"),
        ({"std": [0.2, 0.2, 0.0]}, "std must be three positive numbers"),
        ({"std": ["a", "b", "c"]}, "std must be three positive numbers"),
        ({"options": {"depth": 3}}, "has no option 'depth', it has: width, stem_stride"),
        ({"options": {"width": 10**6}}, "width must be a whole number from 1 to 1024"),
        ({"options": {"width": 4}}, "has shape (5, 16), preactresnet18 needs (5, 32)"),
        ({"options": {"stem_stride": 0}}, "stem_stride must be a whole number from 1 to 8"),
    ],
)
def test_wrong_descriptions_are_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(zoo.CheckpointError, match=re.escape(words)):
        own(good_bytes(), **changes)


def test_unknown_architecture_is_refused() -> None:
    with pytest.raises(zoo.CheckpointError, match=r"'os\.system' is unknown, there are: preact"):
        zoo.load_own(good_bytes(), "os.system")


def test_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(zoo.CheckpointError, match=r"gone\.safetensors cannot be read"):
        own(tmp_path / "gone.safetensors")


def test_size_cap_is_checked_before_anything_else(tmp_path: Path) -> None:
    path = tmp_path / "big.safetensors"
    with path.open("wb") as file:
        file.truncate(401 * 2**20)  # sparse: takes no room
    with pytest.raises(zoo.CheckpointError, match="has 401 MB, at most 400 MB fit"):
        own(path)


# --- hostile checkpoints: in a process of their own, so that its memory can be read

JUDGE = """
import builtins, json, resource, sys
from pathlib import Path
import torch
from mixviz import zoo
settings = json.loads(sys.argv[1])
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
zoo.load_own(Path(settings["good"]), settings["architecture"], input_size=32)
verdicts = {}
for name, path in settings["hostile"].items():
    before = peak()
    messages = []
    for weights in (Path(path), Path(path).read_bytes()):
        try:
            zoo.load_own(weights, settings["architecture"], input_size=32)
            messages.append("accepted")
        except zoo.CheckpointError as error:
            messages.append(str(error))
    verdicts[name] = [messages, peak() - before, hasattr(builtins, "mixviz_was_here")]
print(json.dumps(verdicts))
"""


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[list[str], float, bool]]:
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "good").write_bytes(good_bytes())
    for index, (content, _) in enumerate(HOSTILE.values()):
        (folder / str(index)).write_bytes(content)
    settings = {
        "architecture": ARCHITECTURE,
        "good": str(folder / "good"),
        "hostile": {name: str(folder / str(index)) for index, name in enumerate(HOSTILE)},
    }
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(JUDGE), json.dumps(settings)],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_checkpoint_is_refused_in_one_sentence(
    name: str, verdicts: dict[str, tuple[list[str], float, bool]]
) -> None:
    messages, megabytes, ran = verdicts[name]
    fragment = HOSTILE[name][1]
    for message in messages:
        assert fragment in message
        assert message.endswith(".")
        assert "\n" not in message
        assert len(message) < 400
    assert megabytes < 300
    assert not ran


def test_zip_bomb_is_one() -> None:
    assert len(HOSTILE["a zip bomb"][0]) < 2**20


# --- the catalogue


def card_facts(weights: bytes) -> dict[str, object]:
    return {
        "architecture": {"name": ARCHITECTURE, "options": {"width": WIDTH, "stem_stride": 2}},
        "class_names": NAMES,
        "input_size": 64,
        "mean": [0.48, 0.45, 0.4],
        "std": [0.27, 0.26, 0.28],
        "top1": 61.2,
        "top5": 82.3,
        "sha256": hashlib.sha256(weights).hexdigest(),
        "data": "Tiny ImageNet",
        "terms": "for tests",
        "seed": 0,
    }


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    (tmp_path / f"{BUNDLED}.safetensors").write_bytes(good_bytes())
    facts = json.dumps(card_facts(good_bytes()))
    (tmp_path / f"{BUNDLED}.json").write_text(facts, encoding="utf-8")
    return tmp_path


def test_bundled_classifier_loads_twice_the_same(bundle: Path) -> None:
    one, other = (zoo.load(BUNDLED, CPU, bundle) for _ in range(2))
    assert one.slug == BUNDLED
    assert one.input_size == 64
    assert one.terms == "for tests"
    assert one.network.stem.stride == (2, 2)
    assert torch.equal(one.predict(pictures()), other.predict(pictures()))
    assert zoo.card(BUNDLED, bundle).top1 == 61.2


def test_what_training_writes_is_what_the_zoo_reads(tmp_path: Path) -> None:
    network = NETWORKS[ARCHITECTURE](num_classes=CLASSES, width=WIDTH, stem_stride=2).eval()
    weights = round_weights(network)
    write_checkpoint(tmp_path, BUNDLED, weights, card_facts(b""))
    network.load_state_dict(weights)
    classifier = zoo.load(BUNDLED, CPU, tmp_path)
    x = pictures()
    torch.testing.assert_close(classifier(x), network((x - classifier.mean) / classifier.std))


def test_missing_bundled_file_is_one_sentence(tmp_path: Path) -> None:
    for ask in (lambda: zoo.load(BUNDLED, CPU, tmp_path), lambda: zoo.card(BUNDLED, tmp_path)):
        with pytest.raises(zoo.ZooError, match="The bundled classifier is missing") as caught:
            ask()
        assert str(tmp_path) not in str(caught.value)


def test_weights_that_differ_from_their_card_are_refused(bundle: Path) -> None:
    path = bundle / f"{BUNDLED}.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(zoo.ZooError, match="SHA-256 is not the one on its card"):
        zoo.load(BUNDLED, CPU, bundle)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"architecture": 3}', "\x00"])
def test_unreadable_card_is_one_sentence(bundle: Path, text: str) -> None:
    (bundle / f"{BUNDLED}.json").write_text(text, encoding="utf-8")
    with pytest.raises(zoo.ZooError, match=f"The card {BUNDLED}.json cannot be read"):
        zoo.load(BUNDLED, CPU, bundle)


def test_catalogue_is_in_menu_order_and_says_what_is_here(bundle: Path) -> None:
    listed = zoo.list_entries(bundle)
    assert [item.entry.slug for item in listed] == list(zoo.CATALOGUE)
    assert [item.is_here for item in listed] == [True, *[False] * (len(listed) - 1)]
    assert listed[0].words == "ready"
    words = {item.entry.slug: item.words for item in listed}
    assert words["resnet18"] == "fetched on first use (45 MB)"
    empty = zoo.list_entries(bundle / "nothing")
    assert empty[0].words == "missing from this copy"


@pytest.mark.parametrize("slug", ["../../etc/passwd", "", "alexnet"])
def test_unknown_slug_never_becomes_a_path(slug: str, tmp_path: Path) -> None:
    with pytest.raises(zoo.ZooError, match="no classifier of that name"):
        zoo.load(slug, CPU, tmp_path)


IN_REPOSITORY = [entry.slug for entry in zoo.CATALOGUE.values() if entry.kind == "bundled"]


@pytest.mark.parametrize("slug", IN_REPOSITORY)
def test_every_bundled_classifier_is_in_the_repository(slug: str) -> None:
    classifier = zoo.load(slug, torch.device("cpu"))
    assert len(classifier.class_names) == 200
    assert zoo.CATALOGUE[slug].megabytes == round(zoo.CATALOGUE[slug].path().stat().st_size / 1e6)
    assert classifier.predict(torch.full((1, 3, 64, 64), 0.5)).sum() == pytest.approx(1, abs=1e-5)


def test_the_thin_classifiers_differ_in_the_method_alone() -> None:
    thin = [slug for slug in IN_REPOSITORY if "thin" in slug]
    cards = [json.loads(zoo.CATALOGUE[s].path().with_suffix(".json").read_text()) for s in thin]
    assert len({card["method"] for card in cards}) == len(thin) == 5
    assert len({json.dumps(card["recipe"] | {"mixing": None}) for card in cards}) == 1
    assert sum(zoo.CATALOGUE[slug].path().stat().st_size for slug in thin) < 30e6


HUB = [entry.slug for entry in zoo.CATALOGUE.values() if entry.kind == "hub"]


@pytest.mark.parametrize("slug", HUB)
def test_hub_entries_agree_with_torchvision(slug: str) -> None:
    facts = zoo.card(slug)
    weights = hub.hub_weights(slug)
    source = hub.hub_file(slug)
    assert facts.input_size == 224
    assert len(facts.class_names) == 1000
    assert facts.class_names[0] == "tench"
    assert facts.top1 == weights.meta["_metrics"]["ImageNet-1K"]["acc@1"]
    assert zoo.CATALOGUE[slug].megabytes == round(weights.meta["_file_size"])
    assert source.url.startswith("https://download.pytorch.org/")
    assert re.fullmatch(r"[0-9a-f]{8}", source.sha256_start)
    assert 2**20 * weights.meta["_file_size"] < source.max_bytes < 120 * 2**20


# --- fetching


@contextlib.contextmanager
def serving(content: bytes, announced: int | None, status: int = 200) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            if announced is not None:
                self.send_header("Content-Length", str(announced))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/weights.pth"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def refused_url() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/weights.pth"


def start_of_hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:8]


@pytest.fixture
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def fails_to_fetch(source: HubFile, folder: Path) -> str:
    with pytest.raises(zoo.ZooError) as caught:
        hub.fetch("resnet18", "ResNet-18", source, folder / "w.safetensors", lambda *_: None)
    message = str(caught.value)
    assert message.startswith("ResNet-18 could not be fetched (")
    assert message.endswith("); the app goes on with the bundled classifier.")
    assert not folder.exists() or not list(folder.iterdir())
    return message


@pytest.mark.usefixtures("no_proxy")
class TestFetchFailures:
    CONTENT = bytes(range(256)) * 1000

    def test_refused_connection(self, tmp_path: Path) -> None:
        source = HubFile(refused_url(), "00000000", 1000)
        assert "connection refused" in fails_to_fetch(source, tmp_path)

    def test_missing_file(self, tmp_path: Path) -> None:
        source = HubFile((tmp_path.parent / "gone.pth").as_uri(), "00000000", 1000)
        assert "no such file" in fails_to_fetch(source, tmp_path).lower()

    def test_wrong_hash(self, tmp_path: Path) -> None:
        with serving(self.CONTENT, len(self.CONTENT)) as url:
            message = fails_to_fetch(HubFile(url, "00000000", 10**6), tmp_path)
        assert "its hash is not the published one" in message

    def test_broken_off(self, tmp_path: Path) -> None:
        with serving(self.CONTENT[:1000], len(self.CONTENT)) as url:
            source = HubFile(url, start_of_hash(self.CONTENT), 10**6)
            message = fails_to_fetch(source, tmp_path)
        assert "it broke off after 1000 of 256000 bytes" in message

    def test_bigger_than_announced_anywhere(self, tmp_path: Path) -> None:
        with serving(self.CONTENT, announced=None) as url:
            message = fails_to_fetch(HubFile(url, "00000000", 5000), tmp_path)
        assert "more than the 5000 bytes expected" in message

    def test_announces_too_much(self, tmp_path: Path) -> None:
        with serving(b"", announced=10**12) as url:
            message = fails_to_fetch(HubFile(url, "00000000", 5000), tmp_path)
        assert "it has 1000000000000 bytes, 5000 were expected" in message

    def test_server_says_no(self, tmp_path: Path) -> None:
        with serving(b"", 0, status=503) as url:
            message = fails_to_fetch(HubFile(url, "00000000", 5000), tmp_path)
        assert "the server answered 503" in message

    def test_silent_server(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(hub, "SILENCE_SECONDS", 0.1)
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            url = f"http://127.0.0.1:{silent.getsockname()[1]}/w.pth"
            message = fails_to_fetch(HubFile(url, "00000000", 5000), tmp_path)
        assert "no answer in time" in message

    def test_trickle_meets_the_deadline(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(hub, "MOST_SECONDS", 0.0)
        with serving(self.CONTENT, len(self.CONTENT)) as url:
            message = fails_to_fetch(HubFile(url, "00000000", 10**6), tmp_path)
        assert "no answer in time" in message

    def test_full_disk(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(source: HubFile, path: Path, title: str, progress: hub.Progress) -> None:
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(hub, "download", full)
        message = fails_to_fetch(HubFile("http://127.0.0.1/", "00000000", 1), tmp_path)
        assert "no space left on device" in message

    def test_folder_that_cannot_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(zoo.ZooError, match="could not be fetched"):
            hub.fetch(
                "resnet18",
                "ResNet-18",
                HubFile("http://127.0.0.1/", "00000000", 1),
                tmp_path / "file" / "w.safetensors",
                lambda *_: None,
            )

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (pickle.dumps(Runs(), protocol=2), "Weights only load failed"),
            (HOSTILE["a .pth"][0], "The checkpoint is not a resnet18"),
        ],
    )
    def test_published_file_that_is_no_resnet18(
        self, tmp_path: Path, content: bytes, words: str
    ) -> None:
        with serving(content, len(content)) as url:
            message = fails_to_fetch(HubFile(url, start_of_hash(content), 10**6), tmp_path)
        assert words in message
        assert not hasattr(builtins, "mixviz_was_here")

    def test_caller_that_stops_leaves_nothing(self, tmp_path: Path) -> None:
        class Stopped(BaseException):
            pass

        def stop(share: float, words: str) -> None:
            raise Stopped

        with serving(self.CONTENT, len(self.CONTENT)) as url:
            source = HubFile(url, "00000000", 10**6)
            with pytest.raises(Stopped):
                hub.fetch("resnet18", "ResNet-18", source, tmp_path / "w.safetensors", stop)
        assert not list(tmp_path.iterdir())


def test_first_use_fetches_and_later_uses_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.models import resnet18

    state = resnet18(weights=None).state_dict()
    published = tmp_path / "published.pth"
    torch.save(state, published)
    source = HubFile(published.as_uri(), start_of_hash(published.read_bytes()), 50 * 2**20)
    monkeypatch.setattr(catalogue, "hub_file", lambda architecture: source)
    folder = tmp_path / "checkpoints"
    told: list[tuple[float, str]] = []
    first = zoo.load("resnet18", CPU, folder, lambda share, words: told.append((share, words)))
    assert [path.name for path in folder.iterdir()] == ["resnet18.safetensors"]
    shares = np.array([share for share, _ in told])
    assert shares[-1] == 1.0
    assert (np.diff(shares) > 0).all()
    assert len(told) <= 101
    assert told[-1][1] == "ResNet-18, ImageNet: 45 of 45 MB"
    saved = load_file(folder / "resnet18.safetensors")
    assert saved.keys() == state.keys()
    assert all(torch.equal(saved[name], state[name]) for name in state)

    published.unlink()
    second = zoo.load("resnet18", CPU, folder)
    assert torch.equal(first.predict(pictures(1)), second.predict(pictures(1)))

    (folder / "resnet18.safetensors").write_bytes(b"")
    with pytest.raises(zoo.ZooError, match="is damaged; delete it and it is fetched again"):
        zoo.load("resnet18", CPU, folder)


def test_second_visitor_waits_for_the_download_of_the_first(tmp_path: Path) -> None:
    target = tmp_path / "w.safetensors"
    told: list[str] = []

    def first_finishes(share: float, words: str) -> None:
        told.append(words)
        target.write_bytes(b"done by the first")
        hub._fetching.release()

    hub._fetching.acquire()
    source = HubFile("http://127.0.0.1/", "00000000", 1)
    hub.fetch("resnet18", "ResNet-18", source, target, first_finishes)
    assert told == ["ResNet-18: another download is under way"]
    assert not hub._fetching.locked()
