# SPDX-License-Identifier: Apache-2.0
"""The client against the fake solver process over a real socket."""

import os
import signal
import time

import pytest
from PIL import Image

from blender_addon.client.process import SolverConfig
from blender_addon.client.solver import Solver
from blender_addon.core.errors import Fix
from blender_addon.core.jobs import Job, JobState, solve_keypoints
from blender_addon.core.picture_jobs import pose_from_image
from blender_addon.core.record import Keypoints3D
from blender_addon.core.solver_state import Phase

KEYPOINTS = Keypoints3D(("nose", "left_wrist"), ((0.0, 1.6, 0.0), (0.5, 1.0, 0.0)), (0.02, 0.02))


@pytest.fixture
def picture(tmp_path):
    Image.new("RGB", (300, 400)).save(tmp_path / "photo.jpg")
    return (tmp_path / "photo.jpg").read_bytes()


@pytest.fixture
def solver():
    client = Solver()
    yield client
    client.close()


def pump_until(client, condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain; {client.state}"
        client.pump()
        time.sleep(0.002)


def run(client, fake, job):
    client.submit(job, fake.config)
    pump_until(client, lambda: job.has_ended)
    return job


def test_a_job_starts_the_process_and_gets_its_records(solver, fake, picture):
    fake.behave(persons=2)
    job = run(solver, fake, Job(pose_from_image("photo.jpg", picture)))
    assert job.state is JobState.DONE
    assert len(job.result.records) == 2
    assert solver.state.phase is Phase.RUNNING
    assert not solver.state.is_busy
    record = job.result.records[0]
    assert record.camera.rotation is not None
    assert len(record.solution.points) == len(record.solution.pixels) == 33 + 24  # landmarks and joints


def test_the_picture_travels_as_its_own_bytes(solver, fake, picture):
    job = run(solver, fake, Job(pose_from_image("photo.jpg", picture)))
    assert job.state is JobState.DONE  # the fake solver has opened it
    assert job.result.records[0].camera.width == 300


def test_progress_and_busy_state_are_seen(solver, fake, picture):
    fake.behave("slow", seconds=0.5)
    job = Job(pose_from_image("photo.jpg", picture))
    solver.submit(job, fake.config)
    assert solver.state.is_busy
    pump_until(solver, lambda: job.text == "Thinking")
    pump_until(solver, lambda: job.fraction > 0.1)
    assert job.fraction < 0.6
    pump_until(solver, lambda: job.has_ended)


def test_a_cancelled_job_is_told_to_the_solver_and_its_late_answer_is_dropped(solver, fake, picture):
    fake.behave("slow", seconds=0.6)
    job = Job(pose_from_image("photo.jpg", picture))
    solver.submit(job, fake.config)
    pump_until(solver, lambda: job.text == "Thinking")
    solver.cancel()
    assert job.state is JobState.CANCELLED
    assert solver.job is None
    assert not solver.state.is_busy
    pump_until(solver, lambda: bool(fake.requests("Cancel")))
    assert run(solver, fake, Job(solve_keypoints("p.json", KEYPOINTS))).state is JobState.DONE


def test_the_latest_job_wins(solver, fake, picture):
    fake.behave("slow", seconds=0.3)
    jobs = [Job(solve_keypoints("p.json", KEYPOINTS)) for _ in range(4)]
    for job in jobs:
        solver.submit(job, fake.config)
        for _ in range(20):
            solver.pump()
            time.sleep(0.002)
    pump_until(solver, lambda: jobs[-1].has_ended)
    assert [job.state for job in jobs] == [JobState.CANCELLED] * 3 + [JobState.DONE]


def test_a_refusal_fails_the_job_with_the_solvers_sentence_and_the_next_one_works(solver, fake):
    job = run(solver, fake, Job(pose_from_image("photo.jpg", b"\xff\xd8\xff no picture")))
    assert job.state is JobState.FAILED
    assert job.error.code == "bad_image"
    assert str(job.error) == "the picture cannot be read: it is cut off or damaged"
    assert solver.state.phase is Phase.RUNNING
    assert run(solver, fake, Job(solve_keypoints("p.json", KEYPOINTS))).state is JobState.DONE


def test_a_picture_that_crashes_the_solver_is_not_tried_for_ever_and_the_next_job_works(solver, fake, picture):
    fake.behave("crash_on_detect")
    job = run(solver, fake, Job(pose_from_image("photo.jpg", picture)))
    assert str(job.error) == "the solver ended unexpectedly with code 3; this command was tried 3 times"
    assert len(fake.requests("Detect")) == 3
    fake.behave()
    assert run(solver, fake, Job(pose_from_image("photo.jpg", picture))).state is JobState.DONE


def test_a_job_survives_the_death_of_the_solver(solver, fake, picture):
    fake.behave("slow", seconds=0.3)
    job = Job(pose_from_image("photo.jpg", picture))
    solver.submit(job, fake.config)
    pump_until(solver, lambda: job.text == "Thinking")
    os.kill(solver.pid, signal.SIGKILL)
    pump_until(solver, lambda: job.has_ended)
    assert job.state is JobState.DONE
    assert len(fake.requests("Detect")) == 2
    assert len(fake.requests("Solve")) == 1


def test_stopping_fails_the_job_and_frees_everything(solver, fake, picture):
    fake.behave("slow", seconds=30)
    job = Job(pose_from_image("photo.jpg", picture))
    solver.submit(job, fake.config)
    pump_until(solver, lambda: job.text == "Thinking")
    solver.stop()
    assert str(job.error) == "the solver was stopped"
    assert solver.state.phase is Phase.STOPPED
    pump_until(solver, lambda: not solver.needs_pump)


def test_a_python_that_is_not_there_is_an_error_with_a_way_out(solver, tmp_path):
    job = Job(solve_keypoints("p.json", KEYPOINTS))
    solver.submit(job, SolverConfig("/nowhere/python", "cpu", tmp_path / "solver.log"))
    assert job.state is JobState.FAILED
    assert solver.state.fix is Fix.OPEN_PREFERENCES
    assert not solver.needs_pump


def test_two_clients_have_each_their_own_process(solver, fake):
    other = Solver()
    try:
        jobs = [Job(solve_keypoints("p.json", KEYPOINTS)) for _ in range(2)]
        solver.submit(jobs[0], fake.config)
        other.submit(jobs[1], fake.config)
        pump_until(solver, lambda: jobs[0].has_ended)
        pump_until(other, lambda: jobs[1].has_ended)
        assert solver.pid != other.pid
        assert [job.state for job in jobs] == [JobState.DONE] * 2
    finally:
        other.close()
