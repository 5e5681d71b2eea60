// Bundle the unit tests into .build for `node --test`. The page itself is built by scripts/build_page.py.
import { build } from "esbuild";
import { readdir, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const target = join(here, ".build");
const tests = (await readdir(join(here, "test"))).filter((name) => name.endsWith(".test.ts"));

await rm(target, { recursive: true, force: true });
await build({
  bundle: true,
  jsx: "automatic",
  jsxImportSource: "preact",
  legalComments: "none",
  logLevel: "warning",
  entryPoints: tests.map((name) => join(here, "test", name)),
  outdir: target,
  outExtension: { ".js": ".mjs" },
  platform: "node",
  format: "esm",
  target: "node18",
});
