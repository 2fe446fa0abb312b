"""The ``moestro`` command. Exit codes: 0 done, 1 something failed, 2 bad input, 3 no plan fits, 130 interrupted."""

import io
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
    if sys.stdout is None:  # it was closed before the start (`>&-`)
        sys.stdout = io.StringIO()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without our signs gets a question mark for them
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit code."""
    try:
        return _done(app(list(arguments), prog_name="moestro", standalone_mode=False) or 0)
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
    except RecursionError:
        return _say("a file is nested too deeply to be what it should be", BAD_INPUT)
    except (BrokenPipeError, SystemExit):  # typer and rich make a SystemExit of the same
        _write_no_more()  # the reader went away (`| head`)
        return 0
    except OSError as error:
        _write_no_more()
        return _say(f"reading or writing failed: {error}", FAILED)


def _done(code: int) -> int:
    """The exit code, once everything that was printed is out; a full disk is not found out by the interpreter's end."""
    sys.stdout.flush()
    return code


def _write_no_more() -> None:
    """Let what is still to be flushed at the interpreter's end go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say(message: str, code: int) -> int:
    print(f"moestro: {message}", file=sys.stderr)
    return code


def _usage_message(error: TyperException) -> str:
    text = error.format_message() if hasattr(error, "format_message") else str(error)
    return f"{' '.join(text.split()).rstrip('.')}; see 'moestro --help'"


if __name__ == "__main__":
    main()
