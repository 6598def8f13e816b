"""Image files: their formats, what each needs before it is decoded, and pixels as RGB."""
