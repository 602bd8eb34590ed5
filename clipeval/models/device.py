"""Where and how precisely numbers are computed: the device, float32 that is float32, autocast."""

from contextlib import contextmanager

from clipeval.errors import ModelError

PRECISIONS = ("fp32", "fp16", "bf16")


def choose_device(device: str = "auto"):
    """Return the torch device: the one asked for, or cuda, mps, cpu in that order.

    Raises
    ------
    ModelError  if the device asked for is not there
    """
    import torch

    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError:
        chosen = None
    if chosen is None or chosen.type not in ("cuda", "mps", "cpu"):
        raise ModelError(f"device={device} is unknown; use auto, cuda, cuda:1, mps or cpu.")
    there = {
        "cpu": lambda: True,
        "mps": torch.backends.mps.is_available,
        "cuda": lambda: (
            torch.cuda.is_available() and (chosen.index or 0) < torch.cuda.device_count()
        ),
    }
    if not there[chosen.type]():
        raise ModelError(
            f"device={device} is not available to torch on this machine; use device=auto or cpu."
        )
    return chosen


@contextmanager
def computing(device, precision: str):
    """Inference mode at a precision: weights stay float32, fp16 and bf16 are torch's autocast.

    On recent GPUs torch may multiply float32 numbers as TF32, with 10 bits of mantissa; while this
    context is open it does not, and afterwards it does what it did before.
    """
    import torch

    if precision != "fp32":
        dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}[precision]
        with torch.inference_mode(), torch.autocast(device.type, dtype=dtype):
            yield
        return
    matmul, convolution = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        # an autocast that the caller has switched on would lower the precision unseen
        with torch.inference_mode(), torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(matmul)
        torch.backends.cudnn.allow_tf32 = convolution


def check_precision(device, precision: str) -> None:
    import torch

    if precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise ModelError("this GPU cannot compute in bf16; use precision=fp16 or fp32.")
