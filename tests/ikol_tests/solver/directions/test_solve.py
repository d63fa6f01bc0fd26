# SPDX-License-Identifier: Apache-2.0
"""Keypoints to rotations: exact where they can be reached, the optimum where not, whatever is missing."""

import math

import pytest
import torch
from keypoint_trees import Case, make_case, paper_offsets, paper_tree, place, random_tree, twists_of
from torch import Tensor

from ikol.body.joint_tree import JointTree
from ikol.errors import InputError
from ikol.geometry.rotations import rotvec_to_rotmat
from ikol.solver.directions import DirectionConfig, DirectionResult, solve_directions
from ikol.solver.result import SolveStatus

BACKENDS = ("native", "torch")
DTYPES = (torch.float32, torch.float64)


def _solve(case: Case, weights: Tensor | None = None, **settings: object) -> DirectionResult:
    config = DirectionConfig(**settings)  # pyright: ignore[reportArgumentType]
    return solve_directions(case.tree, case.keypoints, case.offsets, case.twist, weights=weights, config=config)


def _misses(case: Case, result: DirectionResult) -> Tensor:
    return (place(case.tree, case.offsets, result.local_rotmat, result.root) - case.keypoints).norm(dim=-1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("max_angle", [None, math.pi / 2])
@pytest.mark.parametrize("hold_root", [True, False])
def test_reachable_keypoints_are_reached(dtype: torch.dtype, max_angle: float | None, hold_root: bool) -> None:
    case = make_case(10_000, seed=1, dtype=dtype, max_angle=max_angle)
    result = _solve(case, hold_root=hold_root, backend="native")
    assert int((result.status != SolveStatus.CONVERGED).sum()) == 0
    # 0.1 mm is what is promised; float64 ends near 1e-10 m, float32 near 5e-6 m (rounding of places of up to 4 m)
    bound = 1e-8 if dtype == torch.float64 else 1e-4
    assert float(_misses(case, result).max()) < bound


@pytest.mark.parametrize("dtype", DTYPES)
def test_reachable_keypoints_are_reached_in_torch(dtype: torch.dtype) -> None:
    case = make_case(500, seed=2, dtype=dtype)
    result = _solve(case, backend="torch")
    assert float(_misses(case, result).max()) < (1e-8 if dtype == torch.float64 else 1e-4)


def test_rotations_with_their_twists_are_recovered() -> None:
    case = make_case(500, seed=3, max_angle=math.pi / 2)
    result = _solve(case, backend="native")
    # swings below a right angle: the error of the places (1e-10 m) over bones of 5 cm and more, through ten joints
    assert float((result.local_rotmat - case.local_rotmat).abs().max()) < 1e-6


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_rotations_are_orthonormal_at_half_a_turn(backend: str, dtype: torch.dtype) -> None:
    tree, offsets = paper_tree(), paper_offsets()
    angles = math.pi - torch.tensor([0.0, 1e-7, 1e-5, 3e-4, 1e-3, 1e-2], dtype=torch.float64)
    rotmat = torch.eye(3, dtype=torch.float64).repeat(len(angles), 24, 1, 1)
    for joint in (1, 4, 18, 21):
        bone = offsets[tree.children[joint][0]]
        across = torch.linalg.cross(bone, torch.tensor([0.3, 0.2, 0.9], dtype=torch.float64))
        rotmat[:, joint] = rotvec_to_rotmat(angles[:, None] * across / across.norm())
    keypoints = place(tree, offsets, rotmat, torch.zeros(len(angles), 3, dtype=torch.float64))
    case = Case(tree, offsets.to(dtype), rotmat, torch.zeros(len(angles), 24, dtype=dtype), keypoints.to(dtype))
    result = _solve(case, backend=backend)
    found = result.local_rotmat
    # ten roundings, and twice that near half a turn
    defect = (found @ found.mT - torch.eye(3, dtype=dtype)).abs().max()
    assert float(defect) < 200 * torch.finfo(dtype).eps
    assert float(_misses(case, result).max()) < 1e-5


@pytest.mark.parametrize("noise", [0.01, 0.03])
@pytest.mark.parametrize("hold_root", [True, False])
@pytest.mark.parametrize("is_weighted", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
def test_native_equals_torch(noise: float, hold_root: bool, is_weighted: bool, dtype: torch.dtype) -> None:
    case = make_case(100, seed=4, max_angle=math.pi / 2, noise=noise, dtype=dtype)
    weights = (
        0.2 + torch.rand(100, 29, dtype=dtype, generator=torch.Generator().manual_seed(0)) if is_weighted else None
    )
    first, second = (_solve(case, weights, hold_root=hold_root, backend=backend) for backend in BACKENDS)
    # the same optimum to the square of the last step in float64, to the rounding of the sum in float32
    relative = 1e-12 if dtype == torch.float64 else 1e-4
    torch.testing.assert_close(first.cost, second.cost, rtol=relative, atol=0.0)
    places = [place(case.tree, case.offsets, each.local_rotmat, each.root) for each in (first, second)]
    # float32: the optimum is flat, 1e-4 of the cost is up to a millimetre across the weakest direction
    assert float((places[0] - places[1]).abs().max()) < (1e-8 if dtype == torch.float64 else 1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("hold_root", [True, False])
def test_optimum_of_noisy_keypoints_is_a_local_minimum_of_the_whole_pose(hold_root: bool) -> None:
    case = make_case(6, seed=5, max_angle=math.pi / 2, noise=0.01)
    result = _solve(case, hold_root=hold_root)
    generator = torch.Generator().manual_seed(0)
    # an independent search over all 72 angles (and the place) from a start 0.05 rad away
    rotvec = (0.05 * torch.randn(6, 24, 3, dtype=torch.float64, generator=generator)).requires_grad_()
    shift = torch.zeros(6, 3, dtype=torch.float64, requires_grad=not hold_root)
    variables = [rotvec] if hold_root else [rotvec, shift]
    search = torch.optim.LBFGS(
        variables, max_iter=2000, max_eval=4000, line_search_fn="strong_wolfe", tolerance_change=0
    )

    def costs() -> Tensor:
        rotmat = result.local_rotmat @ rotvec_to_rotmat(rotvec)
        miss = place(case.tree, case.offsets, rotmat, result.root + shift) - case.keypoints
        return 0.5 * miss.square().sum((-1, -2))

    def closure() -> Tensor:
        search.zero_grad()
        total = costs().sum()
        total.backward()
        return total

    search.step(closure)
    # L-BFGS is linear: after 2000 steps it is within a millionth of the optimum, from above
    torch.testing.assert_close(costs().detach(), result.cost, rtol=1e-5, atol=0.0)
    assert float((result.cost - costs().detach()).max()) < 1e-9


@pytest.mark.parametrize("batch", [(), (1,), (3,), (2, 3)])
@pytest.mark.parametrize("backend", BACKENDS)
def test_batch_shapes_and_single_frames_give_the_same(batch: tuple[int, ...], backend: str) -> None:
    whole = make_case(max(math.prod(batch), 1), seed=6, max_angle=math.pi / 2, noise=0.01)
    shaped = Case(
        whole.tree,
        whole.offsets,
        whole.local_rotmat,
        whole.twist.reshape(*batch, 24),
        whole.keypoints.reshape(*batch, 29, 3),
    )
    result = _solve(shaped, backend=backend)
    assert result.local_rotmat.shape == (*batch, 24, 3, 3)
    assert result.root.shape == (*batch, 3)
    assert result.status.shape == batch
    singles = [
        solve_directions(whole.tree, points, whole.offsets, angles, config=DirectionConfig(backend=backend))
        for points, angles in zip(whole.keypoints, whole.twist, strict=True)
    ]
    alone = torch.stack([each.local_rotmat for each in singles])
    # rounding of sums that the compiler orders differently, through the weakest direction
    assert float((alone - result.local_rotmat.reshape(alone.shape)).abs().max()) < 1e-8


@pytest.mark.parametrize("backend", BACKENDS)
def test_offsets_and_weights_may_differ_from_frame_to_frame(backend: str) -> None:
    case = make_case(5, seed=7, max_angle=1.0)
    scale = torch.linspace(0.8, 1.2, 5, dtype=torch.float64)
    offsets = case.offsets * scale[:, None, None]
    keypoints = place(case.tree, offsets, case.local_rotmat, torch.zeros(5, 3, dtype=torch.float64))
    scaled = Case(case.tree, offsets, case.local_rotmat, case.twist, keypoints)
    assert float(_misses(scaled, _solve(scaled, scale[:, None].expand(5, 29), backend=backend)).max()) < 1e-8


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("missing", [(18,), (4, 7), (0,), (9,), (3, 6, 9), (1,), (20, 22, 25), tuple(range(1, 29))])
def test_missing_keypoints_are_not_read_and_the_others_are_reached(backend: str, missing: tuple[int, ...]) -> None:
    case = make_case(40, seed=8, max_angle=math.pi / 2)
    weights = torch.ones(29, dtype=torch.float64)
    weights[list(missing)] = 0.0
    case.keypoints[:, list(missing)] = math.nan
    result = _solve(case, weights, backend=backend)
    assert bool(torch.isfinite(result.local_rotmat).all())
    seen = _misses(case, result)[:, weights > 0]
    assert float(seen.max()) < 1e-4


FORKS = {
    "hips": (1, 2),
    "pelvis": (1, 2, 3),
    "chest": (9,),
    "neck and collars": (12, 13, 14),
    "left of chest": (12, 13),
    "what COCO lacks": (0, 3, 6, 9, 10, 11, 12, 13, 14, 15, 22, 23),
}


@pytest.mark.parametrize("hold_root", [True, False])
@pytest.mark.parametrize("missing", FORKS)
def test_reachable_keypoints_are_reached_without_those_at_forks(missing: str, hold_root: bool) -> None:
    case = make_case(1000, seed=14, max_angle=math.pi)
    weights = torch.ones(29, dtype=torch.float64)
    weights[list(FORKS[missing])] = 0.0
    weights[0] = 1.0 if hold_root else weights[0]
    result = _solve(case, weights, hold_root=hold_root, backend="native")
    miss = _misses(case, result)[:, weights > 0].square().mean(-1).sqrt()
    # 0.1 mm; from a single start 20 % of the frames without hips end in a local optimum
    assert int((miss > 1e-4).sum()) <= 2, miss.topk(5)


@pytest.mark.parametrize("missing", ["hips", "pelvis", "chest"])
def test_backends_find_the_same_optimum_without_keypoints_at_forks(missing: str) -> None:
    case = make_case(40, seed=15, max_angle=math.pi, noise=0.02)
    weights = torch.ones(29, dtype=torch.float64)
    weights[list(FORKS[missing])] = 0.0
    native, torch_ = (_solve(case, weights, backend=backend).cost for backend in BACKENDS)
    # of two starts that end within a thousandth of each other either may be kept
    torch.testing.assert_close(native, torch_, rtol=1e-3, atol=0.0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_seen_gives_the_rest_pose(backend: str) -> None:
    case = make_case(2, seed=9)
    still = Case(case.tree, case.offsets, case.local_rotmat, torch.zeros(2, 24, dtype=torch.float64), case.keypoints)
    result = _solve(still, torch.zeros(29, dtype=torch.float64), backend=backend)
    # rounding of unit vectors through ten joints
    assert float((result.local_rotmat - torch.eye(3, dtype=torch.float64)).abs().max()) < 1e-7
    assert result.status.tolist() == [0, 0]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("seed", range(4))
def test_any_tree_is_solved(backend: str, seed: int) -> None:
    case = make_case(20, seed=seed, shape=random_tree(40, seed))
    result = _solve(case, backend=backend)
    assert float(_misses(case, result).max()) < 1e-8


@pytest.mark.parametrize("backend", BACKENDS)
def test_chain_and_star_are_solved(backend: str) -> None:
    chain = JointTree(tuple("abcdef"), (-1, 0, 1, 2, 3, 4))
    star = JointTree(tuple("abcdef"), (-1, 0, 0, 0, 0, 0))
    offsets = random_tree(6, 3)[1]
    for tree in (chain, star):
        case = make_case(20, seed=1, shape=(tree, offsets))
        assert float(_misses(case, _solve(case, backend=backend)).max()) < 1e-8, tree.parents


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_bone_of_length_zero_is_allowed(backend: str) -> None:
    case = make_case(10, seed=2, max_angle=1.0)
    offsets = case.offsets.clone()
    offsets[4] = 0.0
    keypoints = place(case.tree, offsets, case.local_rotmat, torch.zeros(10, 3, dtype=torch.float64))
    result = _solve(Case(case.tree, offsets, case.local_rotmat, case.twist, keypoints), backend=backend)
    found = place(case.tree, offsets, result.local_rotmat, result.root)
    assert float((found - keypoints).abs().max()) < 1e-8
    defect = result.local_rotmat @ result.local_rotmat.mT - torch.eye(3, dtype=torch.float64)
    assert float(defect.abs().max()) < 1e-12


@pytest.mark.parametrize("backend", BACKENDS)
def test_cost_never_rises_with_more_iterations(backend: str) -> None:
    case = make_case(64, seed=10, max_angle=math.pi / 2, noise=0.01)
    costs = torch.stack([_solve(case, max_iterations=count, backend=backend).cost for count in range(12)])
    # rounding of a sum of 29 squares
    assert float((costs[1:] - costs[:-1]).max()) < 1e-13


@pytest.mark.parametrize("backend", BACKENDS)
def test_status_tells_when_iterations_ran_out(backend: str) -> None:
    case = make_case(4, seed=11, max_angle=math.pi / 2, noise=0.05)
    result = _solve(case, max_iterations=1, backend=backend)
    assert result.status.tolist() == [SolveStatus.MAX_ITERATIONS] * 4
    assert result.iterations.tolist() == [1] * 4


def test_large_coordinates_cost_no_accuracy_in_float32() -> None:
    case = make_case(50, seed=12, dtype=torch.float32)
    away = Case(case.tree, case.offsets, case.local_rotmat, case.twist, case.keypoints + 64.0)
    near, far = _solve(case), _solve(away)
    # adding 64 rounds the keypoints to 4e-6 m; bones are 5 cm and more; near half a turn twists follow 1/(1 + cos)
    difference = (near.local_rotmat - far.local_rotmat).abs().flatten(1).amax(-1).median()
    assert float(difference) < 5e-3


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keypoints": torch.zeros(2, 28, 3)}, r"keypoints must have shape \(\*batch, 29, 3\)"),
        ({"offsets": torch.zeros(3, 29, 3)}, "offsets must have shape"),
        ({"twist": torch.zeros(2, 29)}, r"twist must have shape \(\*batch, 24\)"),
        ({"weights": torch.ones(2, 29, 1)}, "weights must have shape"),
        ({"offsets": torch.zeros(29, 3, dtype=torch.float64)}, "offsets is torch.float64 on cpu"),
        ({"keypoints": torch.zeros(2, 29, 3, dtype=torch.float16)}, "must be float32 or float64"),
        ({"keypoints": torch.full((2, 29, 3), math.nan)}, "must be finite"),
        ({"twist": torch.full((24,), math.inf)}, "must be finite"),
        ({"offsets": torch.full((29, 3), math.inf)}, "must be finite"),
        ({"weights": -torch.ones(29)}, "weights not negative"),
    ],
)
def test_malformed_input_is_refused(backend: str, change: dict[str, Tensor], message: str) -> None:
    arguments = {
        "keypoints": torch.zeros(2, 29, 3),
        "offsets": paper_offsets().float(),
        "twist": torch.zeros(24),
        "weights": torch.ones(29),
        **change,
    }
    with pytest.raises(InputError, match=message):
        solve_directions(paper_tree(), **arguments, config=DirectionConfig(backend=backend))


def test_a_single_joint_is_refused() -> None:
    with pytest.raises(InputError, match="at least one bone"):
        solve_directions(JointTree(("a",), (-1,)), torch.zeros(1, 3), torch.zeros(1, 3), torch.zeros(0))


@pytest.mark.parametrize("setting", [{"max_iterations": -1}, {"unrolled_steps": 0}])
def test_settings_that_make_no_sense_are_refused(setting: dict[str, int]) -> None:
    with pytest.raises(InputError):
        DirectionConfig(**setting)  # pyright: ignore[reportArgumentType]


def test_twist_is_what_was_asked_for() -> None:
    case = make_case(20, seed=13, max_angle=2.0)
    twist = torch.linspace(-20.0, 20.0, 20 * 24, dtype=torch.float64).reshape(20, 24)
    result = _solve(Case(case.tree, case.offsets, case.local_rotmat, twist, case.keypoints))
    found = twists_of(case.tree, case.offsets, result.local_rotmat)
    single = torch.tensor([len(case.tree.children[joint]) == 1 for joint in range(24)])
    turns = ((found - twist)[:, single] / (2 * math.pi)).frac().abs()
    # whole turns apart; twice the rounding of the quaternion through atan2
    assert float(torch.minimum(turns, 1 - turns).max()) < 1e-9
