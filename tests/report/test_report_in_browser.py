"""Pages in headless Chromium: no errors, plots, a table that sorts and filters, a phone's width, light and dark."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import made_records
import pytest
from selenium.webdriver.support.ui import WebDriverWait

from gmm_pipeline.records.files import write_text
from gmm_pipeline.records.json_files import read_json
from gmm_pipeline.records.sweeps import read_manifest, read_runs
from gmm_pipeline.report import run_page, sweep_page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
CHROMEDRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and CHROMEDRIVER), reason="chromium or chromedriver is not installed")

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
SETTINGS = run_page.Settings(level=0.95, quantiles=100, simulations=200, seed=0)
N_RUNS = 400
PAGES = ("run", "wild", "sweep")
PLOTS = {"run": 6, "wild": 0, "sweep": 5}
DESKTOP, PHONE = (1200, 900), (390, 844)


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> Path:
    """A page about a run, one about a run that diverged, one about a sweep of 400 runs, and the first in a frame."""
    folder = tmp_path_factory.mktemp("pages")
    place, again = "outputs/fit/it", "python -m gmm_pipeline rerun run=it"
    made_records.enrich(made_records.write_run(folder / "records" / "run"))
    made_records.write_run(folder / "records" / "wild", diverged=True)
    for name in ("run", "wild"):
        write_text(
            folder / f"{name}.html",
            run_page.page(folder / "records" / name, place=place, again=again, settings=SETTINGS),
        )
    study = made_records.write_sweep(folder / "study", n_runs=6)
    manifest = read_manifest(study)
    few = read_runs(study, manifest)
    # The records of the first six are on disk; the others are told as they would be read.
    runs = [
        few[number % 6]._replace(
            number=number,
            overrides=(few[number % 6].overrides[0], f"seed={number}", "steps=60"),
            metrics=few[number].metrics if number < 6 else {**few[0].metrics, "bic": bic_of(number)},
        )
        for number in range(N_RUNS)
    ]
    text = sweep_page.page(
        study,
        manifest,
        runs,
        place="outputs/sweeps/study",
        counts="sweep study, 400 runs",
        meaning=["One is best."],
        settings=SETTINGS,
    )
    write_text(folder / "sweep.html", text)
    write_text(
        folder / "framed.html", '<iframe sandbox="allow-scripts" src="run.html" width="900" height="700"></iframe>'
    )
    assert read_json(study / "3" / "metrics.json")["bic"] == 900.25
    return folder


def bic_of(number):
    """Of the runs that are not on disk: each sixth diverged."""
    return None if number % 6 == 4 else 1500.5 + number


@pytest.fixture(scope="module")
def driver():
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with tempfile.TemporaryDirectory(prefix="gmm-chromium-", ignore_cleanup_errors=True) as profile:
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        browser = webdriver.Chrome(options=options, service=Service(CHROMEDRIVER))
        try:
            yield browser
        finally:
            browser.quit()


@pytest.fixture
def opened(driver, pages) -> Iterator:
    """Opens a page; whatever the browser complains of fails the test at its end."""

    def open_page(name, size=DESKTOP, scheme="light"):
        emulate(driver, size, scheme)
        driver.get((pages / f"{name}.html").as_uri())
        return driver

    driver.get_log("browser")
    yield open_page
    assert [entry["message"] for entry in driver.get_log("browser")] == []


def emulate(driver, size, scheme):
    width, height = size
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == PHONE},
    )
    # Smooth scrolling would move what is to be clicked.
    wanted = {"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce"}
    features = [{"name": name, "value": value} for name, value in wanted.items()]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": features})


def texts(driver, selector):
    return driver.execute_script(
        "return [...document.querySelectorAll(arguments[0])].map(element => element.textContent)", selector
    )


def column(driver, label):
    """The texts of a column of the table, as far as it is drawn."""
    index = [text.strip() for text in texts(driver, "#runs-table th")].index(label) + 1
    return texts(driver, f"#runs-table tbody td:nth-child({index})")


def click_header(driver, label):
    for button in driver.find_elements("css selector", "#runs-table th button"):
        if button.text.strip(" ▲▼") == label:
            button.click()
            return
    raise AssertionError(label)


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_draws_its_plots_and_fits_its_width(opened, name, size):
    driver = opened(name, size, "dark" if size == PHONE else "light")
    assert len(driver.find_elements("css selector", ".js-plotly-plot .main-svg .xaxislayer-above")) == PLOTS[name]
    widths = driver.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
    assert widths[0] <= widths[1] == size[0]
    fetched = driver.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert [address for address in fetched if not address.startswith("data:")] == []


def colours(driver):
    """Of the page, of its text, and of a tick in a plot; that is None while the plot is drawn anew."""
    return driver.execute_script(
        "const tick = document.querySelector('#plot-density .xtick text'), page = getComputedStyle(document.body);"
        "return [page.backgroundColor, page.color, tick && getComputedStyle(tick).fill]"
    )


def test_plots_follow_the_page_from_light_to_dark(opened):
    driver = opened("run")
    light = colours(driver)
    emulate(driver, DESKTOP, "dark")
    WebDriverWait(driver, 10).until(lambda _: colours(driver)[2] not in (light[2], None))
    dark = colours(driver)
    assert all(before != after for before, after in zip(light, dark, strict=True))
    assert light[1] == light[2]  # a tick is of the ink of the page
    assert dark[1] == dark[2]


def test_a_page_works_in_a_sandboxed_frame(opened):
    driver = opened("framed")
    driver.switch_to.frame(0)
    assert len(driver.find_elements("css selector", ".js-plotly-plot")) == PLOTS["run"]
    button = driver.find_element("css selector", "[data-copy]")
    driver.execute_script("arguments[0].click()", button)
    WebDriverWait(driver, 10).until(lambda _: button.text in ("Copied", "Selected"))
    driver.switch_to.default_content()


def test_the_table_sorts_by_number_with_missing_ones_last(opened):
    driver = opened("sweep")
    found = [float(text) for text in column(driver, "BIC") if text]
    assert found[0] == 900.25  # as text it would come after 1500
    assert found == sorted(found)
    assert driver.execute_script("return document.querySelector('th[aria-sort=ascending]').textContent") == "BIC"
    click_header(driver, "BIC")
    found = [float(text) for text in column(driver, "BIC") if text]
    assert found[0] == max(filter(None, map(bic_of, range(N_RUNS))))
    assert found == sorted(found, reverse=True)
    click_header(driver, "seed")
    assert column(driver, "seed")[:11] == [str(seed) for seed in range(11)]
    click_header(driver, "status")
    assert column(driver, "status")[0] == "diverged"


def test_the_table_filters_by_text_and_by_value(opened):
    driver = opened("sweep")
    count = driver.find_element("id", "runs-count")
    assert count.text == f"{N_RUNS} runs"
    search = driver.find_element("id", "runs-search")
    search.send_keys("DIVERGED 1e+30")
    lost = sum(number % 6 == 4 for number in range(N_RUNS))
    assert count.text == f"{lost} of {N_RUNS} runs"
    assert set(column(driver, "status")) == {"diverged"}
    search.clear()
    search.send_keys("no such run")
    assert count.text == f"0 of {N_RUNS} runs"
    search.clear()
    driver.execute_script("document.getElementById('runs-search').dispatchEvent(new Event('input'))")
    (rate,) = (
        select
        for select in driver.find_elements("css selector", "select[data-column]")
        if "0.01" in select.text.split()
    )
    driver.execute_script(
        "arguments[0].selectedIndex = [...arguments[0].options].findIndex(option => option.text === '0.01');"
        "arguments[0].dispatchEvent(new Event('change'))",
        rate,
    )
    assert {float(text) for text in column(driver, "optimizer.learning_rate")} == {0.01}


def test_rows_are_drawn_as_they_are_needed_and_all_of_them_for_print(opened):
    driver = opened("sweep")
    drawn = len(column(driver, "run"))
    assert 0 < drawn < N_RUNS
    driver.execute_async_script(
        "const done = arguments[0], frame = document.querySelector('.runs');"
        "frame.addEventListener('scroll', () => setTimeout(done, 50), {once: true});"
        "frame.scrollTop = frame.scrollHeight"
    )
    assert drawn < len(column(driver, "run"))
    driver.execute_script("dispatchEvent(new Event('beforeprint'))")
    assert len(column(driver, "run")) == N_RUNS
    assert driver.execute_script("return [...document.querySelectorAll('details')].every(one => one.open)")


def test_the_explorer_draws_what_is_chosen(opened):
    driver = opened("sweep")
    driver.execute_script(
        "const select = document.getElementById('explorer-y');"
        "select.selectedIndex = [...select.options].findIndex(option => option.text === 'BIC');"
        "select.dispatchEvent(new Event('change'))"
    )
    shown = driver.execute_script(
        "const plot = document.getElementById('plot-explorer');"
        "return [plot.layout.yaxis.title.text, plot.data.flatMap(trace => trace.y).length]"
    )
    finished = sum(number % 6 != 4 for number in range(N_RUNS))
    assert shown == ["BIC", finished]


def test_constant_columns_fold_away(opened):
    driver = opened("sweep")
    assert "steps" not in [text.strip() for text in texts(driver, "#runs-table th")]
    driver.find_element("id", "runs-every-column").click()
    assert "steps" in [text.strip() for text in texts(driver, "#runs-table th")]
