"""`python -m moestro.clouds.sandbox`: look at the sandbox, serve it, break it, remove it."""

import sys
from dataclasses import replace
from typing import Annotated, Any

import typer
import uvicorn
from rich.console import Console
from rich.table import Table

from moestro.clouds.sandbox import Home, configure, destroy, reset
from moestro.clouds.sandbox.app import create_app
from moestro.clouds.sandbox.faults import FaultKind, Faults
from moestro.clouds.sandbox.service import Sandbox
from moestro.clouds.sandbox.store import Store
from moestro.errors import MoestroError

LOOPBACK = "127.0.0.1"
main = typer.Typer(no_args_is_help=True, add_completion=False, help="The cloud on this machine.")
fault = typer.Typer(no_args_is_help=True, help="Faults that the sandbox will show.")
main.add_typer(fault, name="fault")


@main.command("list")
def list_machines(ended: Annotated[bool, typer.Option("--all", help="Ended machines too.")] = False) -> None:
    """Show the machines as they are now; armed faults of running machines strike at this moment."""
    table = Table("name", "id", "status", "address", "region", "created")
    for machine in Sandbox(Home.current()).find(None if ended else "active"):
        shown = (machine[field] for field in ("name", "id", "status", "ipAddress", "region", "createdAt"))
        table.add_row(*(str(value or "") for value in shown))
    Console().print(table)


@main.command("serve")
def serve(port: Annotated[int, typer.Option(help="TCP port on this machine's loopback address.")] = 8787) -> None:
    """Answer over HTTP: point $MOESTRO_SANDBOX_URL at it."""
    home = Home.current()
    uvicorn.run(create_app(Sandbox(home), home.token), host=LOOPBACK, port=port, log_level="warning")


@main.command("configure")
def configure_home(
    contract_only: Annotated[bool | None, typer.Option(help="Rent nothing real.")] = None,
    deploy_seconds: Annotated[float | None, typer.Option(help="The least time in `deploying`.")] = None,
    minimum_runtime_minutes: Annotated[int | None, typer.Option(help="Before a machine may be ended.")] = None,
    balance_usd: Annotated[float | None, typer.Option(help="The money in the account.")] = None,
) -> None:
    """Change how the sandbox behaves, and show it."""
    home = Home.current()
    given: dict[str, Any] = {
        "contract_only": contract_only,
        "deploy_seconds": deploy_seconds,
        "minimum_runtime_minutes": minimum_runtime_minutes,
        "balance_usd": balance_usd,
    }
    settings = replace(Store(home).settings(), **{name: value for name, value in given.items() if value is not None})
    configure(home, settings)
    typer.echo(settings)


@main.command("reset")
def reset_home() -> None:
    """Remove every machine, key and fault."""
    reset(Home.current())


@main.command("destroy")
def destroy_home() -> None:
    """Remove every trace of the sandbox: hosts, network, files."""
    destroy(Home.current())


@fault.command("arm")
def arm(
    kind: Annotated[str, typer.Argument(help=", ".join(FaultKind))],
    times: Annotated[int, typer.Option(help="How often; 0: always.")] = 1,
    name: Annotated[str, typer.Option(help="Shell pattern for the machine's name.")] = "*",
    seconds: Annotated[float, typer.Option(help="For faults that take a time.")] = 0.0,
) -> None:
    """Let a fault happen."""
    Faults(Home.current()).arm(kind, times or None, name, seconds)


@fault.command("list")
def list_faults() -> None:
    """Show what is armed."""
    for armed in Faults(Home.current()).armed():
        times = "always" if armed.times is None else f"{armed.times} x"
        typer.echo(f"{armed.kind} {times} name={armed.name} seconds={armed.seconds:g}")


@fault.command("disarm")
def disarm(kind: Annotated[str | None, typer.Argument(help="Only this kind.")] = None) -> None:
    """Take faults back."""
    Faults(Home.current()).disarm(kind)


if __name__ == "__main__":
    try:
        main()
    except MoestroError as error:
        sys.exit(f"sandbox: {error}")
