"""Where captions go: stdout, a file that grows, files beside photos."""

import functools
import inspect
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mrnn.captioning.caption_files.written_text import Existing, WrittenText
from mrnn.cli.terminal import Json, print_json, say, tell
from mrnn.errors import DataError, OptionsError, counted, printable, shortened

if TYPE_CHECKING:
    from mrnn.captioning.caption_files.caption_file import CaptionFile
    from mrnn.captioning.caption_files.sidecars import Sidecars
    from mrnn.captioning.results import ImageCaptions


@dataclass(frozen=True)
class OutputOptions:
    """The flags that say where captions go."""

    as_json: Json = False
    out: Annotated[
        Path | None,
        typer.Option(
            help="A .jsonl or .csv file, or metadata.jsonl for Hugging Face's imagefolder; of "
            "shards a folder; what is already in it is skipped"
        ),
    ] = None
    sidecar: Annotated[
        bool, typer.Option("--sidecar", help="Write a text file, PHOTO.txt, beside each photo")
    ] = False
    suffix: Annotated[
        str, typer.Option(help="What replaces the photo's own suffix in the name of a text file")
    ] = ".txt"
    xmp: Annotated[
        bool,
        typer.Option(
            "--xmp",
            help="Write description and alternative text to PHOTO.xmp, or to PHOTO.jpg.xmp if that "
            "is there",
        ),
    ] = False
    existing: Annotated[
        Existing, typer.Option(help="What becomes of texts that are beside a photo already")
    ] = Existing.skip
    prepend: Annotated[
        str,
        typer.Option(
            metavar="TEXT", help="Put before each caption in text files and metadata.jsonl"
        ),
    ] = ""
    append: Annotated[
        str,
        typer.Option(
            metavar="TEXT", help="Put after each caption in text files and metadata.jsonl"
        ),
    ] = ""
    tags: Annotated[
        bool, typer.Option("--tags", help="Print tags below captions, and write them to PHOTO.txt")
    ] = False

    @property
    def prints(self) -> bool:
        """Whether captions go to stdout."""
        return self.as_json or not (self.out or self.sidecar or self.xmp)

    def for_photos(self) -> dict[str, object]:
        """The flags that do not go with shards."""
        return {
            "--json": self.as_json, "--sidecar": self.sidecar, "--xmp": self.xmp,
            "--tags": self.tags, "--prepend": self.prepend, "--append": self.append,
        }  # fmt: skip

    def check(self) -> None:
        """Raises OptionsError for options that would not count."""
        if self.out and self.as_json:
            raise OptionsError("--json prints, and --out writes a file of its own form; give one")
        if self.existing is not Existing.skip and not (self.sidecar or self.xmp):
            raise OptionsError(
                f"--existing {self.existing} is for files beside photos; give --sidecar or --xmp"
            )
        self._check_suffix()
        is_folder = self.out is not None and self.out.name.lower() == "metadata.jsonl"
        if (self.prepend or self.append) and not (self.sidecar or is_folder):
            flag = "--prepend" if self.prepend else "--append"
            raise OptionsError(
                f"{flag} is for what is written; give --sidecar or --out metadata.jsonl too"
            )

    def _check_suffix(self) -> None:
        if self.suffix == ".txt":
            return
        from mrnn.data.photos.paths import is_photo

        if not self.sidecar:
            raise OptionsError("--suffix names files beside photos; give --sidecar too")
        if not self.suffix.startswith(".") or {"/", os.sep, "\0"} & {*self.suffix}:
            raise OptionsError(f"--suffix {self.suffix!r}: expected one like .txt or .caption")
        if is_photo(f"a{self.suffix}") or self.suffix.lower() == ".xmp":
            raise OptionsError(
                f"--suffix {self.suffix} is that of other files; give .txt or .caption"
            )


