"""A small web application without dependencies, whose build records that it ran."""

import json
from pathlib import Path

from local.frontend import Frontend

BUILD = """\
import { appendFileSync, cpSync, mkdirSync, readFileSync } from 'node:fs'
const log = (text) => appendFileSync(process.env.BUILD_LOG, text + '\\n')
log('begin')
await new Promise((resolve) => setTimeout(resolve, 700))
if (readFileSync('index.html', 'utf8').includes('broken')) {
    console.error('index.html is broken')
    process.exit(1)
}
mkdirSync('dist/assets', { recursive: true })
cpSync('index.html', 'dist/index.html')
log('end')
"""


class Project:
    """Sources of a small web application, and the record of its builds."""

    def __init__(self, directory: Path) -> None:
        self.sources = directory / "frontend"
        self.builds = directory / "builds.log"
        self.packages = directory / "packages"
        self.packages.mkdir()
        self._directory = directory
        self.write("package.json", json.dumps({"type": "module", "scripts": {"build": "node build.js"}}))
        self.write("package-lock.json", json.dumps({"lockfileVersion": 3, "packages": {"": {}}}))
        self.write(".npmrc", "fetch-retries=0\nregistry=http://127.0.0.1:9/\n")
        self.write("build.js", BUILD)
        self.write("index.html", "first")
        self.write("src/main.ts", "export {}")

    def write(self, name: str, text: str) -> None:
        (self.sources / name).parent.mkdir(parents=True, exist_ok=True)
        (self.sources / name).write_text(text)

    def frontend(self, home: str = "home", **environment: str) -> Frontend:
        """Return the component of a stack; all stacks share the packages."""
        directory = self._directory / home
        if not directory.exists():
            directory.mkdir()
            (directory / "packages").symlink_to(self.packages)
        return Frontend(directory, environment, self.sources)

    def count_builds(self) -> int:
        return self.builds.read_text().splitlines().count("begin") if self.builds.exists() else 0

    def count_installations(self, home: str = "home") -> int:
        return len(list((self._directory / home / "logs").glob("frontend-install.log*")))
