"""Makes golden.json: what PyTorch says of the photos, and the captions of the runtime.

Run it again when the shipped model or an image encoder changes: python -m tests.golden.make_golden
"""

import base64
import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import features

from mrnn.captioning.captioner import Captioner
from tests.example_photos import write_photos
from tests.golden.observe import (
    captions_by_exact_search,
    captions_by_int8_search,
    checksums,
    crops_of,
    hypotheses_of,
    nats_of,
)
from tests.golden.torch_captioner import by_torch

GOLDEN = Path(__file__).with_name("golden.json")


def make_golden(photos):
    """All that is compared."""
    torch.set_num_threads(1)
    captioner, consensus = Captioner.load(), Captioner.load(consensus="self")
    trained, trained_consensus = by_torch(captioner), by_torch(consensus)
    known = {}
    for name, photo in photos.items():
        crops = crops_of(captioner, photo)
        stored = trained.encoder.encode(crops).astype("<f2")
        feature = stored.astype(np.float32)
        known[name] = {
            "pixels": checksums(crops),
            "feature": base64.b64encode(stored.tobytes()).decode(),
            "nats": nats_of(trained, feature),
            "hypotheses": hypotheses_of(trained, feature),
            "captions": captions_by_int8_search(captioner, photo)
            | captions_by_exact_search(trained, trained_consensus, photo),
        }
    return {
        "model": captioner.checkpoint.fingerprint,
        "jpeg": features.version("libjpeg_turbo"),
        "photos": known,
    }


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        golden = make_golden(write_photos(Path(folder)))
    GOLDEN.write_text(json.dumps(golden, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