def takes_output_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the flags to a command, which gets them as its argument `options`."""
    signature = inspect.signature(command, eval_str=True)
    own = [parameter for name, parameter in signature.parameters.items() if name != "options"]
    fields = inspect.signature(OutputOptions, eval_str=True).parameters
    flags = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in fields.values()]

    @functools.wraps(command)
    def with_flags(*args: Any, **given: Any) -> None:  # noqa: ANN401
        options = OutputOptions(**{name: given.pop(name) for name in fields})
        options.check()
        command(*args, **given, options=options)

    before = [each for each in own if each.kind is not inspect.Parameter.KEYWORD_ONLY]
    after = [each for each in own if each.kind is inspect.Parameter.KEYWORD_ONLY]
    with_flags.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*before, *flags, *after]
    )
    return with_flags


class Outputs:
    """Puts each result where it goes, and counts them."""

    def __init__(self, options: OutputOptions, show: Callable[["ImageCaptions"], None]) -> None:
        """`show` gets each result that is to be printed."""
        self._options, self._show = options, show
        self._text = WrittenText(options.prepend, options.append)
        self._file: CaptionFile | None = None
        self._sidecars = _sidecars_of(options, self._text)
        self.asked_for, self.failed, self._filed = 0, 0, 0

    @contextmanager
    def alone(self, photos: Iterable[Path]) -> Iterator[None]:
        """Keeps other writers of the file out. Raises OptionsError, DataError or OSError."""
        from mrnn.locks import locked
        from mrnn.outputs import check_output

        photos, ours = list(photos), {".xmp", self._options.suffix.lower()}
        for sidecars in self._sidecars:
            protected = [photo for photo in photos if photo.suffix.lower() in ours]
            sidecars.protect([*protected, *filter(None, [self._options.out])])
        if (out := self._options.out) is None:
            yield
            return
        inputs = [photo for photo in photos if photo.suffix.lower() == out.suffix.lower()]
        check_output("--out", out, inputs=inputs, overwrite=True)
        with locked(out):
            yield

    def open(self, n_best: int, photos: Iterable[Path]) -> None:
        """Read the file, to go on with it. Raises OptionsError or OSError."""
        if self._options.out is None:
            return
        from mrnn.captioning.caption_files.caption_file import CaptionFile

        self._file = CaptionFile(self._options.out, n_best, text_of=self._text)
        self._file.check(photos)
        if len(self._file):
            known = counted(len(self._file), "photo is", "photos are")
            tell(f"{self._options.out}: {known} done already")

    def left_to_do(self, photos: Iterable[Path]) -> list[Path]:
        """The photos that some output lacks."""
        left = [photo for photo in photos if self._lacks(photo)]
        self.asked_for += len(left)
        return left

    def _lacks(self, photo: Path) -> bool:
        in_file = self._file is None or photo in self._file
        done = [sidecars for sidecars in self._sidecars if sidecars.is_done(photo)]
        if self._options.prints or not in_file or len(done) < len(self._sidecars):
            return True
        for sidecars in done:
            sidecars.kept += 1
        return False

    def take(self, photo: Path, result: "ImageCaptions") -> None:
        """Put a result where it goes; tell what fails, on stderr."""
        if result.error:
            self.failed += 1
            tell(result.error)
        else:
            self._write_beside(photo, result)
        if self._file is not None and photo not in self._file:
            self._file.write(result)
            self._filed += not result.error
        if self._options.prints:
            self._show(result)

    def _write_beside(self, photo: Path, result: "ImageCaptions") -> None:
        for sidecars in self._sidecars:
            try:
                sidecars.write(photo, result)
            except (OSError, DataError) as error:  # a read-only folder: the next may not be
                why = error.strerror if isinstance(error, OSError) else error
                why = f"the {sidecars.kind} file cannot be written ({why})"
                tell(shortened(f"{printable(photo)}: {why}"))

    def summarize(self) -> bool:
        """Tell what was written, and what failed; whether all went well."""
        if self._file and self._filed:
            tell(f"Wrote {self._options.out}: {counted(self._filed, 'photo')} captioned")
        for sidecars in self._sidecars:
            for line in sidecars.summary():
                tell(line)
        if self.failed:
            tell(f"{self.failed:,} of {self.asked_for:,} photos could not be captioned")
        return not (self.failed or any(sidecars.failed for sidecars in self._sidecars))


def _sidecars_of(options: OutputOptions, text: WrittenText) -> "list[Sidecars]":
    if not (options.sidecar or options.xmp):
        return []
    from mrnn.captioning.caption_files.sidecars import Sidecars, TextSidecar, XmpSidecar

    existing, found = options.existing, []
    if options.sidecar:
        sidecar = TextSidecar(existing, text, options.suffix, tags=options.tags)
        found.append(Sidecars(sidecar, existing))
    if options.xmp:
        found.append(Sidecars(XmpSidecar(existing), existing))
    return found


def show(result: "ImageCaptions", options: OutputOptions) -> None:
    """On stdout: JSON of every photo, or text of those that have captions."""
    if options.as_json:
        print_json(result.model_dump_json())
    elif not result.error:
        say(caption_text(result, tags=options.tags))


def caption_text(result: "ImageCaptions", *, tags: bool = False, confidence: bool = False) -> str:
    """The captions of a photo, for people to read; perhaps its tags, and a high confidence too."""
    from mrnn.model.confidence import GUESS
    from mrnn.model.familiarity import UNFAMILIAR

    if len(result.captions) == 1:
        text = f"{result.image}: {result.captions[0].text}"
    else:
        lines = [
            f"  {rank:>2}  {c.log_probability:7.2f}  {c.text}"
            for rank, c in enumerate(result.captions, 1)
        ]
        text = "\n".join([f"{result.image}:", *lines])
    if tags and result.tags:
        text += f"\n  (tags: {', '.join(map(str, result.tags))})"
    doubts = []
    unfamiliar = result.familiarity is not None and result.familiarity < UNFAMILIAR
    if unfamiliar if result.confidence is None else result.confidence < GUESS:
        if unfamiliar:
            doubts.append(
                "this is unlike the photos that the model learned from; "
                f"familiarity {result.familiarity:.2f}"
            )
        if result.confidence is not None:
            doubts.append(f"confidence {result.confidence:.2f}")
    if doubts:
        return f"{text}\n  (a guess: {', '.join(doubts)})"
    if confidence and result.confidence is not None:
        return f"{text}\n  (confidence {result.confidence:.2f})"
    return text
