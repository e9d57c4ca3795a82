"""The four solvers on small plain objectives, beside closed forms and SciPy: the same optimum, honest status, exact resume."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import optimize

from engine.models._linear.fista import solve_fista
from engine.models._linear.iterating import LIMIT, NO_STEP, OVERFLOW, SUCCESS, Start, Stops, find_step
from engine.models._linear.lbfgs import solve_lbfgs
from engine.models._linear.newton import factor_hessian, solve_newton
from engine.models._linear.objective_protocol import LinePoint
from engine.models._linear.penalised import Penalised
from engine.models._linear.proximal_newton import minimize_model, solve_proximal_newton
from tests.models.plain_objectives import PlainObjective

SOLVERS = {"newton": solve_newton, "lbfgs": solve_lbfgs, "fista": solve_fista, "proximal_newton": solve_proximal_newton}
EXACT = Stops(convergence_threshold=1e-10)
TOLERANCE = 1e-8


def make(loss="squared", n=200, d=5, seed=0, classes=2, noise=1.0, **more):
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(n, d)) / np.sqrt(2.0)
    score = x @ draw.normal(size=(d, classes)) + noise * draw.normal(size=(n, classes))
    return PlainObjective(x, score[:, 0] if loss == "squared" else np.argmax(score, axis=1), loss, **more)


def run(solver, objective, *, l1=0.0, l2=1e-2, stops=EXACT, most=5000, start=None):
    """All iterations up to ``most``."""
    problem = Penalised(objective, l1=l1, l2=l2)
    start = Start(np.zeros(objective.n_coefficients)) if start is None else start
    return list(itertools.islice(SOLVERS[solver](problem, start, stops), most))


def reference(objective, *, l1=0.0, l2=1e-2):
    """The optimum by SciPy's trust-region Newton method, or for l1 from the equations of the active set."""
    free = objective.is_intercept
    penalty = np.where(free, 0.0, l2)

    def value(w):
        return objective.evaluate(w, 0).loss + penalty @ (w * w)

    def slope(w):
        return objective.evaluate(w, 1).gradient + 2.0 * penalty * w

    def bend(w):
        return objective.evaluate(w, 2).hessian + 2.0 * np.diag(penalty)

    found = optimize.minimize(
        value, np.zeros(objective.n_coefficients), jac=slope, hess=bend, method="trust-exact", options={"gtol": 1e-9, "maxiter": 1000}
    ).x
    for _ in range(3):
        found = found - np.linalg.solve(bend(found), slope(found))
    return found


def assert_near(got, expected):
    assert np.abs(got - expected).max() <= TOLERANCE * np.abs(expected).max()


CASES = [("squared", 2), ("softmax", 2), ("softmax", 4), ("hinge", 2)]


@pytest.mark.parametrize(("loss", "classes"), CASES)
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("l2", [1e-2, 10.0])
def test_all_reach_the_same_optimum(solver, loss, classes, l2):
    objective = make(loss, classes=classes)
    last = run(solver, objective, l2=l2)[-1]
    assert last.status == SUCCESS
    assert_near(last.point.w, reference(objective, l2=l2))


@pytest.mark.parametrize("solver", ["fista", "proximal_newton"])
@pytest.mark.parametrize(("loss", "classes"), CASES)
def test_elastic_net_is_optimal(solver, loss, classes):
    objective = make(loss, classes=classes, d=12)
    l1 = 60.0 if loss == "squared" else 10.0
    last = run(solver, objective, l1=l1, l2=0.5, most=20000)[-1]
    problem = Penalised(objective, l1=l1, l2=0.5)
    w = last.point.w
    gradient = problem.at(w, 1).gradient
    at_zero = (w == 0.0) & (problem.l1 > 0)
    assert last.status == SUCCESS
    assert at_zero.any()
    assert not at_zero.all()
    assert np.abs(gradient[at_zero]).max() <= l1
    assert np.abs((gradient + problem.l1 * np.sign(w))[~at_zero]).max() < 1e-6
    other = run("proximal_newton" if solver == "fista" else "fista", objective, l1=l1, l2=0.5, most=20000)[-1]
    assert_near(w, other.point.w)


