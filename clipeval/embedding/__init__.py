"""Images and prompts to unit vectors, computed once and stored.

`embed_images` and `embed_texts` compute what the `Store` does not hold; `open_image` decodes a photograph as they do.
"""

from clipeval import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__, embed="embed_images embed_texts", store="Store", images="open_image"
)
