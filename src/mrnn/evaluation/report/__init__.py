"""A report on one model or two, as a page."""