def test_newton_needs_one_step_for_squares():
    iterations = run("newton", make())
    assert [i.number for i in iterations] == [1]
    assert iterations[0].passes == 2


def test_proximal_newton_needs_few_passes():
    assert run("proximal_newton", make(d=30), l1=5.0)[-1].passes <= 3
    assert run("proximal_newton", make("softmax", d=30), l1=5.0)[-1].passes <= 12


@pytest.mark.parametrize(("solver", "l1"), [*((name, 0.0) for name in SOLVERS), ("fista", 3.0), ("proximal_newton", 3.0)])
@pytest.mark.parametrize(("loss", "classes"), CASES)
def test_resume_is_exact(solver, loss, classes, l1):
    objective = make(loss, classes=classes, noise=0.3)
    whole = run(solver, objective, l1=l1, stops=Stops(1e-6))
    for k in range(1, min(len(whole), 8)):
        at = whole[k - 1]
        rest = run(solver, objective, l1=l1, stops=Stops(1e-6), start=Start(at.point.w, at.number, at.passes, at.memory))
        for resumed, expected in zip(rest, whole[k:], strict=True):
            assert resumed.point.w.tobytes() == expected.point.w.tobytes()
            assert (resumed.number, resumed.passes, resumed.step_size, resumed.status) == (
                expected.number,
                expected.passes,
                expected.step_size,
                expected.status,
            )


@pytest.mark.parametrize("solver", SOLVERS)
def test_an_optimal_start_ends_at_once(solver):
    objective = PlainObjective(np.zeros((6, 2)), np.array([0, 1, 0, 1, 0, 1]), "softmax")
    last = run(solver, objective)[-1]
    assert last.status == SUCCESS
    assert last.number <= 1
    assert not last.point.w.any()


@pytest.mark.parametrize("solver", ["newton", "lbfgs", "proximal_newton"])
def test_separable_data_go_on_to_the_threshold(solver):
    x = np.linspace(-1, 1, 20)[:, None]
    objective = PlainObjective(x, (x[:, 0] > 0).astype(float), "softmax")
    iterations = run(solver, objective, l2=0.0, stops=Stops(1e-6))
    assert iterations[-1].status == SUCCESS
    assert iterations[-1].point.value < 1e-4
    values = [i.point.value for i in iterations]
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize("solver", SOLVERS)
def test_collinear_columns(solver):
    draw = np.random.default_rng(4)
    base = draw.normal(size=(100, 2))
    x = np.column_stack([base, base[:, 0] + base[:, 1], base[:, 0]])
    objective = PlainObjective(x, base @ [1.0, -2.0] + draw.normal(size=100), "squared")
    best = reference(PlainObjective(base, objective.y, "squared"), l2=0.0)
    expected = PlainObjective(base, objective.y, "squared").evaluate(best, 0).loss
    last = run(solver, objective, l2=0.0, stops=Stops(1e-9), most=3000)[-1]
    assert last.status == SUCCESS
    assert last.point.value == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("solver", SOLVERS)
def test_more_columns_than_rows(solver):
    draw = np.random.default_rng(5)
    objective = PlainObjective(draw.normal(size=(20, 50)), draw.normal(size=20), "squared")
    last = run(solver, objective, l2=1e-2, stops=Stops(1e-11), most=20000)[-1]
    assert last.status == SUCCESS
    assert_near(last.point.w, reference(objective, l2=1e-2))


@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
def test_ill_conditioned(solver):
    draw = np.random.default_rng(6)
    x = draw.normal(size=(500, 8)) * np.logspace(0, -2.4, 8)
    objective = PlainObjective(x, (x @ (1.0 / np.logspace(0, -2.4, 8)) + draw.normal(size=500) > 0).astype(float), "softmax")
    hessian = objective.evaluate(reference(objective, l2=0.0), 2).hessian
    assert 1e4 < np.linalg.cond(hessian) < 1e6
    last = run(solver, objective, l2=0.0, most=3000)[-1]
    assert last.status == SUCCESS
    assert_near(last.point.w, reference(objective, l2=0.0))


