"""tollgate.yaml for a Stack."""


def configuration(stack):
    """tollgate.yaml for this stack: the only place that knows its keys."""
    s = stack
    limits = "".join(f"  - {{{limit}}}\n" for limit in s.limits)
    binds = "".join(f"    - {{{bind}}}\n" for bind in (s.binds(s) if s.binds else ()))
    more_providers, more_models = (
        "".join(f"  - {{{part}}}\n" for part in parts) for parts in (s.extend(s) if s.extend else ((), ()))
    )
    # Without Lua no body is rewritten: clients must name the providers' own models.
    models = (
        """\
  - {name: chat-default, primary: {provider: alpha, model: gpt-4o-mini}, fallback: {provider: beta, model: gpt-4o}, max_output: 1024}
  - {name: solo, primary: {provider: alpha, model: gpt-4o-mini}, max_output: 1024}
"""
        if s.lua
        else """\
  - {name: gpt-4o-mini, primary: {provider: alpha, model: gpt-4o-mini}, fallback: {provider: beta, model: gpt-4o-mini}, max_output: 1024}
"""
    )
    return f"""\
# Written by tests/e2e/stack.py.
listen:
  spop: ["127.0.0.1:{s.ports["spop"]}", "unix@{s.sockets}/spop.sock"]
  settle: unix@{s.sockets}/settle.sock
  ring: {f"unix@{s.sockets}/ring.sock" if s.unix_ring else f"127.0.0.1:{s.ports['ring']}"}
  admin: {s.sockets}/admin.sock
workers: {s.workers}
metrics: {{listen: "127.0.0.1:{s.ports["metrics"]}"}}
haproxy:
  bind:
    - {{address: "127.0.0.1:{s.ports["gateway"]}"}}
{binds}  conf_dir: {s.folder}/haproxy
  runtime_dir: {s.sockets}
  lua: {"true" if s.lua else "false"}
  max_body: {s.max_body}
  decision_timeout: {s.decision}
  first_byte_timeout: {s.first_byte}
  first_byte_timeout_stream: {s.first_byte_stream or s.first_byte}
  stall_timeout: {s.stall}
  streams: {s.streams}
  retry_after_wait: {s.retry_after_wait}
ledger: {{file: {s.ledger_file}, hold_timeout: {s.hold_timeout}}}
issuers:
  - issuer: {s.issuer}
    audience: [tollgate]
    logout_audience: [shop]{s.introspection}
    allow_http: true
providers:
  - {{name: alpha, price_as: openai, url: "http://127.0.0.1:{s.ports["alpha"]}/v1", credential: {{file: {s.folder}/alpha.key}}}}
  - {{name: beta, price_as: azure, url: "http://127.0.0.1:{s.ports["beta"]}/openai/deployments/<model>", auth: api-key,
     query: api-version=2024-10-21, credential: {{env: BETA_KEY}}}}
{more_providers}breaker: {{{s.breaker}}}
models:
{models}{"".join(f"  - {{{model}}}" + chr(10) for model in s.models)}{more_models}limits:
{limits}{s.extra()}"""
