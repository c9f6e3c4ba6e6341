"""Where pictures come from: bundled photographs and visitors' uploads."""

from mixviz.samples.bundled import SAMPLES, SOURCES, Sample, Source, load_sample
from mixviz.samples.decode import (
    MAX_BYTES,
    MAX_PICTURES,
    MAX_PIXELS,
    MAX_SIDE,
    MIN_SIDE,
    UploadError,
    check_count,
    decode_upload,
)
from mixviz.samples.picture import MAX_ZOOM, WORKING_SIZES, Picture, square_crop

__all__ = [
    "MAX_BYTES",
    "MAX_PICTURES",
    "MAX_PIXELS",
    "MAX_SIDE",
    "MAX_ZOOM",
    "MIN_SIDE",
    "SAMPLES",
    "SOURCES",
    "WORKING_SIZES",
    "Picture",
    "Sample",
    "Source",
    "UploadError",
    "check_count",
    "decode_upload",
    "load_sample",
    "square_crop",
]
