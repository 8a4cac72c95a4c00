"""`bimix guide`: the pages under bimix_jax/guide."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markdown import Markdown

from bimix_jax.cli import waiting

PAGES = Path(__file__).parents[1] / "guide"
COLUMNS = 80
"""Width of the pages, which reads better than a wider one."""
TITLE = "# "


def guide(
    topic: Annotated[
        str | None, typer.Argument(help="The page to print; none lists all.", show_default=False)
    ] = None,
) -> None:
    """Print a page of the guide: laws, constraints, certainty, clusters and more.

    Example: `bimix guide constraints`
    """
    waiting.clear()
    pages = {page.stem: page for page in sorted(PAGES.glob("*.md"))}
    if topic is None:
        for name, page in pages.items():
            typer.echo(f"{name:<12} {title_of(page)}")
        return
    if topic not in pages:
        from bimix_jax.reading.settings import refuse_unknown

        refuse_unknown("TOPIC", {topic}, list(pages))
    text = pages[topic].read_text(encoding="utf-8")
    console = Console()
    if console.is_terminal:
        console.print(Markdown(text), width=min(COLUMNS, console.width))
    else:
        typer.echo(text, nl=False)


def title_of(page: Path) -> str:
    """Return the title of a page, which is its first line."""
    with page.open(encoding="utf-8") as lines:
        return next(lines).removeprefix(TITLE).strip()
