"""The command in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

BOOT = """
import resource, signal, sys, tempfile, time
from pathlib import Path
tests, limit = sys.argv[1], int(sys.argv[2])
del sys.argv[1:3]
sys.path.insert(0, tests)
from tests.model.tiny_encoder import write_colour_encoder
from mrnn.cli import main
from mrnn.model import image_encoder

encode = image_encoder.OnnxEncoder.encode

def encode_slowly(self, pixels):
    time.sleep(0.0125)
    return encode(self, pixels)

image_encoder.SHIPPED = Path(tempfile.mkdtemp())
write_colour_encoder(image_encoder.SHIPPED / "colour.onnx")
image_encoder.OnnxEncoder.encode = encode_slowly
signal.signal(signal.SIGINT, signal.default_int_handler)
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
main()
"""


def start(*arguments, limit=0, stdout=subprocess.PIPE, env=None):
    """The command with the tiny encoder, 12.5 ms a photo; no file grows beyond `limit` bytes."""
    command = [sys.executable, "-c", BOOT, str(Path(__file__).parents[2]), str(limit)]
    return subprocess.Popen(
        [*command, *map(str, arguments)],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(env or {})},
    )
