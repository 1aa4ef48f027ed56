from .listing import find_large_images
from .segmenter import LargeSegmenter
from .sources import LargeImage, open_large

__all__ = ["LargeImage", "LargeSegmenter", "find_large_images", "open_large"]
