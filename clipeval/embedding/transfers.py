"""Pixels to a device and features back, without waiting for a GPU."""


def is_gpu(device) -> bool:
    """Whether it is a GPU of torch's `cuda`, to which memory is pinned and which is not waited for."""
    return str(device).startswith("cuda")


def send(pixels, device):
    """Pixels on their way to a GPU, from pinned memory and without waiting for it; for others, as they are."""
    if not is_gpu(device):
        return pixels
    return (pixels if pixels.is_pinned() else pixels.pin_memory()).to(device, non_blocking=True)


def fetch(features):
    """A function that returns features in the CPU's memory, and alone waits for a GPU to compute and send them."""
    if not getattr(features, "is_cuda", False):
        return lambda: features
    import torch

    host = torch.empty(features.shape, dtype=features.dtype, pin_memory=True)
    host.copy_(features, non_blocking=True)
    there = torch.cuda.Event()
    there.record(torch.cuda.current_stream(features.device))

    def wait():
        there.synchronize()
        return host

    return wait


def free_memory(device) -> None:
    """Give back what torch holds of a GPU's memory for later."""
    if is_gpu(device):
        import torch

        torch.cuda.empty_cache()
