"""The model catalog: context windows and prices."""

import socket
from decimal import Decimal

import pytest
from genai_prices import Usage, calc_price

from app.config import ModelSetting, Provider
from app.services.llm.catalog import CatalogModel, ModelCatalog

ELSEWHERE = Provider("default", "http://127.0.0.1:9/v1")


def catalog(*settings: ModelSetting, **arguments: object) -> ModelCatalog:
    return ModelCatalog(settings, **{"primary": "gpt-4", "default_window": 4096, **arguments})  # type: ignore[arg-type]


def priced(name: str, prompt: str, completion: str) -> ModelSetting:
    return ModelSetting(name=name, prompt_price=Decimal(prompt), completion_price=Decimal(completion))


def test_models_are_listed_once_primary_first_then_fallbacks() -> None:
    made = catalog(
        *(ModelSetting(name=name) for name in ("other", "gpt-4", "second")), fallbacks=("second", "gpt-4", "second")
    )
    assert [model.name for model in made.models] == ["gpt-4", "second", "other"]
    assert made.fallbacks == ("second",)
    assert made.get("third") is None


@pytest.mark.parametrize("providers", [[], [ELSEWHERE]])
def test_missing_values_come_from_the_price_list(monkeypatch: pytest.MonkeyPatch, providers: list[Provider]) -> None:
    monkeypatch.setattr(socket, "socket", None)  # nothing is downloaded
    assert catalog(providers=providers).get("gpt-4") == CatalogModel("gpt-4", 8192, Decimal(30), Decimal(60))


def test_an_unknown_model_has_the_default_window_and_no_price() -> None:
    made = catalog(primary="house-model", default_window=1234)
    assert made.get("house-model") == CatalogModel("house-model", 1234, None, None)
    assert made.cost("house-model", 1000, 1000) is None


def test_settings_take_precedence_over_the_price_list() -> None:
    setting = ModelSetting(name="gpt-4", context_window=100, prompt_price=Decimal(1), completion_price=Decimal(0))
    made = catalog(setting)
    assert made.get("gpt-4") == CatalogModel("gpt-4", 100, Decimal(1), Decimal(0))
    assert made.cost("gpt-4", 500_000, 1_000_000) == Decimal("0.5")


def test_a_configured_window_keeps_the_listed_prices() -> None:
    assert catalog(ModelSetting(name="gpt-4", context_window=100)).get("gpt-4") == CatalogModel(
        "gpt-4", 100, Decimal(30), Decimal(60)
    )


@pytest.mark.parametrize(
    ("used", "requested", "dollars"),
    [
        pytest.param("gpt-4", None, "0.00042", id="as the list says"),
        pytest.param("gpt-4-0613", "gpt-4", "0.00042", id="under a more exact name"),
        pytest.param("gpt-3.5-turbo", "gpt-4", "0.0000085", id="another model than was asked for"),
        pytest.param("engine-7", "gpt-4", "0.00042", id="under a name that nobody knows"),
        pytest.param("engine-7", "house", "0.000028", id="of a model with a price of its own"),
        pytest.param("house", "gpt-4", "0.000028", id="used although not asked for"),
        pytest.param("engine-7", None, None, id="nobody knows"),
        pytest.param("engine-7", "engine-8", None, id="nobody knows either"),
    ],
)
def test_cost_of_an_answer_by_model(used: str, requested: str | None, dollars: str | None) -> None:
    cost = catalog(priced("house", "2", "4")).cost(used, 8, 3, requested=requested)
    assert cost == (None if dollars is None else Decimal(dollars))


@pytest.mark.parametrize("name", ["gpt-4", "gpt-4o", "gpt-4.1-nano", "claude-sonnet-4-0", "gemini-2.5-pro"])
@pytest.mark.parametrize("tokens", [(8, 3), (300_000, 70_000)])
def test_costs_equal_those_of_the_package(name: str, tokens: tuple[int, int]) -> None:
    usage = Usage(input_tokens=tokens[0], output_tokens=tokens[1])
    assert catalog(providers=[ELSEWHERE]).cost(name, *tokens) == calc_price(usage, name).total_price


def test_a_long_prompt_may_cost_more_a_token() -> None:
    made = catalog(providers=[ELSEWHERE])
    short, long = (made.cost("gemini-2.5-pro", tokens, 0) for tokens in (100_000, 1_000_000))
    assert short is not None
    assert long is not None
    assert long > 10 * short


def test_no_tokens_cost_nothing() -> None:
    assert catalog().cost("gpt-4", 0, 0) == 0


def test_the_cache_of_look_ups_is_bounded() -> None:
    made = catalog()
    for number in range(2000):
        made.cost(f"engine-{number}", 1, 1)
    assert made._find_entry.cache_info().currsize == 1024


def test_models_have_the_names_prices_and_limits_of_their_providers() -> None:
    made = catalog(
        ModelSetting(name="azure", provider="eu", provider_model="gpt-4", display_name="GPT-4", temperature="none"),
        ModelSetting(name="local", attempt_timeout=90, max_output_tokens=100, temperature=0.2),
        priced("gpt-4", "1", "2"),
        providers=[ELSEWHERE, Provider("eu", "https://x.openai.azure.com/v1", attempt_timeout=40, stream_pause=5)],
    )
    azure, local = made.get("azure"), made.get("local")
    assert azure == CatalogModel(
        "azure", 8192, Decimal(30), Decimal(60), "eu", "GPT-4", attempt_timeout=40, stream_pause=5
    )
    assert local == CatalogModel("local", 4096, None, None, attempt_timeout=90, max_output_tokens=100, temperature=0.2)
    assert made.provider_of("unknown") == made.provider_of("local") == "default"
    # The price of the model that another provider has under the same name does not apply.
    assert made.cost("gpt-4", 8, 3, requested="azure") == Decimal("0.00042")
    assert made.cost("gpt-4", 8, 3, requested="gpt-4") == Decimal("0.000014")


def test_first_provider_is_the_default_one() -> None:
    made = catalog(providers=[Provider("house", "http://h/v1"), Provider("other", "http://o/v1")])
    assert [model.provider for model in made.models] == ["house"]