@pytest.mark.parametrize("solver", SOLVERS)
def test_large_margins_need_shorter_steps(solver):
    """Where a full Newton step goes far beyond the optimum."""
    x = np.concatenate([np.full((50, 1), 0.01), np.full((50, 1), -0.01), [[5.0], [-5.0]]])
    y = np.concatenate([np.ones(50), np.zeros(50), [0.0, 1.0]])
    objective = PlainObjective(x, y, "softmax")
    last = run(solver, objective, l2=0.0, stops=Stops(1e-8), most=20000)[-1]
    assert last.status == SUCCESS
    assert_near(last.point.w[:1], reference(objective, l2=1e-300)[:1])


@pytest.mark.parametrize("solver", SOLVERS)
def test_overflow_at_the_start(solver):
    objective = PlainObjective(np.ones((3, 1)), np.array([1e200, -1e200, 1e200]), "squared")
    assert run(solver, objective)[-1].status == OVERFLOW


@pytest.mark.parametrize("solver", SOLVERS)
def test_one_column(solver):
    objective = make(d=1)
    assert_near(run(solver, objective)[-1].point.w, reference(objective))


def test_statuses_are_the_known_words():
    assert (SUCCESS, LIMIT) == ("SUCCESS: Optimal solution found.", "Completed (Iteration limit reached).")
    assert NO_STEP.startswith("TERMINATED: ")


@pytest.mark.parametrize("root", [1e-9, 1e-3, 0.4, 1.0, 7.0, 1e6])
def test_find_step_finds_the_root_of_the_slope(root):
    class Line:
        def look(self, steps):
            return [LinePoint(t, 0.0, float(np.expm1(min(t / root - 1.0, 700.0))), True) for t in steps]

    slope = float(np.expm1(-1.0))
    found = find_step(Line(), 0.0, slope, flatter=0.1)
    assert abs(found.slope) <= 0.1 * -slope


def test_find_step_shortens_where_the_loss_overflows():
    class Line:
        def look(self, steps):
            return [LinePoint(t, 0.0, t - 1e-4 if t < 1e-3 else np.nan, t < 1e-3) for t in steps]

    assert find_step(Line(), 0.0, -1e-4, flatter=0.5).step == pytest.approx(1e-4, rel=0.5)


def test_minimize_model_against_brute_force():
    draw = np.random.default_rng(7)
    for _ in range(20):
        root = draw.normal(size=(6, 4))
        hessian, gradient, w = root.T @ root + 1e-3 * np.eye(4), draw.normal(size=4), draw.normal(size=4)
        penalty = np.array([0.5, 0.5, 2.0, 0.0])
        got = minimize_model(np.ascontiguousarray(hessian), gradient, w, penalty)

        def value(x, hessian=hessian, gradient=gradient, w=w, penalty=penalty):
            return gradient @ (x - w) + 0.5 * (x - w) @ hessian @ (x - w) + penalty @ np.abs(x)

        best = min(value(candidate) for candidate in sign_candidates(hessian, gradient, w, penalty))
        assert value(got) <= best + 1e-12 * abs(best)


def sign_candidates(hessian, gradient, w, penalty):
    """The minimum under every choice of which coordinates are 0 and of the others' signs."""
    for signs in itertools.product([-1, 0, 1], repeat=len(w)):
        s = np.array(signs)
        kept = s != 0
        x = np.zeros(len(w))
        right = (hessian @ w - gradient - penalty * s)[kept]
        x[kept] = np.linalg.solve(hessian[np.ix_(kept, kept)], right)
        yield x


def test_dependent_coordinates_have_no_pivot():
    x = np.random.default_rng(8).normal(size=(30, 3))
    x = np.column_stack([x, x[:, 0] - x[:, 2]])
    assert np.flatnonzero(factor_hessian(x.T @ x)[1] == 0.0).tolist() == [3]
