"""The search for the best optimum: held to enumeration, to scikit-learn and to what must not change."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.mixture import GaussianMixture
from small_fits import plugin

from gmm_pipeline.inference import fits, search, search_calls, search_memory, search_moves
from gmm_pipeline.inference.collapse import collapsing
from gmm_pipeline.inference.exchange import search_all
from gmm_pipeline.inference.families import normal
from gmm_pipeline.inference.jobs import AT_OPTIMUM, BLURRED, ORDINARY, FirstMixtures, FitJob, FitPlan, Moves, SearchPlan
from gmm_pipeline.inference.restarts import SAME_OPTIMUM, log_posterior, log_posterior_at
from gmm_pipeline.model import inits, priors
from gmm_pipeline.model.mixture import Parameters, key_of
from gmm_pipeline.model.vocabulary import REACHED

pytestmark = pytest.mark.usefixtures("quickly_compiled")

SEARCH = SearchPlan(
    points=64,
    rows=64,
    most_data=10_000,
    most_rows=10_000,
    condensed_to=256,
    mixtures=16,
    kept=4,
    passes=24,
    rounds=20,
    least_rounds=5,
    patience=2.0,
    screening=4,
    margin=10.0,
    finalists=4,
    work=1e5,
    places=4,
    narrowest=0.02,
    moves=Moves(0.35, 0.2, 0.15, 0.15, 0.15),
    starts=FirstMixtures(0.375, 0.375, 0.5, 2.0, 0.01, 0.05),
)
RNG = np.random.default_rng(5)
# A narrow mode inside a broad one, and one beside it: ordinary starts tend to miss the narrow one.
NESTED = np.concatenate([RNG.normal(0.0, 1.0, 120), RNG.normal(0.3, 0.05, 40), RNG.normal(4.0, 0.5, 60)])
TWO = np.concatenate([RNG.normal(-2.0, 1.0, 90), RNG.normal(2.0, 0.5, 110)])


def job(data=NESTED, n_components=3, *, seed=0, optimizer=None, init=None, log_prior=None, **changes) -> FitJob:
    standardised = ((data - data.mean()) / data.std()).astype(np.float32)
    plan = FitPlan(
        n_components=n_components,
        init=init or plugin(inits.quantile, jitter=0.5, overlap=2.0),
        log_prior=log_prior or plugin(priors.flat),
        optimizer=optimizer or plugin(optax.adam, learning_rate=0.1),
        schedule=plugin(optax.constant_schedule, value=1.0),
        average_loss=True,
        fused=True,
        as_written=False,
    )
    settings_ = {
        "restarts": 2,
        "equal_scales": False,
        "scale_floor": 0.01,
        "fewest_data": 2.5,
        "tolerance": 1e-6,
        "gradient_tolerance": 1e-3,
        "halves_apart": 0.5,
        "search": SEARCH,
    }
    key = np.array([0, seed], np.uint32)
    return FitJob(standardised, np.ones_like(standardised), key, plan, 600, 20, **{**settings_, **changes})


def same_bits(one, other) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True))


@given(st.lists(st.integers(-50, 50), min_size=3, max_size=200), st.integers(4, 40), st.booleans())
def test_condensed_data_keep_weight_and_mean_and_have_no_wide_or_heavy_group(values, at_most, weighted):
    data = np.asarray(values, np.float64) + np.where(np.arange(len(values)) % 3, 0.25, 0.0)
    counts = np.arange(len(data)) % 4 * 0.5 if weighted else np.ones(len(data))
    if not counts.any():
        counts = counts + 1.0
    found, weights = normal.condensed(data, counts, at_most)
    assert len(found) <= at_most
    np.testing.assert_allclose(weights.sum(), counts.sum())
    np.testing.assert_allclose(found @ weights, data @ counts, atol=1e-9 * np.abs(data).max() * counts.sum())
    distinct = np.unique(data[counts > 0])
    if len(distinct) <= at_most:
        np.testing.assert_array_equal(found, distinct)
    else:
        assert np.all(np.diff(found) > 0)
        heaviest = max(counts[data == value].sum() for value in distinct)
        assert weights.max() <= 2.0 * counts.sum() / at_most + 2.0 * heaviest


def test_moves_keep_the_number_of_components_and_change_what_they_say():
    chosen = job()
    landscape = search_moves.Landscape(
        inits.Sorted.of(chosen.data, chosen.sample_weights), False, np.log(0.02), 4, SEARCH.starts._asdict()
    )
    kept = search_moves.fresh(np.random.default_rng(0), landscape, 6, 3)
    kept = search_moves.in_order(Parameters(*(leaf.reshape(2, 3, 3) for leaf in kept)))
    generators = [np.random.default_rng(seed) for seed in (1, 2)]
    numbers: dict[str, int] = dict.fromkeys(map(str, search_moves.MOVES), 3)
    found = search_moves.varied(generators, landscape, kept, np.array([3, 2]), numbers)
    assert found.component_mus.shape == (2, 15, 3)
    assert all(np.isfinite(leaf).all() for leaf in found)
    np.testing.assert_allclose(search_moves.weights_of(found).sum(-1), 1.0)
    # Each search draws for itself.
    alone = search_moves.varied(
        [np.random.default_rng(2)], landscape, Parameters(*(leaf[1:] for leaf in kept)), np.array([2]), numbers
    )
    assert all((one[1:] == other).all() for one, other in zip(found, alone, strict=True))


def test_searches_that_have_come_to_rest_nowhere_do_not_agree():
    """After two passes nothing rests, and a search that ended there would have seen one round."""
    hurried = SEARCH._replace(passes=2, patience=1.0)
    (found,) = search.search([job(search=hurried)], hurried)
    assert found.n_rounds > 2


def test_where_the_best_that_were_kept_collapse_another_is_improved():
    """The only finalist narrows onto twelve data that lie close together; wider mixtures were kept beside it."""
    own = np.random.default_rng(0)
    data = np.concatenate([own.normal(0.0, 1.0, 150), own.normal(2.0, 0.001, 12)])
    plan = SEARCH._replace(finalists=1)
    (found,) = search.search([job(data, 2, search=plan)], plan)
    assert found.best.is_sound
    assert not all(one.is_sound for one in found.optima)


def test_a_component_is_put_in_where_the_others_fit_worst():
    # All data of the middle are missed by the two components that stay.
    data = np.concatenate([RNG.normal(at, 0.1, 50) for at in (-5.0, 0.0, 5.0)])
    landscape = search_moves.Landscape(
        inits.Sorted.of(data, np.ones_like(data)), False, np.log(0.02), 16, SEARCH.starts._asdict()
    )
    gains = search_moves._gains(
        Parameters(np.log(np.full((1, 1, 2), 0.5)), np.array([[[-5.0, 5.0]]]), np.full((1, 1, 2), np.log(0.1))),
        np.array([[[-5.0, 0.0, 5.0]]]),
        np.full((1, 1, 3), np.log(0.1)),
        landscape.data,
    )
    assert gains[0, 0].argmax() == 1


@pytest.mark.parametrize("equal", [False, True])
def test_a_search_reaches_what_scikit_learn_reaches_from_many_starts(equal):
    chosen = job(equal_scales=equal)
    (found,) = search.search([chosen], SEARCH)
    assert found.best.is_sound
    column = chosen.data[:, None].astype(np.float64)
    kind = "tied" if equal else "full"
    peer = GaussianMixture(3, covariance_type=kind, n_init=40, tol=1e-9, max_iter=3000, reg_covar=1e-9, random_state=0)
    expected = peer.fit(column).score(column) * len(column)
    ours = log_posterior_at(chosen, found.best.parameters)
    assert ours > expected - SAME_OPTIMUM
    np.testing.assert_allclose(found.best.log_posterior, ours, atol=SAME_OPTIMUM)


@pytest.mark.parametrize(
    "log_prior",
    [plugin(priors.dirichlet, concentration=3.0), plugin(priors.variance_penalty, strength=0.2, variance=1.0)],
    ids=["dirichlet", "variance_penalty"],
)
def test_a_search_maximises_the_posterior_whatever_the_prior(log_prior):
    chosen = job(TWO, 2, log_prior=log_prior)
    best = search.search([chosen], SEARCH)[0].best
    for step in np.random.default_rng(0).normal(0.0, 0.02, (40, 3, 2)):
        nearby = Parameters(*(leaf + move for leaf, move in zip(best.parameters, step, strict=True)))
        assert log_posterior_at(chosen, nearby) <= log_posterior_at(chosen, best.parameters) + 1e-3


def test_a_search_is_a_function_of_its_own_key_and_searches_of_each_other_are_not():
    found, again, other = (search.search([job(seed=seed)], SEARCH)[0] for seed in (0, 0, 1))
    assert all((a == b).all() for a, b in zip(found.mixtures, again.mixtures, strict=True))
    assert not np.array_equal(found.mixtures.component_mus, other.mixtures.component_mus)
    assert found.n_agreeing <= found.n_searches == 2


def test_runs_that_differ_in_what_a_search_does_not_see_search_once(monkeypatch):
    calls = []
    whole = search_memory.search
    monkeypatch.setattr(search_memory, "search", lambda *given: calls.append(1) or whole(*given))
    base = job(TWO, 2, seed=77)
    others = [
        base._replace(steps=50),
        base._replace(plan=base.plan._replace(optimizer=plugin(optax.sgd, learning_rate=1.0))),
    ]
    search_all([base, *others], workers=1)
    assert len(calls) == 1
    search_all([base._replace(scale_floor=0.02)], workers=1)
    assert len(calls) == 2


def test_an_ordinary_start_that_arrives_is_the_answer_with_its_history():
    (result,) = fits.fit_all([job(TWO, 2)])
    assert result.searched is not None
    assert result.searched.began == ORDINARY
    assert result.n_steps > 0
    assert any(start.outcome == REACHED for start in result.restarts)
    (alone,) = fits.fit_all([job(TWO, 2)._replace(search=None)])
    assert all((a == b).all() for a, b in zip(result.parameters, alone.parameters, strict=True))


def test_training_that_comes_near_the_optimum_goes_on_until_it_converges():
    """Its history stays, and ends with the optimum; with `tolerance=0` all is as the optimizer left it."""
    slow = job(TWO, 2, gradient_tolerance=1e-4)._replace(steps=160)
    (alone,) = fits.fit_all([slow._replace(search=None)])
    assert not alone.converged
    (result,) = fits.fit_all([slow])
    assert result.converged and result.gradient_norm < 1e-4
    assert result.searched is not None and result.searched.began == ORDINARY
    assert not any(start.converged for start in result.restarts)
    assert result.n_finishing > 0
    assert result.steps.tolist() == [*alone.steps.tolist(), alone.n_steps + result.n_finishing]
    assert result.n_steps == result.steps[-1]
    for entries, before, last in zip(
        result.history.parameters, alone.history.parameters, result.parameters, strict=True
    ):
        assert np.array_equal(entries[:-1], before)
        assert np.array_equal(entries[-1], last)
    assert log_posterior(slow, result) >= log_posterior(slow, alone)
    assert result.history.loss[-1] == pytest.approx(-log_posterior(slow, result) / len(TWO), rel=1e-6)
    (endless,) = fits.fit_all([slow._replace(tolerance=0.0)])
    assert not endless.converged and endless.n_finishing == 0 and endless.n_steps == 160


def test_where_no_start_arrives_training_begins_in_the_basin():
    def far_off(key, data, sample_weights, n_components):
        return Parameters(*(np.zeros(n_components, data.dtype) for _ in range(3)))  # a saddle that no gradient leaves

    (result,) = fits.fit_all([job(init=plugin(far_off))])
    assert result.searched is not None
    assert result.searched.began == BLURRED
    assert result.n_steps > 0
    assert all(start.outcome != REACHED for start in result.restarts)
    goal = log_posterior_at(job(), search.search([job()], SEARCH)[0].best.parameters)
    assert log_posterior(job(), result) >= goal - SAME_OPTIMUM


def test_a_start_that_is_on_its_way_to_a_collapse_is_not_the_answer():
    data = np.append(TWO, [6.0] * 3)

    def at_the_spike(key, data, sample_weights, n_components):
        return Parameters(np.log([0.5, 0.48, 0.02]), np.array([-0.8, 0.8, data.max()]), np.log([0.4, 0.3, 0.03]))

    slow = {"init": plugin(at_the_spike), "optimizer": plugin(optax.adam, learning_rate=0.002), "scale_floor": 1e-6}
    chosen = job(data, 3, **slow)._replace(tolerance=0.0, restarts=1)
    alone = fits.fit(chosen._replace(search=None))
    assert collapsing(chosen, alone, chosen.data) == (2,)
    (result,) = fits.fit_all([chosen])
    assert not collapsing(chosen, result, chosen.data)
    assert not result.degenerate
    assert log_posterior(chosen, result) < log_posterior(chosen, alone)


def test_an_optimizer_that_cannot_hold_an_optimum_has_the_optimum_all_the_same():
    wild = plugin(optax.sgd, learning_rate=50.0)
    (result,) = fits.fit_all([job(optimizer=wild)])
    assert result.searched is not None
    assert (result.searched.began, result.n_steps) == (AT_OPTIMUM, 0)
    assert result.converged
    assert not result.diverged
    assert result.searched.log_posteriors[0] == pytest.approx(log_posterior(job(), result), abs=1e-9)


def test_training_goes_on_from_an_optimum_at_which_the_search_had_not_come_to_rest():
    slow = plugin(optax.adam, learning_rate=1e-6)  # with which no start or copy arrives
    (result,) = fits.fit_all([job(optimizer=slow)._replace(gradient_tolerance=1e-12)])
    assert result.searched is not None
    assert result.searched.began == AT_OPTIMUM
    assert result.n_steps > 0
    assert len(result.history.loss) > 1


def test_fits_that_are_compared_never_fall_with_the_number_of_components():
    base = job(NESTED, 1, restarts=1)._replace(trained=False, padded_to=5)
    several = [
        base._replace(plan=base.plan._replace(n_components=number), equal_scales=equal)
        for number in range(1, 6)
        for equal in (True, False)
    ]
    ends = [log_posterior(one, result) for one, result in zip(several, fits.fit_all(several), strict=True)]
    for equal in (0, 1):
        assert np.all(np.diff(ends[equal::2]) > -SAME_OPTIMUM)
    assert all(free >= equal - SAME_OPTIMUM for equal, free in zip(ends[::2], ends[1::2], strict=True))


def a_selection(seed: int, data=None) -> list[FitJob]:
    base = job(NESTED, 1, seed=seed)._replace(trained=False, padded_to=4, penalty=2.7)
    base = base if data is None else base._replace(data=data.data, sample_weights=data.sample_weights)
    return [
        base._replace(plan=base.plan._replace(n_components=number), equal_scales=equal)
        for number in range(1, 5)
        for equal in (True, False)
    ]


def test_a_selection_has_the_same_bits_beside_another_of_the_same_data():
    one = a_selection(0)
    other = a_selection(1, one[0])
    alone, beside = search_all(one, 1), search_all([*other, *one], 2)
    for number, found in alone.items():
        assert same_bits(found.optima, beside[len(other) + number].optima)


def test_fits_of_a_selection_share_calls(monkeypatch):
    widths = []
    call = search_calls._call
    monkeypatch.setattr(search_calls, "_call", lambda *given: widths.append(len(given[2][0][0])) or call(*given))
    jobs = a_selection(3)
    plan = SEARCH.screen
    search.search(jobs, plan)
    shared, n_of_one = len(widths), []
    for one in jobs:
        widths.clear()
        search.search([one], plan)
        n_of_one.append(len(widths))
    assert max(n_of_one) <= shared < sum(n_of_one) / 2


def test_more_mixtures_than_a_call_takes_are_improved_in_several():
    chosen = job()
    small, *_ = search._problems([chosen], SEARCH)[0]
    locs = np.random.default_rng(0).normal(size=(2 * small.width + 3, 3)).astype(np.float32)
    mixtures = Parameters(np.zeros_like(locs), locs, np.zeros_like(locs))

    def asks(some: Parameters):
        return (yield search_calls.Request(small, some, 5))

    def rows(which: slice) -> Parameters:
        return Parameters(*(leaf[which] for leaf in mixtures))

    (whole,) = search_calls.in_step([asks(mixtures)])
    parts = search_calls.in_step([asks(rows(slice(None, 7))), asks(rows(slice(7, None)))])
    assert same_bits(
        whole.mixtures, [np.concatenate(leaves) for leaves in zip(*(p.mixtures for p in parts), strict=True)]
    )
    np.testing.assert_array_equal(whole.values, np.concatenate([part.values for part in parts]))


def test_a_seed_that_is_better_is_taken_and_no_search_agrees_with_it():
    chosen = job()
    (whole,) = search.search([chosen], SEARCH)
    second = whole.optima[1]
    # The same searches, had they all missed the best optimum.
    missed = whole.values <= second.log_posterior + 1.0
    poor = whole._replace(
        optima=whole.optima[1:],
        mixtures=Parameters(
            *(
                np.where(missed[..., None], leaf, end)
                for leaf, end in zip(whole.mixtures, second.parameters, strict=True)
            )
        ),
        values=np.where(missed, whole.values, second.log_posterior),
    )
    (taken,) = search.seeded([chosen], SEARCH, [poor], [[whole.best.parameters]])
    assert taken.best.log_posterior == pytest.approx(whole.best.log_posterior, abs=SAME_OPTIMUM)
    assert taken.n_agreeing == 0
    assert search.seeded([chosen], SEARCH, [whole], [[second.parameters]])[0] is whole
    assert search.seeded([chosen], SEARCH, [whole], [[]])[0] is whole


@settings(max_examples=10)
@given(st.integers(1, 30), st.lists(st.floats(0.0, 1.0), min_size=5, max_size=5).filter(any))
def test_shares_of_moves_come_out_whole(n, shares):
    found = search._shared_out(n, dict(zip(search_moves.MOVES, shares, strict=True)))
    assert sum(found.values()) == n
    exact = n * np.array(shares) / sum(shares)
    assert np.all(np.abs(np.array(list(found.values())) - exact) < 1.0)


def test_the_words_of_a_key_are_those_of_jax():
    for seed in (0, 1, 2**31, 2**32 - 1):
        np.testing.assert_array_equal(key_of(seed), jax.random.PRNGKey(seed))


@pytest.mark.parametrize(
    ("work", "mixtures", "kept", "rounds"),
    [
        (10.0, 16, 4, 20),
        (2.5e4, 16, 4, 20),
        (5e4, 16, 4, 13),
        (1e5, 16, 4, 13),
        (2e5, 8, 2, 13),
        (4e5, 4, 1, 13),
        (1e9, 4, 1, 13),
    ],
)
def test_a_search_of_expensive_passes_has_fewer_mixtures_at_a_time_and_fewer_rounds(work, mixtures, kept, rounds):
    own = SEARCH.affordable(work)
    assert own == SEARCH._replace(mixtures=mixtures, kept=kept, rounds=rounds)
    assert SEARCH.screen.affordable(work).rounds == SEARCH.screening


def overflown(parameters: Parameters):
    """Stands for a density whose numbers overflow where a component is narrow."""
    return jnp.where(jnp.min(parameters.log_component_scales) < -1.5, 1e30, 0.0)


def test_what_overflows_is_not_the_best():
    (found,) = search_all([job(log_prior=plugin(overflown), trained=False)], workers=1).values()
    assert -10_000 < found.best.log_posterior < 0
    assert np.min(found.best.parameters.log_component_scales) >= -1.5
