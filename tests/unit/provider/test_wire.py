from hypothesis import given
from hypothesis import strategies as st

from provider.wire import UNKNOWN, amended, decode, encode, has_unknowns, secret_texts
from tests.unit.provider.harness import SIGNATURE, secret, struct
from tests.unit.provider.harness import UNKNOWN as UNKNOWN_ON_THE_WIRE

KEYS = st.text(min_size=1, max_size=8).filter(lambda key: key != SIGNATURE)
LEAVES = st.one_of(st.booleans(), st.integers(-(2**53), 2**53), st.text(max_size=12), st.just(UNKNOWN))
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3))


@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_what_is_encoded_is_decoded_again(values: dict[str, object]) -> None:
    assert decode(encode(values)) == values


@given(st.dictionaries(KEYS, VALUES, min_size=1, max_size=4))
def test_secrets_are_wrapped_once_and_unwrapped_when_read(values: dict[str, object]) -> None:
    paths = [(key,) for key in values]
    wrapped = encode(values, paths)
    assert all(field.struct_value.fields[SIGNATURE].string_value for field in wrapped.fields.values())
    assert amended(wrapped, {}, paths) == wrapped
    assert decode(wrapped) == values


class TestEncode:
    def test_leaves_out_what_is_not_set(self) -> None:
        assert encode({"a": None, "b": {"c": None, "d": 1}}) == struct({"b": {"d": 1}})

    def test_wraps_inside_objects(self) -> None:
        encoded = encode({"host": {"address": "a", "key": "k"}}, [("host", "key"), ("host", "missing"), ("tls", "key")])
        assert encoded == struct({"host": {"address": "a", "key": secret("k")}})

    def test_does_not_wrap_inside_a_secret(self) -> None:
        whole = struct({"host": secret({"key": "k"})})
        assert amended(whole, {}, [("host", "key")]) == whole


class TestDecode:
    def test_a_secret_that_is_not_known_yet(self) -> None:
        assert decode(struct({"a": secret(UNKNOWN_ON_THE_WIRE)})) == {"a": UNKNOWN}

    def test_nulls_count_as_left_out(self) -> None:
        assert decode(struct({"a": None, "b": 1})) == {"b": 1}

    def test_whole_numbers_are_integers(self) -> None:
        decoded = decode(struct({"a": 3.0, "b": 3.5}))
        assert (type(decoded["a"]), type(decoded["b"])) == (int, float)


def test_unknowns_are_found_at_any_depth() -> None:
    assert has_unknowns({"a": [{"b": UNKNOWN}]})
    assert not has_unknowns({"a": [{"b": 1}]})


def test_secret_texts_are_the_lines_of_every_secret() -> None:
    values = struct({"a": secret("one\ntwo"), "b": {"c": [secret({"d": "three"})]}, "e": "open"})
    assert sorted(secret_texts(values)) == ["one", "three", "two"]
