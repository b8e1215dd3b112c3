// Builds the page into kdb/ui/static.  With --check into a temporary folder, to compare with what is committed, and runs
// types and tests besides; with --test only the tests.

import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import esbuild from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const committed = join(here, "..", "kdb", "ui", "static");

const BANNER = "Generated from ui/ by `npm run build`; do not edit.  Part of kdb, under the Apache License 2.0.";

/** The page takes the widget from the file that notebooks load, so that it is there once. */
const widgetOnce = {
  name: "widget-once",
  setup(build) {
    build.onResolve({ filter: /^\.\/index$/ }, ({ importer }) =>
      importer.endsWith("page.ts") ? { path: "./kdb.js", external: true } : undefined,
    );
  },
};

async function build(folder) {
  const common = {
    absWorkingDir: here,
    bundle: true,
    format: "esm",
    target: ["es2022", "chrome111", "firefox115", "safari16.4"],
    charset: "utf8",
    legalComments: "none",
    banner: { js: `// ${BANNER}`, css: `/* ${BANNER} */` },
    logLevel: "warning",
  };
  await esbuild.build({ ...common, entryPoints: { kdb: "src/index.ts" }, outdir: folder });
  await esbuild.build({ ...common, entryPoints: { page: "src/page.ts" }, outdir: folder, plugins: [widgetOnce] });
  cpSync(join(here, "static"), folder, { recursive: true });
}

function files(folder) {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath ?? entry.path, entry.name)))
    .sort();
}

/** Names of files that differ between what is committed and what the sources give. */
function differing(built) {
  const names = new Set([...files(built), ...files(committed)]);
  const read = (folder, name) => {
    try {
      return readFileSync(join(folder, name), "utf8");
    } catch {
      return null;
    }
  };
  return [...names].filter((name) => read(built, name) !== read(committed, name));
}

async function test(folder) {
  const entryPoints = files(join(here, "test"))
    .filter((name) => name.endsWith(".test.ts"))
    .map((name) => join("test", name));
  await esbuild.build({
    absWorkingDir: here,
    entryPoints,
    outdir: folder,
    outbase: "test",
    outExtension: { ".js": ".mjs" },
    bundle: true,
    format: "esm",
    platform: "node",
    target: "node20",
    loader: { ".css": "empty" },
    logLevel: "warning",
  });
  return run(process.execPath, "--test", ...files(folder).map((name) => join(folder, name)));
}

function run(command, ...given) {
  return spawnSync(command, given, { cwd: here, stdio: "inherit" }).status ?? 1;
}

async function temporarily(use) {
  const folder = mkdtempSync(join(tmpdir(), "kdb-ui-"));
  try {
    return await use(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

if (process.argv.includes("--test")) {
  process.exitCode = await temporarily(test);
} else if (process.argv.includes("--check")) {
  const stale = await temporarily(async (folder) => {
    await build(join(folder, "static"));
    return differing(join(folder, "static"));
  });
  if (stale.length > 0) console.error(`kdb/ui/static is not what ui/ gives: ${stale.join(", ")}; run npm run build`);
  const types = run(process.execPath, join(here, "node_modules", "typescript", "bin", "tsc"), "--noEmit");
  const tests = await temporarily(test);
  process.exitCode = stale.length > 0 || types !== 0 || tests !== 0 ? 1 : 0;
} else {
  await temporarily(async (folder) => {
    await build(join(folder, "static"));
    rmSync(committed, { recursive: true, force: true });
    cpSync(join(folder, "static"), committed, { recursive: true });
  });
}
