"""Who makes which job, under a simulated clock: order, deaths, errors, and what is given up."""

import random

import pytest
from simulated_workers import SimulatedWorkers, Work

from everanimate_core.batch.dispatch import DEATHS, PAUSE, Ended, Task, dispatch


def run(workers, networks=None, lengths=None):
    """Dispatch all work of the workers; {name: how it ended}, and the events that were told."""
    told = []
    tasks = [
        Task(name, work.seconds if lengths is None else lengths[name], (networks or {}).get(name, ""))
        for name, work in workers.work.items()
    ]
    left = workers.left if lengths is None else lambda task: task.length
    results = dispatch(tasks, workers, workers.progress, lambda event, task: told.append((task.name, event)), left)
    assert sorted(result.name for result in results) == sorted(workers.work)
    return {result.name: result for result in results}, told


def test_the_longest_first_and_in_the_order_of_the_list_among_equals():
    work = {"a": Work([1]), "b": Work([3]), "c": Work([2]), "d": Work([3])}
    workers = SimulatedWorkers(1, work)
    results, _ = run(workers)
    assert [name for _, name in workers.begun] == ["b", "d", "c", "a"]
    assert {result.ended for result in results.values()} == {Ended.FINISHED}
    assert workers.clock == 9


def test_no_worker_waits_while_there_is_a_job():
    work = {str(number): Work([1.0 + number % 3]) for number in range(30)}
    workers = SimulatedWorkers(4, work)
    run(workers)
    # The longest first ends within the longest job of the ideal.
    ideal = sum(job.seconds for job in work.values()) / 4
    assert ideal <= workers.clock <= ideal + 3


def test_among_equals_a_worker_takes_what_it_has_loaded():
    work = {name: Work([1]) for name in "abcd"}
    workers = SimulatedWorkers(1, work)
    run(workers, networks={"a": "one", "b": "two", "c": "one", "d": "two"})
    assert [name for _, name in workers.begun] == ["a", "c", "b", "d"]


def test_a_longer_job_goes_before_one_whose_network_is_loaded():
    work = {"a": Work([3]), "b": Work([2]), "c": Work([1])}
    workers = SimulatedWorkers(1, work)
    run(workers, networks={"a": "one", "b": "two", "c": "one"})
    assert [name for _, name in workers.begun] == ["a", "b", "c"]


def test_a_job_whose_worker_died_goes_on_elsewhere_and_makes_no_chunk_twice():
    work = {"a": Work([4, 4, 4]), "b": Work([1])}
    workers = SimulatedWorkers(2, work, scripted={("a", 1): 1})
    results, told = run(workers)
    assert workers.begun == [("machine 0", "a"), ("machine 1", "b"), ("machine 1", "a")]
    assert workers.made["a"] == [0, 1, 2]
    assert [(name, event.ended) for name, event in told] == [
        ("b", Ended.FINISHED),
        ("a", Ended.LOST),
        ("a", Ended.FINISHED),
    ]
    assert results["a"].ended is Ended.FINISHED


def test_a_place_where_a_job_died_takes_a_shorter_one_instead():
    work = {"a": Work([4, 4, 4]), "b": Work([1]), "c": Work([3])}
    workers = SimulatedWorkers(2, work, scripted={("a", 0): 1}, back=0.5)
    run(workers)
    assert workers.begun == [("machine 0", "a"), ("machine 1", "c"), ("machine 0", "b"), ("machine 1", "a")]


def test_where_there_is_no_other_place_a_job_goes_on_where_it_died():
    workers = SimulatedWorkers(1, {"a": Work([4, 4])}, scripted={("a", 1): 1}, back=7)
    run(workers)
    assert workers.begun == [("machine 0", "a")] * 2
    # 4 of the first chunk, 2 of the lost one, 7 until a worker is there, 4 of the second chunk.
    assert workers.clock == 17


def test_a_job_that_kills_its_workers_is_given_up_and_the_others_go_on():
    work = {"bad": Work([4, 4]), "good": Work([1, 1])}
    workers = SimulatedWorkers(2, work, scripted={("bad", 1): 100})
    results, _ = run(workers)
    assert results["bad"].ended is Ended.FAILED
    assert results["bad"].said == (f"its worker died {DEATHS} times in a row without finishing a part of it: killed")
    assert results["good"].ended is Ended.FINISHED
    # The first death came after a chunk.
    assert [name for _, name in workers.begun].count("bad") == DEATHS + 1


def test_a_job_that_gets_on_between_deaths_is_never_given_up():
    chunks = 4 * DEATHS
    scripted = {("a", chunk): DEATHS - 1 for chunk in range(chunks)}
    workers = SimulatedWorkers(1, {"a": Work([1] * chunks)}, scripted=scripted)
    results, _ = run(workers)
    assert results["a"].ended is Ended.FINISHED
    assert workers.made["a"] == list(range(chunks))
    assert workers.died == chunks * (DEATHS - 1)


def test_an_error_of_a_job_is_no_reason_to_try_again_nor_to_stop():
    work = {"a": Work([3], fails=True), "b": Work([2]), "c": Work([1])}
    workers = SimulatedWorkers(1, work)
    results, _ = run(workers)
    assert [name for _, name in workers.begun] == ["a", "b", "c"]
    assert (results["a"].ended, results["a"].said) == (Ended.FAILED, "an error")
    assert results["b"].ended is results["c"].ended is Ended.FINISHED


def test_a_job_that_another_program_makes_is_tried_again_later():
    work = {"a": Work([3]), "b": Work([2])}
    workers = SimulatedWorkers(1, work, taken={"a": 2})
    results, _ = run(workers)
    assert [name for _, name in workers.begun] == ["a", "b", "a", "a"]
    assert results["a"].ended is Ended.FINISHED
    # A second until it is seen each time, a pause twice, and the job.
    assert workers.clock == 1 + PAUSE + 1 + PAUSE + 3


def test_what_is_left_counts_not_what_was():
    work = {"begun": Work([1] * 10, done=9), "new": Work([2, 2])}
    workers = SimulatedWorkers(1, work)
    run(workers)
    assert [name for _, name in workers.begun] == ["new", "begun"]
    assert workers.made["begun"] == [9]


@pytest.mark.parametrize("seed", range(20))
def test_whatever_dies_every_job_ends_and_no_finished_chunk_is_made_twice(seed):
    chance = random.Random(seed)
    work = {str(n): Work([chance.uniform(1, 9) for _ in range(chance.randint(1, 8))]) for n in range(40)}
    work["fails"] = Work([1], fails=True)
    workers = SimulatedWorkers(5, work, load=2, deaths=1 / 60, back=3, seed=seed)
    results, _ = run(workers)
    assert workers.died
    for name, job in work.items():
        if results[name].ended is Ended.FINISHED:
            assert workers.made[name] == list(range(len(job.chunks)))
        else:
            # A job is only given up after so many deaths in a row.
            assert name == "fails" or [n for _, n in workers.begun].count(name) >= DEATHS
