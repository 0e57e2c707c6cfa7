"""What `kintsugi serve` makes settings of; nothing is served."""

from pathlib import Path
from typing import Any

import pytest

from kintsugi.cli.serve import main
from kintsugi.deploy.settings import AppArgs
from kintsugi.errors import ConfigError


def test_webhooks_have_a_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    served: list[AppArgs] = []

    def kept(args: AppArgs, **how: Any) -> None:
        served.append(args)

    monkeypatch.setattr("kintsugi.deploy.standalone.serve_in_process", kept)
    monkeypatch.chdir(tmp_path)
    Path("secret.txt").write_text("s" * 32)
    with pytest.raises(ConfigError, match="--webhook-hosts needs --webhook-secret"):
        main(["--port=0", "--webhook-hosts=hooks.example.com"])
    main(["--port=0", "--webhook-hosts=hooks.example.com", "--webhook-secret=secret.txt"])
    main(["--port=0"])
    assert [args.webhook_hosts for args in served] == ["hooks.example.com", ""]
    assert served[0].webhook_secret == str(tmp_path / "secret.txt")
