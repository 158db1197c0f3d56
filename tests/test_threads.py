"""Several chunks at once: the same numbers, in order."""

import threading

import pytest
import torch

from stream_mapper.inference.threads import threads_on

CPU = torch.device("cpu")


@pytest.fixture
def two_threads():
    """Torch has two threads; the others tests have one."""
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


def test_results_come_in_order_from_threads_that_have_one_each(two_threads):
    with threads_on(CPU) as threads:
        found = list(threads.map(lambda i: (i, threading.get_ident(), torch.get_num_threads()), range(50)))
    assert [i for i, *_ in found] == list(range(50))
    assert threading.get_ident() not in {ident for _, ident, _ in found}
    assert {count for *_, count in found} == {1}
    assert torch.get_num_threads() == 2


def test_nothing_has_derivatives(two_threads):
    weight = torch.ones(3, requires_grad=True)
    with threads_on(CPU) as threads:
        assert not any(total.requires_grad for total in threads.map(lambda i: i * weight, range(3)))


def test_few_results_wait(two_threads):
    begun = []
    with threads_on(CPU) as threads:
        results = threads.map(begun.append, range(100))
        next(results)
        assert len(begun) <= 5
        results.close()


def test_an_error_ends_it_and_gives_the_threads_back(two_threads):
    with pytest.raises(ZeroDivisionError), threads_on(CPU) as threads:
        list(threads.map(lambda i: 1 / (i - 3), range(100)))
    assert torch.get_num_threads() == 2


def test_with_one_thread_there_is_no_other():
    with threads_on(CPU) as threads:
        assert set(threads.map(lambda _: threading.get_ident(), range(3))) == {threading.get_ident()}
