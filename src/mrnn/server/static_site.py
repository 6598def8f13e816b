"""The page without a server: a static folder whose model runs in the browser, by onnxruntime-web.

index.html, *.js ...    the page of `mrnn serve`, and in browser/ what captions in place of the API
ort/                    ONNX Runtime for browsers
model/                  the model and its image encoder, as in a bundle
site.json               what the page says of the model, and the checksums of its files
probe.jpg, probe.json   a photo and its features, which tell whether a GPU computes them too
service_worker.js       keeps all of it for use without a network
"""

import hashlib
import itertools
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mrnn.captioning.captioner import Captioner
from mrnn.data.images import load_image
from mrnn.errors import CheckpointError
from mrnn.model.checkpoint import CONFIG, ENCODERS
from mrnn.model.config import CheckpointConfig, DecodingOptions
from mrnn.model.image_encoder import ImageEncoder, OnnxEncoder, encoder_file_name
from mrnn.model.model_files import MODEL_CARD, copy_model, networks_of
from mrnn.outputs import check_new_folder, new_folder
from mrnn.server.model_facts import model_facts
from mrnn.server.onnxruntime_web import CHECKSUMS, RUNTIMES

PAGE, BROWSER = Path(__file__).with_name("page"), Path(__file__).with_name("browser")
"""The page of the server, and the modules that take the place of its API."""
OF_THE_SERVER = ("docs.html", "docs.js", "login.html")
"""Files of the page that are about the API."""
INDEX, SITE, SERVICE_WORKER = "index.html", "site.json", "service_worker.js"
PROBE, PROBE_FEATURES = "probe.jpg", "probe.json"
MODEL, RUNTIME = "model", "ort"
POLICY = "; ".join(
    (
        "default-src 'none'", "script-src 'self' 'wasm-unsafe-eval'", "worker-src 'self'",
        "connect-src 'self'", "style-src 'self'", "img-src 'self' blob: data:",
        "base-uri 'none'", "form-action 'none'",
    )
)  # fmt: skip
"""Content-Security-Policy: nothing comes from elsewhere, and nothing can be sent there."""
HEAD = '<meta charset="utf-8">\n'
PLAIN = ("temperature", "beam_groups", "force_words", "bad_words", "prefix")
"""Options of decoding that must be the default: the browser knows plain beam search."""


@dataclass(frozen=True)
class SiteReport:
    """The sizes of a site, in megabytes."""

    page: float
    """Without the model: the page and ONNX Runtime."""
    model: float


def export_site(
    run: Path, out: Path, runtime: Mapping[str, bytes], version: str, encoder_file: Path | None
) -> SiteReport:
    """Write the site of the model in `run` to a new folder, whole or not at all.

    `runtime` has the files of onnxruntime-web; `version` is that of mrnn. Raises OptionsError where
    `out` exists, CheckpointError for a model that is damaged or that the browser cannot run.
    """
    check_new_folder("--web", out)
    captioner = Captioner.for_features(run)
    checkpoint = captioner.checkpoint
    _check(checkpoint.config, run)
    encoder = checkpoint.load_encoder(encoder_file)
    with new_folder("--web", out) as folder:
        _copy_page(folder)
        _write_runtime(folder / RUNTIME, runtime)
        (folder / MODEL).mkdir()
        copy_model(checkpoint, encoder, folder / MODEL)
        _write_probe(folder, encoder)
        facts = model_facts(captioner, version) | {"index": None}
        _write_site(folder, facts, networks_of(encoder))
        sizes = {part: _megabytes(folder / part) for part in ("", MODEL)}
    return SiteReport(sizes[""] - sizes[MODEL], sizes[MODEL])


