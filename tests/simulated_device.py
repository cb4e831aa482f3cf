"""A simulated accelerator, for tests of the GPU path on machines without a GPU.

Inside :func:`simulated_device`, tensors on the device ``"gpu"`` keep their values in CPU tensors. An operation that
mixes tensors of the CPU and of the device raises, as CUDA does. Each operation for which a GPU would make the processor
wait (reading a value, a copy that is not asynchronous, a boolean index) is counted, with the line that caused it.
"""

from __future__ import annotations

import multiprocessing
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, wraps
from importlib import import_module
from multiprocessing.connection import Connection
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

aten = torch.ops.aten

INDEXING = {
    aten.index.Tensor,
    aten.index_put_.default,
    aten.index_put.default,
    aten._index_put_impl_.default,
    aten._unsafe_index.Tensor,
}
WAITING = {
    aten._local_scalar_dense.default: "item",
    aten.nonzero.default: "nonzero",
    aten.masked_select.default: "masked_select",
    aten.equal.default: "equal",
    aten.bincount.default: "bincount",
    aten._unique2.default: "unique",
}


class OnDevice(Tensor):
    """A tensor of the simulated device; ``inner`` holds its values."""

    inner: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls: type[OnDevice], inner: Tensor) -> OnDevice:
        made: OnDevice = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device="gpu:0",
            requires_grad=False,
        )
        made.inner = inner
        return made

    def __repr__(self) -> str:  # type: ignore[override]  # torch's takes the contents of a tensor.
        return f"OnDevice({self.inner})"

    def numpy(self, *_: Any, **__: Any) -> Any:
        raise TypeError("cannot convert a tensor of the device to numpy; copy it to the CPU first")

    def tolist(self) -> Any:
        _wait("tolist")
        return self.inner.tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Mode(TorchDispatchMode):
    """Catches operations that only name the device, such as ``torch.zeros(3, device="gpu")``."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Backend(_DummyBackendModule):
    """What torch asks of the module of a device; one device with no random state."""

    def is_initialized(self) -> bool:
        return True

    def is_available(self) -> bool:
        return True

    def current_device(self) -> int:
        return 0

    def device_count(self) -> int:
        return 1

    def manual_seed_all(self, seed: int) -> None:
        pass

    def get_rng_state(self, device: Any = None) -> Tensor:
        return torch.empty(16, dtype=torch.uint8)

    def set_rng_state(self, state: Tensor, device: Any = None) -> None:
        pass

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]


_PRELOADED = (
    "tests.conftest",
    "monai_advenc.sharing.encryption_run",
    "monai_advenc.transforms.encrypt",
    "hypothesis",
    "torch._dynamo",  # Operations of a device of Python's import it on first use, which takes a second.
)


def in_own_process(test: Callable[..., None]) -> Callable[..., None]:
    """Run a test in a process of its own, forked from one in which no gradient was computed yet.

    PyTorch counts devices when it computes the first gradient, and starts a thread for each, after which a process
    cannot be forked any more.
    """

    @wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([*_PRELOADED, __name__])
        receiving, sending = context.Pipe(duplex=False)
        process = context.Process(target=_report, args=(sending, test.__module__, test.__name__, args, kwargs))
        process.start()
        sending.close()
        try:
            problem = receiving.recv()
        except EOFError:
            problem = "the process of the test ended early"
        process.join()
        if problem is not None:
            pytest.fail(problem, pytrace=False)

    return run


def _report(sending: Connection, module: str, name: str, args: Any, kwargs: Any) -> None:
    torch.set_num_threads(1)
    _register()
    try:
        getattr(import_module(module), name).__wrapped__(*args, **kwargs)
    except BaseException:  # noqa: BLE001  # The other process fails with it.
        sending.send(traceback.format_exc())
    else:
        sending.send(None)


waits: Counter[str] = Counter()
"""How often the processor would have waited, by kind and line since :func:`simulated_device` was entered."""


@contextmanager
def simulated_device() -> Iterator[torch.device]:
    """Give tensors the device ``"gpu"``, and count waits from zero in :data:`waits`."""
    _register()
    make, overwrites = torch.tensor, torch.__future__.get_overwrite_module_params_on_conversion()

    def tensor(data: Any, **options: Any) -> Tensor:
        place = options.pop("device", None)
        return make(data, **options) if place is None else make(data, **options).to(place)

    waits.clear()
    operations.clear()
    torch.tensor = tensor
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        with _Mode():
            yield torch.device("gpu:0")
    finally:
        torch.tensor = make
        torch.__future__.set_overwrite_module_params_on_conversion(overwrites)


operations: list[tuple[object, ...]] = []
"""Name, tensors' shapes and strides, and numbers of each operation since :func:`simulated_device` was entered."""


