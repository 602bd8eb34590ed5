"""A run without its photographs: `make_pack` writes it, `plan_pack` says what runs again from it.

What a session reads from a pack is in `clipeval.sources`; `compare_tables` holds the tables made again to those packed.
`verify` holds a run folder, or a pack, against its own answers.
"""

from clipeval import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__, writing="make_pack", replay="plan_pack compare_tables", verifying="verify"
)
