"""What can go wrong, in one tree.

MRNNError
├── ImageError         a photo cannot be read
├── DataError          a caption file, a dataset folder or a feature file is wrong
├── CheckpointError    a trained model cannot be loaded, or does not suit what it is used with
├── MeasureError       an optional measure cannot run on this computer
├── MissingExtraError  a command needs an extra that is not installed
├── OptionsError       an option or a recipe has an unknown key or an impossible value
└── TrainingError      a training run cannot go on

A message is one line: what is wrong, with the value; what was expected; and what mends it.
"""


class MRNNError(Exception):
    """A problem that the user can mend; its text is one clear line."""


class ImageError(MRNNError):
    """A photo cannot be read."""


class DataError(MRNNError):
    """A caption file, a dataset folder or a feature file is wrong."""


class CheckpointError(MRNNError):
    """A trained model cannot be loaded, or does not suit what it is used with."""


class MeasureError(MRNNError):
    """An optional measure cannot run on this computer."""


class MissingExtraError(MRNNError):
    """A command needs an extra that is not installed."""


class OptionsError(MRNNError):
    """An option or a recipe has an unknown key or an impossible value."""


class TrainingError(MRNNError):
    """A training run cannot go on."""
