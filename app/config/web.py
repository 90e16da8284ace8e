"""The HTTP services: paths, OpenAPI documents, CORS, shutdown."""

from pydantic import Field, field_validator

from app.config.base import Line, Seconds, SettingsBase, TextList
from app.config.origins import normalize_origin


class WebSettings(SettingsBase):
    """Paths, OpenAPI documents, CORS and shutdown of the HTTP services."""

    API_V1_STR: str = Field(
        "/api/v1",
        pattern=r"^(/[a-z0-9_-]+)+$",
        description="Path prefix of every API route, as `nginx.conf` routes it.",
    )
    PROJECT_NAME: Line = Field(
        "Chat Bot System", description="Name shown in the OpenAPI documents, on pages and in emails."
    )
    VERSION: Line = Field("1.0.0", description="Version that services and workers report, for instance in `/health`.")
    DEBUG: bool = Field(
        default=False,
        description="Serves the OpenAPI document and its interactive pages. Never changes the text of an error.",
    )
    CORS_ORIGINS: TextList = Field(
        ["http://localhost:3000"],
        description="Origins whose pages may call the API with credentials, comma-separated or as a JSON list: "
        "`https://app.example`, or those of applications, such as `capacitor://localhost`. `*` is refused.",
    )
    SHUTDOWN_GRACE: Seconds = Field(
        15,
        description="Grace period of a shutdown, in seconds: running turns may finish until 3 s before its end, "
        "then they are interrupted and stored.",
    )

    @field_validator("CORS_ORIGINS")
    @classmethod
    def _check_origins(cls, origins: list[str]) -> list[str]:
        return list(dict.fromkeys(map(normalize_origin, origins)))
