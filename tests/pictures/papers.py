"""Pages of two widths, for tests of pictures."""

from gmm_pipeline.pictures.pages import Paper

PAPER = Paper((6.4, 3.6), 9.0, "default")
ONE_COLUMN = Paper((3.346, 2.2), 8.0, "default")
