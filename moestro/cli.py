"""The ``moestro`` command. Exit codes: 0 done, 1 something failed, 2 bad input, 3 no plan fits, 130 interrupted."""

import os
import sys
from collections.abc import Sequence

import typer
from typer.exceptions import TyperException

from moestro.commands import catalog, plan
from moestro.errors import InvalidInput, MoestroError, NothingFits

FAILED, BAD_INPUT, DOES_NOT_FIT, INTERRUPTED = 1, 2, 3, 130

app = typer.Typer(
    name="moestro",
    help="Plan, price and operate Mixture-of-Experts models on rented GPUs.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("plan")(plan.plan)
app.command("models")(catalog.models)
app.command("gpus")(catalog.gpus)
app.command("prices")(catalog.prices)


@app.callback(invoke_without_command=True)
def _group(context: typer.Context) -> None:
    """Plan, price and operate Mixture-of-Experts models on rented GPUs."""
    if context.invoked_subcommand is None:
        print(context.get_help())


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; every error on purpose is one line on stderr."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit code."""
    try:
        return app(list(arguments), prog_name="moestro", standalone_mode=False) or 0
    except NothingFits as error:
        return _say(str(error), DOES_NOT_FIT)
    except InvalidInput as error:
        return _say(str(error), BAD_INPUT)
    except MoestroError as error:
        return _say(str(error), FAILED)
    except TyperException as error:
        return _say(_usage_message(error), BAD_INPUT)
    except (KeyboardInterrupt, typer.Abort):
        return _say("interrupted", INTERRUPTED)
    except BrokenPipeError:
        # The reader went away (`| head`): say nothing more, not even when the interpreter flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _say(message: str, code: int) -> int:
    print(f"moestro: {message}", file=sys.stderr)
    return code


def _usage_message(error: TyperException) -> str:
    text = error.format_message() if hasattr(error, "format_message") else str(error)
    return f"{' '.join(text.split()).rstrip('.')}; see 'moestro --help'"


if __name__ == "__main__":
    main()
