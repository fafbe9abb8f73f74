"""LoRA adapters, with the real loader as a child and a stand-in for vLLM's routes."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from agentfleet.sidecar.adapter import Adapter, listed
from agentfleet.sidecar.adapters import Adapters
from agentfleet.sidecar.download import Downloads, Reach
from agentfleet.sidecar.engines.base import Health, local_client
from agentfleet.sidecar.engines.loras import Loras
from agentfleet.sidecar.models import ModelState, ModelStatus
from agentfleet.sidecar.supervisor import Status
from tests.sidecar.conftest import Hub

Listening = Callable[[web.Application], AbstractAsyncContextManager[int]]
OPERATOR = Path(__file__).parents[2] / "operator"
KEY = "s3cret"
BASE = ModelStatus("base").to(ModelState.READY)
FILES = {"adapter_config.json": b"{}", "adapter_model.safetensors": b"weights" * 100}


@dataclass
class FakeVLLM:
    """vLLM 0.32 with adapters: what it answered on a real one."""

    loaded: dict[str, str] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    enabled: bool = True
    refuses: str | None = None

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._key])
        app.router.add_get("/v1/models", self._models)
        if self.enabled:
            app.router.add_post("/v1/load_lora_adapter", self._load)
            app.router.add_post("/v1/unload_lora_adapter", self._unload)
        else:
            app.router.add_post("/{path:.*}", self._nothing)
        return app

    @web.middleware
    async def _key(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            return web.json_response({"error": "Unauthorized"}, status=401)
        response: web.StreamResponse = await handler(request)
        return response

    async def _nothing(self, request: web.Request) -> web.Response:
        return web.json_response({"detail": "Not Found"}, status=404)

    async def _models(self, request: web.Request) -> web.Response:
        base = {"id": "base", "root": "/models/base", "parent": None}
        loras = [{"id": name, "root": path, "parent": "base"} for name, path in self.loaded.items()]
        return web.json_response({"object": "list", "data": [base, *loras]})

    async def _load(self, request: web.Request) -> web.Response:
        body = await request.json()
        name, path = body["lora_name"], body["lora_path"]
        self.calls.append(("load", name))
        if name in self.loaded or name == self.refuses:
            error = {"message": f"The lora adapter {name!r} cannot be loaded", "type": "BadRequestError", "code": 400}
            return web.json_response({"error": error}, status=400)
        assert (Path(path) / "adapter_config.json").is_file()
        self.loaded[name] = path
        return web.Response(text=f"Success: LoRA adapter '{name}' added successfully.")

    async def _unload(self, request: web.Request) -> web.Response:
        name = (await request.json())["lora_name"]
        self.calls.append(("unload", name))
        if name not in self.loaded:
            return web.json_response({"error": {"code": 404}}, status=404)
        del self.loaded[name]
        return web.Response(text="Success")


@dataclass
class World:
    vllm: FakeVLLM
    adapters: Adapters
    file: Path
    home: Path

    def list(self, **adapters: str) -> None:
        """Replaces the file as kubelet does: whole, by rename."""
        staged = self.file.with_suffix(".new")
        staged.write_text(json.dumps([{"name": name, "uri": uri} for name, uri in adapters.items()]))
        staged.replace(self.file)

    def statuses(self) -> dict[str, ModelStatus]:
        return {model.name: model for model in self.adapters.overlay([BASE])}

    def ready(self) -> bool:
        return Status("VLLM", None, Health.SERVING, tuple(self.adapters.overlay([BASE]))).ready

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(120):
            while not condition():
                self.adapters.tick(Health.SERVING, [BASE])
                await asyncio.sleep(0.02)

    async def until_ready(self, *names: str) -> None:
        await self.until(lambda: all(n in self.statuses() and self.statuses()[n].state == "Ready" for n in names))


Start = Callable[..., AbstractAsyncContextManager[World]]


@pytest.fixture
def world(listening: Listening, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    monkeypatch.setenv("PYTHONPATH", str(OPERATOR))  # for the loader, which is a process
    hub.files = dict(FILES)

    @asynccontextmanager
    async def start(vllm: FakeVLLM, **adapters: str) -> AsyncIterator[World]:
        key, home, file = tmp_path / "key", tmp_path / "adapters", tmp_path / "adapters.json"
        key.write_text(KEY)
        home.mkdir(exist_ok=True)
        async with listening(vllm.application()) as port, local_client(port, key) as client:
            downloads = Downloads(Reach(endpoint=hub.url, ca_bundle=hub.ca))
            companion = Adapters(file, home, Loras(client), downloads, poll=0.02)
            at = World(vllm, companion, file, home)
            at.list(**adapters)
            task = asyncio.create_task(companion.run())
            try:
                yield at
            finally:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    return start


ONE, OTHER = "hf://org/tiny", "hf://org/tiny@main"


async def test_adapters_of_the_first_file_come_before_ready(world: Start) -> None:
    async with world(FakeVLLM(), sql=ONE) as at:
        assert not at.ready(), "the file was not read yet"
        await asyncio.sleep(0.05)
        assert not at.ready()
        await at.until_ready("sql")
        assert at.ready()
        assert at.vllm.loaded == {"sql": str(at.home / Adapter("sql", ONE).folder)}
        assert at.statuses()["sql"].as_json()["state"] == "Ready"


async def test_later_ones_hold_up_nothing_and_nobody(world: Start) -> None:
    async with world(FakeVLLM(refuses="bad")) as at:
        await at.until(at.ready)
        at.list(bad=ONE, absent="hf://org/absent", sql=ONE)
        await at.until(lambda: "sql" in at.statuses())
        assert at.ready()
        await at.until_ready("sql")
        await at.until(lambda: {at.statuses()[n].state for n in ("bad", "absent")} == {ModelState.FAILED})
        assert (at.statuses()["bad"].reason, at.statuses()["absent"].reason) == ("AdapterRefused", "ModelNotFound")
        assert "cannot be loaded" in (at.statuses()["bad"].message or "")
        assert at.ready()


async def test_what_fails_at_the_start_does_not_keep_the_pod_from_serving(world: Start) -> None:
    async with world(FakeVLLM(), absent="hf://org/absent") as at:
        await at.until(at.ready)
        assert at.statuses()["absent"].reason == "ModelNotFound"


async def test_one_that_is_taken_off_the_list_goes_from_engine_and_disk(world: Start) -> None:
    async with world(FakeVLLM(), sql=ONE, code=ONE) as at:
        await at.until_ready("sql", "code")
        at.list(code=ONE)
        await at.until(lambda: list(at.vllm.loaded) == ["code"] and len(list(at.home.iterdir())) == 1)
        assert list(at.statuses()) == ["base", "code"]


async def test_another_source_takes_over_when_it_can_serve(world: Start) -> None:
    async with world(FakeVLLM(), sql=ONE) as at:
        await at.until_ready("sql")
        at.list(sql="hf://org/absent")
        await at.until(lambda: at.statuses()["sql"].state is ModelState.FAILED)
        await asyncio.sleep(0.1)
        assert at.vllm.loaded == {"sql": str(at.home / Adapter("sql", ONE).folder)}, "the old one serves on"
        at.list(sql=OTHER)
        await at.until_ready("sql")
        await at.until(lambda: [p.name for p in at.home.iterdir()] == [Adapter("sql", OTHER).folder])
        assert at.vllm.loaded == {"sql": str(at.home / Adapter("sql", OTHER).folder)}
        at.list(sql=ONE)
        await at.until_ready("sql")
        await at.until(lambda: [p.name for p in at.home.iterdir()] == [Adapter("sql", ONE).folder])


async def test_a_restarted_engine_gets_them_again(world: Start, hub: Hub) -> None:
    async with world(FakeVLLM(), sql=ONE) as at:
        await at.until_ready("sql")
        downloads = len(hub.contents())
        at.vllm.loaded.clear()
        at.adapters.engine_restarted()
        assert at.statuses()["sql"].state is ModelState.LOADING
        assert at.ready(), "the base model serves"
        await at.until_ready("sql")
        assert (list(at.vllm.loaded), len(hub.contents())) == (["sql"], downloads)


async def test_a_restarted_sidecar_tidies_up_and_downloads_nothing_twice(world: Start, hub: Hub) -> None:
    vllm = FakeVLLM()
    async with world(vllm, sql=ONE, old=ONE) as at:
        await at.until_ready("sql", "old")
        vllm.loaded["static"] = "/elsewhere/static"
    downloads = len(hub.contents())
    async with world(vllm, sql=ONE) as at:
        await at.until_ready("sql")
        await at.until(lambda: sorted(vllm.loaded) == ["sql", "static"] and len(list(at.home.iterdir())) == 1)
    assert len(hub.contents()) == downloads


async def test_a_vllm_that_takes_no_adapters_says_what_to_do(world: Start) -> None:
    async with world(FakeVLLM(enabled=False), sql=ONE) as at:
        await at.until(lambda: at.statuses().get("sql", BASE).state is ModelState.FAILED)
        status = at.statuses()["sql"]
        assert status.reason == "AdaptersDisabled"
        assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING" in (status.message or "")


async def test_an_empty_list_needs_no_folder(world: Start, caplog: pytest.LogCaptureFixture) -> None:
    async with world(FakeVLLM()) as at:
        at.home.rmdir()
        await at.until(at.ready)
        await asyncio.sleep(0.1)
        assert caplog.records == []


async def test_a_file_that_is_none_changes_nothing(world: Start) -> None:
    async with world(FakeVLLM(), sql=ONE) as at:
        await at.until_ready("sql")
        at.file.write_text('[{"name": "sql"')
        await asyncio.sleep(0.1)
        at.file.write_text('[{"name": "sql"}]')
        await asyncio.sleep(0.1)
        assert list(at.vllm.loaded) == ["sql"]
        at.file.unlink()
        await at.until(lambda: not at.vllm.loaded)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '[{"name": "", "uri": "hf://a/b"}]', '[{"name": "a", "uri": 1}]'])
def test_what_is_no_list(text: str) -> None:
    with pytest.raises(ValueError):
        listed(text)


@pytest.mark.parametrize("name", ["a", "org/model:1", "../../etc", ".hidden", "ü" * 300])
def test_folders_are_safe(name: str) -> None:
    folder = Adapter(name, "u").folder
    assert "/" not in folder
    assert not folder.startswith(".")
    assert len(folder) <= 60
    assert folder != Adapter(name, "v").folder


def test_an_endpoint_is_for_sources_of_its_own_scheme() -> None:
    """A registry for the model's oci:// source is no mirror of the hub that an hf:// adapter comes from."""
    reach = Reach(endpoint="https://registry.example", scheme="oci")
    assert reach.arguments("oci://registry.example/a/b") == ["--endpoint=https://registry.example"]
    assert reach.arguments("hf://a/b") == []
