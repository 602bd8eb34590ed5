"""Other ways to run an image tower with the same numbers: torch.compile, and ONNX Runtime (an extra).

Each is used only where it agrees with eager fp32 on the first batch of images that it is given: every
component of the vectors brought to length 1 within 1e-5, and every top label of the classes that will be
asked. Texts are always encoded by torch as it is, as they are few.
"""

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from clipeval.errors import ModelError, one_line
from clipeval.files import sha256
from clipeval.models.info import ModelInfo
from clipeval.models.model import Model
from clipeval.paths import version_of

RUNTIMES = ("torch", "compile", "onnx")
TOLERANCE = 1e-5
FEW = 16  # fewer images than these are convolved by other code on a CPU


def check_runtime(runtime: str, precision: str, device: str) -> None:
    """Refuse a runtime that is not to be had here; neither torch nor the runtime is imported.

    Parameters
    ----------
    runtime : torch, compile or onnx
    precision : fp32, fp16 or bf16
    device : as in `load_model`

    Raises
    ------
    ModelError  naming what is missing
    """
    if runtime not in RUNTIMES:
        raise ModelError(f"runtime={runtime} is unknown; use {', '.join(RUNTIMES)}.")
    if runtime == "torch":
        return
    if precision != "fp32":
        raise ModelError(
            f"{_asked(runtime)} is offered for precision=fp32 alone, as only there it can be held "
            f"against torch as it is to {TOLERANCE:g}; leave out one of them."
        )
    if runtime == "compile":
        # what torch itself asks for; on a GPU too, for what runs beside it
        compiler = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
        if shutil.which(compiler) is None:
            raise ModelError(
                f"compile=true needs a C++ compiler and {compiler} is not installed; install it, or "
                "leave out compile."
            )
        return
    if device.partition(":")[0] not in ("auto", "cpu"):
        raise ModelError(f"runtime=onnx computes on the CPU and not on {device}; use device=cpu.")
    missing = [name for name in ("onnx", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        raise ModelError(
            f"runtime=onnx needs {' and '.join(missing)}, which is not installed; pip install "
            '"clipeval[onnx]", or leave out runtime.'
        )


def with_runtime(info: ModelInfo, runtime: str) -> ModelInfo:
    """What is recorded of a model that is run otherwise: another fingerprint, so that nothing is mixed."""
    if runtime == "torch":
        return info
    name, package = {"compile": ("torch.compile", "torch"), "onnx": ("onnxruntime",) * 2}[runtime]
    info = replace(info, versions={**info.versions, name: version_of(package)})
    return replace(info, fingerprint=sha256(f"{info.fingerprint} run by {info.runtime}"))


def run_by(model: Model, runtime: str) -> Model:
    """The model with its image tower run otherwise, once that has agreed on the first images that come.

    Parameters
    ----------
    model : in fp32; changed in place
    runtime : compile or onnx
    """
    make = {"compile": _compiled, "onnx": _by_onnx}[runtime]
    for name in ("_encode_image", "_before_projection"):
        if (eager := getattr(model, name)) is not None:
            labelled = name == "_encode_image"
            setattr(model, name, _Agreeing(eager, make, runtime, model, labelled))
    model.info = with_runtime(model.info, runtime)
    return model


class _Agreeing:
    """An image encoder that is built, and held against the eager one, when the first batch comes."""

    def __init__(self, eager: Callable, make: Callable, runtime: str, model: Model, labelled: bool):
        self.eager, self.make, self.runtime = eager, make, runtime
        self.model, self.labelled = model, labelled
        self.fast: Callable | None = None

    def __call__(self, pixels):
        if self.fast is not None:
            return self.fast(pixels)
        exact = self._exact(pixels)
        try:
            fast = self.make(self.eager, pixels, self.model.network)
            found = fast(pixels)
        except Exception as error:  # theirs are many, from a missing header to an unknown operator
            raise ModelError(
                f"{_asked(self.runtime)} cannot run {self.model.info.model} "
                f"({one_line(error)[:200]}); leave it out."
            ) from error
        self._refuse_other(_unit(found), _unit(exact))
        self.fast = fast
        return found

    def _exact(self, pixels):
        """Features by torch as it is, also where blocks of the tower are compiled by now."""
        if self.runtime != "compile":
            return self.eager(pixels)
        import torch

        with torch.compiler.set_stance("force_eager"):
            return self.eager(pixels)

    def _refuse_other(self, found: np.ndarray, exact: np.ndarray) -> None:
        """ModelError where vectors or top labels are not those of the eager encoder."""
        of = f"those of torch as it is, on the first {len(exact)} images"
        difference = np.abs(found - exact).max() if found.shape == exact.shape else np.inf
        if not difference <= TOLERANCE:  # NaN is refused too
            raise ModelError(
                f"{_asked(self.runtime)} gives vectors that differ by up to {difference:.1g} from {of}, "
                f"and {TOLERANCE:g} is allowed; leave it out."
            )
        for classes in self.model.offers() if self.labelled else ():
            texts = [_unit(self.model.encode_texts(prompts)).mean(axis=0) for prompts in classes]
            weights = _unit(np.array(texts))
            changed = int(((found @ weights.T).argmax(1) != (exact @ weights.T).argmax(1)).sum())
            if changed:
                raise ModelError(
                    f"{_asked(self.runtime)} gives {changed} other top labels than {of}; leave it out."
                )


def _asked(runtime: str) -> str:
    return "compile=true" if runtime == "compile" else f"runtime={runtime}"


def _unit(features) -> np.ndarray:
    rows = np.asarray(features.float().cpu() if hasattr(features, "cpu") else features, np.float64)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _compiled(eager, pixels, network):
    """On a CPU the encoder as a whole; elsewhere the repeated blocks of its tower, all as one, where it has some."""
    import torch

    if pixels.device.type == "cpu":
        # with weights packed for this processor, once, without which a transformer gains nothing
        return _of_any_size(torch.compile(eager, options={"freezing": True}))
    stack, found = [getattr(network, "visual", network)] if network is not None else [], False
    while stack:
        children = list(stack.pop().children())
        if len(children) > 2 and len({type(child) for child in children}) == 1:
            found = True
            for block in children:
                block.compile(dynamic=True)  # for batches of any size
        else:
            stack += children
    return eager if found else torch.compile(eager, dynamic=True)


def _of_any_size(compiled):
    """What was compiled, without being compiled anew for another number of images, a last, smaller batch above all.

    That number alone is left open, so that it is not taken for the width of an image where the two are equal. Few
    images are filled up, as other code would be compiled for them.
    """
    import torch

    def run(pixels):
        n = len(pixels)
        pixels = pixels[
            torch.arange(max(n, FEW)) % n
        ]  # a copy always: a tensor of another kind is compiled anew too
        torch._dynamo.maybe_mark_dynamic(pixels, 0)
        return compiled(pixels)[:n]

    return run


def _by_onnx(eager, pixels, network):
    import io
    import warnings

    import onnxruntime
    import torch

    class Tower(torch.nn.Module):
        """The encoder as a module that owns its network, whose weights the export looks for there."""

        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, pixels):
            return eager(pixels)

    file, fused = io.BytesIO(), torch.backends.mha.get_fastpath_enabled()
    named = {"input_names": ["pixels"], "output_names": ["features"]}
    axes = {"pixels": {0: "n"}, "features": {0: "n"}}
    torch.backends.mha.set_fastpath_enabled(False)  # one operator that ONNX does not know
    try:
        with torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            example = torch.zeros_like(pixels[:2]).clone()
            torch.onnx.export(
                Tower().eval(), (example,), file, dynamic_axes=axes, dynamo=False, **named
            )
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    how = {"sess_options": options, "providers": ["CPUExecutionProvider"]}
    session = onnxruntime.InferenceSession(file.getvalue(), **how)
    return lambda pixels: torch.from_numpy(session.run(None, {"pixels": pixels.numpy()})[0])
