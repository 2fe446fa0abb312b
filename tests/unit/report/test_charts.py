import re
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from moestro.report.charts import WIDTH, Bar, Point, Segment, cost_scatter, memory_bars

SVG = "{http://www.w3.org/2000/svg}"
SEGMENTS = (Segment("experts", "expert weights", 70.0), Segment("kv", "KV <cache>", 30.0))


def rectangles(svg: str, style: str) -> list[dict[str, str]]:
    return [r.attrib for r in ElementTree.fromstring(svg).iter(f"{SVG}rect") if r.get("class") == style]


class TestMemoryBars:
    def test_lengths_are_to_one_scale(self) -> None:
        svg = memory_bars([Bar("a", SEGMENTS, 140, 126), Bar("b", SEGMENTS, 280, 252)])
        small, large = (float(r["width"]) for r in rectangles(svg, "gpu"))
        experts, cache = float(rectangles(svg, "experts")[0]["width"]), float(rectangles(svg, "kv")[0]["width"])
        assert abs(large - 2 * small) < 0.2
        assert abs(experts / cache - 70 / 30) < 0.02
        assert abs(experts / small - 0.5) < 0.01

    def test_segments_follow_one_another(self) -> None:
        svg = memory_bars([Bar("a", SEGMENTS, 140, 126)])
        first, second = rectangles(svg, "experts")[0], rectangles(svg, "kv")[0]
        assert abs(float(first["x"]) + float(first["width"]) - float(second["x"])) < 0.2

    def test_texts_are_escaped(self) -> None:
        svg = memory_bars([Bar("<script>", SEGMENTS, 140, 126, note="a & b")])
        assert "<script>" not in svg
        assert "KV &lt;cache&gt;: 30.0 GiB" in svg

    def test_a_plan_longer_than_its_gpu_stays_inside_the_drawing(self) -> None:
        svg = memory_bars([Bar("a", (Segment("experts", "w", 200.0),), 80, 72, fits=False)])
        one = rectangles(svg, "experts")[0]
        assert float(one["x"]) + float(one["width"]) < WIDTH


class TestCostScatter:
    def test_dearer_is_further_right_and_faster_is_higher(self) -> None:
        svg = cost_scatter([Point("a", 10, 1000), Point("b", 20, 4000, chosen=True)])
        dots = {c.get("class"): c.attrib for c in ElementTree.fromstring(svg).iter(f"{SVG}circle")}
        a, b = dots["dot"], dots["dot chosen-dot"]
        assert float(b["cx"]) > float(a["cx"])
        assert float(b["cy"]) < float(a["cy"])

    def test_rays_name_their_price(self) -> None:
        # 36 USD/h at 1000 tokens/s are 10 USD a million.
        assert "$10/M" in cost_scatter([Point("a", 36, 1000)])

    @given(st.lists(st.tuples(st.floats(0.1, 500), st.floats(1, 50_000)), min_size=1, max_size=12))
    def test_any_points_make_a_valid_drawing_inside_its_frame(self, pairs: list[tuple[float, float]]) -> None:
        svg = cost_scatter([Point(f"p{i}", usd, speed) for i, (usd, speed) in enumerate(pairs)])
        root = ElementTree.fromstring(svg)
        height = float(root.attrib["viewBox"].split()[3])
        for circle in root.iter(f"{SVG}circle"):
            assert 0 <= float(circle.attrib["cx"]) <= WIDTH
            assert 0 <= float(circle.attrib["cy"]) <= height
        assert not re.search(r"nan|inf", svg)
