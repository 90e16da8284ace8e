"""OpenAPI documents of the services, and one of all of them."""

import json
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI

from app import admin_main, auth_main, main
from app.config import Settings
from app.http.api_document import merge_documents
from docs.generator.paths import DOCS

FOLDER = DOCS / "openapi"
APPS: Mapping[str, FastAPI] = {"auth": auth_main.app, "chat": main.app, "admin": admin_main.app}


def documents_by_service() -> dict[str, dict[str, Any]]:
    """Return the OpenAPI document of each service."""
    return {service: app.openapi() for service, app in APPS.items()}


def merged_document() -> str:
    """Return the OpenAPI document of all services as text."""
    fields = Settings.model_fields
    merged = merge_documents(
        documents_by_service(), title=fields["PROJECT_NAME"].default, version=fields["VERSION"].default
    )
    return _text(merged)


def _text(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def documents() -> dict[Any, str]:
    """Return the files with the documents."""
    files = {FOLDER / f"{service}.json": _text(document) for service, document in documents_by_service().items()}
    return files | {FOLDER / "openapi.json": merged_document()}