@cache
def _register() -> None:
    _setup_privateuseone_for_python_backend("gpu", backend_module=_Backend())


def _wait(kind: str) -> None:
    lines = (each for each in reversed(traceback.extract_stack()) if "/monai_advenc/" in each.filename)
    line = next(lines, None)
    place = "elsewhere" if line is None else f"{line.filename.rpartition('/monai_advenc/')[2]}:{line.lineno}"
    waits[f"{kind} {place}"] += 1


def _told(value: Any) -> object:
    return (tuple(value.shape), value.stride()) if isinstance(value, Tensor) else value


def _inner(value: Any) -> Any:
    return value.inner if isinstance(value, OnDevice) else value


def _outer(value: Any) -> Any:
    return OnDevice(value) if isinstance(value, Tensor) and not isinstance(value, OnDevice) else value


def _names_device(device: Any) -> bool:
    return device is not None and torch.device(device).type == "gpu"


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Run an operation of torch on the values, after checking places and counting waits."""
    leaves = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    there = [leaf for leaf in leaves if isinstance(leaf, OnDevice)]
    named = kwargs.get("device")
    if func is aten._to_copy.default and named is not None:
        return _copied(func, args, kwargs)
    if func is aten.copy_.default:
        _count_copy(isinstance(args[1], OnDevice), isinstance(args[0], OnDevice), args[2:] == (True,))
        func(_inner(args[0]), _inner(args[1]), *args[2:], **kwargs)
        return args[0]
    if not there and not _names_device(named):
        return func(*args, **kwargs)
    _check_places(func, args, leaves, there)
    operations.append((str(func), *(_told(each) for each in tree_leaves((args, kwargs)))))
    if func in WAITING:
        _wait(WAITING[func])
    options = {name: "cpu" if name == "device" else value for name, value in tree_map(_inner, kwargs).items()}
    options |= {"pin_memory": False} if "pin_memory" in options else {}
    result = func(*tree_map(_inner, args), **options)
    if func in (aten._local_scalar_dense.default, aten.equal.default) or (named and not _names_device(named)):
        return result
    known = {id(each.inner): each for each in there} if func._schema.is_mutable else {}
    return tree_map(lambda value: known[id(value)] if id(value) in known else _outer(value), result)


def _copied(func: Any, args: Any, kwargs: dict[str, Any]) -> Tensor:
    """Copy a tensor between places or types."""
    leaves, arrives = isinstance(args[0], OnDevice), _names_device(kwargs["device"])
    _count_copy(leaves, arrives, kwargs.get("non_blocking", False))
    result: Tensor = func(_inner(args[0]), **{**kwargs, "device": "cpu"})
    return OnDevice(result) if arrives else result


def _count_copy(leaves: bool, arrives: bool, asynchronous: bool) -> None:
    # A copy back is waited for in any case: its values are about to be read.
    if leaves and not arrives:
        _wait("copy from device")
    elif arrives and not leaves and not asynchronous:
        _wait("copy to device")


def _check_places(func: Any, args: Any, leaves: list[Tensor], there: list[OnDevice]) -> None:
    """Raise where CUDA would, because tensors are in two places."""
    if func in INDEXING:
        if not isinstance(args[0], OnDevice):
            raise RuntimeError("indices should be either on cpu or on the same device as the indexed tensor (cpu)")
        for index in args[1]:
            if isinstance(index, Tensor) and not isinstance(index, OnDevice):
                _wait("index from the CPU")
            if isinstance(index, Tensor) and index.dtype == torch.bool:
                _wait("boolean index")
    elif there and any(not isinstance(leaf, OnDevice) and leaf.dim() for leaf in leaves):
        raise RuntimeError(f"Expected all tensors to be on the same device, but found gpu:0 and cpu in {func}")
