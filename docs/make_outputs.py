"""Run the commands whose output the documentation quotes, and put what they print in place of it.

    python docs/make_outputs.py [--all] [--in DIR]

A quoted output is a block of text behind a comment that names its command:

    <!-- output: scyc-sweep show results/digits -->

The commands run in an empty folder, or in DIR, where sweeps that are finished are not trained again. The picture of
README is made too. Without --all, outputs that take more than the default oracle (a few minutes) are left as they are.
"""

import argparse
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
PAGES = [HERE.parent / "README.md", *sorted(HERE.glob("*.md"))]
PICTURE = HERE / "trajectory.png"
QUOTED = re.compile(r"(<!-- output: (?P<command>.+?) -->\n```text\n)(?P<text>.*?)(```\n)", re.DOTALL)

SWEEPS = {
    "results/digits": ["scyc-sweep oracle --lanes 25"],
    "results/digits-10": [
        "scyc-sweep oracle --runs 10 --lanes 25 --out results/digits-10",
        "scyc-sweep control results/digits-10",
    ],
}
"""By results folder: the commands that make it."""
CHEAP = {"results/digits"}
WIDTH = 110
"""Characters of a line, as where output does not go to a terminal."""


def quoted(text: str) -> Iterator[re.Match[str]]:
    """Yield the quoted outputs of a page: `command` and `text`."""
    return QUOTED.finditer(text)


def folder_of(command: str) -> str:
    """Return the results folder that a command reads: the word that names one of `SWEEPS`."""
    [folder] = [word for word in shlex.split(command) if word in SWEEPS]
    return folder


def run(command: str, where: Path) -> str:
    """Return what a command prints on stdout."""
    _, *words = shlex.split(command)
    environment = {**os.environ, "COLUMNS": str(WIDTH), "PYTHONPATH": str(HERE.parent)}
    print(f"{where}$ {command}", file=sys.stderr)
    done = subprocess.run(
        [sys.executable, "-m", "sweep", *words],
        cwd=where,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    # How long it took depends on the machine and on what else it does.
    lines = [re.sub(r", [\d.]+ (s|min|h) of training$", "", line.rstrip()) for line in done.stdout.splitlines()]
    return "\n".join(lines).strip("\n") + "\n"


def shrink(picture: Path) -> None:
    """Write a picture of a results folder as the small one that README shows: 1,000 pixels wide, 256 colours."""
    from PIL import Image

    with Image.open(picture) as image:
        size = (1000, round(image.height * 1000 / image.width))
        small = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
        small.quantize(256, dither=Image.Dither.NONE).save(PICTURE, optimize=True)


def main() -> None:
    """Make the outputs anew."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="those too that take longer")
    parser.add_argument("--in", dest="where", type=Path, help="folder to run the commands in; default: a temporary one")
    given = parser.parse_args()
    folders = SWEEPS.keys() if given.all else CHEAP
    with tempfile.TemporaryDirectory() as temporary:
        where = given.where or Path(temporary)
        where.mkdir(parents=True, exist_ok=True)
        for folder in sorted(folders):
            for command in SWEEPS[folder]:
                run(command, where)
        shrink(where / "results/digits/trajectory.png")
        for page in PAGES:
            text = page.read_text(encoding="utf-8")

            def anew(match: re.Match[str]) -> str:
                if folder_of(match["command"]) not in folders:
                    return match[0]
                return match[1] + run(match["command"], where) + match[4]

            made = QUOTED.sub(anew, text)
            if made != text:
                page.write_text(made, encoding="utf-8")
                print(f"{page.relative_to(HERE.parent)} has new outputs", file=sys.stderr)


if __name__ == "__main__":
    main()
