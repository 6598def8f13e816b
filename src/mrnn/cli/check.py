"""Check a dataset folder."""

import typer

from mrnn.cli.terminal import DataFolder, progress


def check(data: DataFolder) -> None:
    """Look for what would make training wrong: broken images, leaks, odd captions."""
    from mrnn.data.check import check_dataset
    from mrnn.data.dataset import Dataset

    dataset = Dataset.load(data)
    with progress("Checking", len(dataset.images)) as advance:
        report = check_dataset(dataset, on_image=advance)
    for line in report.lines():
        print(line)
    if report.errors:
        raise typer.Exit(1)
