"""Who computes a scan, what is said about it, and that nothing missing or broken ever changes a result."""

from __future__ import annotations

import importlib.util
import re
import warnings
from collections.abc import Callable
from types import ModuleType

import pytest
import torch
from fake_kernel import FakeKernel, raising
from scan_problems import Size, cross_problem, single_problem

from monai_mamba.errors import InputError
from monai_mamba.ops import (
    choice,
    cross_selective_scan,
    dispatch,
    explain,
    scan_backend,
    selective_scan,
    set_scan_backend,
    triton_scan,
)
from monai_mamba.ops.triton_scan import probe

CPU = torch.device("cpu")
SIZE = Size(2, 3, 21, 4, 3)
TINY = (2, 3, 21, 4)  # (B, K, L, E) of the same, too small for the native kernel
pytestmark = pytest.mark.usefixtures("fresh")


def test_cpu_tensors_are_silent() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cross_selective_scan(**cross_problem(SIZE))
    assert explain("cpu", shape=TINY).startswith("torch: ")


@pytest.fixture
def triton(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Say what prevents the Triton kernels, and let the CPU count as the device they run on."""

    def put(obstacle: str) -> None:
        monkeypatch.setattr(triton_scan, "DEVICE_TYPE", "cpu")
        monkeypatch.setattr(triton_scan, "obstacle", lambda device, dtype, states: obstacle)

    return put


@pytest.mark.parametrize(
    ("ordered", "without_triton", "without_mamba_ssm", "expected"),
    [
        (True, False, False, "triton"),
        (False, False, False, "mamba_ssm"),
        (True, True, False, "mamba_ssm"),
        (False, False, True, "triton"),
    ],
)
def test_kernels_that_read_along_tables_come_first_where_there_are_tables(
    ordered: bool,
    without_triton: bool,
    without_mamba_ssm: bool,
    expected: str,
    triton: Callable[[str], None],
    install: Callable[[ModuleType | None], None],
) -> None:
    triton("triton does not run" if without_triton else "")
    install(None if without_mamba_ssm else FakeKernel())
    found = choice.choose(choice.Scan(CPU, torch.float32, 4, 100, ordered))
    assert (found.name, found.warn) == (expected, False)
    assert explain(ordered=ordered).startswith(f"{expected}: it is the fastest that works here\n")


def test_without_any_kernel_one_warning_names_all_reasons(
    triton: Callable[[str], None], install: Callable[[ModuleType | None], None]
) -> None:
    triton("triton does not run")
    install(raising(OSError("libcudart.so.12: cannot open")))
    problem = {name: tensor.float() if name != "order" else tensor for name, tensor in cross_problem(SIZE).items()}
    with pytest.warns(UserWarning, match=r"triton does not run; .*libcudart.*pip install") as record:
        found = cross_selective_scan(**problem)
    assert len(record) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cross_selective_scan(**problem)  # it was said
    assert torch.equal(found, cross_selective_scan(**problem, backend="torch"))


def test_triton_computes_what_mamba_ssm_cannot(
    triton: Callable[[str], None], install: Callable[[ModuleType], None]
) -> None:
    triton("")
    install(FakeKernel())
    scan = choice.Scan(CPU, torch.float32, 4, 100, ordered=False, state_gradient=True)
    assert choice.choose(scan).name == "triton"


@pytest.mark.parametrize("error", [ImportError("libtriton.so: undefined symbol"), ModuleNotFoundError("triton")])
def test_triton_that_does_not_import_costs_one_warning(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(inputs: object, save: bool) -> None:
        raise error

    monkeypatch.setattr(probe.launch, "forward", fail)
    monkeypatch.setattr(triton_scan, "DEVICE_TYPE", "cpu")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    probe.try_kernels.cache_clear()
    problem = {name: tensor.float() if name != "order" else tensor for name, tensor in cross_problem(SIZE).items()}
    with pytest.warns(UserWarning, match=str(error)) as record:
        found = cross_selective_scan(**problem, backend="triton")
    probe.try_kernels.cache_clear()
    assert len(record) == 1
    assert torch.equal(found, cross_selective_scan(**problem, backend="torch"))


def test_fallback_within_compilation_warns_and_works(install: Callable[[ModuleType], None]) -> None:
    install(raising(OSError("libcudart.so.12: cannot open")))
    problem = {name: tensor.float() for name, tensor in single_problem(1, 1, 4, 10, 2).items()}
    scan = torch.compile(dispatch.selective_scan, fullgraph=True, backend="aot_eager")
    with pytest.warns(UserWarning, match="libcudart"):
        found = scan(**problem)
    assert torch.equal(found, dispatch.selective_scan(**problem, backend="torch"))


def test_asking_for_the_kernel_where_it_cannot_run_warns_and_works() -> None:
    problem = cross_problem(SIZE)
    with pytest.warns(UserWarning, match="needs cuda") as record:
        found = cross_selective_scan(**problem, backend="mamba_ssm")
    assert len(record) == 1
    assert torch.equal(found, cross_selective_scan(**problem, backend="torch"))


def test_setting_context_and_argument() -> None:
    scan = choice.Scan(CPU, torch.float32, 4, 100)
    assert choice.choose(scan).name == "torch"
    with scan_backend("reference"):
        assert choice.choose(scan).name == "reference"
        assert choice.choose(scan, backend="torch").name == "torch"
        with pytest.raises(RuntimeError), scan_backend("torch"):
            raise RuntimeError
        assert explain().startswith("reference: it was asked for\n")
    set_scan_backend("reference")
    assert explain().startswith("reference: ")
    set_scan_backend("auto")
    assert explain(shape=TINY).startswith("torch: ")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_explained() -> None:
    assert "- triton: the Triton kernels" in str(explain("cuda"))


def test_shapes_are_named_as_they_were_given() -> None:
    problem = cross_problem(Size(1, 2, 6, 4, 3))
    with pytest.raises(InputError, match=r"delta has shape \(2, 6, 4\), expected 4 axes"):
        cross_selective_scan(**{**problem, "delta": problem["delta"][0]})
    with pytest.raises(InputError, match=r"x has shape \(1, 5, 4\), expected \(1, 6, 4\)"):
        cross_selective_scan(**{**problem, "x": problem["x"][:, :5]})
    single = single_problem(1, 1, 4, 6, 3)
    with pytest.raises(InputError, match=r"u has shape .*, expected 3 axes"):
        selective_scan(**{**single, "u": single["u"][None]})


def test_explaining_does_not_warn(install: Callable[[ModuleType], None]) -> None:
    install(raising(OSError("libcudart.so.12: cannot open")))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text = explain(shape=TINY)
    first, *candidates, scan = text.splitlines()
    assert re.match("torch: .*libcudart.*; the scan has fewer than", first)
    names = [line.split(":")[0] for line in candidates]
    assert names == ["- triton", "- mamba_ssm", "- native", "- torch", "- reference", "- export"]
    assert "triton needs cuda" in candidates[0]
    assert "libcudart" in candidates[1]
    assert "fewer than 1,048,576 state updates" in candidates[2]
    assert scan == "Asked for: auto. Scan: float32 on cpu, B = 2, K = 3, L = 21, E = 4, N = 16; 8,064 state updates."


def test_nothing_is_tried_on_a_device_that_nothing_was_made_for() -> None:
    text = explain("meta")
    assert text.startswith("torch: nothing faster runs on meta\n")
    assert "- mamba_ssm: the tensors are on meta, mamba_ssm needs cuda\n" in text
    assert "- native: the tensors are on meta, native needs cpu\n" in text


def test_unknown_names_are_refused() -> None:
    with pytest.raises(InputError, match=r"'fast'.*reference"):
        set_scan_backend("fast")
    with pytest.raises(InputError, match="'fast'"):
        cross_selective_scan(**cross_problem(SIZE), backend="fast")


@pytest.fixture
def started_with(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Load the module anew under another value of the environment variable."""

    def load(value: str) -> ModuleType:
        monkeypatch.setenv("MONAI_MAMBA_SCAN", value)
        spec = importlib.util.spec_from_file_location("monai_mamba.ops.choice_again", choice.__file__)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


def test_environment_variable_sets_the_start(started_with: Callable[[str], ModuleType]) -> None:
    assert started_with("reference").explain(shape=TINY).startswith("reference: ")


def test_unknown_name_in_the_environment_is_refused(started_with: Callable[[str], ModuleType]) -> None:
    with pytest.raises(InputError, match=r"'fast'.*MONAI_MAMBA_SCAN"):
        started_with("fast").explain()
