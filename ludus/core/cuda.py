"""Many games of an array game on an NVIDIA card: the batch whose arrays and loops are there.

The rules and the loops are those of the processor, compiled once more by numba for CUDA, a thread for each row.
Shape letters: N rows, F features (any shape).
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import FunctionType, ModuleType, SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ludus.core.batch import Batch
from ludus.core.compiled import mind, odds_for, plain, traits_of
from ludus.core.diagnosis import explained
from ludus.core.errors import ConfigError, ContractError, MissingExtra
from ludus.core.sources import COMPILED, helpers, template, written

THREADS = 128  # in a block of a kernel's grid
_MARK = "# ---- on a GPU ----"


class CudaBatch(Batch):
    """N games stepped together on a GPU: `ludus.batch(game, n, device="cuda")`.

    It is `Batch` in all but where its arrays are: the same seed and actions give the same games, bit for bit
    where rules reckon in whole numbers (of a float a GPU may round the last digit otherwise). Its arrays, and what
    `random_actions` and `look` return, are numba's device arrays: PyTorch reads one in place by
    `torch.as_tensor(many.observation, device="cuda")`, JAX and CuPy by `__cuda_array_interface__`, and
    `copy_to_host` makes a numpy array. `step` takes whole numbers on the card, of any of these libraries, or on the
    processor. Kernels run on the default stream, as PyTorch's do unless told otherwise. `random_actions`, `stroll`,
    and every step wait for the card, to know what to raise. What `state` returns are numpy arrays, and a batch on the
    processor can be restored from them.

    Raises:
        MissingExtra: numba-cuda is not installed.
        ConfigError: numba finds no card or no driver.
        ContractError: numba cannot compile the game's rules for CUDA.
    """

    def look(self, seat: int | NDArray[Any]) -> Any:
        seen = _cuda().to_device(np.zeros(self.observation.shape, self.observation.dtype))
        self._run(self._loops.look, self._states, self._placed(self._seats(seat)), seen)
        return seen

    def _prepare(self) -> None:
        cuda = _cuda()
        self._odds = odds_for(self.game, self.n, block=1)
        self._states = self._states.astype(aligned(self.game.record))
        if _simulated():
            self._states = plain(self._states)
        for name, array in list(vars(self).items()):
            if isinstance(array, np.ndarray):
                setattr(self, name, cuda.to_device(array))
        self.legal = self._mask.view(np.bool_)
        self._given = cuda.device_array(self.n, np.int32)
        # The first row about which something is to be raised.
        self._lowest = cuda.to_device(np.array([self.n], np.int32))
        first: Any = self.game.first.astype(self._states.dtype)
        self._opened = (
            self._states,
            tuple(first) if _simulated() else cuda.to_device(first),
        )  # the simulator copies no record
        self._loops: Any = kernels(self.game)
        self._rows: Any = self._loops

    def _run(self, loop: Any, *arguments: Any) -> None:
        from numba.core.errors import NumbaError

        threads = min(self.n, THREADS)
        try:
            loop[-(-self.n // threads), threads](*arguments)
        except NumbaError as fault:
            raise ContractError(
                f"{self.game!r}: numba cannot compile its rules for CUDA; device='cpu' runs them. {explained(fault)}"
            ) from fault

    def _placed(self, array: Any) -> Any:
        cuda = _cuda()
        if cuda.cudadrv.devicearray.is_cuda_ndarray(array):
            return array
        if hasattr(array, "__cuda_array_interface__"):
            return cuda.as_cuda_array(array)
        return cuda.to_device(np.ascontiguousarray(array))

    def _fetched(self, array: Any) -> NDArray[Any]:
        here: NDArray[Any] = array.copy_to_host()
        return here.astype(self.game.record) if array is self._states else here

    def _fill(self, mine: Any, array: NDArray[Any]) -> None:
        mine.copy_to_device(np.ascontiguousarray(array, mine.dtype))

    def _drawn_short(self) -> bool:
        return self._refused(self._choice, empty=True) >= 0

    def _taken(self, given: Any) -> Any:
        self._run(self._loops.take, given, self._given)
        return self._given

    def _spare(self, which: Any, choice: Any) -> None:
        self._run(self._loops.spare, which, choice)

    def _refused(self, choice: Any, *, empty: bool) -> int:
        self._run(self._loops.refuse, self._mask, choice, self.mover, empty, self._lowest)
        row = int(self._lowest.copy_to_host()[0])
        if row == self.n:
            return -1
        self._lowest.copy_to_device(np.array([self.n], np.int32))
        return row


def aligned(record: np.dtype[Any]) -> np.dtype[Any]:
    """The record type with every field where a GPU can read it: at a multiple of its size."""
    return np.dtype([(name, record[name]) for name in record.names or ()], align=True)


def kernels(game: Any) -> SimpleNamespace:
    """The kernels of `cuda_kernel.py` over an array game's rules, cached like the loops."""
    rules: Any = type(game)
    module = _made(rules, traits_of(game, block=1))
    mind(game, module)
    names = "step", "uniform", "take", "spare", "refuse", "look"
    return SimpleNamespace(**{name: getattr(module, f"{name}_rows") for name in names})


@functools.cache
def _made(rules: Any, traits: tuple[tuple[str, Any], ...]) -> ModuleType:
    for helper in helpers(rules):
        _compile_in_calls(helper)
    own = Path(__file__).with_name("cuda_kernel.py").read_text(encoding="utf-8").split(_MARK)[1]
    return written(rules, traits, f"{''.join(template())}\n\nfrom numba import cuda\n{own}", jit)


def jit(*function: Callable[..., Any], forceinline: bool = False, **_: Any) -> Any:
    """Numba's `cuda.jit` of a device function; the settings of the processor's are dropped."""
    if _simulated():
        return function[0] if function else jit
    from numba import cuda

    return cuda.jit(*function, device=True, forceinline=forceinline)


@functools.cache
def _compile_in_calls(helper: FunctionType) -> None:
    """Let compiled rules call a plain function, which is compiled with them."""
    if not _simulated():
        from numba.cuda.extending import register_jitable

        register_jitable(helper)


def _simulated() -> bool:
    """Whether numba simulates a card: NUMBA_ENABLE_CUDASIM, set before numba is imported."""
    from numba import config

    return bool(config.ENABLE_CUDASIM)


@functools.cache
def _cuda() -> Any:
    """numba.cuda, with a card."""
    if not COMPILED or not (_simulated() or importlib.util.find_spec("numba_cuda")):
        raise MissingExtra("device='cuda'", "cuda")
    from numba import cuda

    if not cuda.is_available():
        why = " ".join(str(cuda.cuda_error()).split())
        raise ConfigError(
            f"device='cuda' needs an NVIDIA card and its driver, and numba finds none: {why} "
            "`nvidia-smi` shows those of this machine; a driver older than CUDA 13 needs "
            "pip install 'numba-cuda[cu12]'; device='cpu' needs no card"
        )
    return cuda
