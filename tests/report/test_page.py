from __future__ import annotations

import base64
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait
from skimage.draw import ellipse, rectangle
from skimage.measure import label

from dpsau2net_monai.report import Example, Pictures, Slices, Summary, draw_pictures, render_page, summarise
from dpsau2net_monai.visualize import class_colours, stretch

RNG = np.random.default_rng(0)
NASTY = "<b>\"x'&amp;\u2028\udcff</script>"  # a file's name may be like this


def square(shape: tuple[int, int], *corners: tuple[int, int], side: int = 20) -> np.ndarray:
    mask = np.zeros(shape, np.uint8)
    for corner in corners:
        mask[tuple(rectangle(corner, extent=(side, side)))] = 1  # a list with NumPy 1
    return mask


def points(path: str) -> np.ndarray:
    """Return all points of SVG path data with relative lines."""
    found = []
    for x, y, steps in re.findall(r"M([\d.-]+) ([\d.-]+)(?:h0|l([^M]*))", path):
        moves = np.array(re.findall(r"-?[\d.]+", steps), float).reshape(-1, 2)
        found += [*(np.cumsum(np.vstack([[float(x), float(y)], moves]), axis=0))]
    return np.array(found).reshape(-1, 2)


def decoded(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def grey(shape: tuple[int, int]) -> np.ndarray:
    return RNG.normal(size=(*shape, 1))


def draw_one(image: np.ndarray, truth: np.ndarray, prediction: np.ndarray, limit: int = 50_000) -> Pictures:
    """Pictures of a single class, whose instances are the components of the masks."""
    return draw_pictures(stretch(image), truth[None], prediction[None], limit, (label(truth), label(prediction)))


def compared(truth: np.ndarray, prediction: np.ndarray) -> list[str]:
    """The paths of the right, missed and false contours of a single class."""
    contours = draw_one(grey(truth.shape), truth, prediction).contours
    return [contours[kind][0] for kind in ("right", "missed", "false")]


def test_a_contour_up_to_two_pixels_away_is_right():
    truth = square((60, 80), (20, 30))
    for shift in (0, 1, 2):
        right, missed, false = compared(truth, np.roll(truth, shift, 1))
        assert right and not missed and not false, shift
        # the columns 30 to 49 extend from 30 to 50
        assert points(right).min(0).tolist() == [30 + shift, 20]
        assert points(right).max(0).tolist() == [50 + shift, 40]


def test_a_contour_six_pixels_away_is_missed_and_false():
    truth = square((60, 80), (20, 30))
    right, missed, false = map(points, compared(truth, np.roll(truth, 6, 1)))
    # the left and the right edges, which are shifted
    assert set(missed[:, 0].round()) & {30.0, 50.0} == {30.0, 50.0}
    assert set(false[:, 0].round()) & {36.0, 56.0} == {36.0, 56.0}
    # the upper and lower edges coincide, and a bit of each near the corners
    assert right[:, 0].min() == 36 and 50 < right[:, 0].max() < 53 and (np.abs(right[:, 1] - 30) > 7).all()


def test_an_instance_of_only_one_mask_is_missed_or_false():
    truth = square((60, 120), (20, 10), (20, 50))
    prediction = square((60, 120), (20, 50), (20, 90))
    for path, left in zip(compared(truth, prediction), (50, 10, 90)):
        assert path.count("M") == 1
        assert points(path).min(0).tolist() == [left, 20] and points(path).max(0).tolist() == [left + 20, 40]


def test_merged_and_split_instances_have_lines_of_their_own():
    pair = square((60, 120), (10, 10), side=20) + 2 * square((60, 120), (10, 30), side=20)
    other = square((60, 120), (10, 80), side=20)
    one = pair > 0
    for true, predicted, kind in ((pair + 3 * other, one, "merged"), (one + 2 * other, pair, "split")):
        image, masks = stretch(grey(true.shape)), ((true > 0)[None], (predicted > 0)[None])
        drawn = draw_pictures(image, *masks, instances=(true.astype(int), predicted.astype(int)))
        contours = {name: path for name, (path,) in drawn.contours.items() if path}
        assert set(contours) == {kind, "missed"}  # the other one is missed
        assert points(contours["missed"]).min(0).tolist() == [80, 10]
        lines = points(contours[kind])
        assert lines.min(0).tolist() == [10, 10] and lines.max(0).tolist() == [50, 30]
        between = lines[np.abs(lines[:, 0] - 30) < 1]
        assert np.ptp(between[:, 1]) > 14  # the line between the two
    legend = render([example("a", 0.5)])
    assert "<b>Merged</b>" in legend and "<b>Split</b>" in legend


def test_empty_and_full_masks():
    empty, full = np.zeros((40, 50), np.uint8), np.ones((40, 50), np.uint8)
    assert compared(empty, empty) == ["", "", ""]
    right, missed, false = compared(full, empty)
    assert (right, false) == ("", "") and points(missed).max(0).tolist() == [50, 40]
    assert compared(empty, full) == ["", "", missed]
    assert compared(full, full) == [missed, "", ""]


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_pictures_have_the_same_size_and_are_never_enlarged(channels):
    for shape, size in (((40, 50), (50, 40)), ((600, 1200), (512, 256)), ((3000, 1), (1, 512))):
        truth = np.zeros(shape, bool)
        truth[: shape[0] // 2] = True
        image = np.broadcast_to(np.linspace(-3, 900, shape[0])[:, None, None], (*shape, channels))
        drawn = draw_one(image, truth, ~truth)
        assert (drawn.width, drawn.height) == size
        pictures = [decoded(uri) for uri in drawn[2:5]]
        assert [picture.size for picture in pictures] == [size] * 3
        assert [(picture.format, picture.mode) for picture in pictures] == [("JPEG", "RGB"), ("PNG", "1"), ("PNG", "1")]
        upper, lower = np.array_split(np.asarray(pictures[1]), 2)
        assert upper.all() and not lower.any()
        column = np.asarray(pictures[0])[:, 0].astype(int)
        assert column[0].max() < 30 and column[-1].min() > 225


def test_contours_of_a_shrunk_picture_stay_in_place():
    truth = np.zeros((1040, 1388), np.uint8)
    for row in range(60, 1000, 80):
        for column in range(60, 1340, 80):
            truth[ellipse(row, column, 25, 18)] = 1
    right, missed, false = compared(truth, np.roll(truth, 1, 0))
    assert (missed, false) == ("", "") and right.count("M") == 12 * 16
    xy = points(right).reshape(-1, 2)[0] * 1388 / 512
    assert np.abs(np.hypot((xy[0] - 60.5) / 18, (xy[1] - 61.5) / 25) - 1) < 0.1


@pytest.mark.parametrize("noisy_masks", [False, True])
def test_pictures_keep_the_limit(noisy_masks):
    image = RNG.integers(0, 256, (200, 250, 3), np.uint8)
    mask = RNG.integers(0, 2, image.shape[:2], np.uint8) if noisy_masks else square(image.shape[:2], (50, 60), side=90)
    for limit in (50_000, 15_000):
        drawn = draw_one(image, mask, np.roll(mask, 9, 0), limit)
        assert limit / 2 < drawn.size <= limit
        assert drawn.width > 100 and any(path for (path,) in drawn.contours.values())


def test_several_classes_have_their_colours_and_both_contours():
    truth = np.stack([square((60, 80), (10, 10), side=40), square((60, 80), (20, 20))])  # the second within the first
    prediction = np.roll(truth, 6, 2)
    drawn = draw_pictures(stretch(grey((60, 80))), truth, prediction)
    for kind, left in (("true", 10), ("predicted", 16)):
        assert [points(path)[:, 0].min() for path in drawn.contours[kind]] == [left, left + 10]
    first, second = class_colours(2)
    colours = [[pixel(decoded(uri), *xy) for xy in ((12, 12), (30, 30), (70, 50))] for uri in drawn[3:5]]
    assert colours == [[first, second, (0, 0, 0)], [(0, 0, 0), second, (0, 0, 0)]]


def pixel(picture: Image.Image, x: int, y: int) -> tuple[int, ...]:
    return picture.convert("RGB").getpixel((x, y))


def example(name: str, dice: float, pictures: Pictures | None = None) -> Example:
    mask = square((60, 80), (20, 30))
    pictures = pictures or draw_one(grey(mask.shape), mask, np.roll(mask, int(20 * (1 - dice)), 1))
    return Example(name, {"dice": dice, "hd95": 10.25 / dice if dice else float("inf")}, pictures)


def render(examples: list[Example], **options) -> str:
    dice = [each.metrics["dice"] for each in examples]
    options = {
        "title": "Evaluation",
        "facts": {"Weights": "model.pt"},
        "summary": {"dice": summarise(dice)},
        "threshold": 0.5,
        "dice_by_threshold": {0.25: 0.7, 0.5: 0.8, 0.75: 0.6},
        "history": [
            {"epoch": f"{epoch}.0", "learning_rate": "0.001", "train_loss": f"{1 / epoch}", "val_mean_dice": dice}
            for epoch, dice in ((1, ""), (2, "0.5"), (3, ""), (4, "0.75"))
        ],
        **options,
    }
    return render_page(examples=examples, **options)


def test_names_cannot_break_the_page():
    page = render([example(NASTY, 0.5)], title=NASTY, facts={NASTY: NASTY})
    page.encode("utf-8")
    assert "<b>" not in re.sub(r"<li>.*?</li>", "", page, flags=re.DOTALL)  # the legend itself has <b>
    shown = "&lt;b&gt;&#34;x&#39;&amp;amp;\\u2028\\udcff&lt;/script&gt;"
    # heading, title, name and value of a fact; labels of four pictures, and the image's name
    assert page.count(shown) == 4 + 5
    assert page.count("</script>") == 2


def test_the_page_is_reproducible_and_needs_no_network():
    examples = [example("a", 0.25), example("b", 0.75)]
    page = render(examples)
    assert page == render(examples[::-1])
    # these are names of formats, which no browser fetches
    assert set(re.findall(r"\w+://[^\"'\s<)]*", page)) == {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    assert page.count("data:image/jpeg") == 2  # each image is stored once, although it is shown twice


def test_a_value_that_is_not_finite_is_a_dash():
    page = render([example("a", 0.0)], summary={"dice": Summary(0.5, float("nan"), float("nan"), 0.0, 0.5)})
    assert re.search(r'<th scope="row">Dice</th><td class="number">0.500</td><td class="number">–</td>', page)
    assert re.search(r'data-label="HD95" data-value="">–</td>', page)


@pytest.mark.parametrize(
    "metric, label",
    [
        ("iou", "IoU"),
        ("iou_smoothed", "IoU, smoothed"),
        ("instance_ap50", "Instance AP50"),
        ("count_error", "Count error"),
    ],
)
def test_metrics_have_readable_labels(metric, label):
    one = example("a", 0.5)
    page = render([one._replace(metrics={**one.metrics, metric: 0.25})], summary={metric: summarise([0.25])})
    assert f'<th scope="row">{label}</th>' in page
    assert f'data-label="{label}" data-value="0.25">0.250</td>' in page


def test_without_a_history_the_page_says_so():
    assert "No training curves" not in render([example("a", 0.5)])
    page = render([example("a", 0.5)], history=[])
    assert "No training curves" in page and page.count("<figcaption>") == 2 + 1  # two charts, and the viewer


def volume(name: str, dice: tuple[float, float]) -> Example:
    """A volume of two classes with five slices of the seven that it has."""
    truth = np.stack([square((60, 80), (10, 10)), square((60, 80), (30, 40))])
    metrics = {"dice": sum(dice) / 2, f"dice_{NASTY}": dice[0], "dice_b": dice[1], "hd95": 2.5}
    metrics |= {"true_volume": 1.5, f"true_volume_{NASTY}": 1, "true_volume_b": 2, f"hd95_{NASTY}": 2, "hd95_b": 3}
    drawn = [draw_pictures(stretch(grey((60, 80))), truth, np.roll(truth, shift, 1)) for shift in range(6)]
    return Example(name, metrics, drawn[0], Slices(7, [1, 2, 4, 6, 7], 2, drawn[1:]))


def render_volumes() -> str:
    return render([volume("one", (0.75, 0.5)), volume("two", (0.25, 0.5))], dice_by_threshold={}, classes=[NASTY, "b"])


def test_the_table_of_classes():
    page = render_volumes()
    table = re.search(r'id="classes">(.*?)</table>', page, re.DOTALL)[1]
    assert re.findall(r'class="number">(.*?)</t', table) == [
        "Dice", "HD95 (mm)", "True volume (ml)", "0.500 ± 0.250", "2 ± 0", "1 ± 0", "0.500 ± 0.000", "3 ± 0", "2 ± 0"
    ]  # fmt: skip
    # the mean volume of the classes is in no table, and no chart shows a threshold
    assert (
        'data-label="True volume (ml)"' not in page
        and "threshold" not in re.search("<main>.*?<h2>Images", page, re.DOTALL)[0]
    )
    assert 'data-label="Dice, b" data-value="0.5">0.500</td>' in page


@pytest.fixture
def browser(tmp_path):
    """Headless Chromium of this machine. Selenium downloads none, because the driver is given."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.fail("Chromium and its driver are needed: apt-get install chromium chromium-driver", pytrace=False)
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in (
        "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1400,1000",
        f"--user-data-dir={tmp_path / 'profile'}",
    ):  # fmt: skip
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield chrome
    chrome.quit()


def open_page(browser: webdriver.Chrome, path: Path, page: str) -> None:
    path.write_text(page, encoding="utf-8")
    browser.get(path.as_uri())


def names(browser: webdriver.Chrome) -> list[str]:
    """Return the names of the images that are shown, from top to bottom."""
    cells = browser.find_elements(By.CSS_SELECTOR, "#images .name")
    return [cell.text for cell in cells if cell.is_displayed()]


def wait_for_pictures(browser: webdriver.Chrome, selector: str) -> int:
    """Wait until all pictures of ``selector`` are decoded, and return their number."""
    script = "return [...document.querySelectorAll(arguments[0])].map(img => img.naturalWidth)"
    widths = WebDriverWait(browser, 60).until(
        lambda _: (found := browser.execute_script(script, selector)) and all(found) and found
    )
    return len(widths)


def click(browser: webdriver.Chrome, selector: str) -> None:
    browser.find_element(By.CSS_SELECTOR, selector).click()


@pytest.mark.browser
def test_the_page_in_a_browser(browser, tmp_path):
    dice = {"q2": 0.75, "a": 0.25, "q10": 0.0, "b": 0.5}
    examples = [example(f"{name} {NASTY}", value) for name, value in dice.items()]
    open_page(browser, tmp_path / "report.html", render(examples))
    plain = NASTY.replace("\u2028", "\\u2028").replace("\udcff", "\\udcff")

    def order() -> list[str]:
        shown = names(browser)
        assert all(name.endswith(f" {plain}") for name in shown)
        return [name.split()[0] for name in shown]

    cells = [cell.text for cell in browser.find_elements(By.CSS_SELECTOR, "#summary tbody tr > *")]
    assert cells[:2] == ["Dice", "0.375"] and " to " in cells[2] and cells[4] == "0.375"
    assert len(browser.find_elements(By.CSS_SELECTOR, ".charts svg")) == 3
    assert "validation Dice" in browser.find_element(By.CSS_SELECTOR, ".charts").text

    # worst first
    assert order() == ["q10", "a", "b", "q2"]
    assert wait_for_pictures(browser, "#images img") == 16
    assert len(browser.find_elements(By.CSS_SELECTOR, "#images .contours path.missed:not(.halo)[d*=M]")) == 4

    def sort(column: int) -> str:
        click(browser, f"#images th:nth-child({column}) button")
        assert len(browser.find_elements(By.CSS_SELECTOR, "#images [aria-sort]")) == 1
        return browser.find_element(By.CSS_SELECTOR, f"#images th:nth-child({column})").get_attribute("aria-sort")

    assert sort(7) == "ascending" and order() == [
        "q2",
        "b",
        "a",
        "q10",
    ]  # q10 has no HD95, so it comes last in both directions
    assert sort(7) == "descending" and order() == ["a", "b", "q2", "q10"]
    assert sort(5) == "ascending" and order() == ["a", "b", "q2", "q10"]
    assert sort(5) == "descending" and order() == ["q10", "q2", "b", "a"]
    assert sort(6) == "ascending" and order() == ["q10", "a", "b", "q2"]

    box = browser.find_element(By.ID, "filter")
    box.send_keys("Q")
    assert order() == ["q10", "q2"] and browser.find_element(By.ID, "count").text == "2 of 4 images"

    # a click opens the viewer; its arrow keys skip the images that are filtered out
    viewer = browser.find_element(By.ID, "viewer")
    assert not viewer.is_displayed()
    click(browser, "#images [data-index='0'] [data-view=overlay]")
    assert viewer.is_displayed() and wait_for_pictures(browser, "#viewer img") == 1
    assert browser.find_element(By.ID, "viewer-name").text == f"q10 {plain}"
    assert viewer.find_element(By.CSS_SELECTOR, "dl").text.split() == ["Dice", "0.000", "HD95", "–"]
    assert len(viewer.find_elements(By.CSS_SELECTOR, ".frame path")) == 10
    frame = viewer.find_element(By.CSS_SELECTOR, ".frame").size
    assert frame["width"] / frame["height"] == pytest.approx(80 / 60, rel=0.01) and frame["height"] > 500
    for key, name in ((Keys.ARROW_RIGHT, "q2"), (Keys.ARROW_RIGHT, "q10"), (Keys.ARROW_LEFT, "q2")):
        browser.switch_to.active_element.send_keys(key)
        assert browser.find_element(By.ID, "viewer-name").text == f"{name} {plain}"
    click(browser, "#viewer [data-view=truth]")
    assert viewer.find_element(By.CSS_SELECTOR, "img").get_attribute("src").startswith("data:image/png")
    browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    WebDriverWait(browser, 10).until(lambda _: not viewer.is_displayed())
    # the focus returns to the picture, and the keyboard opens it too
    WebDriverWait(browser, 10).until(lambda _: browser.switch_to.active_element.get_attribute("data-view") == "truth")
    for key in (Keys.ENTER, Keys.SPACE):
        browser.switch_to.active_element.send_keys(key)
        assert viewer.is_displayed() and browser.find_element(By.ID, "viewer-name").text == f"q2 {plain}"
        click(browser, "#close")
        WebDriverWait(browser, 10).until(lambda _: not viewer.is_displayed())
    box.send_keys(Keys.BACKSPACE)
    assert len(order()) == 4 and browser.find_element(By.ID, "count").text == "4 images"

    # the page fits in a narrow window
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 500, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    )
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 500

    assert browser.get_log("browser") == []
    # apart from its own start page (chrome:, chrome-untrusted:), the browser requests only the page and the data in it
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    requests = [event["params"] for event in events if event["method"] == "Network.requestWillBeSent"]
    urls = {request["request"]["url"] for request in requests if not request["documentURL"].startswith("chrome")}
    assert {url for url in urls if not url.startswith("data:")} == {(tmp_path / "report.html").as_uri()}


@pytest.mark.browser
@pytest.mark.slow
def test_a_page_of_six_hundred_images_opens(browser, tmp_path):
    pictures = []
    for _ in range(3):
        image = RNG.integers(0, 256, (512, 512, 3), np.uint8)
        mask = square((512, 512), *[tuple(corner) for corner in RNG.integers(0, 490, (60, 2))])
        pictures.append(draw_one(image, mask, np.roll(mask, 3, 0)))
        assert 40_000 < pictures[-1].size <= 50_000
    page = render([example(f"image {i}", (i + 1) / 601, pictures[i % 3]) for i in range(600)])
    assert 20_000_000 < len(page.encode("utf-8")) < 40_000_000
    browser.set_page_load_timeout(120)
    open_page(browser, tmp_path / "report.html", page)
    assert browser.find_element(By.ID, "count").text == "600 images"
    browser.execute_script("document.querySelector('#images').scrollIntoView()")
    # only the pictures near the window are decoded
    assert 4 <= wait_for_pictures(browser, "#images img") < 600
    browser.execute_script("scrollTo(0, document.body.scrollHeight)")
    WebDriverWait(browser, 60).until(
        lambda _: browser.execute_script("return document.querySelectorAll('#images tr:last-child img').length") == 4
    )
    wait_for_pictures(browser, "#images tr:last-child img")
    click(browser, "#images tr:last-child [data-view=image]")
    assert browser.find_element(By.ID, "viewer-name").text == "image 599"
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


@pytest.mark.browser
def test_the_slices_of_a_volume_in_a_browser(browser, tmp_path):
    open_page(browser, tmp_path / "report.html", render_volumes())
    click(browser, "#images tr:last-child [data-view=overlay]")
    viewer, number = browser.find_element(By.ID, "viewer"), browser.find_element(By.ID, "slice-number")
    planes, slider = browser.find_element(By.ID, "three-planes"), browser.find_element(By.ID, "slice")
    assert browser.find_element(By.ID, "viewer-name").text == "one" and number.text == ""
    rows = viewer.find_elements(By.CSS_SELECTOR, ".by-class tbody tr")
    assert [row.text.split()[-3:] for row in rows] == [["0.750", "2", "1"], ["0.500", "3", "2"]]
    # halo and contour, predicted and true, of two classes
    assert len(viewer.find_elements(By.CSS_SELECTOR, ".frame path")) == 8

    def shown() -> str:
        return viewer.find_element(By.CSS_SELECTOR, ".frame img").get_attribute("src")

    first = shown()
    slider.send_keys(Keys.ARROW_RIGHT)
    assert number.text == "6 of 7" and shown() != first
    slider.send_keys(Keys.HOME)
    assert number.text == "1 of 7" and browser.find_element(By.ID, "viewer-name").text == "one"
    click(browser, "#viewer [data-view=prediction]")
    assert number.text == "1 of 7" and shown().startswith("data:image/png")
    click(browser, "#viewer [data-view=overlay]")
    planes.click()
    assert number.text == "" and shown() == first and planes.get_attribute("aria-pressed") == "true"
    slider.send_keys(Keys.ARROW_LEFT)
    assert number.text == "2 of 7"
    click(browser, "#viewer [data-step='1']")
    assert browser.find_element(By.ID, "viewer-name").text == "two" and number.text == ""
    assert browser.get_log("browser") == []