def _check(config: CheckpointConfig, run: Path) -> None:
    """Raises CheckpointError for what the browser cannot run."""
    if config.encoder.imported:
        raise CheckpointError(
            f"{run} was trained on imported features, so no encoder can go with it; train a model "
            "with an encoder"
        )
    if config.encoder.resize_mode != "squash":
        raise CheckpointError(
            f"{run} takes photos by the resize mode {config.encoder.resize_mode}, but a browser "
            "can only squash; train a model with squash"
        )
    if config.model.network != "m-rnn" or not config.model.sees_image:
        raise CheckpointError(f"{run} sees no photos; train an m-RNN")
    plain = DecodingOptions()
    for name in PLAIN:
        if getattr(config.decoding, name) != getattr(plain, name):
            raise CheckpointError(
                f"{run}/{CONFIG} sets {name}, but a browser only does plain beam search; take "
                f"{name} out of its decoding options"
            )


def _copy_page(folder: Path) -> None:
    """The page, with its policy; `browser/` has the backend."""
    for file in [*PAGE.iterdir(), *BROWSER.iterdir()]:
        if file.name not in OF_THE_SERVER and file.is_file():
            shutil.copyfile(file, folder / file.name)
    policy = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
    page = (PAGE / INDEX).read_text(encoding="utf-8").replace(HEAD, HEAD + policy, 1)
    (folder / INDEX).write_text(page, encoding="utf-8")


def _write_runtime(folder: Path, runtime: Mapping[str, bytes]) -> None:
    folder.mkdir()
    for name in CHECKSUMS:
        (folder / name).write_bytes(runtime[name])
    shutil.copyfile(BROWSER / RUNTIME / "LICENSE", folder / "LICENSE")


def _write_probe(folder: Path, encoder: ImageEncoder) -> None:
    """The features of the probe, as this computer's processor computes them."""
    photo = load_image(folder / PROBE, least_side=encoder.identity.size)
    features = encoder.encode(encoder.preprocess(photo))
    content = json.dumps([float(f"{value:.6g}") for value in features])
    (folder / PROBE_FEATURES).write_text(f"{content}\n", encoding="utf-8")


def _write_site(folder: Path, facts: dict[str, Any], parts: list[OnnxEncoder]) -> None:
    """site.json and the service worker, which know all other files."""
    names = sorted(
        file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()
    )
    heavy = [
        name for name in names if name.startswith(f"{MODEL}/") and not name.endswith(MODEL_CARD)
    ]
    heavy.sort(key=lambda name: ENCODERS in name)  # the network opens first
    runtimes = {
        kind: [f"{RUNTIME}/{name}" for name in runtime] for kind, runtime in RUNTIMES.items()
    }
    fetched = {*heavy, *itertools.chain(*runtimes.values())}
    page = [name for name in names if name not in {*fetched, SERVICE_WORKER}]
    site = {
        "model": facts,
        "encoders": [_encoder(part) for part in parts],
        "files": [_file(folder, name) for name in heavy],
        "runtimes": {
            kind: [_file(folder, name) for name in runtime] for kind, runtime in runtimes.items()
        },
    }
    (folder / SITE).write_text(f"{json.dumps(site)}\n", encoding="utf-8")
    page = ["./", *page, SITE]
    digest = hashlib.sha256()
    for name in page[1:]:
        digest.update((folder / name).read_bytes())
    own = {"version": digest.hexdigest()[:16], "policy": POLICY, "files": page}
    worker = folder / SERVICE_WORKER
    code = worker.read_text(encoding="utf-8")
    worker.write_text(f"const SITE = {json.dumps(own)};\n{code}", encoding="utf-8")


def _encoder(part: OnnxEncoder) -> dict[str, Any]:
    identity = part.identity
    return {
        "name": identity.name,
        "file": f"{ENCODERS}/{encoder_file_name(identity.name)}",
        "size": identity.size,
        "feature_size": identity.feature_size,
    }


def _file(folder: Path, name: str) -> dict[str, Any]:
    content = (folder / name).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    return {"path": name, "bytes": len(content), "sha256": digest}


def _megabytes(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6
