"""Caption the example photos."""

from pathlib import Path

from mrnn.cli.caption_outputs import caption_text
from mrnn.cli.terminal import say, tell

INSTALLED = Path(__file__).parents[1] / "examples"
CHECKOUT = Path(__file__).parents[3] / "examples"
"""Where the example photos are: in the wheel, and in the source that it is made from."""


def demo() -> None:
    """Caption the example photos with the model that ships: captions, tags, confidence."""
    from mrnn.captioning.captioner import Captioner
    from mrnn.data.photos.paths import find_images

    folder = INSTALLED if INSTALLED.is_dir() else CHECKOUT
    tell(f"The photos in {folder}. Your own: mrnn caption PHOTO...")
    for result in Captioner.load().stream(find_images([folder])):
        named = result.model_copy(update={"image": Path(result.image).name})
        say(caption_text(named, tags=True, confidence=True))
